"""Which tools are compared: the server's, those that a policy names, and stand-ins for what globs and defaults mean."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import product, zip_longest
from typing import Final, NamedTuple

from guarded_tools.policy.document import Rules
from guarded_tools.policy.globs import covers, is_glob, literal_prefix, matches
from guarded_tools.policy.policy import Policy
from guarded_tools.values import ToolInfo

OTHER: Final = "any other tool"
LOOKALIKE: Final = "a name that only looks like"
_FILLED: Final = ("any", "x", "", "any_1", "zz9")
_STRANGERS: Final = ("another_tool", "zz9", "Q-7")
_MOST_FILLINGS: Final = 12
_MOST_STARS: Final = 3


class ToolsCompared(NamedTuple):
    """The tools to compare. ``stand_ins`` says of a made-up name what it stands for.

    ``unsure`` are globs of which a name may fit both, and none was found.
    """

    infos: tuple[ToolInfo, ...]
    stand_ins: dict[str, str]
    unsure: tuple[tuple[str, str], ...]


def tools_to_compare(old: Policy, new: Policy, infos: Iterable[ToolInfo]) -> ToolsCompared:
    """Pick them. Of two tools of one name, the first counts."""
    known: dict[str, ToolInfo] = {}
    for info in infos:
        known.setdefault(info.name, info)
    for name in (name for policy in (old, new) for name in named(policy)):
        if not is_glob(name):
            known.setdefault(name, ToolInfo(name))
    # What one policy names is not what its globs speak of.
    apart = {name for policy in (old, new) for name in (*policy.tools, *policy.hide)}
    usual = [name for name in known if name not in apart]
    made: dict[str, str] = {}
    for policy in (old, new):
        made |= _for_globs(policy, [*usual, *made], apart)
    unsure: list[tuple[str, str]] = []
    for one, other in _crossing(old, new):
        if not any(matches(one, name) and matches(other, name) for name in [*usual, *made]):
            both = [name for name in _in_both(one, other) if name not in apart]
            made |= dict.fromkeys(both[:1], f"any tool like {one} and {other}")
            unsure += [] if both else [(one, other)]
    for name in _only_in_one(old, new, made):
        if name.swapcase() not in {name, *known}:
            made.setdefault(name.swapcase(), f"{LOOKALIKE} {name}")
    strangers = [name for name in _STRANGERS if _unknown(old, name) and _unknown(new, name) and name not in known]
    made |= dict.fromkeys(strangers[:1], OTHER)
    return ToolsCompared((*known.values(), *map(ToolInfo, made)), made, tuple(unsure))


def _for_globs(policy: Policy, names: list[str], apart: set[str]) -> dict[str, str]:
    """Make a name for each glob that speaks for none of these."""
    made: dict[str, str] = {}
    for glob in filter(is_glob, [*policy.tools, *policy.hide]):
        if not any(_speaks(policy, glob, name) for name in [*names, *made]):
            fits = [name for name in _filled(glob, _FILLED) if name not in apart and _speaks(policy, glob, name)]
            made |= dict.fromkeys(fits[:1], f"any tool like {glob}")
    return made


def named(policy: Policy) -> Iterator[str]:
    """List every name and glob of a tool that stands in a policy."""
    yield from policy.tools
    yield from policy.hide
    written: list[Rules] = [policy.all_tools, *policy.tools.values()]
    for rules in written:
        for after in rules.after:
            yield from after.tools or ()
        for need in rules.needs:
            yield from need.tool


def _speaks(policy: Policy, glob: str, name: str) -> bool:
    entry = policy.compiled.names.entry(name)
    if entry is not None and entry.key == glob and not entry.lookalike:
        return True
    return glob in policy.hide and matches(glob, name)


def _unknown(policy: Policy, name: str) -> bool:
    return policy.compiled.names.entry(name) is None and not policy.hides(name)


def _filled(glob: str, fillings: Iterable[str]) -> Iterator[str]:
    """Make names that fit a glob: each of its stars filled with the same text."""
    for text in fillings:
        name = glob.replace("*", text).replace("?", "x")
        if name.strip():
            yield name


def _globs(policy: Policy) -> list[str]:
    return [*(key for key in policy.tools if is_glob(key)), *("hide:" + key for key in policy.hide if is_glob(key))]


def _crossing(old: Policy, new: Policy) -> Iterator[tuple[str, str]]:
    """List globs that overlap, where the policies have not the same globs: names in both may have changed hands."""
    mine, theirs = _globs(old), _globs(new)
    if mine == theirs:
        return
    every = list(dict.fromkeys(glob.removeprefix("hide:") for glob in [*mine, *theirs]))
    for place, one in enumerate(every):
        for other in every[place + 1 :]:
            if not (covers(one, other) or covers(other, one) or _apart(one, other)):
                yield one, other


def _apart(one: str, other: str) -> bool:
    """Whether no name fits both, as far as their beginnings and ends tell."""
    begins = (literal_prefix(one), literal_prefix(other))
    ends = (literal_prefix(one[::-1]), literal_prefix(other[::-1]))
    return any(not (a.startswith(b) or b.startswith(a)) for a, b in (begins, ends))


def _in_both(one: str, other: str) -> list[str]:
    """Find names that fit both: the stars of one filled with what the other consists of."""
    parts = [part for part in re.split(r"[*?]+", other) if part]
    whole = other.replace("*", "").replace("?", "x")
    fillings = list(dict.fromkeys(["", "x", whole, *parts, *map("_".join, product(parts, parts))]))[:_MOST_FILLINGS]
    pieces = one.replace("?", "x").split("*")
    found = []
    for choice in product(fillings, repeat=min(len(pieces) - 1, _MOST_STARS)):
        name = "".join(piece + text for piece, text in zip_longest(pieces, choice, fillvalue=""))
        if matches(one, name) and matches(other, name):
            found.append(name)
    return found


def _only_in_one(old: Policy, new: Policy, made: Mapping[str, str]) -> list[str]:
    """List the names that only one policy has an entry for, or hides: what looks like them may differ.

    Of globs it is a name that fits.
    """
    mine, theirs = ({*policy.tools, *(f"hide:{key}" for key in policy.hide)} for policy in (old, new))
    found = sorted({name.removeprefix("hide:") for name in mine ^ theirs})
    fitting = [name for glob in filter(is_glob, found) for name in made if matches(glob, name)]
    return [*(name for name in found if not is_glob(name)), *fitting]
