"""What adapters hold: the guard without what it hands out to users.

A :class:`Gate` knows whose call it is (session and grant), which tools there are, and drives the pipeline, with an
event loop or without one. :class:`guarded_tools.guard.Guard` adds what stands above it: the adapters themselves.
"""

from __future__ import annotations

import asyncio
import copy
import logging
import os
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, Self, TypeAlias, TypeVar

from guarded_tools.approvers.protocol import Approver, SuspendingApprover, check_approver, deny_all
from guarded_tools.audit import AuditLog, audit_path
from guarded_tools.errors import PolicyError
from guarded_tools.flow import Flow, run
from guarded_tools.flow.worker import Worker
from guarded_tools.pipeline.beforehand import BeforehandPipeline
from guarded_tools.pipeline.body import Ended, OutcomeClassifier
from guarded_tools.pipeline.context import check_session
from guarded_tools.pipeline.model_pipeline import ModelPipeline
from guarded_tools.pipeline.pipeline import Read
from guarded_tools.pipeline.recorder import Recorder
from guarded_tools.pipeline.registry import Registry
from guarded_tools.policy.model_budget import ModelRules
from guarded_tools.policy.policy import Policy, PolicySource
from guarded_tools.state import state_dir
from guarded_tools.stores import Store, opened
from guarded_tools.stores.disk.address import disk_url
from guarded_tools.telemetry.events import Observer
from guarded_tools.tools.lock import Lock
from guarded_tools.values import (
    AuditEvent,
    Decision,
    Outcome,
    Risk,
    ToolCall,
    ToolInfo,
    UnknownIdentity,
    is_grave,
)

T = TypeVar("T")
RunConfig: TypeAlias = Mapping[str, Any]

log = logging.getLogger("guarded_tools")

DEFAULT_SESSION = "default"


def judge_plainly(result: object) -> Outcome:
    """Say what became of a body nothing is known about: an exception may come from after the effect."""
    return "unknown" if isinstance(result, BaseException) else "ok"


class Gate:
    """Checks every call against a policy, limits, and a human where the policy asks for one.

    Its arguments are those of :class:`guarded_tools.guard.Guard`, where each is described.
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
        if approver is not None:
            check_approver(approver)
        if session is not None:
            check_session(session)
        if grant is not None and not isinstance(grant, str) and not callable(grant):
            raise TypeError(f"grant must be a text or a function of the config, not {grant!r}: write {str(grant)!r}")
        self._registry = Registry(policy, _lock(lock))
        if store is None:
            store = disk_url(state_dir(state))
        self.store: Store = opened(store)
        if not isinstance(audit, AuditLog):
            audit = AuditLog(audit_path(state_dir(state)) if audit is None else audit, store=self.store)
        self.audit: AuditLog = audit
        self.approver: Approver = deny_all if approver is None else approver
        self.on_denied = on_denied
        self.observers = tuple(observers)
        self._session = session
        self._grant = grant
        self._clock = clock
        # One thread for the store and for what goes with it: a call crosses over to it twice, not four times.
        worker = getattr(self.store, "worker", None)
        self._worker = worker if isinstance(worker, Worker) else Worker()
        self.moulds: dict[int, Any] = {}  # what adapters make of a tool once for all views

    @property
    def policy(self) -> Policy:
        """The policy in force.

        Raises:
            GuardError: this guard has a policy per grant.
        """
        return self._registry.only_policy()

    def reload(self) -> None:
        """Read the policy anew and swap it in one step; counters are kept.

        Raises:
            GuardError: the policy was given as an object, so there is no file to read.
            PolicyError: the new one cannot be used; the old one stays in force.
        """
        try:
            self._registry.reload()
        except PolicyError as error:
            log.exception("The policy was not reloaded; the old one stays in force")
            self._recorder().write(AuditEvent("control", rule="(reload)", outcome="failed_closed", message=str(error)))
            raise
        self._recorder().write(AuditEvent("control", rule="(reload)", outcome="ok", message="a new policy is in force"))

    async def areload(self) -> None:
        """As :meth:`reload`, beside the event loop."""
        # Not in the store's thread, as calls are: there they would wait for a long policy, or for a large store.
        await asyncio.to_thread(self.reload)

    def for_session(self, session: str) -> Self:
        """Give a view of this guard for one agent session; everything else is shared.

        Raises:
            TypeError: the session is no text.
        """
        check_session(session)
        view = copy.copy(self)
        view._session = session  # noqa: SLF001 - a view of ourselves
        return view

    def explain(self, call: ToolCall) -> Decision:
        """Say what the policy would decide. Changes nothing, counts nothing, asks nobody."""
        return self._registry.decide(call, self._registry.info(call.tool))

    # What adapters ask

    @property
    def family(self) -> object:
        """The same object for a guard and all its views, so that adapters can tell one guard from two."""
        return self._registry

    @property
    def named_session(self) -> str | None:
        """The session this guard or view was given; ``None`` where the run says whose session it is."""
        return self._session

    def register(self, info: ToolInfo) -> None:
        """Make a tool known: its schema and risk, and whether it is still the one that was pinned."""
        self._registry.register(info)

    def claim(self, sites: Mapping[str, str]) -> tuple[str, str] | None:
        """Have names of tools stand for those of these servers; where one stands for another's, return both."""
        return self._registry.claim(sites)

    def follow(self, infos: Iterable[ToolInfo]) -> None:
        """Take note of what servers list now: their tools are judged as that, also those that an agent holds since."""
        self._registry.follow(infos)

    def check_names(self, names: Sequence[str]) -> None:
        """Compare the policy with all the tools that there are.

        Raises:
            PolicyError: the policy names a tool that does not exist, or an argument that no tool has as far as their
                schemas are known; a misspelt rule would protect nothing.
        """
        self._registry.check_names(names)

    def info(self, tool: str) -> ToolInfo:
        """Return what was registered of a tool; of one that nobody registered, its name alone."""
        return self._registry.info(tool)

    def visible(self, tool: str, config: RunConfig | None = None) -> bool:
        """Whether a model should see this tool at all; without the config of a run, whether anybody's might."""
        if config is None:
            return self._registry.visible(tool, self._grant if isinstance(self._grant, str) else None)
        policy = self._registry.policy(self.grant_for(config))
        return policy is not None and not policy.hides(tool)

    def session_for(self, config: RunConfig | None) -> str:
        """Name the session of a call: the explicit one, else the config's ``thread_id``, else ``"default"``."""
        if self._session is not None:
            return self._session
        thread = ((config or {}).get("configurable") or {}).get("thread_id")
        return DEFAULT_SESSION if thread is None else str(thread)

    def grant_for(self, config: RunConfig | None) -> str | None:
        """Name the identity a call acts for. Where the function that should tell fails, every call is refused."""
        if not callable(self._grant):
            return self._grant
        try:
            told = self._grant(config or {})
        except Exception as error:
            log.exception("It cannot be told who the agent acts for; the call is refused")
            return UnknownIdentity(f"({type(error).__name__})")
        if told is None or isinstance(told, str):
            return told
        return str(told) if type(told) is int else UnknownIdentity(f"({type(told).__name__})")

    def risk_of(self, info: ToolInfo, grant: str | None = None) -> Risk:
        """Class a tool: as the policy says, else as it is known, else as its words tell; a stranger is destructive."""
        return self._registry.risk(info, grant)

    def client_may_answer(self, info: ToolInfo, grant: str | None) -> bool:
        """Whether a question about a tool may be put to whoever calls it: no grave one, unless the policy says so."""
        policy = self._registry.policy(grant)
        return not is_grave(self.risk_of(info, grant)) or (policy is not None and policy.approvals.grave_in_client)

    # The line and its two drivers

    def call(
        self,
        call: ToolCall,
        invoke: Callable[[dict[str, Any]], T],
        *,
        info: ToolInfo | None = None,
        judge: OutcomeClassifier = judge_plainly,
        read: Read | None = None,
    ) -> T:
        """Run ``invoke`` with the arguments that were judged, if the call may run.

        ``judge`` says what became of the body, given its result or its exception. ``read`` returns what the body would
        receive for arguments that a human edited, or raises ``ValueError``; that is judged and run then.

        Raises:
            ToolDenied: the call did not run. With outcome ``responded`` a human answered in its place.
        """
        result: T = self.attempt(call, invoke, info=info, judge=judge, read=read).unwrap()
        return result

    async def acall(
        self,
        call: ToolCall,
        invoke: Callable[[dict[str, Any]], Awaitable[T]],
        *,
        info: ToolInfo | None = None,
        judge: OutcomeClassifier = judge_plainly,
        read: Read | None = None,
    ) -> T:
        """As :meth:`call`, with an ``invoke`` that is awaited; neither a lock nor a human blocks the event loop."""
        result: T = (await self.aattempt(call, invoke, info=info, judge=judge, read=read)).unwrap()
        return result

    def attempt(
        self,
        call: ToolCall,
        invoke: Callable[[dict[str, Any]], Any],
        *,
        info: ToolInfo | None = None,
        judge: OutcomeClassifier = judge_plainly,
        read: Read | None = None,
        fault: str = "",
    ) -> Ended:
        """As :meth:`call`, for adapters: what the body gave or raised, and what ran with which outcome.

        ``fault`` says why the arguments cannot be judged; the call is refused then, and recorded.

        Raises:
            ToolDenied: the call did not run. One that the body raised is in what is returned.
        """
        return run(self._pipeline().execute(call, invoke, info, judge, read, fault=fault))

    async def aattempt(
        self,
        call: ToolCall,
        invoke: Callable[[dict[str, Any]], Awaitable[Any]],
        *,
        info: ToolInfo | None = None,
        judge: OutcomeClassifier = judge_plainly,
        read: Read | None = None,
        fault: str = "",
    ) -> Ended:
        """As :meth:`attempt`, with an ``invoke`` that is awaited."""
        return await self._worker.drive(self._pipeline().execute(call, invoke, info, judge, read, fault=fault))

    def budgets(self, grant: str | None) -> bool:
        """Whether calls of the agent's own model are counted."""
        return self._registry.budgets(grant)

    def model_rules(self, grant: str | None) -> ModelRules | None:
        """Return what the model may spend under a grant, where a policy says so."""
        policy = self._registry.policy(grant)
        return None if policy is None else policy.model

    def attempt_model(
        self,
        call: ToolCall,
        invoke: Callable[[dict[str, Any]], Any],
        *,
        judge: OutcomeClassifier,
        tells: Callable[[Any], Any],
    ) -> Ended:
        """Call the agent's own model, if its budget or a human permits it; ``tells`` says what its answer cost.

        Raises:
            ToolDenied: the model was not called.
        """
        return run(self._pipeline().execute_model(call, invoke, judge, tells, lambda args: args))

    async def aattempt_model(
        self,
        call: ToolCall,
        invoke: Callable[[dict[str, Any]], Awaitable[Any]],
        *,
        judge: OutcomeClassifier,
        tells: Callable[[Any], Any],
    ) -> Ended:
        """As :meth:`attempt_model`, with an ``invoke`` that is awaited."""

        async def permitted(args: dict[str, Any]) -> dict[str, Any]:
            return args

        return await self._worker.drive(self._pipeline().execute_model(call, invoke, judge, tells, permitted))

    def beforehand(self, approver: SuspendingApprover) -> BeforehandPipeline:
        """Ask about calls before they are made; ``approver`` stands for the guard's own."""
        return BeforehandPipeline(self._registry, self.store, approver, self._recorder(), self._clock)

    async def drive(self, line: Flow[T]) -> T:
        """Walk a line of work beside the event loop, where the guard walks its own."""
        return await self._worker.drive(line)

    def _pipeline(self) -> ModelPipeline:
        return ModelPipeline(self._registry, self.store, self.approver, self._recorder(), self._clock)

    def _recorder(self) -> Recorder:
        return Recorder(self.audit, self.observers)


def _lock(lock: Lock | str | os.PathLike[str] | None) -> Lock | None:
    if lock is None or not isinstance(lock, str | os.PathLike):
        return lock
    return Lock.from_file(lock)
