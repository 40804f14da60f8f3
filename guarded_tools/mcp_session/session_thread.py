"""The thread that owns a session: its loop, the connection that lives there, and the way across."""

from __future__ import annotations

import asyncio
import atexit
import concurrent.futures
import json
import logging
import os
import threading
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

from guarded_tools.errors import ConnectionFailed
from guarded_tools.mcp_session.connection import Connection
from guarded_tools.mcp_session.transport import Masker, Server

if TYPE_CHECKING:
    from mcp.types import CallToolResult, Tool

T = TypeVar("T")

_CLOSE_TIMEOUT = 6.0  # the SDK's own escalation is stdin closed, 2 s, SIGTERM, 2 s, SIGKILL

log = logging.getLogger("guarded_tools.mcp")


class SessionThread:
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
        """Start the thread. Nothing is sent yet."""
        if self._thread is not None:
            raise ConnectionFailed(f"the session with {self.name} was opened before", sent=False)
        self.server.check()
        ready = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(ready,), name="guarded-tools-mcp", daemon=True)
        self._thread.start()
        ready.wait()
        _open_owners.add(self)

    def submit(self, work: Coroutine[Any, Any, T]) -> concurrent.futures.Future[T]:
        """Run ``work`` in the loop."""
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
        """Run ``work`` in the loop and block for it."""
        future = self.submit(work)
        try:
            return future.result()
        except concurrent.futures.CancelledError:
            raise self._was_closed() from None
        except BaseException:
            future.cancel()
            raise

    async def await_(self, work: Coroutine[Any, Any, T]) -> T:
        """Run ``work`` in the loop and await it in another."""
        future = self.submit(work)
        try:
            return await asyncio.wrap_future(future)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            raise self._was_closed() from None  # nobody cancelled this task: the session ended under it

    def _was_closed(self) -> ConnectionFailed:
        return ConnectionFailed(f"the session with {self.name} was closed while it was in use")

    def stop(self) -> None:
        """Let the session end. Does not wait; safe from any thread, and while the interpreter exits."""
        if self._loop is not None and self._stopping is not None and os.getpid() == self._pid:
            with suppress(RuntimeError):  # the loop is closed already
                self._loop.call_soon_threadsafe(self._stopping.set)

    def join(self) -> None:
        """Wait until the server is gone."""
        if self._loop is not None and os.getpid() == self._pid and self._thread is not threading.current_thread():
            with suppress(TimeoutError):
                self._stopped.result(_CLOSE_TIMEOUT)

    async def ajoin(self) -> None:
        """As :meth:`join`, without blocking the loop."""
        if self._loop is not None and os.getpid() == self._pid:
            await asyncio.wait([asyncio.wrap_future(self._stopped)], timeout=_CLOSE_TIMEOUT)

    # Called in the owner's thread

    def _run(self, ready: threading.Event) -> None:
        try:
            with asyncio.Runner() as runner:  # not asyncio.run, which notebooks replace by one for their own loop
                runner.run(self._live(ready))
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
        """Run ``work`` beside everything else."""
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)
        return task

    async def connected(self) -> Connection:
        """Give the live connection; open one where there is none."""
        if self._connection is not None and self._connection.usable:
            return self._connection
        if self._opening is None:
            self._opening = self.spawn(self._open())
            self._opening.add_done_callback(self._opened)
        # One attempt for all who wait; who stops waiting does not stop it for the others.
        opening = self._opening
        try:
            return await asyncio.shield(opening)
        except asyncio.CancelledError:
            if opening.done() and opening.cancelled():
                raise ConnectionFailed(f"the session with {self.name} was closed", sent=False) from None
            raise

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
        """Call a tool on the live connection."""
        try:
            # What cannot be written would end the connection in the writer, for every call under way.
            json.dumps(arguments, ensure_ascii=False, allow_nan=False, default=str).encode()
        except (ValueError, RecursionError) as error:
            raise ConnectionFailed(f"the arguments of {tool} are no JSON: {error}", sent=False) from None
        connection = await self.connected()
        try:
            return await connection.call(tool, arguments)
        except ConnectionFailed as failure:
            if failure.sent or connection.usable:
                raise
        # The connection was gone before the call could leave: what is lost is the connection, not the call.
        return await (await self.connected()).call(tool, arguments)

    def adopt(self, tools: tuple[Tool, ...], *, first: bool) -> None:
        """Take note of what the server lists; tell if it is news."""
        before, self.tools = self.tools, tools
        if tools == before or (first and not before):
            return
        try:
            self._changed(tools)
        except Exception:
            log.exception("Taking up the changed tools of %s failed", self.name)


_open_owners: set[SessionThread] = set()


@atexit.register
def _close_all() -> None:
    for owner in tuple(_open_owners):
        owner.stop()
    for owner in tuple(_open_owners):
        owner.join()
