"""What a policy says beside its rules: how often a human may be asked, what is logged, and what has no words here.

Each field of the format is either compared somewhere in this room, and then named here, or told as "cannot be told".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from guarded_tools.authoring.diff.models import models
from guarded_tools.authoring.diff.values import Direction, PolicyChange
from guarded_tools.policy.document import PolicyDocument
from guarded_tools.policy.policy import Policy
from guarded_tools.text.units import duration

_RULES: Final = (
    "action",
    "reason",
    "require",
    "deny_if",
    "rate_limit",
    "limits",
    "approval",
    "labels",
    "after",
    "needs",
)
COMPARED: Final[Mapping[str, frozenset[str]]] = {
    "policy": frozenset(
        (
            *("schema_ref", "version", "default", "server", "description", "hide", "shadow", "schema_check"),
            *("log_values", "approvals", "flow", "model", "all_tools", "tools"),
        )
    ),
    "rules": frozenset((*_RULES, "labels", "after", "needs", "result", "risk", "refunds", "schema_check", "shadow")),
    "approvals": frozenset(("max_pending", "max_asks", "window", "max_rejections", "grave_in_client")),
}
"""The fields that are compared, by the part of the format they stand in."""

_ASKS: Final = {
    "max_pending": "questions that may wait at once", "max_asks": "questions in a window",
    "max_rejections": "rejections after which nobody is asked any more",
}  # fmt: skip


def settings(old: Policy, new: Policy) -> Iterator[PolicyChange]:
    """List what differs."""
    yield from _approvals(old, new)
    if old.server != new.server:
        words = f"server: {old.server or 'none'}, now {new.server or 'none'}; counters are named by it"
        yield PolicyChange("setting", "changed", (), words, "/server")
    if set(old.log_values) != set(new.log_values):
        more, less = (sorted(set(one.log_values) - set(two.log_values)) for one, two in ((new, old), (old, new)))
        said = [f"newly {', '.join(more)}"] * bool(more) + [f"no longer {', '.join(less)}"] * bool(less)
        yield PolicyChange(
            "setting", "changed", (), f"values that the audit may hold: {'; '.join(said)}", "/log_values"
        )
    yield from models(old, new)
    yield from _unknown(old, new)


def _approvals(old: Policy, new: Policy) -> Iterator[PolicyChange]:
    for field, words in _ASKS.items():
        before, after = getattr(old.approvals, field), getattr(new.approvals, field)
        if before != after:
            direction: Direction = "looser" if after > before else "tighter"
            yield PolicyChange("approval", direction, (), f"{words}: {before}, now {after}", f"/approvals/{field}")
    before, after = old.approvals.window, new.approvals.window
    if before != after:
        words = f"the window in which questions are counted: {duration(before)}, now {duration(after)}"
        yield PolicyChange("approval", "looser" if after < before else "tighter", (), words, "/approvals/window")
    if old.approvals.grave_in_client != new.approvals.grave_in_client:
        may = new.approvals.grave_in_client
        words = f"an MCP client {'may' if may else 'may not'} be asked about its own financial and destructive calls"
        at = "/approvals/grave_in_client"
        yield PolicyChange("approval", "looser" if may else "tighter", (), words, at)


def _unknown(old: PolicyDocument, new: PolicyDocument) -> Iterator[PolicyChange]:
    """List fields that nothing here knows."""
    parts: list[tuple[str, str, Any, Any]] = [
        ("policy", "", old, new),
        ("approvals", "/approvals", old.approvals, new.approvals),
        ("rules", "/all_tools", old.all_tools, new.all_tools),
        *(("rules", f"/tools/{key}", old.tools.get(key), new.tools.get(key)) for key in {**old.tools, **new.tools}),
    ]
    for part, at, before, after in parts:
        fields = {**getattr(type(before), "model_fields", {}), **getattr(type(after), "model_fields", {})}
        for field in fields:
            if field not in COMPARED[part] and getattr(before, field, None) != getattr(after, field, None):
                yield PolicyChange("setting", "untold", (), f"{field} differs, and is not compared", f"{at}/{field}")
