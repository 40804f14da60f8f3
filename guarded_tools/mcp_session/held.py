"""A held MCP session: opened once, used from anywhere, reopened when the server died.

An MCP session belongs to the task that entered it and to that task's event loop. So each :class:`HeldSession` owns a
thread with a loop, in which one task enters and leaves the session; calls cross over to it from any loop, from sync
code and from notebooks. The thread is a daemon: a program whose author forgot to close ends all the same.
"""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, Self

from guarded_tools.mcp_session.session_thread import SessionThread, Unchanged
from guarded_tools.mcp_session.transport import OnProgress, OnQuestion, Server

if TYPE_CHECKING:
    from guarded_tools.mcp_session.protocol import Answer, ListedTool

READ_TIMEOUT = 90.0
"""Seconds a call may take unless told otherwise."""


class HeldSession:
    """One MCP session with one server, for as long as it is open.

    Args:
        server: A :class:`StdioServer` or an :class:`HttpServer`.
        name: What errors call the server.
        read_timeout: Seconds a call may take.
        start_timeout: Seconds the server may take to start. Default: 60, and 90 for commands that download.
        on_tools_changed: Called in the session's own thread with the new tools when the server says that they
            changed, or when a reopened server lists others.
        on_progress: Called in the session's own thread with each :class:`Progress` that the server tells of a call.
        on_question: Awaited in the session's own loop with each :class:`Elicitation` that the server asks in a call;
            returns the answer, or ``None`` to decline. Without it the server is told that nobody can be asked. It has
            to be there before the session is opened.

    Use it with ``with`` or ``async with``. All calls raise :class:`~guarded_tools.errors.ConnectionFailed`.
    """

    def __init__(
        self,
        server: Server,
        *,
        name: str = "",
        read_timeout: float = READ_TIMEOUT,
        start_timeout: float | None = None,
        on_tools_changed: Callable[[Sequence[ListedTool]], None] | None = None,
        on_progress: OnProgress | None = None,
        on_question: OnQuestion | None = None,
    ) -> None:
        self.name = name
        self.on_tools_changed = on_tools_changed
        this = weakref.ref(self)  # the thread must not keep alive what a forgetful user has dropped

        def changed(tools: Sequence[ListedTool]) -> None:
            held = this()
            if held is not None and held.on_tools_changed is not None:
                held.on_tools_changed(tools)

        self._thread = SessionThread(server, name or "the MCP server", read_timeout, start_timeout, changed)
        self._thread.on_progress = on_progress
        self._thread.on_question = on_question
        weakref.finalize(self, self._thread.stop).atexit = False

    def answer_with(self, on_question: OnQuestion, *, within: float = 0.0) -> None:
        """Have what the server asks answered by ``on_question``, from the next time it is opened.

        ``within``: seconds that may take; a connection that is silent for so long is not given up.
        """
        self._thread.on_question = on_question
        self._thread.question_timeout = within

    def open(self) -> None:
        """Start the server and wait until it has listed its tools."""
        self._thread.start()
        try:
            self._thread.wait(self._thread.connected())
        except BaseException:
            self.close()
            raise

    def start(self) -> Future[object]:
        """Start the server and wait for nothing. What is returned ends when it has listed its tools, or failed.

        It has to be closed in both cases.
        """
        self._thread.start()
        return self._thread.submit(self._thread.connected())

    async def aopen(self) -> None:
        """As :meth:`open`, without blocking the loop."""
        # It looks for the command on the PATH, and waits until its thread is there.
        starting = asyncio.get_running_loop().run_in_executor(None, self._thread.start)
        try:
            await asyncio.shield(starting)
            await self._thread.await_(self._thread.connected())
        except BaseException:
            if not starting.done():  # cancelled while it starts
                starting.add_done_callback(lambda _: self._thread.stop())
            await self.aclose()
            raise

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        await self.aopen()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.aclose()

    @property
    def tools(self) -> tuple[ListedTool, ...]:
        """What the server lists, as it last said."""
        return self._thread.tools

    @property
    def server_info(self) -> object:
        """What the server says that it is, in the SDK's own object; ``None`` where it does not."""
        return self._thread.server_info

    async def call_tool(
        self, name: str, arguments: Mapping[str, Any] | None = None, *, unchanged: Unchanged | None = None
    ) -> Answer:
        """Call a tool from any event loop. Cancelling it tells the server.

        What it answers is not compared with the tool's output schema. ``unchanged`` is asked right before the call
        leaves, with the tool as the server lists it then; where it says no, nothing is sent.

        Raises:
            ConnectionFailed: the server could not be reached, died or did not answer in time; ``sent`` says whether
                the call may have run.
            Sdk.ProtocolError: the server answered with a protocol error, in its words without our secrets.
        """
        return await self._thread.await_(self._thread.call(name, arguments, unchanged))

    def call_tool_sync(
        self, name: str, arguments: Mapping[str, Any] | None = None, *, unchanged: Unchanged | None = None
    ) -> Answer:
        """Call a tool from sync code; also where an event loop runs, as in a notebook. Raises as :meth:`call_tool`."""
        return self._thread.wait(self._thread.call(name, arguments, unchanged))

    def begin_call(
        self, name: str, arguments: Mapping[str, Any] | None = None, *, unchanged: Unchanged | None = None
    ) -> Future[Answer]:
        """Call a tool and wait for nothing: it goes on whoever waits. Cancelling what is returned tells the server.

        What is returned ends as :meth:`call_tool` does; it is cancelled where the session was closed meanwhile.
        """
        return self._thread.submit(self._thread.call(name, arguments, unchanged))

    def close(self) -> None:
        """End the session and the server's process. Calls under way fail. Closing twice does nothing."""
        self._thread.stop()
        self._thread.join()

    async def aclose(self) -> None:
        """As :meth:`close`, without blocking the loop."""
        self._thread.stop()
        await self._thread.ajoin()
