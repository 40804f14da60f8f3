"""What is wrong with a policy though each part of it is right: rules that contradict, repeat or can never apply.

A rule without effect is an error and no warning: its author believes to be protected by it. Found are

* rules that nothing reaches: of a hidden tool, beside ``action: deny``, a glob below one that covers it, rules for all
  tools where none is let through;
* rules that say the opposite of what they seem to: ``when`` beside ``action: approve``, a memory that the tool's risk
  forbids, a reason that nobody is told;
* limits that can never bind, because another that speaks for the same call is at least as strict
  (:meth:`_Limit.holds_under`). Only what certainly holds is said: limits that count other things, or in windows that
  begin at other times, are not compared.

Works on plain data that may be wrong in other ways, before and beside the model's own validation, so that every problem
is told at once and in one run. Hence the caution of the code: what is compared may be of any kind, so it is compared
with ``==`` and type by type, and is looked for in no set; what cannot be read is left to the model to tell. A pointer
leads into the data as it is in the first dialect; whoever read the file knows where that stands.

:func:`warnings` is for what is right and often meant otherwise; it needs a policy that was found right.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any, Final, NamedTuple

from pydantic_core import PydanticCustomError

from guarded_tools.errors import Problem
from guarded_tools.policy.diagnostics import Reporter
from guarded_tools.policy.document import PolicyDocument
from guarded_tools.policy.fields import DAY, parse_rate, parse_window
from guarded_tools.policy.globs import covers, is_glob, literal_prefix
from guarded_tools.policy.operators import is_number
from guarded_tools.policy.paths import EVERYWHERE, pointer
from guarded_tools.policy.reading.anchors import ends_of
from guarded_tools.values import widest_memory

_RULES: Final = ("require", "deny_if", "rate_limit", "limits", "approval", "labels", "after", "needs", "result")


class _Limit(NamedTuple):
    """A limit as far as it can be read, with defaults in."""

    at: str
    counter: str
    max: float
    window: int
    count: Any
    measure: Any
    scope: Any
    align: Any
    counts: Any

    def holds_under(self, other: _Limit) -> bool:
        """Whether ``other`` refuses every call that this one could refuse."""
        return (
            (other.count, other.measure) == (self.count, self.measure)
            and other.max <= self.max
            and other.window >= self.window
            and other.scope in (self.scope, "global")
            and other.align == self.align
            # Aligned windows must lie within each other; a limit that gives back counts less than one that does not.
            and (self.align == "rolling" or other.window % self.window == 0)
            and other.counts in (self.counts, "attempts")
        )


def problems(data: dict[str, Any], problem: Reporter) -> Iterator[Problem]:
    """List them. ``data`` is in the first dialect."""
    hide = [entry for entry in _list(data.get("hide")) if type(entry) is str]
    tools = {key: entry for key, entry in _dict(data.get("tools")).items() if type(entry) is dict}
    everywhere = _dict(data.get("all_tools"))
    yield from _repeated(hide, data, problem)
    yield from _entry(everywhere, EVERYWHERE, (), problem)
    if "*" in hide and _ruled(everywhere):
        yield problem(EVERYWHERE, "this can never apply: every tool is hidden", 'take "*" out of hide')
    elif _ruled(everywhere) and everywhere.get("action") != "deny" and _refuses_all(data, hide):
        message = "this can never apply: no tool is let through, so no call reaches it"
        yield problem(EVERYWHERE, message, "list a tool that may be called, or take it out")
    shared = tuple(_limits(everywhere, EVERYWHERE))
    for key, entry in tools.items():
        at = pointer("tools", key)
        yield from _entry(entry, at, () if entry.get("shadow") else shared, problem)
        allows = entry.get("action") in ("allow", "approve")
        if not (_ruled(entry) or allows):
            continue
        if not entry.get("shadow") and _max_chars(everywhere) <= _max_chars(entry) < math.inf:
            message = f"this can never bind: {EVERYWHERE}/result/max_chars is at least as strict"
            yield problem(f"{at}/result/max_chars", message, "write a smaller one, or take it out")
        if any(covers(hidden, key) for hidden in hide):
            yield problem(at, "this can never apply: the tool is hidden", "take it out of hide, or out of tools")
        elif everywhere.get("action") == "deny":
            yield problem(at, "this can never apply: all_tools denies every call", "take action out of all_tools")
    yield from _unreachable([key for key in tools if is_glob(key)], problem)


def warnings(policy: PolicyDocument, problem: Reporter) -> Iterator[Problem]:
    """List what is right and easily misread: required patterns that are found in longer texts too."""
    written = [(EVERYWHERE, policy.all_tools), *((pointer("tools", key), tool) for key, tool in policy.tools.items())]
    for at, rules in written:
        for place, predicate in enumerate(rules.require):
            open_at = _open_at(predicate.value) if predicate.op == "regex" else ""
            if open_at:
                message = f"the pattern is found in a longer text too: anything may stand {open_at} what it describes"
                hint = "write ^(…)$ around it, and say which characters may come; .* at the end says that any may"
                yield problem(f"{at}/require/{place}/value", message, hint)


def _open_at(pattern: str) -> str:
    ends = ends_of(pattern)
    return " and ".join(word for word, closed in (("before", ends.begin), ("behind", ends.end)) if not closed)


def _refuses_all(data: dict[str, Any], hide: list[str]) -> bool:
    tools = data.get("tools", {})
    return (
        data.get("default") == "deny" and type(tools) is dict and all(_refuses(*item, hide) for item in tools.items())
    )


def _refuses(key: str, entry: Any, hide: list[str]) -> bool:
    if any(covers(hidden, key) for hidden in hide):
        return True
    # On trial, it stops nothing, and the rules for all tools are what a call meets.
    return type(entry) is dict and entry.get("action") == "deny" and not entry.get("shadow")


def _ruled(entry: dict[str, Any]) -> list[str]:
    return [rule for rule in _RULES if entry.get(rule)]


def _entry(entry: dict[str, Any], at: str, shared: tuple[_Limit, ...], problem: Reporter) -> Iterator[Problem]:
    action, approval = entry.get("action"), entry.get("approval")
    if action == "deny":
        for rule in _ruled(entry):
            yield problem(
                f"{at}/{rule}", f"{rule} can never apply: action denies every call", "take one of the two out"
            )
    if entry.get("reason") and action != "deny" and (not (action == "approve" or approval) or _says(approval)):
        yield problem(f"{at}/reason", "nobody is ever told this reason", "set action, or take it out")
    if type(approval) is dict:
        yield from _approval(approval, entry, f"{at}/approval", problem)
    own = list(_limits(entry, at))
    for place, limit in enumerate(own):
        if limit.counter in {earlier.counter for earlier in own[:place]}:
            yield problem(f"{limit.at}/counter", f"the counter {limit.counter!r} is already in use here", "rename it")
        if is_number(limit.count) and limit.count > limit.max >= 1:
            yield problem(
                f"{limit.at}/count", "one call takes more than max: all are refused", 'write "action": "deny"'
            )
        if limit.align == "utc" and DAY % limit.window:
            yield problem(
                f"{limit.at}/window", "a window aligned to UTC divides a day evenly", 'write "minute", "hour" or "day"'
            )
        stricter = _stricter(place, own, shared)
        if stricter is not None:
            yield problem(limit.at, f"this limit can never bind: {stricter.at} is at least as strict", "take it out")


def _stricter(place: int, own: Sequence[_Limit], shared: Sequence[_Limit]) -> _Limit | None:
    """Find the limit beside which one of an entry's own can never bind."""
    limit = own[place]
    others = [other for other in (*own, *shared) if other is not limit and limit.holds_under(other)]
    # Of two that say the same, the later one is too much.
    return next((other for other in others if not other.holds_under(limit) or other not in own[place:]), None)


def without_idle_limits(entry: dict[str, Any], everywhere: dict[str, Any]) -> dict[str, Any]:
    """Take out of an entry the limits that can never bind beside its others, or those for all tools."""
    kept, shared = entry, () if entry.get("shadow") else tuple(_limits(everywhere, ""))
    while True:
        own = list(_limits(kept, ""))
        idle = next((own[place].at for place in range(len(own)) if _stricter(place, own, shared)), None)
        if idle is None:
            return kept
        if idle == "/rate_limit":
            kept = {key: value for key, value in kept.items() if key != "rate_limit"}
        else:
            place = int(idle.rpartition("/")[2])
            limits = [limit for nth, limit in enumerate(kept["limits"]) if nth != place]
            kept = {key: limits if key == "limits" else value for key, value in kept.items()}


def _says(approval: Any) -> bool:
    return type(approval) is dict and bool(approval.get("message"))


def _approval(approval: dict[str, Any], entry: dict[str, Any], at: str, problem: Reporter) -> Iterator[Problem]:
    risk, remember = entry.get("risk"), approval.get("remember", "never")
    if entry.get("action") == "approve" and approval.get("when"):
        message = 'when can never narrow "action": "approve", which asks about every call'
        yield problem(f"{at}/when", message, "take one of the two out")
    if "for" in approval and remember == "never":
        yield problem(f"{at}/for", "for has no meaning while nothing is remembered", "set remember, or take it out")
    if remember in ("same", "tool") and widest_memory(risk, remember) == "never":
        yield problem(f"{at}/remember", *never_remembered(str(risk)))


def never_remembered(risk: str) -> tuple[str, str]:
    """Say of an approval's ``remember`` that it has no effect, and what to write instead."""
    return f"the approval of a {risk} tool is never remembered", 'write "never"'


def _limits(entry: dict[str, Any], at: str) -> Iterator[_Limit]:
    written = [(f"{at}/limits/{place}", limit) for place, limit in enumerate(_list(entry.get("limits")))]
    with suppress(PydanticCustomError):  # told by the model
        written.insert(0, (f"{at}/rate_limit", {**_dict(parse_rate(entry.get("rate_limit"))), "counter": "rate_limit"}))
    for where, limit in written:
        if type(limit) is not dict or not is_number(limit.get("max")):
            continue
        try:
            window = parse_window(limit.get("window"))
        except PydanticCustomError:
            continue
        yield _Limit(
            where,
            str(limit.get("counter")),
            limit["max"],
            window,
            limit.get("count", 1),
            [limit.get(key) for key in ("unit", "scale", "estimate")],
            limit.get("scope", "session"),
            limit.get("align", "rolling"),
            limit.get("counts", "successes"),
        )


def _max_chars(entry: dict[str, Any]) -> float:
    most = _dict(entry.get("result")).get("max_chars")
    return float(most) if isinstance(most, int | float) and is_number(most) else math.inf


def _repeated(hide: list[str], data: dict[str, Any], problem: Reporter) -> Iterator[Problem]:
    if len(set(hide)) == len(hide):
        return
    seen: set[str] = set()
    for place, entry in enumerate(data["hide"]):
        if type(entry) is str and entry in seen:
            yield problem(f"/hide/{place}", f"{entry!r} is already hidden", "keep one of them")
        seen.add(str(entry))


def _unreachable(globs: list[str], problem: Reporter) -> Iterator[Problem]:
    # A glob can only cover one that begins with its own literal beginning: looked up, so that many globs stay cheap.
    by_prefix: dict[str, list[str]] = {}
    for late in globs:
        candidates = (by_prefix.get(late[:end], ()) for end in range(len(late) + 1))
        early = next((glob for some in candidates for glob in some if covers(glob, late)), None)
        if early is not None:
            message = f"can never apply: {early!r} stands above it and fits every name that this fits"
            yield problem(pointer("tools", late), message, "put the narrower glob first", key=True)
        by_prefix.setdefault(literal_prefix(late), []).append(late)


def _dict(value: Any) -> dict[str, Any]:
    return value if type(value) is dict else {}


def _list(value: Any) -> list[Any]:
    return value if type(value) is list else []
