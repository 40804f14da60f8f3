"""Whether a pattern speaks of a whole text, or is only found somewhere in it.

``regex`` searches: what ends in ``@example.com`` is found in ``eve@evil.com, ann@example.com`` too. Of a forbidden text
that is what its author wants; of a required form it hardly ever is. A pattern is taken apart as far as that question
needs: into the alternatives of each group, and their first and last parts. ``^a|b$`` is anchored at one end in each
alternative and at both in none; ``(?m)`` makes ``^`` and ``$`` speak of lines; and what begins with ``^.*`` is anchored
in letters only.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, NamedTuple, TypeAlias

_TOKEN: Final = re.compile(
    r"""
    (?P<quoted>\\Q.*?(?:\\E|$))
    |(?P<escape>\\.)
    |(?P<set>\[\^?\]?(?:\[:\^?\w+:\]|\\.|[^\]\\])*\])
    |(?P<open>\((?:\?(?:P?<\w+>|(?P<flags>[a-zA-Z]*(?:-[a-zA-Z]*)?)(?P<end>[:)])))?)
    |(?P<close>\))
    |(?P<bar>\|)
    |(?P<repeat>(?:[*+?]|\{\d+(?:,\d*)?\})\??)
    |(?P<char>.)
    """,
    re.VERBOSE | re.DOTALL,
)
_WHOLE: Final = re.compile(r"\[\\([sSdDwW])\\([sSdDwW])\]")
_DEEPEST: Final = 50


class _Part(NamedTuple):
    """A part of an alternative: its text or, of a group, its alternatives; and what repeats it."""

    text: str
    group: _Alternatives | None
    repeat: str = ""


_Alternatives: TypeAlias = list[list[_Part]]


class Ends(NamedTuple):
    """Whether every text in which a pattern is found begins, and ends, where the pattern says."""

    begin: bool
    end: bool


def ends_of(pattern: str) -> Ends:
    """Say at which ends a pattern that compiles is anchored. What is nested too deep to tell counts as anchored."""
    try:
        alternatives = _parse(_tokens(pattern), 0, lines=False)
    except RecursionError:
        return Ends(begin=True, end=True)
    return Ends(all(map(_begins, alternatives)), all(map(_ends, alternatives)))


def _tokens(pattern: str) -> Iterator[re.Match[str]]:
    return _TOKEN.finditer(pattern)


def _parse(tokens: Iterator[re.Match[str]], depth: int, *, lines: bool) -> _Alternatives:
    """Read alternatives up to the end of their group; with ``lines``, ``^`` and ``$`` are about lines."""
    if depth > _DEEPEST:
        raise RecursionError
    alternatives: _Alternatives = [[]]
    for token in tokens:
        here = alternatives[-1]
        match token.lastgroup if token["open"] is None else "open":
            case "open":
                flags = token["flags"] or ""
                on, _, off = flags.partition("-")
                inner = "m" in on or (lines and "m" not in off)
                if token["end"] == ")":  # flags for the rest of this group
                    lines = inner
                else:
                    here.append(_Part("", _parse(tokens, depth + 1, lines=inner)))
            case "close":
                break
            case "bar":
                alternatives.append([])
            case "repeat" if here:
                here[-1] = here[-1]._replace(repeat=here[-1].repeat + token[0])
            case _:
                about_lines = lines and token[0] in {"^", "$"}
                here.append(_Part("" if about_lines else token[0], None))
    return alternatives


def _begins(alternative: list[_Part]) -> bool:
    match alternative:
        case [_Part("^" | "\\A", None, ""), *rest]:
            return not (rest and _is_anything(rest[0]))
        case [_Part(_, list() as group, ""), *rest]:
            only_anchors = all(len(inner) == 1 and _begins(inner) for inner in group)
            return all(map(_begins, group)) and not (only_anchors and rest and _is_anything(rest[0]))
    return False


def _ends(alternative: list[_Part]) -> bool:
    match alternative:
        case [*_, _Part("$" | "\\z", None, "")]:
            return True
        case [*_, _Part(_, list() as group, "")]:
            return all(map(_ends, group))
    return False


def _is_anything(part: _Part) -> bool:
    """Whether a part takes any text at all, as ``.*`` does."""
    if part.group is not None and not part.repeat:
        return any(len(inner) == 1 and _is_anything(inner[0]) for inner in part.group)
    without_end = part.repeat.rstrip("?")[-1:] in {"*", "+"} or part.repeat.rstrip("?").endswith(",}")
    return without_end and _is_any_character(part)


def _is_any_character(part: _Part) -> bool:
    if part.group is not None:
        return any(len(inner) == 1 and not inner[0].repeat and _is_any_character(inner[0]) for inner in part.group)
    whole = _WHOLE.fullmatch(part.text)
    return part.text == "." or (whole is not None and whole[1] != whole[2] and whole[1].lower() == whole[2].lower())
