"""The thread that owns a session: its loop, the connection that lives there, and the way across.

An MCP session has to be entered and left in one task, used in that task's event loop, and alive between two calls of an
agent that has a loop of its own, a new one for each call, or none. So each session has a daemon thread with a loop, and
callers hand coroutines over to it: :meth:`SessionThread.wait` blocks, :meth:`SessionThread.await_` does not.

- At most one connection is opened at a time; all who need one wait for the same attempt, and who stops waiting does not
  stop it for the others. A connection that was found dead before the call left is replaced once, and the call goes on.
- Nothing is sent for a caller who was not judged by what the server lists: see :meth:`SessionThread.call`.
- ``stop`` waits for nothing and may be called from anywhere, also while the interpreter exits; ``join`` waits, bounded.
- A forked child inherits the object but not the thread: it is told to open a session of its own.

anyio's ``BlockingPortal`` is the same idea; it would take the place of thirty lines here, and of none of these rules.
"""

from __future__ import annotations

import asyncio
import atexit
import concurrent.futures
import json
import logging
import os
import shlex
import sys
import threading
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from typing import Any, TypeAlias, TypeVar

from guarded_tools.errors import ConnectionFailed
from guarded_tools.mcp_session.connection import Connection
from guarded_tools.mcp_session.generation import sdk
from guarded_tools.mcp_session.protocol import Answer, ListedTool
from guarded_tools.mcp_session.streams import load_sdk
from guarded_tools.mcp_session.transport import Masker, OnProgress, OnQuestion, Server, StdioServer
from guarded_tools.mcp_session.waiting import result_of
from guarded_tools.text.visible import one_line

T = TypeVar("T")
Unchanged: TypeAlias = Callable[[ListedTool], bool]

_CLOSE_TIMEOUT = 6.0  # the SDK's own escalation is stdin closed, 2 s, SIGTERM, 2 s, SIGKILL

_SILENCE = 2.0  # seconds after which a human wonders what it waits for

log = logging.getLogger("guarded_tools.mcp")


def _watched() -> bool:
    """Whether a human may be looking on: at a terminal, or in a notebook."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return hasattr(shell, "kernel") or (sys.stderr is not None and sys.stderr.isatty())


class SessionThread:
    """The thread, its loop, and the connection that lives there. Coroutine methods run in that loop only."""

    def __init__(
        self,
        server: Server,
        name: str,
        read_timeout: float,
        start_timeout: float | None,
        changed: Callable[[Sequence[ListedTool]], None],
    ) -> None:
        self.server = server
        self.name = name
        self.read_timeout = read_timeout
        self.question_timeout = 0.0
        self._start_timeout = start_timeout
        self.mask = Masker(server.secrets())
        self.tools: tuple[ListedTool, ...] = ()
        self.server_info: object = None
        self.on_progress: OnProgress | None = None
        self.on_question: OnQuestion | None = None
        self._changed = changed
        self._connection: Connection | None = None
        self._opening: asyncio.Task[Connection] | None = None
        self._background: set[asyncio.Task[Any]] = set()
        self._pid = os.getpid()
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping: asyncio.Event | None = None
        self._stopped: concurrent.futures.Future[None] = concurrent.futures.Future()

    @property
    def start_timeout(self) -> float:
        """Seconds a server may take until it has listed its tools."""
        usual = self.server.start_timeout + sdk().PATIENCE
        return usual if self._start_timeout is None else self._start_timeout

    # Called from any thread

    def start(self) -> None:
        """Start the thread. Nothing is sent yet."""
        if self._thread is not None:
            raise ConnectionFailed(f"the session with {self.name} was opened before", sent=False)
        if patched := _patched():
            raise ConnectionFailed(
                f"{patched} has replaced threads by greenlets in this process, and the session with {self.name} needs a"
                f" thread of its own: it would block everything. Run the agent in a process that is not patched",
                sent=False,
            )
        self.server.check()
        load_sdk()
        ready = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(ready,), name="guarded-tools-mcp", daemon=True)
        self._thread.start()
        ready.wait()
        _open_threads.add(self)

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
            return result_of(future)
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

    # Called in the session's thread

    def _run(self, ready: threading.Event) -> None:
        try:
            with asyncio.Runner() as runner:  # not asyncio.run, which notebooks replace by one for their own loop
                runner.run(self._live(ready))
        finally:
            ready.set()
            _open_threads.discard(self)
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
        told = asyncio.get_running_loop().call_later(_SILENCE, self._say_what_is_waited_for)
        try:
            done, _ = await asyncio.wait(
                {running, connection.ready}, timeout=self.start_timeout, return_when=asyncio.FIRST_COMPLETED
            )
        except asyncio.CancelledError:
            running.cancel()
            raise
        finally:
            told.cancel()
        if connection.ready in done:
            return connection
        reason = (
            connection.reason
            if running in done
            else (
                f"did not answer within {self.start_timeout:g} s; a server that starts slower gets more with"
                f" start_timeout (in the shell: --start-timeout)"
            )
        )
        running.cancel()
        unsaid = _by_itself(self.server) if running in done else ""
        raise await connection.failed(f"{self.name} {reason}", sent=False, unsaid=unsaid)

    def _say_what_is_waited_for(self) -> None:
        log.log(logging.WARNING if _watched() else logging.INFO, "waiting for %s …", self.name)

    async def call(self, tool: str, arguments: Mapping[str, Any] | None, unchanged: Unchanged | None = None) -> Answer:
        """Call a tool on the live connection.

        A server that was started anew, or that changed its tools, lists them before any call leaves, and nothing can
        come between the last look at the list and the call.

        Raises:
            ConnectionFailed: as :meth:`Connection.call`; or the tool is not the one that ``unchanged`` expects.
        """
        try:
            # What cannot be written would end the connection in the writer, for every call under way.
            json.dumps(arguments, ensure_ascii=False, allow_nan=False, default=str).encode()
        except (ValueError, RecursionError) as error:
            raise ConnectionFailed(f"the arguments of {tool} are no JSON: {error}", sent=False) from None
        connection = await self._connected_for(tool, unchanged)
        try:
            return await connection.call(tool, arguments)
        except ConnectionFailed as failure:
            if failure.sent or connection.usable:
                raise
        # The connection was gone before the call could leave: what is lost is the connection, not the call.
        return await (await self._connected_for(tool, unchanged)).call(tool, arguments)

    async def _connected_for(self, tool: str, unchanged: Unchanged | None) -> Connection:
        connection = await self.connected()
        await connection.relisted()
        if unchanged is not None and not any(listed.name == tool and unchanged(listed) for listed in self.tools):
            raise ConnectionFailed(
                f"{self.name} no longer lists {one_line(tool)} as it was when this call was judged; nothing was sent."
                " Call it anew: it is judged as it is now",
                sent=False,
            )
        return connection

    def adopt(self, tools: tuple[ListedTool, ...], *, first: bool) -> None:
        """Take note of what the server lists; tell if it is news."""
        before, self.tools = self.tools, tools
        if tools == before or (first and not before):
            return
        try:
            self._changed(tools)
        except Exception:
            log.exception("Taking up the changed tools of %s failed", self.name)


def _patched() -> str:
    """Name who has replaced ``threading`` by something that runs in the one thread of its caller, if anybody has."""
    gevent, eventlet = sys.modules.get("gevent.monkey"), sys.modules.get("eventlet.patcher")
    if gevent is not None and gevent.is_module_patched("threading"):
        return "gevent"
    return "eventlet" if eventlet is not None and eventlet.is_monkey_patched("thread") else ""


_open_threads: set[SessionThread] = set()


@atexit.register
def _close_all() -> None:
    for thread in tuple(_open_threads):
        thread.stop()
    for thread in tuple(_open_threads):
        thread.join()


def _by_itself(server: Server) -> str:
    """Say how to see why a server ended that said nothing."""
    if not isinstance(server, StdioServer):
        return ""
    return f"; it said nothing, so run it by itself to see why: {shlex.join((server.command, *server.args))}"
