"""Which rules about its arguments the calls of a tool bear out. Pure.

Four things are learnt, each only of a path whose value was recorded in every call in which it was there, and was always
of one kind. Text is not: that a search was for twenty words says nothing of the next one.

- An id, by the rules of ``scan``, stays one segment of a path, where all that were seen did.
- A URL that every call had leads to one of few hosts.
- A short word is one of few, a boolean is the only one that was seen.
- A number of something stays below the most that was seen, and is not negative where none was.

Few values prove nothing by themselves. Each has to have come three times, and in two sessions: what one session alone
was told to send, be it by its user or by a page that it read, is not what the tool is for.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

from guarded_tools.authoring.ids import Id, ids_of, named_like_id
from guarded_tools.authoring.learn.seen import SeenArgument, SeenTool, Tally
from guarded_tools.authoring.learn.terms import Terms
from guarded_tools.policy.fields import MOST
from guarded_tools.tools.words import vocabulary, words_of

OFTEN: Final = 3
"""How often each value has to have been seen."""
SEVERAL: Final = 2
"""In how many sessions."""

_FREE: Final = vocabulary(
    "text query queries q search message messages msg body content contents title subject name description prompt "
    "comment comments note notes summary question answer input reason caption html markdown code sql command cmd "
    "script password token secret"
)
# Numbers that say which one, where or when; the highest that was seen is no bound of them.
_NOT_AMOUNTS: Final = vocabulary(
    "page offset cursor timestamp time date day month year lat latitude lon lng longitude port seed version position "
    "index line row column x y z since until before after start end from to zip phone"
)
_WORD: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:/+-]*(?: [A-Za-z0-9_.:/+-]+){0,2}")
_LIKE_ID: Final = re.compile(r"\d{5}|[0-9a-f]{12}|(?=[A-Za-z_-]*\d)[A-Za-z0-9_-]{16}|//")


class LearntRule(NamedTuple):
    """A predicate, and what bears it out."""

    kind: str
    predicate: dict[str, Any]
    why: str


def rules_of(seen: SeenTool, schema: Mapping[str, Any] | None, terms: Terms) -> tuple[list[LearntRule], list[str]]:
    """Make the rules, and say of what none was made."""
    rules: list[LearntRule] = []
    unlearnt: list[str] = []
    ids = {one.path: one for one in ids_of(schema if schema is not None else schema_of(seen))}
    for path in sorted({*seen.arguments, *ids}):
        argument = seen.arguments.get(path)
        if path in ids:
            rules += _id(ids[path], seen, known=schema is not None)
        elif argument is not None and seen.recorded(path):
            made = list(_about(path, argument, seen, terms))
            rules += made
            if not made and argument.kind in {"text", "number"}:
                unlearnt.append(path)
        elif argument is not None and argument.unrecorded:
            unlearnt.append(path)
    return rules, unlearnt


def schema_of(seen: SeenTool) -> dict[str, Any]:
    """Make up the schema of a tool as far as its calls tell: names, kinds, and what was always there."""
    names = {"text": "string", "number": "number", "boolean": "boolean"}
    root: dict[str, Any] = {"type": "object", "properties": {}}
    made: dict[str, dict[str, Any]] = {"args": root}
    for path, argument in seen.arguments.items():
        parent = made.get(argument.parent)
        if parent is None:
            continue
        here: dict[str, Any] = {"type": names.get(argument.kind or "", "object")}
        if path.endswith("[*]"):
            parent.update(type="array", items=here)
        else:
            parent.setdefault("properties", {})[argument.name] = here
            if seen.always(path) and "[*]" not in path:
                parent.setdefault("required", []).append(argument.name)
        made[path] = here
    return root


def _id(one: Id, seen: SeenTool, *, known: bool) -> Iterator[LearntRule]:
    argument = seen.arguments.get(one.path)
    if argument is not None and not (argument.segments and seen.reachable(one.path)):
        return
    recorded = argument is not None and argument.calls > 0
    if not (recorded or known):
        return
    always = one.certain and (not recorded or seen.always(one.path))
    why = "looks like an id" + (", and every one that was seen was one segment" if recorded else "")
    yield _rule(one.path, "segment", True, False, why, always=always)


def _about(path: str, argument: SeenArgument, seen: SeenTool, terms: Terms) -> Iterator[LearntRule]:
    always = seen.always(path) and "[*]" not in path
    words = set(words_of(argument.name))
    if argument.kind == "text" and _are_few(argument.hosts, terms):
        # No predicate says that a URL leads elsewhere and may be left out.
        if always:
            yield _rule(path, "url_host", sorted(argument.hosts or ()), None, _times(argument.hosts), always=True)
    elif argument.kind == "number" and 0 < argument.most <= MOST and _borne_out(argument.numbers):
        if not named_like_id(argument.name) and not words & _NOT_AMOUNTS:
            why = f"at most {argument.most} in {argument.numbers.times} values"
            yield _rule(path, "lte", terms.with_room(argument.most), "gt", why, always=always)
            if argument.least >= 0:
                yield _rule(path, "gte", 0, "lt", "never negative", always=always)
    elif _is_choice(argument, words) and _are_few(argument.values, terms):
        values = sorted(argument.values or (), key=str)
        if argument.kind == "text" or len(values) == 1:
            yield _rule(path, "in", values, "not_in", _times(argument.values), always=always)


def _is_choice(argument: SeenArgument, words: set[str]) -> bool:
    if argument.kind == "boolean":
        return True
    texts = [value for value in argument.values or () if type(value) is str]
    return (
        argument.kind == "text"
        and not (named_like_id(argument.name) or words & _FREE)
        and all(_WORD.fullmatch(text) and not _LIKE_ID.search(text) for text in texts)
    )


def _are_few(tallies: Mapping[Any, Tally] | None, terms: Terms) -> bool:
    return bool(tallies) and len(tallies or ()) <= terms.most_values and all(map(_borne_out, (tallies or {}).values()))


def _borne_out(tally: Tally) -> bool:
    return tally.times >= OFTEN and tally.sessions >= SEVERAL


def _rule(path: str, op: str, value: Any, otherwise: Any, why: str, *, always: bool) -> LearntRule:
    """Require it, where every call had it; else deny what does not fit, so that it may be left out."""
    if always:
        return LearntRule("require", {"path": path, "op": op, **({} if value is True else {"value": value})}, why)
    if op == "segment":
        return LearntRule("deny_if", {"path": path, "op": op, "value": otherwise}, why)
    return LearntRule("deny_if", {"path": path, "op": otherwise, "value": value}, why)


def _times(tallies: Mapping[Any, Tally] | None) -> str:
    told = [
        f"{value} {tally.times} times" for value, tally in sorted((tallies or {}).items(), key=lambda one: str(one[0]))
    ]
    return ", ".join(told)
