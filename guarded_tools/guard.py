"""The guard, and the line that every call takes through it.

::

    decide ── deny ─→ refused
      ├─ ask → would the limits fit? → a human → decide again
      ├─ reserve ── full or halted ─→ refused
      └─ admitted → the tool runs → settled

The line is written once, as a generator of :class:`~guarded_tools.steps.Step`; :meth:`Guard.call` and
:meth:`Guard.acall` drive it.
"""

from __future__ import annotations

import asyncio
import copy
import json
import logging
import os
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias, TypeVar

from guarded_tools import consent, denial
from guarded_tools.approvers import deny_all
from guarded_tools.audit import AuditLog, audit_path
from guarded_tools.audit.edits import edited_paths
from guarded_tools.errors import AuditError, PolicyError, StoreError, ToolDenied
from guarded_tools.in_force import InForce, PolicySource
from guarded_tools.policy.model import Policy
from guarded_tools.secrets import mask
from guarded_tools.state import state_dir
from guarded_tools.steps import Line, Step, arun, run, will_run_again
from guarded_tools.stores import Store, open_store
from guarded_tools.telemetry import trace_ids
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
    Risk,
    ToolCall,
    ToolInfo,
    Usage,
    Usages,
    digest,
)

if TYPE_CHECKING:
    from langchain_core.tools import BaseTool

    from guarded_tools.adapters.interceptor import GuardInterceptor
    from guarded_tools.adapters.middleware import GuardMiddleware
    from guarded_tools.policy.lock import Lock

T = TypeVar("T")
Judge: TypeAlias = Callable[[Any], Outcome]
Read: TypeAlias = Callable[[Mapping[str, Any]], Mapping[str, Any]]
Observer: TypeAlias = Callable[[AuditEvent], None]
RunConfig: TypeAlias = Mapping[str, Any]

log = logging.getLogger("guarded_tools")

DEFAULT_SESSION = "default"
_written = json.JSONEncoder(allow_nan=False).encode
_UNJUDGED = Decision("deny", "(guard)")
# What a call would have come to, for the audit; "suspended": a human would have been asked.
_ON_TRIAL: Mapping[Effect, Outcome] = {"allow": "ok", "ask": "suspended", "deny": "denied"}


def judge_plainly(result: object) -> Outcome:
    """Say what became of a body nothing is known about: an exception may come from after the effect."""
    return "unknown" if isinstance(result, BaseException) else "ok"


class _Case(NamedTuple):
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
    answer: consent.Answer | None = None
    approval: Mapping[str, Any] | None = None


class _Ended(NamedTuple):
    """What the body gave. An exception travels as a value, so that even ``StopIteration`` comes out as itself."""

    value: Any = None
    error: BaseException | None = None

    def unwrap(self) -> Any:
        if self.error is not None:
            raise self.error
        return self.value


class Guard:
    """Checks every call against a policy, limits, and a human where the policy asks for one.

    Args:
        policy: A :class:`Policy`, a path, a preset's name, or a mapping of grants to these. A grant that the mapping
            does not name is refused every call.
        store: Where counters are kept: a :class:`Store` or a URL. Default: on disk in the state directory.
        approver: Who answers when the policy asks. Default: nobody, so what must be asked is refused.
        audit: An :class:`AuditLog`, or the path of one. Default: in the state directory.
        session: Whose limits count. Default: LangGraph's ``thread_id``, else ``"default"``.
        grant: Who the agent acts for: a string, or a function of the runnable config.
        clock: Seconds since the epoch. Default: the store's own clock, which a clock step does not fool.
        on_denied: ``"return"`` gives the model a text it understands; ``"raise"`` raises :class:`ToolDenied`.
        lock: Pinned tools; one that changed since, or is new, is refused.
        observers: Called with every audit event after it was written; what they raise is logged and changes nothing.
        state: The state directory. Default: ``GUARDED_TOOLS_HOME``, else the user's own.

    Raises:
        PolicyError: the policy cannot be used; every problem is listed.
        StoreError: the counters cannot be relied on.
    """

    def __init__(
        self,
        policy: PolicySource | Mapping[str, PolicySource],
        *,
        store: Store | str | None = None,
        approver: Approver | None = None,
        audit: AuditLog | str | os.PathLike[str] | None = None,
        session: str | None = None,
        grant: str | Callable[[RunConfig], str | None] | None = None,
        clock: Callable[[], float] | None = None,
        on_denied: Literal["return", "raise"] = "return",
        lock: Lock | str | os.PathLike[str] | None = None,
        observers: Sequence[Observer] = (),
        state: str | os.PathLike[str] | None = None,
    ) -> None:
        if on_denied not in {"return", "raise"}:
            raise ValueError(f"on_denied must be 'return' or 'raise', not {on_denied!r}")
        self._force = InForce(policy, _lock(lock))
        if store is None:
            store = f"disk://{state_dir(state)}"
        self.store: Store = open_store(store) if isinstance(store, str) else store
        if not isinstance(audit, AuditLog):
            audit = AuditLog(audit_path(state_dir(state)) if audit is None else audit, store=self.store)
        self.audit: AuditLog = audit
        self.approver: Approver = deny_all if approver is None else approver
        self.on_denied = on_denied
        self.observers = tuple(observers)
        self._session = session
        self._grant = grant
        self._clock = clock

    @property
    def policy(self) -> Policy:
        """The policy in force.

        Raises:
            GuardError: this guard has a policy per grant.
        """
        return self._force.only_policy()

    def reload(self) -> None:
        """Read the policy anew and swap it in one step; counters are kept.

        Raises:
            PolicyError: the new one cannot be used; the old one stays in force.
        """
        try:
            self._force.reload()
        except PolicyError as error:
            log.exception("The policy was not reloaded; the old one stays in force")
            self._write(AuditEvent("control", rule="(reload)", outcome="failed_closed", message=str(error)))
            raise
        self._write(AuditEvent("control", rule="(reload)", outcome="ok", message="a new policy is in force"))

    def for_session(self, session: str) -> Guard:
        """Give a view of this guard for one agent session; everything else is shared."""
        view = copy.copy(self)
        view._session = session  # noqa: SLF001 - a view of ourselves
        return view

    def usage(self, session: str | None = None) -> Usages:
        """List the limits that were touched, of one session or of all, busiest first."""
        return Usages(self.store.usage(None if session is None else f"session:{session}", self._now()))

    def explain(self, call: ToolCall) -> Decision:
        """Say what the policy would decide. Changes nothing, counts nothing, asks nobody."""
        return self._force.decide(call, self._force.info(call.tool))

    # What adapters ask

    @property
    def family(self) -> object:
        """The same object for a guard and all its views, so that adapters can tell one guard from two."""
        return self._force

    @property
    def named_session(self) -> str | None:
        """The session this guard or view was given; ``None`` where the run says whose session it is."""
        return self._session

    def wrap(self, tools: Sequence[BaseTool]) -> list[BaseTool]:
        """Return the same tools, guarded; hidden ones are left out."""
        from guarded_tools.adapters.tools import wrap

        return wrap(self, tools)

    @property
    def interceptor(self) -> GuardInterceptor:
        """For ``MultiServerMCPClient(tool_interceptors=[…])`` and ``load_mcp_tools``."""
        from guarded_tools.adapters.interceptor import GuardInterceptor

        return GuardInterceptor(self)

    def middleware(self) -> GuardMiddleware:
        """For ``create_agent(middleware=[…])``."""
        from guarded_tools.adapters.middleware import GuardMiddleware

        return GuardMiddleware(self)

    def register(self, info: ToolInfo) -> None:
        """Make a tool known: its schema and risk, and whether it is still the one that was pinned."""
        self._force.register(info)

    def check_names(self, names: Sequence[str]) -> None:
        """Compare the policy with all the tools that there are.

        Raises:
            PolicyError: the policy names a tool that does not exist; a misspelt rule would protect nothing.
        """
        self._force.check_names(names)

    def info(self, tool: str) -> ToolInfo:
        """What is known of a tool."""
        return self._force.info(tool)

    def visible(self, tool: str) -> bool:
        """Whether a model should see this tool at all."""
        return self._force.visible(tool, self._grant if isinstance(self._grant, str) else None)

    def session_for(self, config: RunConfig | None) -> str:
        """Name the session of a call: the explicit one, else the config's ``thread_id``, else ``"default"``."""
        if self._session is not None:
            return self._session
        thread = ((config or {}).get("configurable") or {}).get("thread_id")
        return DEFAULT_SESSION if thread is None else str(thread)

    def grant_for(self, config: RunConfig | None) -> str | None:
        """Name the identity a call acts for."""
        return self._grant(config or {}) if callable(self._grant) else self._grant

    def risk_of(self, info: ToolInfo, grant: str | None = None) -> Risk:
        """Class a tool: as the policy says, else as it is known, else as its words tell; a stranger is destructive."""
        return self._force.risk(info, grant)

    # The line and its two drivers

    def call(
        self,
        call: ToolCall,
        invoke: Callable[[dict[str, Any]], T],
        *,
        info: ToolInfo | None = None,
        judge: Judge = judge_plainly,
        read: Read | None = None,
    ) -> T:
        """Run ``invoke`` with the arguments that were judged, if the call may run.

        ``judge`` says what became of the body, given its result or its exception. ``read`` returns what the body would
        receive for arguments that a human edited, or raises ``ValueError``; that is judged and run then.

        Raises:
            ToolDenied: the call did not run. With outcome ``responded`` a human answered in its place.
        """
        result: T = run(self._line(call, invoke, info, judge, read)).unwrap()
        return result

    async def acall(
        self,
        call: ToolCall,
        invoke: Callable[[dict[str, Any]], Awaitable[T]],
        *,
        info: ToolInfo | None = None,
        judge: Judge = judge_plainly,
        read: Read | None = None,
    ) -> T:
        """As :meth:`call`, with an ``invoke`` that is awaited; neither a lock nor a human blocks the event loop."""
        result: T = (await arun(self._line(call, invoke, info, judge, read))).unwrap()
        return result

    def _line(
        self,
        call: ToolCall,
        invoke: Callable[[dict[str, Any]], Any],
        info: ToolInfo | None,
        judge: Judge,
        read: Read | None,
    ) -> Line[_Ended]:
        force, key, started = self._force, os.urandom(8).hex(), time.perf_counter()
        info = info or force.info(call.tool)
        policy = force.policy(call.grant)
        case = _Case(call, info, _UNJUDGED, key, started, policy)
        try:
            call = snapshot(call)
            case = _Case(call, info, force.judge(policy, call, info), key, started, policy)
            case = yield from self._clear(case, read)
            if case.decision.shadow is not None:
                # After the question: what stands before it runs again whenever a suspended run comes back.
                yield from self._shadow(case, case.decision.shadow)
            reservation = yield from self._reserve(case)
            try:
                admitted = self._event(case, "admitted")
                self._write(admitted)
            except AuditError:
                yield Step(self.store.refund, self.store.arefund, (reservation, self._now()))
                raise
        except (StoreError, AuditError, ValueError, RecursionError) as error:
            raise self._refuse(case, "failed_closed", f"the guard could not do its work: {error}") from error
        return (yield from self._invoke(case, admitted, reservation, invoke, judge))

    def _decide(self, case: _Case) -> _Case:
        policy = self._force.policy(case.call.grant)
        return case._replace(policy=policy, decision=self._force.judge(policy, case.call, case.info))

    def _clear(self, case: _Case, read: Read | None) -> Line[_Case]:
        """Bring a call to where the policy lets it run, through a human where it asks for one."""
        answer = None
        if getattr(self.approver, "suspends", False):
            answer = yield from consent.resume(self._request(case), **self._human(case.policy))
        if answer is None:
            self._stop_if_denied(case)
            if case.decision.effect == "allow":
                return case
            blocked = yield self._counting(self.store.peek, self.store.apeek, case)
            if blocked is not None:
                raise self._blocked(case, blocked)
            usage = yield from self._usage_against(case.decision.charges)
            announce = Step(self._announce, self._aannounce, (case,))
            answer = yield from consent.ask(
                self._request(case, usage, self._check_edit(case, read)), announce=announce, **self._human(case.policy)
            )
        edited = answer.verdict.args if answer.verdict.kind == "edit" else None
        case = case._replace(human=answer.waited, answer=answer, approval=_approval(case.call, answer))
        self._record(case, "answered", message=answer.detail)
        if answer.outcome is not None:
            raise self._refuse(case, answer.outcome, answer.text, answer.retry_after)
        if edited is not None:
            received = edited if read is None else read(edited)
            case = case._replace(call=snapshot(case.call._replace(args=received)))
        case = self._decide(case)
        self._stop_if_denied(case)
        return case

    def _announce(self, case: _Case) -> None:
        self._record(case, "asked")

    async def _aannounce(self, case: _Case) -> None:
        self._record(case, "asked")

    def _stop_if_denied(self, case: _Case) -> None:
        if case.decision.effect == "deny":
            raise self._refuse(case, "denied", case.decision.message)

    def _usage_against(self, charges: Sequence[Charge]) -> Line[tuple[Usage, ...]]:
        """Say how full the limits are that a call would count against."""
        found: dict[tuple[str, str], Usage] = {}
        for scope in dict.fromkeys(charge.scope for charge in charges):
            for usage in (yield Step(self.store.usage, _in_thread(self.store.usage), (scope, self._now()))):
                found[usage.scope, usage.counter] = usage
        nothing = ((c, Usage(c.scope, c.counter, 0, c.max, c.window, 0.0)) for c in charges)
        return tuple(found.get((charge.scope, charge.counter), unused) for charge, unused in nothing)

    def _check_edit(self, case: _Case, read: Read | None) -> Callable[[Mapping[str, Any]], str]:
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
        case: _Case,
        usage: tuple[Usage, ...] = (),
        check_edit: Callable[[Mapping[str, Any]], str] | None = None,
    ) -> ApprovalRequest:
        call, info, decision = case.call, case.info, case.decision
        terms = decision.ask or Ask()
        risk, schema = self.risk_of(case.info, case.call.grant), digest(info.schema)
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
            expires_at=(self._now() or time.time()) + terms.timeout,
            timeout=terms.timeout,
            remember="never" if risk in ("destructive", "financial") else terms.remember,
            remember_for=terms.remember_for,
            call_id=call.id,
            definition=digest(info.description, schema),
            check_edit=check_edit,
        )

    def _shadow(self, case: _Case, shadow: Decision) -> Line[None]:
        """Record what a rule on trial would have done, on counters of its own; nothing of it touches the call."""
        outcome = _ON_TRIAL[shadow.effect]
        if shadow.effect != "deny" and shadow.charges:
            try:
                full = yield Step(self.store.reserve, self.store.areserve, (shadow.charges, self._now()))
            except StoreError as error:
                outcome, shadow = "failed_closed", shadow._replace(message=str(error))
            else:
                if isinstance(full, Full):
                    outcome, said = "limited", denial.used_up(full)
                    shadow = shadow._replace(rule=full.charge.rule, message=said)
        self._record(case._replace(decision=shadow), "shadow", outcome, message=shadow.message)

    def _reserve(self, case: _Case) -> Line[Reservation]:
        taken = yield self._counting(self.store.reserve, self.store.areserve, case)
        if isinstance(taken, Reservation):
            return taken
        raise self._blocked(case, taken)

    def _blocked(self, case: _Case, blocked: Full | Halted) -> ToolDenied:
        if isinstance(blocked, Halted):
            case = case._replace(decision=case.decision._replace(rule="(halted)"))
            return self._refuse(case, "denied", denial.halted(blocked))
        case = case._replace(decision=case.decision._replace(rule=blocked.charge.rule))
        return self._refuse(case, "limited", denial.used_up(blocked), blocked.retry_after)

    def _invoke(
        self,
        case: _Case,
        admitted: AuditEvent,
        reservation: Reservation,
        invoke: Callable[[dict[str, Any]], Any],
        judge: Judge,
    ) -> Line[_Ended]:
        began = time.perf_counter()
        try:
            ended = _Ended((yield Step(invoke, invoke, (dict(case.call.args),))))
        except BaseException as error:  # noqa: BLE001 - handed on as it is by whoever unwraps it
            ended = _Ended(error=error)
        tool = time.perf_counter() - began
        suspended = ended.error is not None and will_run_again(ended.error)
        outcome: Outcome = "never_ran" if suspended else judge(ended.value if ended.error is None else ended.error)
        refunded = 0
        try:
            if suspended and case.answer is not None:
                yield from consent.reopen(case.answer, store=self.store)
            if outcome == "never_ran" and reservation.charges:
                refunded = yield Step(self.store.refund, self.store.arefund, (reservation, self._now()))
            spent = time.perf_counter() - case.started - case.human - tool
            self._write(
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
            log.exception("A call of %r ran but could not be settled; its charge is kept", case.call.tool)
        return ended

    # Records and refusals

    def _refuse(self, case: _Case, outcome: Outcome, why: str, retry_after: float | None = None) -> ToolDenied:
        """Record a refusal and make the exception that carries it."""
        try:
            self._record(case, "refused", outcome, message=why, retry_after=retry_after)
        except AuditError:
            log.exception("A refused call of %r could not be recorded", case.call.tool)
        said = (
            why
            if outcome == "responded"
            else denial.text(case.call.tool, case.decision.rule, outcome, why, retry_after)
        )
        return ToolDenied(mask(said), case.decision._replace(message=mask(why)), outcome, retry_after)

    def _record(
        self,
        case: _Case,
        kind: Literal["refused", "asked", "answered", "shadow"],
        outcome: Outcome | None = None,
        message: str = "",
        retry_after: float | None = None,
    ) -> None:
        self._write(self._event(case, kind)._replace(outcome=outcome, message=message, retry_after=retry_after))

    def _event(self, case: _Case, kind: Literal["refused", "asked", "answered", "admitted", "shadow"]) -> AuditEvent:
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

    def _write(self, event: AuditEvent) -> None:
        self.audit.write(event)
        for observe in self.observers:
            try:
                observe(event)
            except Exception:
                log.exception("An observer failed; the decision stands")

    def _now(self) -> float | None:
        return None if self._clock is None else self._clock()

    def _counting(self, sync: Callable[..., Any], async_: Callable[..., Any], case: _Case) -> Step:
        """Ask the store about a call: what it takes, when, and whose stop button ends it."""
        call = case.call
        scopes = [f"session:{call.session}"]
        if call.grant is not None:
            scopes.append(f"grant:{call.grant}")
        return Step(sync, async_, (case.decision.charges, self._now(), scopes))

    def _human(self, policy: Policy | None) -> dict[str, Any]:
        """Hand over what asking takes: who is asked, how often at most, and where that is kept."""
        limits = consent.AskLimits() if policy is None else consent.AskLimits(**policy.approvals.model_dump())
        return {"store": self.store, "approver": self.approver, "limits": limits, "clock": self._clock}


def snapshot(call: ToolCall) -> ToolCall:
    """Copy the arguments, so that nobody can change between judging and running what was judged.

    Raises:
        ValueError: they are not JSON, or two spellings of one key could be judged apart from what runs.
    """
    try:
        args = json.loads(_written(dict(call.args)))
    except (TypeError, ValueError) as error:
        raise ValueError(f"the arguments cannot be judged as JSON: {error}") from None
    if args != call.args:
        raise ValueError("the arguments do not survive being written as JSON: use text keys, lists and plain values")
    return call._replace(args=args)


def _approval(call: ToolCall, answer: consent.Answer) -> dict[str, Any]:
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


def _in_thread(function: Callable[..., T]) -> Callable[..., Awaitable[T]]:
    async def off_the_loop(*args: Any) -> T:
        return await asyncio.to_thread(function, *args)

    return off_the_loop


def _lock(lock: Lock | str | os.PathLike[str] | None) -> Lock | None:
    if lock is None or not isinstance(lock, str | os.PathLike):
        return lock
    from guarded_tools.policy.lock import Lock

    return Lock.from_file(lock)
