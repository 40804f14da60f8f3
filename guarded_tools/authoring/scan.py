"""From a server's list of tools to a draft of its policy: each in its risk class, on its terms, with its labels. Pure.

Whatever a server wrote ends up in a comment or a quoted key here, on one line and with nothing a terminal would obey:
a description cannot write policy.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from guarded_tools.authoring.ids import Id, ids_of
from guarded_tools.authoring.yaml_text import LONGEST, can_be_named, flow, scalar, shown
from guarded_tools.tools.labels import Labelled, propose
from guarded_tools.tools.risk import RANK, Classified, classify, warned
from guarded_tools.values import Risk, ToolInfo, is_grave

_CEILINGS: Sequence[Mapping[str, Any]] = (
    {"counter": "session_per_minute", "window": "minute", "max": 120, "scope": "session", "counts": "attempts"},
    {"counter": "session_per_hour", "window": "hour", "max": 1000, "scope": "session", "counts": "attempts"},
    {"counter": "all_per_minute", "window": "minute", "max": 600, "scope": "global", "counts": "attempts"},
    {"counter": "grant_per_hour", "window": "hour", "max": 3000, "scope": "grant", "counts": "attempts"},
)

_A_MINUTE: Mapping[Risk, int] = {"write": 30, "execute": 10, "financial": 1, "destructive": 1}
# What one answer for a tool lets through, where that is remembered.
_AN_HOUR: Mapping[Risk, int] = {"write": 300, "execute": 100}
_TERMS: Mapping[Risk, str] = {
    "read": "allowed; only the ceilings over all calls hold",
    "write": "30 a minute, 300 an hour; a human is asked, and may answer for the tool",
    "execute": "10 a minute, 100 an hour; a human is asked, and may answer for the tool",
    "financial": "hidden; to use one, take it out of `hide` and the # away: every single call is asked",
    "destructive": "hidden; to use one, take it out of `hide` and the # away: every single call is asked",
}
_MANY_PARAMETERS = 12


class Rated(NamedTuple):
    """A tool with its risk class and the labels it seems to have, and why it has them."""

    info: ToolInfo
    risk: Risk
    why: str
    labels: tuple[Labelled, ...] = ()


def rate(info: ToolInfo, annotations: Mapping[str, Any] | None = None, known: Risk | None = None) -> Rated:
    """Class a tool. ``known`` is what a catalogue says of it: the server's own annotations may raise that, too."""
    what = (info.name, info.description, info.schema)
    said = classify(*what, annotations) if known is None else warned(Classified(known, "catalogue"), annotations)
    return Rated(info, *said, propose(*what, annotations, said.risk))


def draft(server: str, tools: Iterable[Rated]) -> dict[str, Any]:
    """Make the policy that :func:`draft_yaml` writes down, as the mapping that is in such a file."""
    grouped = _by_class(tools)
    allowed = {rated.info.name: _entry(rated) for risk in ("read", "write", "execute") for rated in grouped[risk]}
    return {
        "version": "1",
        **({"server": server} if server else {}),
        "default": "deny",
        "hide": [rated.info.name for rated in (*grouped["financial"], *grouped["destructive"])],
        # Where no call is let through, a policy may not say how many there may be.
        **({"all_tools": {"limits": [dict(limit) for limit in _CEILINGS]}} if allowed else {}),
        "tools": allowed,
    }


def draft_yaml(server: str, tools: Iterable[Rated]) -> str:
    """Write a draft with comments: what each tool does and takes, why it has its class, what to think about."""
    rated = list(tools)
    grouped = _by_class(rated)
    policy = draft(server, rated)
    total = sum(map(len, grouped.values()))
    off = "" if policy["tools"] else "#"
    lines = [
        f"# A draft for {total} tools of {shown(server) or 'a server'}, made from what the server says of them.",
        "# Read it before you use it: classes and labels are told from words. Then test it, and pin the tools.",
        "# What looks like an id must be one segment of a path (op: segment): put into a request as it is, another one",
        "# could lead the server elsewhere. Where an id of yours is more than that, say what it is with a regex.",
        *(f"{key}: {scalar(policy[key])}" for key in ("version", "server", "default") if key in policy),
        "",
        *flow_offered(policy["tools"].values()),
        "# Gone from the tool list, and refused when called all the same.",
        "hide:" if policy["hide"] else "hide: []",
        *(f"  - {scalar(name)}" for name in policy["hide"]),
        "",
        "# Ceilings over all calls: no tool needs them, a loop does.",
        *([] if policy["tools"] else ["# Take the # away with that of the first tool below."]),
        f"{off}all_tools:",
        f"{off}  limits:",
        *(f"{off}    - {flow(limit)}" for limit in _CEILINGS),
        "",
        "tools:" if policy["tools"] else "tools: {}  # take the {} away with the first # below",
    ]
    for risk, members in grouped.items():
        if members:
            lines += ["", f"  # {risk}: {len(members)} of {total}; {_TERMS[risk]}."]
            for member in members:
                lines += _lines(member)
    left_out = [tool.info.name for tool in rated if not can_be_named(tool.info.name)]
    if left_out:
        lines += ["", "  # Refused by default, because their names are patterns, blank, or too long for a key:"]
        lines += [f"  #   {shown(name)}" for name in left_out]
    return "\n".join(lines) + "\n"


def flow_offered(entries: Iterable[Mapping[str, Any]]) -> list[str]:
    """Offer the preset that makes something of the labels, where they are such that it could ever bind."""
    if not {"untrusted", "private"} <= {label for entry in entries for label in entry["labels"]}:
        return []
    return [
        "# Labels say what a tool brings into a session, and what goes outward. Without its #, the next line has a",
        "# human asked about all that leaves or changes anything, once it holds strangers' words and private data.",
        "#flow: trifecta",
        "",
    ]


def _by_class(tools: Iterable[Rated]) -> dict[Risk, list[Rated]]:
    grouped: dict[Risk, list[Rated]] = {risk: [] for risk in RANK}
    for rated in tools:
        if can_be_named(rated.info.name):
            grouped[rated.risk].append(rated)
    return grouped


def _entry(rated: Rated) -> dict[str, Any]:
    risk = rated.risk
    labels = [label for label, _ in rated.labels]
    entry = {"risk": risk, "labels": labels, **_segments(ids_of(rated.info.schema or {}))}
    if risk == "read":
        return entry
    limits = [{"counter": "calls_per_minute", "window": "minute", "max": _A_MINUTE[risk], "scope": "session"}]
    if risk in _AN_HOUR:
        limits.append({"counter": "calls_per_hour", "window": "hour", "max": _AN_HOUR[risk], "scope": "session"})
    return {**entry, "limits": limits, "approval": approval_of(risk)}


def approval_of(risk: Risk) -> Any:
    """Say on what terms a draft has a human asked about a tool of a class; ``None`` where nobody is."""
    return None if risk == "read" else True if is_grave(risk) else {"remember": "tool", "for": "24h"}


def _segments(ids: Sequence[Id]) -> dict[str, Any]:
    """Keep what looks like an id from leading a server's request elsewhere; only what has to be there is required."""
    required = [{"path": one.path, "op": "segment"} for one in ids if one.certain]
    optional = [{"path": one.path, "op": "segment", "value": False} for one in ids if not one.certain]
    return {**({"require": required} if required else {}), **({"deny_if": optional} if optional else {})}


def _lines(rated: Rated) -> Iterator[str]:
    info = rated.info
    off = "#" if is_grave(rated.risk) else ""
    yield ""
    if info.description:
        yield f"  # {shown(info.description)}"
    yield f"  # Takes {_parameters(info.schema or {})}. Classed: {shown(rated.why)}."
    yield f"  # Labelled: {shown(labels_told(rated.labels), 2 * LONGEST)}."
    yield from (f"  # {hint}" for hint in _hints(info.schema or {}) if rated.risk != "read")
    entry = _entry(rated)
    if list(entry) == ["risk", "labels"]:
        yield f"  {scalar(info.name)}: {flow(entry)}"
        return
    yield f"  {off}{scalar(info.name)}:"
    for key, value in entry.items():
        if isinstance(value, list) and key != "labels":
            yield f"  {off}  {key}:"
            yield from (f"  {off}    - {flow(each)}" for each in value)
        else:
            yield f"  {off}  {key}: {flow(value)}"


def labels_told(labels: Sequence[Labelled]) -> str:
    """Say each label with its reason, those of one reason together."""
    together: dict[str, list[str]] = {}
    for label, why in labels:
        together.setdefault(why, []).append(label)
    return (
        "; ".join(f"{', '.join(those)}: {why}" for why, those in together.items())
        or "nothing, it only computes or acts"
    )


def _parameters(schema: Mapping[str, Any]) -> str:
    properties = _properties(schema)
    if not properties:
        return "nothing"
    required = schema.get("required")
    needed = set(map(str, required)) if isinstance(required, list) else set()
    told = [f"{name}{'' if name in needed else '?'}: {_kind(value)}" for name, value in properties.items()]
    rest = [f"and {len(told) - _MANY_PARAMETERS} more"] if len(told) > _MANY_PARAMETERS else []
    return shown(", ".join(told[:_MANY_PARAMETERS] + rest), 2 * LONGEST)


def _kind(schema: Any) -> str:
    """A parameter's kind in a few characters: ``string``, ``array of 1..100 object``, ``"a" | "b"``."""
    if not isinstance(schema, Mapping):
        return "anything"
    choices = schema.get("enum")
    if isinstance(choices, list):
        return " | ".join(json.dumps(choice, ensure_ascii=False, default=str) for choice in choices[:6])
    kind = schema.get("type", "anything")
    kind = " or ".join(map(str, kind)) if isinstance(kind, list) else str(kind)
    low, high = (schema.get(f"{end}{'Items' if kind == 'array' else 'imum'}") for end in ("min", "max"))
    bounds = (
        f" {'' if low is None else low}..{'' if high is None else high}" if low is not None or high is not None else ""
    )
    if kind == "array":
        items = schema.get("items")
        return f"array of{bounds} {_kind(items) if isinstance(items, Mapping) else 'anything'}"
    return kind + bounds


def _hints(schema: Mapping[str, Any]) -> Iterator[str]:
    for name, value in _properties(schema).items():
        path = f"args.{name}"
        if not name.isidentifier() or not name.isascii() or not isinstance(value, Mapping):
            continue
        items = value.get("items")
        if value.get("type") == "array" and isinstance(items, Mapping) and items.get("type") == "object":
            yield (
                f"One call may carry many: {{counter: {name}, window: hour, max: 1000, scope: session, "
                f"count: {path}.length}} would count them."
            )
        if value.get("format") == "uri" or re.fullmatch(r"(?i)(?:.*_)?ur[il]|.*Ur[il]", name):
            yield f"Goes out: require [{{path: {path}, op: url_host, value: [example.com]}}] would say where."


def _properties(schema: Mapping[str, Any]) -> dict[str, Any]:
    properties = schema.get("properties")
    return {str(name): value for name, value in properties.items()} if isinstance(properties, Mapping) else {}
