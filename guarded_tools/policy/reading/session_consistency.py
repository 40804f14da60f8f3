"""Rules across calls that contradict, repeat or can never apply: each is an error, as everything without effect.

Found are labels that nothing brings, and a preset that waits for one of these; tools that are named and never let
through; calls that need each other in a circle, so that none can ever be the first; rules that another one covers; what
is written twice.

Only what is certain is told. A tool that the policy does not list may come where the default lets it through; a glob
that only overlaps with another may fit what that one fits.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Any, Final, NamedTuple

from pydantic_core import PydanticCustomError

from guarded_tools.errors import Problem
from guarded_tools.policy.diagnostics import Reporter, suggest
from guarded_tools.policy.fields import parse_window
from guarded_tools.policy.globs import covers, is_glob, literal_prefix
from guarded_tools.policy.paths import EVERYWHERE, pointer
from guarded_tools.policy.session_parts import OUTWARD, PRIVATE, SECRET, UNTRUSTED

_MOST_LABELS: Final = 32
_MOST_TOOLS: Final = 24
_FOREVER: Final = float("inf")


class _Entries(NamedTuple):
    """What a policy lists, in the first dialect, as far as it can be read."""

    hide: list[str]
    tools: dict[str, dict[str, Any]]
    everywhere: dict[str, Any]
    open: bool
    flow: Any
    shadow: bool

    def written(self) -> list[tuple[str, dict[str, Any]]]:
        """List the entries with their pointers, that of all tools first."""
        return [(EVERYWHERE, self.everywhere), *((pointer("tools", key), entry) for key, entry in self.tools.items())]

    def on_trial(self, entry: dict[str, Any]) -> bool:
        """Whether an entry is on trial beside others in force, which see nothing of what it says."""
        return bool(entry.get("shadow")) and not self.shadow

    def admits(self, key: str) -> bool:
        """Whether calls of a listed name may be let through."""
        entry = self.tools[key]
        denied = "deny" in (self.everywhere.get("action"), entry.get("action")) and not entry.get("shadow")
        return not denied and not any(covers(hidden, key) for hidden in self.hide)

    def may_come(self, name: str, among: Iterable[str]) -> bool:
        """Whether a name or glob of a rule may be that of a tool: one of ``among``, or one that nobody lists."""
        if any(covers(hidden, name) for hidden in self.hide):
            return False
        if any(_overlap(name, key) for key in among):
            return True
        return self.open and not any(covers(key, name) for key in self.tools)


def problems(data: dict[str, Any], problem: Reporter) -> Iterator[Problem]:
    """List them. ``data`` is in the first dialect."""
    tools = {key: entry for key, entry in _dict(data.get("tools")).items() if type(entry) is dict}
    hide = [entry for entry in _list(data.get("hide")) if type(entry) is str]
    everywhere, opened, shadow = _dict(data.get("all_tools")), data.get("default") != "deny", bool(data.get("shadow"))
    entries = _Entries(hide, tools, everywhere, opened, data.get("flow"), shadow)
    if not entries.flow and not any(entry.get(key) for _, entry in entries.written() for key in _KEYS):
        return
    brought, tried = _brought(entries), _brought(entries, trial=True)
    shared = _afters(entries.everywhere, EVERYWHERE)
    for at, entry in entries.written():
        yield from _labels(entry, at, problem)
        yield from _after(entry, at, () if at == EVERYWHERE else shared, problem)
        yield from _nobody_brings(entry, at, brought, tried, problem, trial=entries.on_trial(entry))
        yield from _never_come(entry, at, entries, problem)
    yield from _circles(entries, problem)
    yield from _preset(entries, brought, problem)
    yield from _too_many(entries, problem)


_KEYS: Final = ("labels", "after", "needs")


def _brought(entries: _Entries, *, trial: bool = False) -> set[str]:
    """Name the labels that some call may bring, also what a preset counts a tool as.

    For a rule in force what an entry on trial says is not said; one on trial, with ``trial``, sees all.
    """
    found: set[str] = set()
    unlabelled = entries.open and "labels" not in entries.everywhere
    for _, entry in entries.written():
        found.update(_names_of(entry) if trial or not entries.on_trial(entry) else ())
    if "labels" not in entries.everywhere:
        unlabelled |= any(
            ("labels" not in entry or entries.on_trial(entry)) and entries.admits(key)
            for key, entry in entries.tools.items()
        )
    if SECRET in found:
        found.add(PRIVATE)
    if entries.flow:
        found.add(OUTWARD)
        found |= {UNTRUSTED, PRIVATE} if unlabelled else set()
    return found


def _names_of(entry: dict[str, Any]) -> list[str]:
    named = (each.get("label") if type(each) is dict else each for each in _list(entry.get("labels")))
    return [name for name in named if type(name) is str]


def _labels(entry: dict[str, Any], at: str, problem: Reporter) -> Iterator[Problem]:
    always: set[str] = set()
    for place, each in enumerate(_list(entry.get("labels"))):
        name = each.get("label") if type(each) is dict else each
        if type(name) is not str:
            continue
        if name in always:
            yield problem(f"{at}/labels/{place}", f"{name!r} is brought by every call already", "take it out")
        elif type(each) is str or "when" not in each:
            always.add(name)


class _After(NamedTuple):
    """An ``after`` as far as it can be read."""

    at: str
    labels: frozenset[str]
    tools: frozenset[str]
    within: float
    then: Any
    scope: Any
    when: Any

    def holds_under(self, other: _After) -> bool:
        """Whether ``other`` does at least as much about every call that this one could do something about."""
        same = other.labels <= self.labels if self.labels else other.tools >= self.tools
        return (
            bool(self.labels) == bool(other.labels)
            and same
            and other.within >= self.within
            and other.scope == self.scope
            and other.when in (None, self.when)
            and other.then in (self.then, "deny")
        )


def _afters(entry: dict[str, Any], at: str) -> tuple[_After, ...]:
    found = []
    for place, each in enumerate(_list(entry.get("after"))):
        if type(each) is not dict:
            continue
        labels, tools = (frozenset(map(str, _list(each.get(key)))) for key in ("labels", "tools"))
        with suppress(PydanticCustomError):  # told by the model
            within = parse_window(each["within"]) if "within" in each else _FOREVER
            if labels or tools:
                where = f"{at}/after/{place}"
                rest = each.get("then"), each.get("scope", "session"), each.get("when")
                found.append(_After(where, labels, tools, within, *rest))
    return tuple(found)


def _after(entry: dict[str, Any], at: str, shared: tuple[_After, ...], problem: Reporter) -> Iterator[Problem]:
    own = _afters(entry, at)
    for place, after in enumerate(own):
        others = [other for other in (*own, *shared) if other is not after and after.holds_under(other)]
        # Of two that say the same, the later one is too much.
        stricter = next((other for other in others if not other.holds_under(after) or other not in own[place:]), None)
        if stricter is not None:
            yield problem(after.at, f"this can never bind: {stricter.at} is at least as strict", "take it out")
    seen: list[Any] = []
    for place, need in enumerate(_list(entry.get("needs"))):
        if need in seen:
            yield problem(f"{at}/needs/{place}", "the same need stands above", "keep one of them")
        seen.append(need)


def _nobody_brings(
    entry: dict[str, Any], at: str, brought: set[str], tried: set[str], problem: Reporter, *, trial: bool
) -> Iterator[Problem]:
    for place, after in enumerate(_list(entry.get("after"))):
        for nth, label in enumerate(_list(_dict(after).get("labels"))):
            if type(label) is not str or label in (tried if trial else brought):
                continue
            where, who = f"{at}/after/{place}/labels/{nth}", "no tool brings"
            hint = suggest(label, sorted(brought)) or 'give it to a tool: "labels": [...]'
            if label in tried:
                who, hint = "only an entry on trial brings", "take its shadow out, or put this entry on trial as well"
            yield problem(where, f"{who} the label {label!r}, so this can never bind", hint)


def _named(rule: Any, key: str) -> list[str]:
    value = _dict(rule).get(key)
    return [name for name in ([value] if type(value) is str else _list(value)) if type(name) is str]


def _never_come(entry: dict[str, Any], at: str, entries: _Entries, problem: Reporter) -> Iterator[Problem]:
    admitted = [key for key in entries.tools if entries.admits(key)]
    for part, key in (("after", "tools"), ("needs", "tool")):
        for place, rule in enumerate(_list(entry.get(part))):
            for name in _named(rule, key):
                if entries.may_come(name, admitted):
                    continue
                hidden = any(covers(each, name) for each in entries.hide)
                why = (
                    "it is hidden"
                    if hidden
                    else "it is denied"
                    if name in entries.tools
                    else "no entry lets it through"
                )
                what = "binds" if part == "after" else "can be met"
                hint = suggest(name, admitted) or "name a tool that may be called"
                yield problem(
                    f"{at}/{part}/{place}/{key}", f"{name} is never called ({why}), so this never {what}", hint
                )


def _circles(entries: _Entries, problem: Reporter) -> Iterator[Problem]:
    """Find listed tools that can never be called, because what they need first needs them."""
    waiting = {key: _needs_of(key, entries) for key in entries.tools if entries.admits(key)}
    admitted = list(waiting)
    ready: list[str] = []
    while True:
        now = [key for key, needs in waiting.items() if all(_can_be_met(need, ready, entries) for need in needs)]
        if not now:
            break
        ready += now
        waiting = {key: needs for key, needs in waiting.items() if key not in now}
    for key, needs in waiting.items():
        # Else it is told already that nothing lets the needed one through.
        if all(any(entries.may_come(name, admitted) for name in need) for need in needs):
            first = next(need for need in needs if not _can_be_met(need, ready, entries))
            message = f"{key} can never be called: it needs {' or '.join(first)} first, which needs it in turn"
            yield problem(pointer("tools", key), message, "take one of the needs out", key=True)


def _needs_of(key: str, entries: _Entries) -> list[list[str]]:
    entry = entries.tools[key]
    own = [] if entries.on_trial(entry) else [_named(need, "tool") for need in _list(entry.get("needs"))]
    shared = [_named(need, "tool") for need in _list(entries.everywhere.get("needs"))]
    # What a rule for many tools needs is no need of the needed one itself.
    many = shared + (own if is_glob(key) else [])
    alone = [] if is_glob(key) else own
    return [names for names in alone if names] + [n for n in many if n and not any(_overlap(name, key) for name in n)]


def _can_be_met(names: list[str], ready: list[str], entries: _Entries) -> bool:
    return any(entries.may_come(name, ready) for name in names)


def _preset(entries: _Entries, brought: set[str], problem: Reporter) -> Iterator[Problem]:
    missing = [label for label in (UNTRUSTED, PRIVATE) if label not in brought] if entries.flow else []
    if missing and type(entries.flow) is str:
        message = f"{entries.flow} can never bind: no tool brings {' or '.join(missing)}"
        yield problem("/flow", message, "label the tools that do, or take flow out")


def _too_many(entries: _Entries, problem: Reporter) -> Iterator[Problem]:
    labels = {name for _, entry in entries.written() for name in _names_of(entry)}
    tools = {n for _, entry in entries.written() for a in _list(entry.get("after")) for n in _named(a, "tools")}
    for found, most, what in ((labels, _MOST_LABELS, "labels"), (tools, _MOST_TOOLS, "names in after")):
        if len(found) > most:
            message = f"{len(found)} {what}: a session keeps no more than {most}"
            yield problem("/tools", message, "use fewer of them; globs stand for many tools")


def _overlap(one: str, other: str) -> bool:
    """Whether two names or globs may fit the same tool; two globs do not if they differ before their wildcards."""
    if is_glob(one) and is_glob(other):
        heads = literal_prefix(one), literal_prefix(other)
        return heads[0].startswith(heads[1]) or heads[1].startswith(heads[0])
    return covers(one, other) or covers(other, one)


def _dict(value: Any) -> dict[str, Any]:
    return value if type(value) is dict else {}


def _list(value: Any) -> list[Any]:
    return value if type(value) is list else []
