"""What becomes of a result under a policy's rules: handed on as it is, redacted, cut, or withheld.

In this order, so that none of it undoes another: the structured content is held against the tool's output schema as it
came; then everything is redacted; only then is it cut, for half a secret looks like none. With ``deny`` the first
breach has the result withheld, and something to redact is one.

The call has run. Whatever happens here, an error in a check included, is said to be about its answer and not about its
effect, and what was counted, and what the outcome was, stays. Of the result itself nothing is told: which rule, how
many, how large.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from guarded_tools.approval.suspension import is_suspension
from guarded_tools.errors import ResultWithheld, UnfitResult
from guarded_tools.pipeline import messages
from guarded_tools.pipeline.body import Ended
from guarded_tools.pipeline.results.fitting import Fitting
from guarded_tools.pipeline.results.raised import Raised
from guarded_tools.pipeline.results.redactor import redactor_of
from guarded_tools.pipeline.results.rewriting import Rewriting, Unseen
from guarded_tools.pipeline.results.structured import structured_of
from guarded_tools.policy.paths import MISSING
from guarded_tools.policy.result_checks import ResultChecks, ResultPlan
from guarded_tools.text.redaction import mask
from guarded_tools.values import ToolInfo

log = logging.getLogger("guarded_tools")

_GUARD: Final = "(guard)"


class ResultBreach(NamedTuple):
    """Why a result is withheld: the check, the rule's pointer, a reason for a model, and more of it for the audit."""

    check: str
    rule: str
    reason: str
    detail: str = ""


class CheckedResult(NamedTuple):
    """What a check of a result came to: what is handed on, what was redacted and cut, why it is withheld."""

    ended: Ended
    redacted: Mapping[str, int]
    cut: tuple[int, int, int] | None = None
    breach: ResultBreach | None = None

    def told(self) -> dict[str, Any]:
        """Say it for the audit; nothing where the result broke no rule."""
        said: dict[str, Any] = {}
        if self.redacted:
            said |= {"redacted": dict(self.redacted)}
        if self.cut is not None:
            said |= dict(zip(("kept", "chars", "max_chars"), self.cut, strict=True))
        if self.breach is not None:
            check, rule, reason, detail = self.breach
            said |= {"breach": check, "rule": rule, "reason": detail or reason}
        did = "withheld" if self.breach else "cut" if self.cut else "redacted"
        return {"executed": self.ended.outcome != "never_ran", "did": did, **said} if said else {}


def check_result(plan: ResultPlan, ended: Ended, info: ToolInfo) -> Ended:
    """Return what is handed on of what a body gave, and in ``told`` what the audit is to say of that.

    Never raises: what cannot be checked is withheld. On trial nothing is withheld, and what would be done is told.
    """
    if (plan.checks is None and plan.trial is None) or _is_no_result(ended):
        return ended
    told: dict[str, Any] = {}
    if plan.trial is not None:
        would = _checked(plan.trial, ended, info).told()
        told = {"shadow": would} if would else {}
    if plan.checks is None:
        return ended._replace(told=told or None)
    found = _checked(plan.checks, ended, info)
    if found.breach is not None:
        withheld = _withheld(found.breach, ended)
        found = found._replace(ended=ended._replace(value=None, error=withheld, withheld=withheld))
    return found.ended._replace(told={**found.told(), **told} or None)


def _is_no_result(ended: Ended) -> bool:
    """Whether nothing came back: the run was left, or whoever waited has gone."""
    error = ended.error
    return error is not None and (not isinstance(error, Exception) or is_suspension(error))


def _checked(checks: ResultChecks, ended: Ended, info: ToolInfo) -> CheckedResult:
    try:
        return _found(checks, ended, info)
    except (Unseen, RecursionError) as why:
        rule = checks.max_chars_rule or (checks.redact_rules or (checks.schema_rule,))[0]
        said = str(why) if isinstance(why, Unseen) else "it is nested too deep"
        return CheckedResult(ended, {}, None, ResultBreach("unchecked", rule, f"the result cannot be checked: {said}"))
    except Exception as error:
        log.exception("The result of a call of %r cannot be checked; it is withheld", mask(ended.call.tool))
        reason = f"the result cannot be checked: {type(error).__name__}"
        return CheckedResult(ended, {}, None, ResultBreach("unchecked", _GUARD, reason))


def _found(checks: ResultChecks, ended: Ended, info: ToolInfo) -> CheckedResult:
    if checks.schema_rule and (unfit := _unfit(ended, info)):
        reason = "the result does not fit the tool's output schema"
        return CheckedResult(ended, {}, None, ResultBreach("schema", checks.schema_rule, reason, f"{reason}: {unfit}"))
    rewriting = None
    made = ended
    if checks.redact:
        redactor = redactor_of(checks.redact)
        rewriting = Rewriting(redactor, ended.call.id)
        made = _apply(made, rewriting, None)
        kinds = Counter({mark[len("[redacted: ") : -1]: 0 for mark in redactor.marks})
        for kind, times in rewriting.counts.items():
            kinds[redactor.marks[kind][len("[redacted: ") : -1]] += times
        redacted = {kind: times for kind, times in kinds.items() if times}
        if redacted and checks.deny:
            rule = checks.redact_rules[min(rewriting.counts)]
            return CheckedResult(
                ended, redacted, None, ResultBreach("redact", rule, f"the result holds {_listed(redacted)}")
            )
    else:
        redacted = {}
    if checks.max_chars is None:
        return CheckedResult(made, redacted)
    fitting = Fitting(checks.max_chars, checks.max_chars_rule, messages.effect(ended.outcome))
    made = _apply(made, None, fitting)
    if not fitting.cut:
        return CheckedResult(made, redacted)
    sizes = (fitting.kept, fitting.total, checks.max_chars)
    if not checks.deny:
        return CheckedResult(made, redacted, sizes)
    reason = f"the result has {fitting.total:,} characters, and {checks.max_chars:,} are permitted"
    return CheckedResult(ended, redacted, (0, *sizes[1:]), ResultBreach("max_chars", checks.max_chars_rule, reason))


def _apply(ended: Ended, rewriting: Rewriting | None, fitting: Fitting | None) -> Ended:
    """Redact what a body gave or raised, or fit it."""
    if ended.error is not None:
        error = Raised(rewriting, fitting).of(ended.error)
        return ended if error is ended.error else ended._replace(error=error)
    value = ended.value
    if rewriting is not None:
        if type(value) is tuple and len(value) == 2:  # noqa: PLR2004 - content and artifact
            pair = (rewriting.of(value[0], content=True), rewriting.of(value[1]))
            value = value if pair[0] is value[0] and pair[1] is value[1] else pair
        else:
            value = rewriting.of(value, content=True)
    if fitting is not None:
        value = fitting.of(value)
    return ended if value is ended.value else ended._replace(value=value)


def _unfit(ended: Ended, info: ToolInfo) -> str:
    """Say why a result does not fit its tool's output schema strictly; an error has none to fit."""
    if isinstance(ended.error, UnfitResult):
        return "as its server lists it"
    if ended.error is not None or ended.outcome != "ok":
        return ""
    if not isinstance(info.output, Mapping):
        return "the tool lists none" if info.output is False else "nobody knows the tool's"
    content = structured_of(ended.value)
    if content is MISSING:
        return "it has no structured content"
    from guarded_tools.policy.schema_check import misfit_of_strict_result  # jsonschema_rs, only where it is asked for

    return misfit_of_strict_result(info.output, content) or ""


def _listed(redacted: Mapping[str, int]) -> str:
    return ", ".join(f"what is to be redacted as {kind} ({times})" for kind, times in redacted.items())


def _withheld(breach: ResultBreach, ended: Ended) -> ResultWithheld:
    text = messages.withheld(ended.call.tool, breach.rule, breach.reason, ended.outcome)
    return ResultWithheld(mask(text), breach.rule, breach.reason, ended.outcome)
