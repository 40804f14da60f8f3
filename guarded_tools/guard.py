"""The guard: what a program holds. Everything it does to a call is :mod:`guarded_tools.pipeline`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

from guarded_tools.approval.calling import still_asks
from guarded_tools.approval.withdrawal import withdraw
from guarded_tools.approvers.protocol import who
from guarded_tools.marks import Carried
from guarded_tools.pipeline.context import check_session
from guarded_tools.pipeline.gate import Gate
from guarded_tools.pipeline.watch import PolicyWatch
from guarded_tools.values import AuditEvent, Usages, grant_scope, session_scope, trial_scope

if TYPE_CHECKING:
    from langchain_core.tools import BaseTool

    from guarded_tools.adapters.fastmcp_middleware import GuardServerMiddleware
    from guarded_tools.adapters.interceptor import GuardInterceptor
    from guarded_tools.adapters.middleware import GuardMiddleware


class Guard(Gate):
    """Checks every call against a policy, limits, and a human where the policy asks for one.

    Args:
        policy: A :class:`Policy`, a path, a preset's name, or a mapping of grants to these. A grant that the mapping
            does not name is refused every call.
        store: Where counters are kept: a :class:`Store` or a URL. Default: on disk in the state directory.
        approver: Who answers when the policy asks. Default: nobody, so what must be asked is refused.
        audit: An :class:`AuditLog`, or the path of one. Default: in the state directory.
        session: Whose limits count. Default: LangGraph's ``thread_id``, else ``"default"``.
        grant: Who the agent acts for: a string, or a function of the runnable config. Where that fails, or returns
            neither a string nor an integer nor ``None``, every call is refused.
        clock: Seconds since the epoch. Default: the store's own clock, which a clock step does not fool.
        on_denied: ``"return"`` gives the model a text it understands; ``"raise"`` raises :class:`ToolDenied`.
        lock: Pinned tools; one that changed since, or is new, is refused.
        observers: Called with every audit event after it was written, and when an execution pauses and goes on; what
            they raise is logged and changes nothing.
        state: The state directory. Default: ``GUARDED_TOOLS_HOME``, else the user's own.

    Raises:
        PolicyError: the policy cannot be used; every problem is listed.
        StoreError: the counters cannot be relied on.
        TypeError: the approver, the store, the session or the grant is none.
    """

    def close(self) -> None:
        """Let go of files and connections: the audit's, with its head brought up to date, then the store's.

        Questions of calls that were cancelled are taken back before, for which two seconds are waited at most.

        A process that stops without it loses nothing: the next one looks whether anything has to be repaired. Views
        share both, and guard and store may be used again afterwards.

        Raises:
            OSError: the audit could not be forced to the disk; all else is done.
        """
        still_asks(self.approver)
        try:
            self.audit.close()
        finally:
            self.store.close()

    async def aclose(self) -> None:
        """As :meth:`close`, beside the event loop."""
        try:
            await asyncio.to_thread(self.close)
        finally:
            aclose = getattr(self.store, "aclose", None)  # a store may have connections of each loop
            if aclose is not None:
                await aclose()

    def watching(self, every: float = 1.0) -> PolicyWatch:
        """Read the policy anew when its file changes, for as long as the ``with`` block lasts that this is for.

        Each worker of a service that does so gets a new policy within two or three times ``every`` seconds, as by
        :meth:`reload`: calls under way and counters are kept, and a file that cannot be used changes nothing. Put a
        new file in the place of the old one in one step (``mv``, ``os.replace``).

        Raises:
            GuardError: the policy comes from no file.
            ValueError: ``every`` is no time.
        """
        if not every > 0:
            raise ValueError(f"every is the seconds between two looks at the file: more than 0, not {every!r}")
        return PolicyWatch(self._registry.files(), self._read_anew, every)

    def _read_anew(self) -> None:
        if self._registry.outdated():
            self.reload()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def usage(self, session: str | None = None) -> Usages:
        """List the limits that were touched, of one session or of all, busiest first."""
        now = None if self._clock is None else self._clock()
        return Usages(self.store.usage(None if session is None else session_scope(session), now))

    async def ausage(self, session: str | None = None) -> Usages:
        """As :meth:`usage`, beside the event loop."""
        return await asyncio.to_thread(self.usage, session)

    def withdraw(self, session: str) -> int:
        """Take back all questions of a session that wait for a human, and free their places; how many there were.

        An answer that comes to one of them runs nothing, and none of it counts as a rejection. A call that waits at an
        inbox goes on at once, refused; another one once its approver comes back, or its run is resumed.

        Raises:
            TypeError: the session is no text.
            StoreError: the store cannot be relied on.
            AuditError: it cannot be written down; the questions are withdrawn all the same.
        """
        check_session(session)
        gone = withdraw(session, store=self.store)
        said = f"withdrew the open questions of {session_scope(session)} ({gone})"
        self._recorder().write(AuditEvent("control", rule="(withdraw)", outcome="ok", message=said))
        return gone

    async def awithdraw(self, session: str) -> int:
        """As :meth:`withdraw`, beside the event loop."""
        return await asyncio.to_thread(self.withdraw, session)

    def labels(self, session: str | None = None) -> list[Carried]:
        """List what a session carries, or what all do: labels, and the calls that rules across calls look for.

        Raises:
            TypeError: the session is no text.
            StoreError: the store cannot be relied on.
        """
        now = None if self._clock is None else self._clock()
        return self.store.carried(None if session is None else session_scope(check_session(session)), now)

    def clear_label(
        self, label: str, *, session: str | None = None, grant: str | None = None, by: str = "", why: str = ""
    ) -> bool:
        """Take a label from a session or a grant, as the human ``by`` decided, and say so in the audit.

        Returns whether it was there; where it was not, nothing is done. ``by`` is the user of this process, if nobody
        is named.

        Raises:
            TypeError: not exactly one of session and grant is given, or it is no text.
            StoreError: the store cannot be relied on; the label stays.
            AuditError: it cannot be written down; the label stays.
        """
        if (session is None) == (grant is None):
            raise TypeError("a label is taken from a session or from a grant: give one of the two")
        scope = grant_scope(check_session(grant)) if session is None else session_scope(check_session(session))
        # A trial that went on with it would tell of questions that nobody would be asked.
        scopes = (scope, trial_scope(scope))
        if not any((each.kind, each.name) == ("label", label) for one in scopes for each in self.store.carried(one)):
            return False
        said = f"clears the label {label!r} of {scope} by {by or who()}{f': {why}' if why else ''}"
        # First: of a label that went nobody knows where, an audit is worth nothing.
        self._recorder().write(
            AuditEvent(
                "control", "", session or "", outcome="ok", rule="(clear)", message=said, grant=grant, labels=(label,)
            )
        )
        gone = [self.store.clear(each, label) for each in scopes]
        return any(gone)

    def wrap(self, tools: Sequence[BaseTool]) -> list[BaseTool]:
        """Return the same tools, guarded; hidden ones are left out."""
        from guarded_tools.adapters.wrap import wrap

        return wrap(self, tools)

    @property
    def interceptor(self) -> GuardInterceptor:
        """For ``MultiServerMCPClient(tool_interceptors=[…])`` and ``load_mcp_tools``."""
        from guarded_tools.adapters.interceptor import GuardInterceptor

        return GuardInterceptor(self)

    def middleware(self, *, trusting: Collection[str] = ()) -> GuardMiddleware:
        """For ``create_agent(middleware=[…])``. ``trusting`` names tools whose own agents may run tools unguarded.

        Raises:
            GuardError: ``langchain`` is not installed.
        """
        from guarded_tools.adapters.beforehand import middleware

        return middleware(self, trusting=trusting)

    def fastmcp_middleware(self, *, session: Callable[[Any], str] | None = None) -> GuardServerMiddleware:
        """For ``FastMCP(middleware=[…])``: guards the tools of a server of one's own, for all of its clients.

        ``session`` names whose limits count, from the request's ``Context``. Left out: the guard's own session, else
        the verified identity, else the client's session, else all clients together.

        Raises:
            GuardError: FastMCP 4 is not installed.
        """
        from guarded_tools.mcp_session import generation

        generation.require_second("fastmcp_middleware() takes FastMCP 4")
        from guarded_tools.adapters.fastmcp_middleware import GuardServerMiddleware

        return GuardServerMiddleware(self, session)

    def subagents(
        self, specs: Iterable[Mapping[str, Any]] = (), *, general_purpose: bool = True
    ) -> list[dict[str, Any]]:
        """For ``create_deep_agent(subagents=…)``: these, and the general-purpose one, with this guard's middleware.

        Without ``general_purpose`` that one is left out, for where it is switched off.

        Raises:
            GuardError: ``deepagents`` is not installed; or an agent was compiled without a guard, or runs on a server
                of its own.
        """
        from guarded_tools.adapters.deepagents import subagents

        return subagents(self, specs, general_purpose=general_purpose)
