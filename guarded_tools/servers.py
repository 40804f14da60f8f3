"""Guarded tools of any MCP servers, each held open for as long as its tools are in use."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypedDict, Unpack

from langchain_core.tools import BaseTool

from guarded_tools.adapters.elicitation import TIMEOUT, Questions
from guarded_tools.adapters.mcp_tools import langchain_tools
from guarded_tools.adapters.wrap import identity
from guarded_tools.approvers.protocol import Approver
from guarded_tools.errors import GuardError
from guarded_tools.guard import Guard
from guarded_tools.mcp_session import READ_TIMEOUT, HeldSession, HttpServer, Server, StdioServer
from guarded_tools.mcp_session.described import read_server
from guarded_tools.mcp_session.transport import OnProgress
from guarded_tools.mcp_session.waiting import as_they_end
from guarded_tools.policy.schema_check import flaw_of
from guarded_tools.text.visible import one_line
from guarded_tools.values import AuditEvent, Risk

if TYPE_CHECKING:
    from guarded_tools.adapters.held_calls import HeldCalls
    from guarded_tools.audit import AuditLog
    from guarded_tools.policy.policy import PolicySource
    from guarded_tools.stores import Store
    from guarded_tools.tools.lock import Lock

Config: TypeAlias = Mapping[str, Any]
RiskOf: TypeAlias = Callable[[str], Risk | None]

_GRACE = 60.0
"""Seconds beyond a human's for which a silent connection is not given up: the question has its end before."""

log = logging.getLogger("guarded_tools.mcp")


class GuardOptions(TypedDict, total=False):
    """What is handed on to :class:`~guarded_tools.guard.Guard`, where each is described."""

    store: Store | str | None
    approver: Approver | None
    audit: AuditLog | str | os.PathLike[str] | None
    session: str | None
    grant: str | Callable[[Mapping[str, Any]], str | None] | None
    clock: Callable[[], float] | None
    on_denied: Literal["return", "raise"]
    lock: Lock | str | os.PathLike[str] | None
    observers: Sequence[Callable[[AuditEvent], None]]
    state: str | os.PathLike[str] | None


class GuardedTools(list[BaseTool]):
    """The guarded tools of one or more servers: a list that follows what the servers list.

    ``guard`` is the guard in front of them: ``tools.guard.usage()``.
    """

    def __init__(
        self, guard: Guard, sessions: Sequence[HeldSession], *, keyed: bool, risk: RiskOf, calls: HeldCalls
    ) -> None:
        super().__init__()
        self.guard = guard
        self._calls = calls
        self._sessions = tuple(sessions)
        self._keyed = keyed
        self._risk = risk
        self._taking_over = threading.Lock()  # changes are told in the sessions' own threads
        for session in self._sessions:
            session.on_tools_changed = self._on_changed
        self.refresh()
        # Only now: a server that drops a tool later must not keep its other changes from being taken up.
        guard.check_names([identity(tool).name for tool in self._convert()])
        self._warn_of_schemas()

    def _warn_of_schemas(self) -> None:
        """Say of which tools the results are handed on unchecked, because their output schema cannot be used."""
        for session in self._sessions:
            for tool in session.tools:
                flaw = "" if tool.output_schema is None else flaw_of(tool.output_schema)
                if flaw:
                    name = one_line(tool.name)
                    log.warning("Results of %s of %s go unchecked: its output schema: %s", name, session.name, flaw)

    def refresh(self) -> None:
        """Take over what the servers list now, every tool guarded.

        Raises:
            GuardError: two tools have one name.
        """
        with self._taking_over:
            converted = self._convert()
            guarded = self.guard.wrap(converted)
            # After they were registered, so that no call is judged by half of it.
            self.guard.follow([identity(tool) for tool in converted])
            self[:] = guarded

    def _convert(self) -> list[BaseTool]:
        owners: dict[str, str] = {}
        converted: list[BaseTool] = []
        for session in self._sessions:
            for tool in langchain_tools(session, keyed=self._keyed, risk=self._risk, calls=self._calls):
                if tool.name in owners:
                    raise GuardError(_two_of_one_name(one_line(tool.name), owners[tool.name], session.name))
                owners[tool.name] = session.name
                converted.append(tool)
        return converted

    def _on_changed(self, _: object) -> None:
        try:
            self.refresh()
        except GuardError as error:
            log.error(  # noqa: TRY400 - the message says it all
                "The tools of a server changed, and the old ones stay in use: %s", error
            )


class ServerContext:
    """Servers that are about to be opened: enter it with ``with`` or ``async with``."""

    def __init__(
        self,
        servers: Mapping[str, Server],
        policy: PolicySource | Mapping[str, PolicySource],
        *,
        keyed: bool = False,
        read_timeout: float = READ_TIMEOUT,
        start_timeout: float | None = None,
        question_timeout: float = TIMEOUT,
        risk: RiskOf = lambda _: None,
        on_progress: OnProgress | None = None,
        options: GuardOptions,
    ) -> None:
        self._policy = policy
        self._options = options
        self._keyed = keyed
        self._risk = risk
        self._question_timeout = question_timeout
        self._guard: Guard | None = None
        self._sessions = [
            HeldSession(
                server, name=name, read_timeout=read_timeout, start_timeout=start_timeout, on_progress=on_progress
            )
            for name, server in servers.items()
        ]

    def _make_guard(self) -> None:
        # Before any server is started: a policy that cannot be used starts nothing.
        self._guard = Guard(self._policy, **self._options)
        self._questions = Questions(self._guard, self._question_timeout)
        for session in self._sessions:
            session.answer_with(self._questions.answer, within=self._question_timeout + _GRACE)

    def _guarded(self) -> GuardedTools:
        assert self._guard is not None
        return GuardedTools(
            self._guard, self._sessions, keyed=self._keyed, risk=self._risk, calls=self._questions.calls
        )

    def _let_go(self) -> None:
        """Close what the guard opened; a store or a log that was handed in is its owner's."""
        if self._guard is None:
            return
        if self._guard.audit is not self._options.get("audit"):
            self._guard.audit.close()  # before the store, in which it keeps its head
        if self._guard.store is not self._options.get("store"):
            self._guard.store.close()

    def __enter__(self) -> GuardedTools:
        self._make_guard()
        try:
            # Waited for together: the first that fails, or Ctrl-C, ends the others.
            for started in as_they_end([session.start() for session in self._sessions]):
                started.result()
            return self._guarded()
        except BaseException:
            self.__exit__()
            raise

    def __exit__(self, *exc: object) -> None:
        for session in self._sessions:
            session.close()
        self._let_go()

    async def __aenter__(self) -> GuardedTools:
        # Reading a policy and dressing tools takes tens of milliseconds, which is long for a loop.
        await asyncio.to_thread(self._make_guard)
        try:
            await asyncio.gather(*(session.aopen() for session in self._sessions))
            return await asyncio.to_thread(self._guarded)
        except BaseException:
            await self.__aexit__()
            raise

    async def __aexit__(self, *exc: object) -> None:
        try:
            await asyncio.gather(*(session.aclose() for session in self._sessions))
        finally:
            await asyncio.to_thread(self._let_go)


def guarded_tools(
    servers: Mapping[str, Config | Server],
    *,
    policy: PolicySource | Mapping[str, PolicySource],
    keyed: bool = False,
    read_timeout: float = READ_TIMEOUT,
    start_timeout: float | None = None,
    question_timeout: float = TIMEOUT,
    on_progress: OnProgress | None = None,
    **options: Unpack[GuardOptions],
) -> ServerContext:
    """Open MCP servers and guard every tool of them; use it with ``with`` or ``async with``.

    Args:
        servers: By name, as MCP clients write them: ``command``, ``args``, ``env`` and ``cwd`` for a process,
            ``url``, ``headers`` and ``auth`` (an :class:`httpx.Auth`) for streamable HTTP, and with
            ``"transport": "sse"`` for the older transport.
        policy: As :class:`~guarded_tools.guard.Guard` takes it.
        keyed: Name tools by server: ``server/tool`` in policies, ``server_tool`` to models.
        read_timeout: Seconds a call may take.
        start_timeout: Seconds a server may take to start. Default: 60, and 90 for commands that download.
        question_timeout: Seconds a human has for what a server asks in the middle of a call (elicitation).
        on_progress: Called in a session's own thread with each :class:`~guarded_tools.mcp_session.Progress` of a call.
        **options: What else :class:`~guarded_tools.guard.Guard` takes. What a server asks in the middle of a call
            is put to ``approver``; one that suspends the run leaves the call under way until the run comes back.

    Yields a list of tools with the guard as its ``guard``.

    Raises:
        ConnectionFailed: a server is described wrongly, did not start or did not answer.
        PolicyError: the policy cannot be used.
        GuardError: two servers have a tool of one name, and ``keyed`` is false.
    """
    described = {
        name: server if isinstance(server, StdioServer | HttpServer) else read_server(name, server)
        for name, server in servers.items()
    }
    return ServerContext(
        described,
        policy,
        keyed=keyed,
        read_timeout=read_timeout,
        start_timeout=start_timeout,
        question_timeout=question_timeout,
        on_progress=on_progress,
        options=options,
    )


def _two_of_one_name(tool: str, one: str, other: str) -> str:
    if one == other:
        return f"the server {one} lists two tools that go by the name {tool}"
    return (
        f"the servers {one} and {other} both have a tool called {tool}; pass keyed=True, and name them"
        f" {one}/{tool} and {other}/{tool} in the policy"
    )
