"""A held MCP session: opened once, used from anywhere, reopened when the server died.

An MCP session belongs to the task that entered it and to that task's event loop. So each :class:`HeldSession` owns a
thread with a loop, in which one task enters and leaves the session; calls cross over to it from any loop, from sync
code and from notebooks. The thread is a daemon: a program whose author forgot to close ends all the same.
"""

from __future__ import annotations

import asyncio
import atexit
import concurrent.futures
import logging
import os
import threading
import weakref
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Self, TypeVar

from guarded_tools.errors import ConnectionFailed
from guarded_tools.mcp_connection import Connection
from guarded_tools.mcp_transport import HttpServer, Masker, Server, StdioServer

if TYPE_CHECKING:
    from mcp.types import CallToolResult, Tool

__all__ = ["HeldSession", "HttpServer", "StdioServer"]

T = TypeVar("T")

READ_TIMEOUT = 90.0
"""Seconds a call may take unless told otherwise."""

_CLOSE_TIMEOUT = 6.0  # the SDK's own escalation is stdin closed, 2 s, SIGTERM, 2 s, SIGKILL

log = logging.getLogger("guarded_tools.mcp")


class HeldSession:
    """One MCP session with one server, for as long as it is open.

    Args:
        server: A :class:`StdioServer` or an :class:`HttpServer`.
        name: What errors call the server.
        read_timeout: Seconds a call may take.
        start_timeout: Seconds the server may take to start. Default: 10, and 90 for commands that download.
        on_tools_changed: Called in the session's own thread with the new tools when the server says that they
            changed, or when a reopened server lists others.

    Use it with ``with`` or ``async with``. All calls raise :class:`~guarded_tools.errors.ConnectionFailed`.
    """

    def __init__(
        self,
        server: Server,
        *,
        name: str = "",
        read_timeout: float = READ_TIMEOUT,
        start_timeout: float | None = None,
        on_tools_changed: Callable[[Sequence[Tool]], None] | None = None,
    ) -> None:
        self.name = name
        self.on_tools_changed = on_tools_changed
        this = weakref.ref(self)  # the thread must not keep alive what a forgetful user has dropped

        def changed(tools: Sequence[Tool]) -> None:
            held = this()
            if held is not None and held.on_tools_changed is not None:
                held.on_tools_changed(tools)

        self._owner = _Owner(server, name or "the MCP server", read_timeout, start_timeout, changed)
        weakref.finalize(self, self._owner.stop).atexit = False

    def __enter__(self) -> Self:
        self._owner.start()
        try:
            self._owner.wait(self._owner.connected())
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        self._owner.start()
        try:
            await self._owner.await_(self._owner.connected())
        except BaseException:
            await self.aclose()
            raise
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.aclose()

    @property
    def tools(self) -> tuple[Tool, ...]:
        """What the server lists, as it last said."""
        return self._owner.tools

    async def call_tool(
        self, name: str, arguments: Mapping[str, Any] | None = None, *, progress_callback: None = None
    ) -> CallToolResult:
        """Call a tool from any event loop. Cancelling it tells the server.

        Raises:
            ConnectionFailed: the server could not be reached, died or did not answer in time; ``sent`` says whether
                the call may have run.
            McpError: the server answered with a protocol error.
        """
        del progress_callback  # named so that langchain-mcp-adapters can call this as it calls the SDK's session
        return await self._owner.await_(self._owner.call(name, arguments))

    def call_tool_sync(self, name: str, arguments: Mapping[str, Any] | None = None) -> CallToolResult:
        """Call a tool from sync code; also where an event loop runs, as in a notebook. Raises as :meth:`call_tool`."""
        return self._owner.wait(self._owner.call(name, arguments))

    def close(self) -> None:
        """End the session and the server's process. Calls under way fail. Closing twice does nothing."""
        self._owner.stop()
        self._owner.join()

    async def aclose(self) -> None:
        """As :meth:`close`, without blocking the loop."""
        self._owner.stop()
        await self._owner.ajoin()


class _Owner:
    """The thread, its loop, and the connection that lives there. Coroutine methods run in that loop only."""

    def __init__(
        self,
        server: Server,
        name: str,
        read_timeout: float,
        start_timeout: float | None,
        changed: Callable[[Sequence[Tool]], None],
    ) -> None:
        self.server = server
        self.name = name
        self.read_timeout = read_timeout
        self.start_timeout = server.start_timeout if start_timeout is None else start_timeout
        self.mask = Masker(server.secrets())
        self.tools: tuple[Tool, ...] = ()
        self._changed = changed
        self._connection: Connection | None = None
        self._opening: asyncio.Task[Connection] | None = None
        self._background: set[asyncio.Task[Any]] = set()
        self._pid = os.getpid()
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping: asyncio.Event | None = None
        self._stopped: concurrent.futures.Future[None] = concurrent.futures.Future()

    # Called from any thread

    def start(self) -> None:
        if self._thread is not None:
            raise ConnectionFailed(f"the session with {self.name} was opened before", sent=False)
        self.server.check()
        ready = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(ready,), name="guarded-tools-mcp", daemon=True)
        self._thread.start()
        ready.wait()
        _open_owners.add(self)

    def submit(self, work: Coroutine[Any, Any, T]) -> concurrent.futures.Future[T]:
        problem = self._unusable()
        if problem:
            work.close()
            raise ConnectionFailed(f"the session with {self.name} {problem}", sent=False)
        assert self._loop is not None
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def _unusable(self) -> str:
        if os.getpid() != self._pid:
            return "was opened before this process was forked; open one in this process"
        if self._thread is threading.current_thread():
            return "cannot be waited for in its own thread"
        return "is not open" if self._loop is None or self._loop.is_closed() else ""

    def wait(self, work: Coroutine[Any, Any, T]) -> T:
        future = self.submit(work)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    async def await_(self, work: Coroutine[Any, Any, T]) -> T:
        return await asyncio.wrap_future(self.submit(work))

    def stop(self) -> None:
        if self._loop is not None and self._stopping is not None and os.getpid() == self._pid:
            with suppress(RuntimeError):  # the loop is closed already
                self._loop.call_soon_threadsafe(self._stopping.set)

    def join(self) -> None:
        if self._loop is not None and os.getpid() == self._pid and self._thread is not threading.current_thread():
            with suppress(TimeoutError):
                self._stopped.result(_CLOSE_TIMEOUT)

    async def ajoin(self) -> None:
        if self._loop is not None and os.getpid() == self._pid:
            await asyncio.wait([asyncio.wrap_future(self._stopped)], timeout=_CLOSE_TIMEOUT)

    # Called in the owner's thread

    def _run(self, ready: threading.Event) -> None:
        try:
            asyncio.run(self._live(ready))
        finally:
            ready.set()
            _open_owners.discard(self)
            with suppress(concurrent.futures.InvalidStateError):
                self._stopped.set_result(None)

    async def _live(self, ready: threading.Event) -> None:
        self._stopping = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        ready.set()
        await self._stopping.wait()
        if self._opening is not None:
            self._opening.cancel()
        if self._connection is not None:
            self._connection.finish("was closed")
        if self._background:
            await asyncio.wait(self._background, timeout=_CLOSE_TIMEOUT)

    def spawn(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)
        return task

    async def connected(self) -> Connection:
        if self._connection is not None and not self._connection.over.is_set():
            return self._connection
        if self._opening is None:
            self._opening = self.spawn(self._open())
            self._opening.add_done_callback(self._opened)
        # One attempt for all who wait; who stops waiting does not stop it for the others.
        return await asyncio.shield(self._opening)

    def _opened(self, opening: asyncio.Task[Connection]) -> None:
        self._opening = None
        if not opening.cancelled() and opening.exception() is None:
            self._connection = opening.result()

    async def _open(self) -> Connection:
        connection = Connection(self)
        running = self.spawn(connection.run())
        try:
            done, _ = await asyncio.wait(
                {running, connection.ready}, timeout=self.start_timeout, return_when=asyncio.FIRST_COMPLETED
            )
        except asyncio.CancelledError:
            running.cancel()
            raise
        if connection.ready in done:
            return connection
        reason = connection.reason if running in done else f"did not answer within {self.start_timeout:g} s"
        running.cancel()
        raise await connection.failed(f"{self.name} {reason}", sent=False)

    async def call(self, tool: str, arguments: Mapping[str, Any] | None) -> CallToolResult:
        connection = await self.connected()
        try:
            return await connection.call(tool, arguments)
        except ConnectionFailed as failure:
            if failure.sent or not connection.over.is_set():
                raise
        # The connection was gone before the call could leave: what is lost is the connection, not the call.
        return await (await self.connected()).call(tool, arguments)

    def adopt(self, tools: tuple[Tool, ...], *, first: bool) -> None:
        before, self.tools = self.tools, tools
        if tools == before or (first and not before):
            return
        try:
            self._changed(tools)
        except Exception:
            log.exception("Taking up the changed tools of %s failed", self.name)


_open_owners: set[_Owner] = set()


@atexit.register
def _close_all() -> None:
    for owner in tuple(_open_owners):
        owner.stop()
    for owner in tuple(_open_owners):
        owner.join()
