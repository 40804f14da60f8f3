"""What a policy wants of the result of one tool: the rules of its entry and those for all tools, made into one.

Neither overrides the other, so of two the stricter holds: the smaller ``max_chars``, all redactions of both, a strict
schema where either wants one, and ``deny`` before ``cut``. An entry that is on trial is kept apart, as its other rules.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from guarded_tools.policy.document import PolicyDocument
from guarded_tools.policy.names import Names
from guarded_tools.policy.paths import EVERYWHERE, pointer
from guarded_tools.policy.result_parts import Redaction, ResultRules

# A model may invent names without end.
_MOST_KEPT = 4096


class ResultChecks(NamedTuple):
    """What a result must keep to, each rule with the pointer that names it; ``deny``: what does not is withheld."""

    max_chars: int | None = None
    max_chars_rule: str = ""
    redact: tuple[Redaction, ...] = ()
    redact_rules: tuple[str, ...] = ()
    schema_rule: str = ""
    deny: bool = False


class ResultPlan(NamedTuple):
    """The checks in force for a tool, and those that are only on trial."""

    checks: ResultChecks | None = None
    trial: ResultChecks | None = None


class ResultPlans(dict[str, ResultPlan]):
    """The plans of a policy by tool name, each made when it is first asked for."""

    def __init__(self, policy: PolicyDocument, names: Names) -> None:
        super().__init__()
        self._policy = policy
        self._names = names

    def __missing__(self, tool: str) -> ResultPlan:
        if len(self) >= _MOST_KEPT:
            self.clear()
        self[tool] = plan = self._plan(tool)
        return plan

    def _plan(self, tool: str) -> ResultPlan:
        everywhere = [(EVERYWHERE, self._policy.all_tools.result)]
        entry = self._names.entry(tool)
        own = [] if entry is None else [(pointer("tools", entry.key), entry.tool.result)]
        if self._policy.shadow:
            return ResultPlan(None, strictest([*own, *everywhere]))
        if entry is not None and entry.tool.shadow:
            return ResultPlan(strictest(everywhere), strictest(own))
        return ResultPlan(strictest([*own, *everywhere]))


def strictest(written: Sequence[tuple[str, ResultRules | None]]) -> ResultChecks | None:
    """Merge the rules of several places, each with its pointer; ``None`` where none says anything."""
    found = ResultChecks()
    said = [(f"{at}/result", rules) for at, rules in written if rules is not None]
    for at, rules in said:
        if rules.max_chars is not None and (found.max_chars is None or rules.max_chars < found.max_chars):
            found = found._replace(max_chars=rules.max_chars, max_chars_rule=f"{at}/max_chars")
        for place, redaction in enumerate(rules.redact or ()):
            if redaction not in found.redact:
                redact_rules = (*found.redact_rules, f"{at}/redact/{place}")
                found = found._replace(redact=(*found.redact, redaction), redact_rules=redact_rules)
        if rules.schema_check and not found.schema_rule:
            found = found._replace(schema_rule=f"{at}/schema")
        found = found._replace(deny=found.deny or rules.on_breach == "deny")
    return found if said else None
