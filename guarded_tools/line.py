"""The line that every call takes.

::

    decide ── deny ─→ refused
      ├─ ask → would the limits fit? → a human → decide again
      ├─ reserve ── full or halted ─→ refused
      └─ admitted → the tool runs → settled

It is written once, as a generator of :class:`~guarded_tools.steps.Step`; the guard drives it, with an event loop or
without one.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias, TypeVar

from guarded_tools import consent, denial
from guarded_tools.errors import AuditError, StoreError, ToolDenied
from guarded_tools.in_force import InForce
from guarded_tools.policy.engine import SCHEMA_RULE
from guarded_tools.policy.model import Policy
from guarded_tools.records import Case, Records, approval_of, event_of, snapshot
from guarded_tools.secrets import mask
from guarded_tools.steps import Line, Step, will_run_again
from guarded_tools.stores import Store
from guarded_tools.values import (
    ApprovalRequest,
    Approver,
    Ask,
    AuditEvent,
    Charge,
    Decision,
    Effect,
    Full,
    Halted,
    Outcome,
    Reservation,
    ToolCall,
    ToolInfo,
    Usage,
    digest,
)

T = TypeVar("T")
Judge: TypeAlias = Callable[[Any], Outcome]
Read: TypeAlias = Callable[[Mapping[str, Any]], Mapping[str, Any]]

log = logging.getLogger("guarded_tools")

_UNJUDGED = Decision("deny", "(guard)")
# What a call would have come to, for the audit; "suspended": a human would have been asked.
_ON_TRIAL: Mapping[Effect, Outcome] = {"allow": "ok", "ask": "suspended", "deny": "denied"}


class Ended(NamedTuple):
    """What the body gave. An exception travels as a value, so that even ``StopIteration`` comes out as itself."""

    value: Any = None
    error: BaseException | None = None

    def unwrap(self) -> Any:
        """Return the result, or raise what the body raised."""
        if self.error is not None:
            raise self.error
        return self.value


class CallLine:
    """Takes calls from the policy in force to the tool's body, past the counters and the human that are handed in.

    ``clock`` gives seconds since the epoch; without one the store reads its own.
    """

    def __init__(
        self,
        force: InForce,
        store: Store,
        approver: Approver,
        records: Records,
        clock: Callable[[], float] | None,
    ) -> None:
        self._force = force
        self._store = store
        self._approver = approver
        self._records = records
        self._clock = clock

    def through(
        self,
        call: ToolCall,
        invoke: Callable[[dict[str, Any]], Any],
        info: ToolInfo | None,
        judge: Judge,
        read: Read | None,
    ) -> Line[Ended]:
        """Walk one call, and return what its body gave.

        Raises:
            ToolDenied: the body did not run.
        """
        force, key, started = self._force, os.urandom(8).hex(), time.perf_counter()
        info = info or force.info(call.tool)
        policy = force.policy(call.grant)
        case = Case(call, info, _UNJUDGED, key, started, policy)
        try:
            call = snapshot(call)
            case = Case(call, info, force.judge(policy, call, info), key, started, policy)
            case = yield from self._clear(case, read)
            if case.decision.shadow is not None:
                # After the question: what stands before it runs again whenever a suspended run comes back.
                yield from self._shadow(case, case.decision.shadow)
            reservation = yield from self._reserve(case)
            try:
                admitted = event_of(case, "admitted")
                self._records.write(admitted)
            except AuditError:
                yield Step(self._store.refund, self._store.arefund, (reservation, self._now()))
                raise
        except (StoreError, AuditError, ValueError, RecursionError) as error:
            raise self._records.refuse(case, "failed_closed", f"the guard could not do its work: {error}") from error
        return (yield from self._invoke(case, admitted, reservation, invoke, judge))

    def _decide(self, case: Case) -> Case:
        policy = self._force.policy(case.call.grant)
        return case._replace(policy=policy, decision=self._force.judge(policy, case.call, case.info))

    def _clear(self, case: Case, read: Read | None) -> Line[Case]:
        """Bring a call to where the policy lets it run, through a human where it asks for one."""
        answer = None
        announce = Step(self._announce, self._aannounce, (case,))
        if getattr(self._approver, "suspends", False):
            answer = yield from consent.resume(self._request(case), announce=announce, **self._human(case.policy))
        if answer is None:
            self._stop_if_denied(case)
            if case.decision.effect == "allow":
                return case
            blocked = yield self._counting(self._store.peek, self._store.apeek, case)
            if blocked is not None:
                raise self._blocked(case, blocked)
            usage = yield from self._usage_against(case.decision.charges)
            answer = yield from consent.ask(
                self._request(case, usage, self._check_edit(case, read)), announce=announce, **self._human(case.policy)
            )
        edited = answer.verdict.args if answer.verdict.kind == "edit" else None
        case = case._replace(human=answer.waited, answer=answer, approval=approval_of(case.call, answer))
        self._records.record(case, "answered", message=answer.detail)
        if answer.outcome is not None:
            raise self._records.refuse(case, answer.outcome, answer.text, answer.retry_after)
        if edited is not None:
            case = self._with(case, edited, read)
        case = self._decide(case)
        self._stop_if_denied(case)
        return case

    def _with(self, case: Case, edited: Mapping[str, Any], read: Read | None) -> Case:
        """Put what a human wrote in the place of the arguments, as the body would receive it."""
        try:
            received = edited if read is None else read(edited)
            return case._replace(call=snapshot(case.call._replace(args=received)))
        except ValueError as error:
            case = case._replace(decision=case.decision._replace(rule=SCHEMA_RULE))
            raise self._records.refuse(case, "denied", str(error)) from None

    def _announce(self, case: Case) -> None:
        self._records.record(case, "asked")

    async def _aannounce(self, case: Case) -> None:
        self._records.record(case, "asked")

    def _stop_if_denied(self, case: Case) -> None:
        if case.decision.effect == "deny":
            raise self._records.refuse(case, "denied", case.decision.message)

    def _usage_against(self, charges: Sequence[Charge]) -> Line[tuple[Usage, ...]]:
        """Say how full the limits are that a call would count against."""
        found: dict[tuple[str, str], Usage] = {}
        for scope in dict.fromkeys(charge.scope for charge in charges):
            for usage in (yield Step(self._store.usage, _in_thread(self._store.usage), (scope, self._now()))):
                found[usage.scope, usage.counter] = usage
        nothing = ((c, Usage(c.scope, c.counter, 0, c.max, c.window, 0.0)) for c in charges)
        return tuple(found.get((charge.scope, charge.counter), unused) for charge, unused in nothing)

    def _check_edit(self, case: Case, read: Read | None) -> Callable[[Mapping[str, Any]], str]:
        """Tell a human while they edit why the edit would be refused. It is judged all the same."""

        def check(args: Mapping[str, Any]) -> str:
            try:
                call = case.call._replace(args=args if read is None else read(dict(args)))
                decision = self._decide(case._replace(call=snapshot(call))).decision
            except (ValueError, RecursionError) as error:
                return str(error)
            return (decision.message or decision.rule) if decision.effect == "deny" else ""

        return check

    def _request(
        self,
        case: Case,
        usage: tuple[Usage, ...] = (),
        check_edit: Callable[[Mapping[str, Any]], str] | None = None,
    ) -> ApprovalRequest:
        call, info, decision = case.call, case.info, case.decision
        terms = decision.ask or Ask()
        risk, schema = self._force.risk(case.info, case.call.grant), digest(info.schema)
        return ApprovalRequest(
            tool=call.tool,
            args=call.args,
            session=call.session,
            digest=digest(info.server, call.tool, schema, call.session, call.grant, call.args),
            rule=decision.rule,
            reason=decision.message,
            grant=call.grant,
            server=info.server,
            description=info.description,
            risk=risk,
            usage=usage,
            expires_at=(time.time() if self._clock is None else self._clock()) + terms.timeout,
            timeout=terms.timeout,
            remember="never" if risk in ("destructive", "financial") else terms.remember,
            remember_for=terms.remember_for,
            call_id=call.id,
            definition=digest(info.description, schema),
            check_edit=check_edit,
        )

    def _shadow(self, case: Case, shadow: Decision) -> Line[None]:
        """Record what a rule on trial would have done, on counters of its own; nothing of it touches the call."""
        outcome = _ON_TRIAL[shadow.effect]
        if shadow.effect != "deny" and shadow.charges:
            try:
                full = yield Step(self._store.reserve, self._store.areserve, (shadow.charges, self._now()))
            except StoreError as error:
                outcome, shadow = "failed_closed", shadow._replace(message=str(error))
            else:
                if isinstance(full, Full):
                    outcome, said = "limited", denial.used_up(full)
                    shadow = shadow._replace(rule=full.charge.rule, message=said)
        self._records.record(case._replace(decision=shadow), "shadow", outcome, message=shadow.message)

    def _reserve(self, case: Case) -> Line[Reservation]:
        taken = yield self._counting(self._store.reserve, self._store.areserve, case)
        if isinstance(taken, Reservation):
            return taken
        raise self._blocked(case, taken)

    def _blocked(self, case: Case, blocked: Full | Halted) -> ToolDenied:
        if isinstance(blocked, Halted):
            case = case._replace(decision=case.decision._replace(rule="(halted)"))
            return self._records.refuse(case, "denied", denial.halted(blocked))
        case = case._replace(decision=case.decision._replace(rule=blocked.charge.rule))
        return self._records.refuse(case, "limited", denial.used_up(blocked), blocked.retry_after)

    def _invoke(
        self,
        case: Case,
        admitted: AuditEvent,
        reservation: Reservation,
        invoke: Callable[[dict[str, Any]], Any],
        judge: Judge,
    ) -> Line[Ended]:
        began = time.perf_counter()
        try:
            ended = Ended((yield Step(invoke, invoke, (dict(case.call.args),))))
        except BaseException as error:  # noqa: BLE001 - handed on as it is by whoever unwraps it
            ended = Ended(error=error)
        tool = time.perf_counter() - began
        suspended = ended.error is not None and will_run_again(ended.error)
        outcome: Outcome = "never_ran" if suspended else self._judge(case, ended, judge)
        refunded = 0
        try:
            if suspended and case.answer is not None:
                yield from consent.reopen(case.answer, store=self._store)
            if outcome == "never_ran" and reservation.charges:
                refunded = yield Step(self._store.refund, self._store.arefund, (reservation, self._now()))
            spent = time.perf_counter() - case.started - case.human - tool
            self._records.write(
                admitted._replace(
                    kind="settled",
                    outcome=outcome,
                    values=None,
                    refunded=refunded,
                    guard_ms=spent * 1000,
                    tool_ms=tool * 1000,
                )
            )
        except (StoreError, AuditError):
            # The body is done and its answer is owed; "admitted" without "settled" keeps the gap visible.
            log.exception("A call of %r ran but could not be settled; its charge is kept", mask(case.call.tool))
        return ended

    def _judge(self, case: Case, ended: Ended, judge: Judge) -> Outcome:
        """Say what became of the body. It is done: a judge that stumbles over its result must not cost the answer."""
        try:
            return judge(ended.value if ended.error is None else ended.error)
        except Exception:
            log.exception("What became of a call of %r cannot be told; its charge is kept", mask(case.call.tool))
            return "unknown"

    def _now(self) -> float | None:
        return None if self._clock is None else self._clock()

    def _counting(self, sync: Callable[..., Any], async_: Callable[..., Any], case: Case) -> Step:
        """Ask the store about a call: what it takes, when, and whose stop button ends it."""
        call = case.call
        scopes = [f"session:{call.session}"]
        if call.grant is not None:
            scopes.append(f"grant:{call.grant}")
        return Step(sync, async_, (case.decision.charges, self._now(), scopes))

    def _human(self, policy: Policy | None) -> dict[str, Any]:
        """Hand over what asking takes: who is asked, how often at most, and where that is kept."""
        limits = consent.AskLimits() if policy is None else consent.AskLimits(**policy.approvals.model_dump())
        return {"store": self._store, "approver": self._approver, "limits": limits, "clock": self._clock}


def _in_thread(function: Callable[..., T]) -> Callable[..., Awaitable[T]]:
    async def off_the_loop(*args: Any) -> T:
        return await asyncio.to_thread(function, *args)

    return off_the_loop
