"""What was learnt, put on top of a policy that is in force: what that one holds stays held. Pure.

By construction. The base's rules all stay, in their order, and what is learnt is added: every rule can only deny more.
A tool that was not seen is not let through any more, nor is one that the base itself refuses. One that has ``needs``
stays as it is: they have the calls of other tools read more closely. A tool that the base lets through by a glob, or by
its default, gets an entry of its own with the same rules. Of two limits of one kind the lower one stays, under the
base's name, so that its counter goes on. Risk and labels stay as they are, also where the base says none: what is not
labelled counts as the worst, and a guess in its place would hold less.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import chain, count
from typing import Any, Final, Literal, NamedTuple, TypeAlias

from guarded_tools.authoring.learn.draft import Draft, rule_text
from guarded_tools.errors import GuardError, PolicyError
from guarded_tools.policy.fields import parse_rate, parse_window
from guarded_tools.policy.globs import is_glob
from guarded_tools.policy.policy import Policy
from guarded_tools.policy.reading.consistency import without_idle_limits

_Kept: TypeAlias = Literal["seen", "listed", "all"]
_REMARKS: Final[Mapping[_Kept, str]] = {
    "seen": "",
    "listed": "",
    "all": "Rules across calls speak of tools that nobody lists: what was not seen stays as the base has it.",
}


class Base(NamedTuple):
    """The policy in force: what its file says, in the first dialect, and what that means."""

    data: Mapping[str, Any]
    policy: Policy


def on_top(draft: Draft, base: Base) -> Draft:
    """Tighten the base by what was learnt.

    Raises:
        GuardError: the base is on trial, refuses all that was seen, or nothing can be added to it.
    """
    if base.policy.shadow:
        raise GuardError("the base is on trial (shadow) and holds nothing: take its shadow out first")
    refused = [tool.name for tool in draft.tools if base.policy.compiled.rules(tool.name).refusal is not None]
    kept = tuple(tool for tool in draft.tools if tool.name not in refused)
    if not kept:
        raise GuardError("the base refuses every tool that was seen: there is nothing to tighten")
    reasons = dict(draft.reasons)
    entries = {tool.name: _entry(tool.name, tool.entry, base, reasons) for tool in kept}
    first: PolicyError | None = None
    for keep, remark in _REMARKS.items():
        if keep == "seen" and any(is_glob(key) and _stays(entry) for key, entry in base.data.get("tools", {}).items()):
            continue  # a name that only looks like one that is taken out would come to the glob
        data = _policy(base, entries, keep)
        try:
            Policy.model_validate(data)
        except PolicyError as error:
            first = first or error
            continue
        remarks = (*draft.remarks, *([remark] if remark else []), *_remarks(base, data, refused, list(entries)))
        return Draft(data, kept, reasons, remarks)
    raise GuardError(f"what was learnt does not fit the base:\n{first}")


def _remarks(base: Base, data: Mapping[str, Any], refused: list[str], entries: list[str]) -> Iterator[str]:
    gone = [key for key in base.policy.tools if key not in data["tools"]]
    if refused:
        yield f"The base refuses what the record let through, and that stays so: {', '.join(refused)}."
    if gone:
        yield f"Not seen, or seen by name, and taken out: {', '.join(gone)}."
    tried = [name for name in entries if data["tools"][name].get("shadow")]
    stay = [key for key in data["tools"] if key not in entries and not _denies(data["tools"][key])]
    if stay and data["default"] == "deny":
        yield f"Not seen, and as the base has them, since rules across calls speak of them: {', '.join(stay)}."
    if tried:
        yield f"On trial in the base, so nothing that was learnt is in force: {', '.join(tried)}."


def _policy(base: Base, entries: Mapping[str, dict[str, Any]], keep: _Kept) -> dict[str, Any]:
    listed: dict[str, Any] = dict(base.data.get("tools", {}))
    if keep == "seen":
        listed = {key: entry for key, entry in listed.items() if key in entries or _denies(entry) or _stays(entry)}
    tools = {**listed, **entries}
    return {**base.data, **({} if keep == "all" else {"default": "deny"}), "tools": tools}


def _denies(entry: Mapping[str, Any]) -> bool:
    return entry.get("action") == "deny" and not entry.get("shadow")


def _stays(entry: Mapping[str, Any]) -> bool:
    return bool(entry.get("needs")) and not _denies(entry)


def _entry(name: str, learnt: Mapping[str, Any], base: Base, reasons: dict[tuple[str, str], str]) -> dict[str, Any]:
    found = base.policy.compiled.names.entry(name)
    entry: dict[str, Any] = {} if found is None else dict(base.data["tools"][found.key])
    if entry.get("shadow"):
        return entry
    for kind in ("require", "deny_if"):
        own = entry.get(kind, [])
        added = [rule for rule in learnt.get(kind, []) if rule not in own]
        if added:
            entry[kind] = [*own, *added]
    for limit in learnt["limits"]:
        why = reasons.get((name, rule_text(limit)), "")
        made = _with_limit(entry, limit)
        reasons[name, rule_text(made)] = why
    # An answer that is remembered could stand in for one that a rule across calls asks for.
    if "approval" in learnt and "approval" not in entry and entry.get("action") != "approve":
        entry["approval"] = True
    return without_idle_limits(entry, dict(base.data.get("all_tools", {})))


def _with_limit(entry: dict[str, Any], learnt: Mapping[str, Any]) -> dict[str, Any]:
    """Put a limit into an entry: into the one of its kind, where that is higher, else beside them. Returns it."""
    window = parse_window(learnt["window"])
    rate = parse_rate(entry.get("rate_limit"))
    if isinstance(rate, dict) and parse_window(rate["window"]) == window:
        entry["rate_limit"] = {**rate, "max": min(rate["max"], learnt["max"])}
        return dict(learnt)
    limits: list[dict[str, Any]] = list(entry.get("limits", []))
    for place, limit in enumerate(limits):
        if _same_kind(limit, window):
            lower = {**limit, "max": min(limit["max"], learnt["max"])}
            entry["limits"] = [*limits[:place], lower, *limits[place + 1 :]]
            return lower
    names = {limit["counter"] for limit in limits}
    name = next(
        each for each in chain([learnt["counter"]], (f"{learnt['counter']}_{n}" for n in count(2))) if each not in names
    )
    made = {**learnt, "counter": name}
    entry["limits"] = [*limits, made]
    return made


def _same_kind(limit: Mapping[str, Any], window: int) -> bool:
    usual = {"scope": "session", "count": 1, "counts": "successes", "align": "rolling", "unit": None}
    same = all(limit.get(key, value) == value for key, value in usual.items())
    return same and parse_window(limit["window"]) == window
