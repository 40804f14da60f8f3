"""What is said of a call, to the audit and to whoever is refused."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple, TypeAlias

from guarded_tools import denial
from guarded_tools.audit import AuditLog
from guarded_tools.audit.edits import edited_paths
from guarded_tools.consent import Answer
from guarded_tools.errors import AuditError, ToolDenied
from guarded_tools.policy.model import Policy
from guarded_tools.secrets import mask
from guarded_tools.telemetry import trace_ids
from guarded_tools.values import AuditEvent, Decision, Nobody, Outcome, ToolCall, ToolInfo

Observer: TypeAlias = Callable[[AuditEvent], None]

log = logging.getLogger("guarded_tools")

_written = json.JSONEncoder(allow_nan=False).encode
# Deeper than any tool's arguments, and far from where whoever shows or keeps them runs out of stack.
_DEEPEST = 100


class Case(NamedTuple):
    """One call on its way: what is judged, what the policy says of it, and how it came to that.

    ``policy`` is the one that decided, whatever is in force by now.
    """

    call: ToolCall
    info: ToolInfo
    decision: Decision
    key: str
    started: float
    policy: Policy | None = None
    human: float = 0.0
    answer: Answer | None = None
    approval: Mapping[str, Any] | None = None


class Records:
    """Writes events to the audit, and hands each to the observers once it is written."""

    def __init__(self, audit: AuditLog, observers: Sequence[Observer] = ()) -> None:
        self._audit = audit
        self._observers = observers

    def write(self, event: AuditEvent) -> None:
        """Write an event.

        Raises:
            AuditError: it could not be written; nobody was told of it.
        """
        self._audit.write(event)
        for observe in self._observers:
            try:
                observe(event)
            except Exception:
                log.exception("An observer failed; the decision stands")

    def record(
        self,
        case: Case,
        kind: Literal["refused", "asked", "answered", "shadow"],
        outcome: Outcome | None = None,
        message: str = "",
        retry_after: float | None = None,
    ) -> None:
        """Write what a call has come to."""
        self.write(event_of(case, kind)._replace(outcome=outcome, message=message, retry_after=retry_after))

    def refuse(self, case: Case, outcome: Outcome, why: str, retry_after: float | None = None) -> ToolDenied:
        """Record a refusal and make the exception that carries it."""
        try:
            self.record(case, "refused", outcome, message=why, retry_after=retry_after)
        except AuditError:
            log.exception("A refused call of %r could not be recorded", mask(case.call.tool))
        said = (
            why
            if outcome == "responded"
            else denial.text(case.call.tool, case.decision.rule, outcome, why, retry_after)
        )
        return ToolDenied(mask(said), case.decision._replace(message=mask(why)), outcome, retry_after)


def event_of(case: Case, kind: Literal["refused", "asked", "answered", "admitted", "shadow"]) -> AuditEvent:
    """Describe a call as it stands."""
    call, decision, policy = case.call, case.decision, case.policy
    spent = time.perf_counter() - case.started - case.human
    return AuditEvent(
        kind,
        tool=call.tool,
        session=call.session,
        key=case.key,
        rule=decision.rule,
        grant=call.grant,
        server=case.info.server,
        call_id=call.id,
        args=tuple(sorted(map(str, call.args))),
        values=None if policy is None else policy.logged(call.args),
        policy="" if policy is None else policy.fingerprint,
        charges=tuple([(c.scope, c.counter, c.amount, c.max, c.window) for c in decision.charges]),
        approval=case.approval,
        guard_ms=spent * 1000,
        human_ms=case.human * 1000 if case.human else None,
        trace=trace_ids(),
    )


def snapshot(call: ToolCall) -> ToolCall:
    """Copy the arguments, so that nobody can change between judging and running what was judged.

    Raises:
        ValueError: nobody knows who it is made for, or the arguments are not JSON or nested too deep, or two spellings
            of one key could be judged apart from what runs.
    """
    if isinstance(call.grant, Nobody):
        raise ValueError(f"it cannot be told who the agent acts for {call.grant}")  # noqa: TRY004 - a call to refuse
    try:
        text = _written(dict(call.args))
        args = json.loads(text)
    except (TypeError, ValueError) as error:
        raise ValueError(f"the arguments cannot be judged as JSON: {error}") from None
    if text.count("{") + text.count("[") > _DEEPEST and _is_deeper(args, _DEEPEST):
        raise ValueError(f"the arguments are nested deeper than {_DEEPEST} levels")
    if args != call.args:
        raise ValueError("the arguments do not survive being written as JSON: use text keys, lists and plain values")
    return call._replace(args=args)


def _is_deeper(value: Any, levels: int) -> bool:
    layer = [value]
    for _ in range(levels):
        layer = [
            inner
            for outer in layer
            if isinstance(outer, dict | list)
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
        if not layer:
            return False
    return any(isinstance(each, dict | list) for each in layer)


def approval_of(call: ToolCall, answer: Answer) -> dict[str, Any]:
    """Say for the audit who answered what; of an edit only where it changed, never the values."""
    verdict = answer.verdict
    said: dict[str, Any] = {
        "verdict": verdict.kind,
        "cause": answer.cause,
        "by": verdict.by,
        "remember": verdict.remember,
    }
    if verdict.kind == "edit" and verdict.args is not None:
        said["edited"] = edited_paths(call.args, verdict.args)
    return said
