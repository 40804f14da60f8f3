"""What is said of a call, to the audit and to whoever is refused."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from typing import Any, Literal

from guarded_tools.approval.result import ApprovalResult
from guarded_tools.audit import AuditLog
from guarded_tools.audit.edits import edited_paths
from guarded_tools.errors import ToolDenied
from guarded_tools.flow import Await, Flow
from guarded_tools.marks import Bound, brought
from guarded_tools.pipeline import messages, session_rules
from guarded_tools.pipeline.context import CallContext
from guarded_tools.telemetry.events import AwaitedObserver, Observer, trace_ids
from guarded_tools.text.redaction import mask
from guarded_tools.values import Ask, AuditEvent, Full, Halted, Outcome, ToolCall, ToolInfo

log = logging.getLogger("guarded_tools")

_FAILED = "An observer failed; the decision stands"


class Recorder:
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
        self._tell(event)

    def recording(self, event: AuditEvent) -> Flow[None]:
        """Do as :meth:`write`, in a step of its own: lines of many calls that come at once are written at once."""
        yield Await(self._audit.write, None, (event,))
        yield from self.telling(event)

    def telling(self, event: AuditEvent) -> Flow[None]:
        """Tell the observers of an event, which is written or has no line of its own."""
        if self._observers:  # where the caller is: one that begins a span there has the body run inside it
            yield Await(self._tell, self._atell, (event,))

    async def _atell(self, event: AuditEvent) -> None:
        for observe in self._observers:
            try:
                if isinstance(observe, AwaitedObserver):
                    await observe.aobserve(event)
                else:
                    observe(event)
            except Exception:
                log.exception(_FAILED)

    def _tell(self, event: AuditEvent) -> None:
        for observe in self._observers:
            try:
                observe(event)
            except Exception:
                log.exception(_FAILED)

    def record(
        self,
        context: CallContext,
        kind: Literal["refused", "asked", "answered", "shadow"],
        outcome: Outcome | None = None,
        message: str = "",
        retry_after: float | None = None,
    ) -> None:
        """Write what a call has come to."""
        event = event_from(context, kind)._replace(outcome=outcome, message=message, retry_after=retry_after)
        self.write(event._replace(timeout=(context.decision.ask or Ask()).timeout) if kind == "asked" else event)

    def refuse(
        self, context: CallContext, outcome: Outcome, why: str, retry_after: float | None = None, advice: str = ""
    ) -> ToolDenied:
        """Record a refusal and make the exception that carries it. ``advice`` says what to do next, if not as usual."""
        try:
            self.record(context, "refused", outcome, message=why, retry_after=retry_after)
        except Exception:
            log.exception("A refused call of %r could not be recorded", mask(context.call.tool))
        if outcome == "responded":
            said = why
        elif context.info.kind == "tool":
            paused = context.paused is not None
            said = messages.text(
                context.call.tool, context.decision.rule, outcome, why, retry_after, paused=paused, advice=advice
            )
        else:
            said = messages.stopped(outcome, why, retry_after)
        return ToolDenied(mask(said), context.decision._replace(message=mask(why)), outcome, retry_after)

    def blocked(self, context: CallContext, blocked: Full | Halted | Bound) -> ToolDenied:
        """Refuse a call that the store did not let through."""
        if isinstance(blocked, Bound):
            context = context._replace(decision=context.decision._replace(rule=blocked.rules[0].condition.rule))
            why, advice = session_rules.because(blocked), session_rules.advice(blocked)
            return self.refuse(context, "denied", why, advice=advice)
        if isinstance(blocked, Halted):
            context = context._replace(decision=context.decision._replace(rule="(halted)"))
            return self.refuse(context, "denied", messages.halted(blocked))
        context = context._replace(decision=context.decision._replace(rule=blocked.charge.rule))
        return self.refuse(context, "limited", messages.used_up(blocked), blocked.retry_after)


def event_from(
    context: CallContext, kind: Literal["refused", "asked", "answered", "admitted", "resumed", "shadow"]
) -> AuditEvent:
    """Describe a call as it stands."""
    call, decision, policy = context.call, context.decision, context.policy
    spent = time.perf_counter() - context.started - context.away
    return AuditEvent(
        kind,
        tool=call.tool,
        session=call.session,
        key=context.key,
        rule=decision.rule,
        grant=call.grant,
        server=_server(context.info),
        call_id=call.id,
        args=tuple(sorted(map(str, call.args))),
        values=None if policy is None else policy.logged(call.args),
        policy="" if policy is None else policy.fingerprint,
        charges=tuple([(c.scope, c.counter, c.amount, c.max, c.window) for c in decision.charges]),
        approval=context.approval,
        labels=brought(decision.across) if kind == "admitted" else (),
        guard_ms=spent * 1000,
        human_ms=context.human * 1000 if context.human else None,
        trace=trace_ids(),
    )


def _server(info: ToolInfo) -> str:
    """Name a server; one that gave itself its name is told with its place."""
    return f"{info.server} at {info.place}" if info.server and info.place else info.source


def timed(admitted: AuditEvent, context: CallContext, tool: float) -> AuditEvent:
    """Say of a body that ran for ``tool`` seconds, to its end or to a pause, where the time went."""
    guard = time.perf_counter() - context.started - context.away - tool
    return admitted._replace(values=None, guard_ms=guard * 1000, tool_ms=tool * 1000)


def approval_of(call: ToolCall, answer: ApprovalResult) -> dict[str, Any]:
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
