"""One life of an MCP server: from its start to its end, with every call that ends in between."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Mapping
from contextlib import suppress
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Protocol, Self

from anyio import BrokenResourceError, ClosedResourceError

from guarded_tools.errors import ConnectionFailed
from guarded_tools.mcp_session.sdk_logs import redact_sdk_logs
from guarded_tools.mcp_session.streams import open_streams
from guarded_tools.mcp_session.transport import Masker, Server, StderrTail, Streams, Unreachable
from guarded_tools.text.visible import one_line

if TYPE_CHECKING:
    from mcp import ClientSession
    from mcp.shared.message import SessionMessage
    from mcp.types import CallToolResult, Tool

_LAST_WORDS = 0.3
_COURTESY_TIMEOUT = 5.0
_MAX_PAGES = 1000
_HUNG_UP = (BrokenResourceError, ClosedResourceError, OSError)  # what writing to a server that ended raises

log = logging.getLogger("guarded_tools.mcp")


class ConnectionHost(Protocol):
    """What a connection needs of whoever holds it."""

    server: Server
    name: str
    mask: Masker
    read_timeout: float

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run ``work`` beside everything else."""
        ...

    def adopt(self, tools: tuple[Tool, ...], *, first: bool) -> None:
        """Take note of what the server lists."""
        ...


class Connection:
    """One life of the server: from its start to its end."""

    def __init__(self, owner: ConnectionHost) -> None:
        self.over = asyncio.Event()
        self._retired = False
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.reason = "ended before it answered"
        self._fate = "died"
        self._owner = owner
        self._tail = StderrTail(owner.mask)
        self._failures: dict[Any, ConnectionFailed] = {}
        self._session: ClientSession | None = None
        self._calls: set[asyncio.Task[Any]] = set()
        self._errands: set[asyncio.Task[Any]] = set()
        self._relisting: asyncio.Task[None] | None = None
        self._stale = False

    @property
    def usable(self) -> bool:
        """Whether a new call may take it."""
        return not (self._retired or self.over.is_set())

    async def run(self) -> None:
        """Enter and leave the session, in one task as it has to be."""
        from mcp import ClientSession, McpError

        owner = self._owner
        redact_sdk_logs(owner.mask)
        try:
            async with open_streams(owner.server, self._tail, read_timeout=owner.read_timeout) as streams:
                self._failures = streams.failures
                incoming, outgoing = _Incoming(streams, self.over), _Outgoing(streams)
                async with ClientSession(incoming, outgoing, message_handler=self._on_message) as session:  # type: ignore[arg-type]
                    session._validate_tool_result = _unchecked  # type: ignore[method-assign]  # noqa: SLF001
                    await session.initialize()
                    self._session = session
                    owner.adopt(await self._list(), first=True)
                    self.ready.set_result(None)
                    await self.over.wait()
        except* ConnectionFailed as group:
            self.reason = str(_leaf(group))
        except* Exception as group:  # noqa: BLE001 - whatever a transport raises at its end is the end
            error, told = _leaf(group), next(iter(self._failures.values()), None)
            log.debug("The connection to %s ended: %s", owner.name, owner.mask(repr(error)))
            if told is not None:
                self.reason = f"could not be reached: {told}"
            elif not (self.over.is_set() and isinstance(error, (McpError, *_HUNG_UP))):
                self.reason = f"could not be opened: {error}"
        finally:
            self.finish()

    def finish(self, fate: str = "died") -> None:
        """Let the session end, and fail the calls under way; ``fate`` is what they are told."""
        if not self.over.is_set():
            self._fate = fate
        self.over.set()
        for task in (self._calls | self._errands) - {asyncio.current_task()}:
            task.cancel()

    async def call(self, tool: str, arguments: Mapping[str, Any] | None) -> CallToolResult:
        """Call a tool, and say of every way in which that can end whether the call may have run."""
        assert self._session is not None
        flight = _PendingCall(tool)
        _flight.set(flight)  # each call has a task, and so a context, of its own
        task = asyncio.current_task()
        assert task is not None
        self._calls.add(task)
        try:
            async with asyncio.timeout(self._owner.read_timeout):
                return await self._session.call_tool(tool, dict(arguments or {}))
        except BaseException as error:
            text = self._account_for(error, flight)
            if text is None:
                raise
        finally:
            self._calls.discard(task)
            if self._retired and not self._calls:
                self.finish()
        raise await self.failed(f"{self._owner.name} {text}", sent=flight.sent) from None

    def _account_for(self, error: BaseException, flight: _PendingCall) -> str | None:  # noqa: PLR0911 - one for each ending
        """Say what an exception means for the call; ``None`` leaves it as it is."""
        from mcp import McpError
        from pydantic import ValidationError

        lost = f"{self._fate} while {flight.tool} was under way"
        match error:
            case TimeoutError():
                self._tell_cancelled(flight, "timed out")
                return f"did not answer {flight.tool} within {self._owner.read_timeout:g} s"
            case asyncio.CancelledError() if self.over.is_set():
                return lost
            case asyncio.CancelledError():
                self._tell_cancelled(flight, "cancelled")
            case McpError() if flight.id in self._failures:
                failure = self._failures.pop(flight.id)
                flight.sent = failure.sent
                if isinstance(failure, Unreachable):
                    self._retired = True  # other calls may still be answered
                return f"did not answer {flight.tool}: {failure}"
            case McpError() if self.over.is_set():
                return lost
            case ValidationError() if flight.sent:
                return f"answered {flight.tool} with something that is no tool result"
            case BrokenResourceError() | ClosedResourceError():
                self.finish()
                return f"{self._fate} before {flight.tool} could be sent"
        return None

    def _tell_cancelled(self, flight: _PendingCall, why: str) -> None:
        if flight.sent and flight.id is not None:
            self._run_errand(self._notify_cancelled(flight.id, why))

    def _run_errand(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        errand = self._owner.spawn(work)
        self._errands.add(errand)
        errand.add_done_callback(self._errands.discard)
        return errand

    async def _notify_cancelled(self, request_id: int | str, why: str) -> None:
        from mcp.types import CancelledNotification, CancelledNotificationParams, ClientNotification

        assert self._session is not None
        params = CancelledNotificationParams(requestId=request_id, reason=why)
        with suppress(Exception):  # a courtesy; a server that is gone needs none
            async with asyncio.timeout(_COURTESY_TIMEOUT):
                await self._session.send_notification(ClientNotification(CancelledNotification(params=params)))

    async def _on_message(self, message: object) -> None:
        from mcp.types import ServerNotification, ToolListChangedNotification

        if isinstance(message, ServerNotification) and isinstance(message.root, ToolListChangedNotification):
            self._stale = True
            if self._relisting is None or self._relisting.done():
                # Asking for the list here would wait for an answer that only this very loop can receive.
                self._relisting = self._run_errand(self._relist())

    async def _relist(self) -> None:
        try:
            while self._stale and not self.over.is_set():
                self._stale = False
                async with asyncio.timeout(self._owner.read_timeout):
                    self._owner.adopt(await self._list(), first=False)
        except Exception as error:  # noqa: BLE001 - the old list stays, and calls say what is wrong
            log.warning(
                "The changed tools of %s could not be listed: %s",
                self._owner.name,
                one_line(self._owner.mask(str(error))),
            )

    async def _list(self) -> tuple[Tool, ...]:
        from mcp.types import PaginatedRequestParams

        assert self._session is not None
        tools: list[Tool] = []
        cursor = None
        for _ in range(_MAX_PAGES):
            page = await self._session.list_tools(params=PaginatedRequestParams(cursor=cursor))
            tools += page.tools
            cursor = page.nextCursor
            if not cursor:
                return tuple(tools)
        raise ConnectionFailed(f"lists more than {_MAX_PAGES} pages of tools", sent=False)

    async def failed(self, message: str, *, sent: bool) -> ConnectionFailed:
        """Make the error that says what happened, with the server's last words and without secrets."""
        for _ in range(int(_LAST_WORDS / 0.01)):
            if self._tail.ended or not self.over.is_set():
                break
            await asyncio.sleep(0.01)
        words = str(self._tail)
        said = one_line(self._owner.mask(message))
        return ConnectionFailed(said + (f"\nIts last words:\n{words}" if words else ""), sent=sent)


class _PendingCall:
    """What is known of one call under way: the id it was sent with, and whether it may have left."""

    __slots__ = ("id", "sent", "tool")

    def __init__(self, tool: str) -> None:
        self.tool = tool
        self.id: int | str | None = None
        self.sent = False


class _Incoming:
    """The stream that the SDK's session reads, with a note of its end."""

    def __init__(self, streams: Streams, over: asyncio.Event) -> None:
        self._stream = streams.read
        self._over = over

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        try:
            return await self._stream.__anext__()
        except BaseException:
            self._over.set()
            raise

    async def aclose(self) -> None:
        await self._stream.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.aclose()


class _Outgoing:
    """The stream that the SDK's session writes, with a note of what left for which call.

    The SDK keeps the ids of requests to itself, and without its id a call cannot be cancelled on the server.
    """

    def __init__(self, streams: Streams) -> None:
        self._stream = streams.write

    async def send(self, message: SessionMessage) -> None:
        flight = _flight.get()
        request = message.message.root
        if flight is None or getattr(request, "method", "") != "tools/call":
            await self._stream.send(message)
            return
        flight.id = getattr(request, "id", None)
        flight.sent = True
        try:
            await self._stream.send(message)
        except (BrokenResourceError, ClosedResourceError):
            flight.sent = False
            raise

    async def aclose(self) -> None:
        await self._stream.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.aclose()


_flight: ContextVar[_PendingCall | None] = ContextVar("guarded_tools_mcp_flight", default=None)


async def _unchecked(name: str, result: CallToolResult) -> None:
    """Leave a result as it came.

    The SDK would match patterns of the server's own against strings of the server's own, by backtracking: one answer
    could stop every thread of this process for hours. Whoever hands results on checks them in linear time.
    """


def _leaf(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
