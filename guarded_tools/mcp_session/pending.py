"""What is known of each call under way, and the two streams on which it is learned.

The SDK's session keeps the ids of its requests to itself, and tells a call that the stream ended by an error that any
server can send as well. So it is given streams of ours: one notes when a call leaves and with which id, the other that
the server's side has ended. Which call a message belongs to is told by a context variable: each call runs in a task of
its own, and the SDK sends in the task that calls.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from contextvars import ContextVar, copy_context
from typing import Any, Self

from anyio import BrokenResourceError, ClosedResourceError

from guarded_tools.mcp_session.lines import ReadThrough
from guarded_tools.mcp_session.transport import Streams


class PendingCall:
    """What is known of one call under way: the id it was sent with, and whether it may have left."""

    __slots__ = ("context", "id", "rounds", "sent", "timer", "tool")

    def __init__(self, tool: str) -> None:
        self.tool = tool
        self.id: int | str | None = None
        self.sent = False
        self.rounds = 0  # how often it was sent: anew for each time that the server asked back
        self.context = copy_context()  # of the caller, across threads
        self.timer: asyncio.Timeout | None = None

    def not_sent(self) -> None:
        """Note that it did not leave the last time. What left before may have run all the same."""
        self.sent = self.rounds > 1

    def wait(self, seconds: float | None) -> None:
        """Give the call so many seconds from now; ``None``: for ever."""
        if self.timer is not None and not self.timer.expired():
            with suppress(RuntimeError):  # it has ended
                self.timer.reschedule(None if seconds is None else asyncio.get_running_loop().time() + seconds)


pending_call: ContextVar[PendingCall | None] = ContextVar("guarded_tools_mcp_pending", default=None)


class Incoming(ReadThrough):
    """The stream that the SDK's session reads, with a note of its end."""

    def __init__(self, streams: Streams, over: asyncio.Event) -> None:
        super().__init__(streams.read)
        self._over = over

    async def __anext__(self) -> Any:
        try:
            return await super().__anext__()
        except BaseException:
            self._over.set()
            raise


class Outgoing:
    """The stream that the SDK's session writes, with a note of what left for which call.

    The SDK keeps the ids of requests to itself, and without its id a call cannot be cancelled on the server.
    """

    def __init__(self, streams: Streams) -> None:
        self._stream = streams.write

    async def send(self, message: Any) -> None:
        """Send a message on; of a call, note that it may have left, unless the stream says that it did not."""
        pending = pending_call.get()
        request = getattr(message.message, "root", message.message)  # the first SDK wraps it
        if pending is None or getattr(request, "method", "") != "tools/call":
            await self._stream.send(message)
            return
        pending.id = getattr(request, "id", None)
        pending.sent = True
        pending.rounds += 1
        try:
            await self._stream.send(message)
        except (BrokenResourceError, ClosedResourceError):
            pending.not_sent()
            raise

    async def aclose(self) -> None:
        """Close the stream behind it."""
        await self._stream.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.aclose()
