"""From what was seen to a policy: the tools that were used, in their risk classes, as often as they were. Pure.

A draft is told in two ways: as the plain data of a policy, and with what bears each part out, for who reads it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from guarded_tools.authoring.learn.arguments import rules_of, schema_of
from guarded_tools.authoring.learn.seen import EVERY_TOOL, SeenRecord, SeenTool
from guarded_tools.authoring.learn.terms import Terms
from guarded_tools.authoring.learn.windows import WINDOWS
from guarded_tools.authoring.scan import Rated, approval_of, rate
from guarded_tools.authoring.yaml_text import can_be_named
from guarded_tools.errors import GuardError
from guarded_tools.policy.fields import DAY
from guarded_tools.tools.labels import LABELS
from guarded_tools.values import Risk, ToolInfo


class KnownTool(NamedTuple):
    """What a server says of a tool; ``risk`` where a catalogue knows it."""

    info: ToolInfo
    annotations: Mapping[str, Any] | None = None
    risk: Risk | None = None


class DraftedTool(NamedTuple):
    """One tool of a draft: its entry, and what there is to say of it."""

    name: str
    rated: Rated
    seen: SeenTool
    entry: dict[str, Any]
    unlearnt: tuple[str, ...]


class Draft(NamedTuple):
    """A policy that was learnt. ``reasons`` say of a rule, by :func:`rule_text`, what bears it out."""

    policy: dict[str, Any]
    tools: tuple[DraftedTool, ...]
    reasons: dict[tuple[str, str], str]
    remarks: tuple[str, ...] = ()


def rule_text(rule: Any) -> str:
    """The one text of a predicate or a limit."""
    return json.dumps(rule, sort_keys=True)


def learn(seen: SeenRecord, known: Mapping[str, KnownTool], terms: Terms, server: str = "") -> Draft:
    """Make a draft.

    Raises:
        GuardError: there is nothing to learn from.
    """
    nameable = sorted(name for name in seen.tools if can_be_named(name))
    if not nameable:
        raise GuardError("there is nothing to learn from: no call in the record is known to have ended well")
    reasons: dict[tuple[str, str], str] = {}
    tools = tuple(_drafted(name, seen, known.get(name), terms, reasons) for name in nameable)
    ceilings = _limits("session_per_", EVERY_TOOL, seen, terms, reasons)
    strictest = {limit["window"]: limit["max"] for tool in tools for limit in tool.entry["limits"]}
    for tool in tools:
        for limit in tool.entry["limits"]:
            strictest[limit["window"]] = max(strictest[limit["window"]], limit["max"])
    # Beside one that is as strict, a tool's own limit could never bind.
    places = list(WINDOWS)
    ceilings = [
        limit
        for limit in ceilings
        if all(
            most < limit["max"]
            for window, most in strictest.items()
            if places.index(window) <= places.index(limit["window"])
        )
    ]
    policy = {
        "version": "1",
        **({"server": server} if server else {}),
        "default": "deny",
        **({"all_tools": {"limits": ceilings}} if ceilings else {}),
        "tools": {tool.name: tool.entry for tool in tools},
    }
    return Draft(policy, tools, reasons)


def _drafted(
    name: str, seen: SeenRecord, known: KnownTool | None, terms: Terms, reasons: dict[tuple[str, str], str]
) -> DraftedTool:
    tool = seen.tools[name]
    told = KnownTool(ToolInfo(name, schema=schema_of(tool))) if known is None else known
    rated = rate(told.info, told.annotations, told.risk)
    rules, unlearnt = rules_of(tool, None if known is None else known.info.schema or {}, terms)
    labels = [label for label in LABELS if label in tool.labels or any(label == given for given, _ in rated.labels)]
    entry: dict[str, Any] = {"risk": rated.risk, "labels": labels}
    for kind in ("require", "deny_if"):
        made = [rule for rule in rules if rule.kind == kind]
        if made:
            entry[kind] = [rule.predicate for rule in made]
            reasons |= {(name, rule_text(rule.predicate)): rule.why for rule in made}
    entry["limits"] = _limits("calls_per_", name, seen, terms, reasons)
    approval = approval_of(rated.risk) or (True if tool.asked else None)
    if approval is not None:
        entry["approval"] = approval
    return DraftedTool(name, rated, tool, entry, tuple(unlearnt))


_SPANS: Final = 2


def _limits(
    prefix: str, name: str, seen: SeenRecord, terms: Terms, reasons: dict[tuple[str, str], str]
) -> list[dict[str, Any]]:
    """A limit for each window that says more than the longer ones; a day only where the record has seen days."""
    limits: list[dict[str, Any]] = []
    for window, most in reversed(seen.busiest.of(name).items()):
        if window == "day" and seen.last - seen.first < _SPANS * DAY:
            continue
        room = terms.with_room(most)
        if limits and room >= limits[0]["max"]:
            continue
        limit = {"counter": f"{prefix}{window}", "window": window, "max": room, "scope": "session"}
        reasons[name, rule_text(limit)] = f"the busiest {window} of a session had {most}"
        limits.insert(0, limit)
    return limits
