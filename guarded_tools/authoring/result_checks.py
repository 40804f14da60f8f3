"""What a policy wants of a tool's results, as ``explain`` tells it to people and to programs."""

from __future__ import annotations

from typing import Any

from guarded_tools.policy.result_checks import ResultChecks, ResultPlan
from guarded_tools.text.visible import one_line


def as_json(plan: ResultPlan) -> dict[str, Any] | None:
    """Return the checks as plain data; ``None`` where there are none."""
    found = {name: _as_json(checks) for name, checks in plan._asdict().items() if checks is not None}
    return found or None


def _as_json(checks: ResultChecks) -> dict[str, Any]:
    said: dict[str, Any] = {"on_breach": "deny" if checks.deny else "cut"}
    if checks.max_chars is not None:
        said["max_chars"] = {"rule": checks.max_chars_rule, "value": checks.max_chars}
    if checks.redact:
        kinds = [kind if isinstance(kind, str) else kind.model_dump() for kind in checks.redact]
        pairs = zip(checks.redact_rules, kinds, strict=True)
        said["redact"] = [{"rule": rule, "value": kind} for rule, kind in pairs]
    if checks.schema_rule:
        said["schema"] = {"rule": checks.schema_rule, "value": "strict"}
    return said


def lines(plan: ResultPlan) -> list[tuple[str, str]]:
    """Return each check as its rule and what it says, in one line each."""
    found: list[tuple[str, str]] = []
    for checks, trial in ((plan.checks, ""), (plan.trial, " (on trial)")):
        if checks is None:
            continue
        breach = f", else {'withheld' if checks.deny else 'cut'}{trial}"
        if checks.schema_rule:
            found.append((checks.schema_rule, f"result: fits the output schema and no more, else withheld{trial}"))
        for rule, kind in zip(checks.redact_rules, checks.redact, strict=True):
            what = kind if isinstance(kind, str) else f"{kind.name} {kind.regex}"
            became = "withheld" if checks.deny else "redacted"
            found.append((rule, f"result: without {what}, else {became}{trial}"))
        if checks.max_chars is not None:
            found.append((checks.max_chars_rule, f"result: at most {checks.max_chars:,} characters{breach}"))
    return [(one_line(rule), one_line(said)) for rule, said in found]
