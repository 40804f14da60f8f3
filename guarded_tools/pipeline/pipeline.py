"""The line that every call takes.

::

    decide ── deny ─→ refused
      ├─ ask → would the limits fit? → a human → decide again
      ├─ reserve ── full or halted ─→ refused
      └─ admitted → the tool runs → settled

Written once, as a generator of :class:`~guarded_tools.flow.Await`, for callers with an event loop and without one.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from guarded_tools.approval import execution, workflow
from guarded_tools.approval.result import ApprovalResult
from guarded_tools.approval.suspension import is_suspension
from guarded_tools.approvers.protocol import Approver, suspends
from guarded_tools.errors import GuardError, ToolDenied
from guarded_tools.flow import Await, Flow
from guarded_tools.flow.job import Left
from guarded_tools.marks import Bound
from guarded_tools.pipeline import messages, session_rules
from guarded_tools.pipeline.body import Ended, OutcomeClassifier, arun_body, outcome_of, run_body
from guarded_tools.pipeline.budget import raised
from guarded_tools.pipeline.context import CallContext, digest_of, freeze, request_from
from guarded_tools.pipeline.counting import going_on, settle, usage_shown
from guarded_tools.pipeline.recorder import Recorder, approval_of, event_from, timed
from guarded_tools.pipeline.registry import Registry
from guarded_tools.pipeline.results.check import check_result
from guarded_tools.pipeline.trial import tried
from guarded_tools.policy.document import ApprovalLimits
from guarded_tools.policy.engine import SCHEMA_RULE
from guarded_tools.stores import Store
from guarded_tools.text.redaction import mask
from guarded_tools.values import (
    ApprovalRequest,
    AuditEvent,
    Decision,
    Full,
    Outcome,
    Reservation,
    ToolCall,
    ToolInfo,
    scopes_of,
)

Read: TypeAlias = Callable[[Mapping[str, Any]], Mapping[str, Any]]

log = logging.getLogger("guarded_tools")

_UNJUDGED = Decision("deny", "(guard)")


class Pipeline:
    """Takes calls from the policy in force to the tool's body, past the counters and the human that are handed in.

    ``clock`` gives seconds since the epoch; without one the store reads its own.
    """

    def __init__(
        self,
        registry: Registry,
        store: Store,
        approver: Approver,
        recorder: Recorder,
        clock: Callable[[], float] | None,
    ) -> None:
        self._registry = registry
        self._store = store
        self._approver = approver
        self._recorder = recorder
        self._clock = clock

    def execute(
        self,
        call: ToolCall,
        invoke: Callable[[dict[str, Any]], Any],
        info: ToolInfo | None,
        judge: OutcomeClassifier,
        read: Read | None,
        *,
        fault: str = "",
        tells: Callable[[Any], Any] | None = None,
    ) -> Flow[Ended]:
        """Walk one call, and return what its body gave. ``fault`` says why its arguments cannot be judged, if so.

        ``tells`` makes of a result that is no JSON what it says of the call's cost.

        Raises:
            ToolDenied: the body did not run.
        """
        context = CallContext(call, info or ToolInfo(call.tool), _UNJUDGED, os.urandom(8).hex(), time.perf_counter())
        try:
            info = self._registry.current(info or self._registry.info(call.tool))
            policy = self._registry.policy(call.grant)
            context = context._replace(info=info, policy=policy, tells=tells)
            if fault:
                raise ValueError(fault)  # noqa: TRY301 - refused and recorded as whatever else cannot be judged
            call = freeze(call)
            context = context._replace(call=call, decision=self._registry.judge(policy, call, info))
            context = yield from self._come_back(context)
            context = yield from self._clear(context, read)
            if context.decision.shadow is not None and context.paused is None:
                # After the question: what stands before it runs again whenever a suspended run comes back.
                yield from self._shadow(context, context.decision.shadow)
            context, reservation = yield from self._reserve(context, read)
            admitted = yield from self._admit(context, reservation)
        except ToolDenied:
            raise
        except Exception as error:
            if is_suspension(error):
                raise
            if not isinstance(error, (GuardError, ValueError)):
                log.exception("The guard met an error that it does not know; the call is refused")
            raise self._recorder.refuse(context, "failed_closed", messages.broken(error)) from error
        return (yield from self._invoke(context, admitted, reservation, invoke, judge))

    def _come_back(self, context: CallContext) -> Flow[CallContext]:
        """Take up the execution that paused at this very call, if one did: the call goes on as that one."""
        task = execution.task()
        if not task:
            return context
        name = execution.named(task, context.call.id, digest_of(context.call, context.info))
        paused = yield from execution.come_back(name, store=self._store)
        return context._replace(execution=name, paused=paused, key=context.key if paused is None else paused.key)

    def _decide(self, context: CallContext) -> CallContext:
        policy = self._registry.policy(context.call.grant)
        return context._replace(policy=policy, decision=self._registry.judge(policy, context.call, context.info))

    def _clear(self, context: CallContext, read: Read | None) -> Flow[CallContext]:
        """Bring a call to where the policy lets it run, through a human where it asks for one."""
        question, blocked = yield from self._in_question(context)
        # Before an approver that suspends has its turn: what its run is resumed with belongs to the body by now.
        answer = execution.permitted_by(context.paused)
        if answer is None and suspends(
            self._approver
        ):  # which may show the question once more, so it has to be the whole of it
            shown, human = (yield from self._shown(question, read)), self._human(question)
            answer = yield from workflow.resume(shown, **human, goes_on=context.paused is not None)
        if answer is not None:
            return self._answered(question, answer, read)
        self._stop_if_denied(context)
        if blocked is not None and context.paused is None:
            raise self._recorder.blocked(context, blocked)
        return question if question.decision.effect == "allow" else (yield from self._ask(question, read))

    def _in_question(self, context: CallContext) -> Flow[tuple[CallContext, Any]]:
        """Say what a human would be asked about a call, and what refuses it before they are asked, or ``None``."""
        if context.decision.effect != "ask" and not session_rules.may_ask(context.decision):
            return context, None
        blocked = yield self._counting(self._store.peek, self._store.apeek, context)
        asks = isinstance(blocked, Bound) and blocked.asks
        return (session_rules.asking(context, blocked), None) if asks else (context, blocked)

    def _ask(self, context: CallContext, read: Read | None) -> Flow[CallContext]:
        """Put a call before the human, and judge it anew with the answer."""
        request = yield from self._shown(context, read)
        began = time.perf_counter()
        answer = yield from workflow.ask(request, **self._human(context))
        # By whose clock the wait was told, this one knows of no more than passed.
        away = context.away + min(max(answer.waited, 0.0), time.perf_counter() - began)
        return self._answered(context._replace(away=away), answer, read)

    def _shown(self, context: CallContext, read: Read | None) -> Flow[ApprovalRequest]:
        """Make the question of a call; of one that is not asked about, nobody sees how full its limits are."""
        asked = context.decision.effect == "ask"
        usage = (yield from usage_shown(context, self._store, self._now())) if asked else ()
        risk = self._registry.risk(context.info, context.call.grant)
        return request_from(context, risk, self._moment(), usage, self._check_edit(context, read))

    def _answered(self, context: CallContext, answer: ApprovalResult, read: Read | None) -> CallContext:
        """Judge a call anew with what a human answered: as it was, or as it was edited, under the policy of now."""
        edited = answer.verdict.args if answer.verdict.kind == "edit" else None
        human = context.human + max(answer.waited, 0.0)
        context = context._replace(human=human, answer=answer, approval=approval_of(context.call, answer))
        if context.paused is None or answer.outcome is not None:  # else it was recorded when it was given
            self._recorder.record(context, "answered", message=answer.detail)
        if answer.outcome is not None:
            raise self._recorder.refuse(context, answer.outcome, answer.text, answer.retry_after)
        if self._registry.current(context.info) != context.info:
            raise self._recorder.refuse(context, "denied", messages.TOOL_CHANGED)
        if edited is not None:
            context = self._with(context, edited, read)
        context = self._decide(context)
        self._stop_if_denied(context)
        return context

    def _with(self, context: CallContext, edited: Mapping[str, Any], read: Read | None) -> CallContext:
        """Put what a human wrote in the place of the arguments, as the body would receive it."""
        try:
            received = edited if read is None else read(edited)
            return context._replace(call=freeze(context.call._replace(args=received)))
        except ValueError as error:
            context = context._replace(decision=context.decision._replace(rule=SCHEMA_RULE))
            raise self._recorder.refuse(context, "denied", str(error)) from None

    def _stop_if_denied(self, context: CallContext) -> None:
        if context.decision.effect == "deny":
            raise self._recorder.refuse(context, "denied", context.decision.message)

    def _check_edit(self, context: CallContext, read: Read | None) -> Callable[[Mapping[str, Any]], str]:
        """Tell a human while they edit why the edit would be refused. It is judged all the same."""

        def check(args: Mapping[str, Any]) -> str:
            try:
                call = context.call._replace(args=args if read is None else read(dict(args)))
                decision = self._decide(context._replace(call=freeze(call))).decision
            except (ValueError, RecursionError) as error:
                return str(error)
            return (decision.message or decision.rule) if decision.effect == "deny" else ""

        return check

    def _shadow(self, context: CallContext, shadow: Decision) -> Flow[None]:
        """Record what a rule on trial would have done, on counters of its own; nothing of it touches the call."""
        outcome, shadow = yield from tried(shadow, self._store, self._now())
        self._recorder.record(context._replace(decision=shadow), "shadow", outcome, message=shadow.message)

    def _reserve(self, context: CallContext, read: Read | None) -> Flow[tuple[CallContext, Reservation]]:
        """Take what the call takes; one that a call beside it brought a question upon is asked about now."""
        charges = context.decision.charges
        if context.paused is not None:  # charged when it was admitted; a halt ends it all the same
            context = context._replace(decision=context.decision._replace(charges=()))
        while True:
            taken = yield self._counting(self._store.reserve, self._store.areserve, context)
            if isinstance(taken, Reservation):
                paused = context.paused
                return context, (taken if paused is None else going_on(charges, paused.charges))
            if isinstance(taken, Full) and context.info.kind == "model":
                more = yield from raised(charges, self._store, self._moment())
                if more != context.decision.charges:
                    context = context._replace(decision=context.decision._replace(charges=more))
                    continue
            if not (isinstance(taken, Bound) and taken.asks):
                raise self._recorder.blocked(context, taken)
            if context.answer is not None and context.answer.cause == "human":
                raise self._recorder.refuse(context, "denied", session_rules.CHANGED, advice="Call it once more.")
            context = yield from self._ask(session_rules.asking(context, taken), read)

    def _give_back(self, context: CallContext, reservation: Reservation) -> Flow[None]:
        """Give back what a call took that will not run. Where that fails too, why it does not run is still said."""
        try:
            yield Await(self._store.refund, self._store.arefund, (reservation, self._now()))
            yield from execution.unbegin(context.spent, store=self._store)
        except Exception:
            log.exception("A charge of a call that did not run could not be given back")

    def _admit(self, context: CallContext, reservation: Reservation) -> Flow[AuditEvent]:
        """Write down that the body is about to run; of an execution that goes on this was written before."""
        if context.paused is not None:
            resumed = event_from(context, "resumed")._replace(charges=context.paused.charges)
            yield from self._recorder.telling(resumed)
            return resumed
        admitted = event_from(context, "admitted")
        try:
            yield from execution.begin(context.spent, store=self._store)
            yield from self._recorder.recording(admitted)
        except Exception:
            yield from self._give_back(context, reservation)
            raise
        return admitted

    def _invoke(
        self,
        context: CallContext,
        admitted: AuditEvent,
        reservation: Reservation,
        invoke: Callable[[dict[str, Any]], Any],
        judge: OutcomeClassifier,
    ) -> Flow[Ended]:
        began, never_began = time.perf_counter(), False
        edited = context.answer is not None and context.answer.verdict.kind == "edit"
        ended = Ended(context.call, edited=edited)
        try:
            ended = yield Await(run_body, arun_body, (invoke, ended, context.info), foreign=True)
        except asyncio.CancelledError as error:  # nobody waits any more: the body was not begun, or thrown away
            ended, never_began = ended._replace(error=error), isinstance(error, Left)
        tool = time.perf_counter() - began
        outcome: Outcome = "never_ran" if never_began else outcome_of(ended, judge, context.call.tool, context.policy)
        if context.paused is not None and outcome == "never_ran":
            outcome = "unknown"  # it did not get far this time; what it did before it paused, it did
        ended = ended._replace(outcome=outcome)
        delivered = ended
        if context.policy is not None and context.info.kind == "tool" and outcome != "suspended":
            # The settled one is as it came: what a result tells is counted before anything of it is kept back.
            delivered = check_result(context.policy.results(context.call.tool), ended, context.info)
        try:
            if context.execution and (outcome == "suspended" or (never_began and context.paused is not None)):
                yield from self._pause(context, admitted, tool)
            else:
                if never_began:
                    yield from execution.reopen(context.spent, store=self._store)
                yield from self._settle(context, admitted, reservation, ended._replace(told=delivered.told), tool)
        except Exception:
            # The body is done and its answer is owed; "admitted" without "settled" keeps the gap visible.
            log.exception("A call of %r ran but could not be settled; its charge is kept", mask(context.call.tool))
        return delivered

    def _pause(self, context: CallContext, admitted: AuditEvent, tool: float) -> Flow[None]:
        """Keep an execution that is suspended: nothing is given back, and its resume is the same one."""
        paused = execution.Paused(context.key, admitted.charges)
        yield from execution.pause(context.execution, paused, context.answer, store=self._store)
        yield from self._recorder.telling(timed(admitted, context, tool)._replace(kind="paused", outcome="suspended"))

    def _settle(
        self, context: CallContext, admitted: AuditEvent, reservation: Reservation, ended: Ended, tool: float
    ) -> Flow[None]:
        """Give back what certainly was not used, count what a result tells, and write down what became of it all."""
        outcome, refunded, charged, doubt = ended.outcome, 0, admitted.charges, ""
        if outcome == "never_ran" and reservation.charges:
            refunded = yield Await(self._store.refund, self._store.arefund, (reservation, self._now()))
        elif outcome in {"ok", "error"} and ended.error is None:
            told = ended.value if context.tells is None else context.tells(ended.value)
            charged, doubt = yield from settle(reservation, charged, told, self._store, self._now())
        succeeded = session_rules.succeeded(context.decision) if outcome == "ok" else ()
        if succeeded:
            yield Await(self._store.note, self._store.anote, (succeeded, self._now()))
        yield from execution.end(context.spent, outcome, store=self._store)
        settled = timed(admitted, context, tool)._replace(kind="settled", outcome=outcome, refunded=refunded)
        yield from self._recorder.recording(settled._replace(charges=charged, message=doubt, result=ended.told))

    def _moment(self) -> float:
        return time.time() if self._clock is None else self._clock()

    def _now(self) -> float | None:
        return None if self._clock is None else self._clock()

    def _counting(self, sync: Callable[..., Any], async_: Callable[..., Any], context: CallContext) -> Await:
        """Ask the store about a call: what it takes, when, and whose stop button ends it."""
        asked = (context.decision.charges, self._now(), scopes_of(context.call))
        across = session_rules.still_asking(context)
        # A store that was written before there were such rules serves policies without them.
        return Await(sync, async_, asked if across is None else (*asked, across))

    def _human(self, context: CallContext) -> dict[str, Any]:
        """Hand over what asking takes: who is asked, how often at most, where that is kept, and what is recorded."""
        limits = ApprovalLimits() if context.policy is None else context.policy.approvals
        said = context.decision.message if context.across else ""
        asking: dict[str, Any] = {"store": self._store, "limits": limits, "clock": self._clock}
        announce = Await(self._recorder.record, None, (context, "asked", None, said))
        return asking | {"approver": self._approver, "announce": announce}
