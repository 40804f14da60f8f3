"""The client at stdin and stdout, as two streams of messages.

The SDK's own wait for stdin cannot be ended: where a server dies, its client would wait for as long as it says nothing.
Here a thread of its own reads, which nobody waits for. While it is open, whatever else writes to stdout writes to
stderr, and nothing else reads from stdin.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any

import anyio
from mcp.shared.message import SessionMessage
from mcp_types import jsonrpc_message_adapter

from guarded_tools.mcp_session.lines import Lines

_CHUNK = 65_536


@asynccontextmanager
async def open_pipes() -> AsyncIterator[tuple[Any, Any]]:
    """Return the streams of what the client says and of what it is told."""
    loop = asyncio.get_running_loop()
    said, incoming = anyio.create_memory_object_stream[SessionMessage | Exception](float("inf"))
    outgoing, told = anyio.create_memory_object_stream[SessionMessage](0)

    def hear(line: bytes | None) -> None:
        if line is None:
            said.close()
            return
        try:
            said.send_nowait(SessionMessage(jsonrpc_message_adapter.validate_json(line, by_name=False)))
        except (anyio.BrokenResourceError, anyio.ClosedResourceError):
            pass  # nobody listens any more
        except ValueError as error:  # no message
            said.send_nowait(error)

    def hand_over(line: bytes | None) -> None:
        with suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(hear, line)

    with _own_descriptors() as (reading, writing):
        threading.Thread(target=_read, args=(reading, hand_over), name="guarded-tools-stdin", daemon=True).start()
        telling = asyncio.create_task(_tell(told, writing))
        try:
            yield incoming, outgoing
            outgoing.close()
            await asyncio.wait({telling})
        finally:
            telling.cancel()
            await asyncio.wait({telling})


def _read(descriptor: int, hand_over: Callable[[bytes | None], None]) -> None:
    lines = Lines()
    try:
        while not lines.too_long and (chunk := os.read(descriptor, _CHUNK)):
            for line in lines.whole(chunk).split(b"\n"):
                if line.strip():
                    hand_over(line)
    except OSError:
        pass  # as good as its end
    hand_over(None)


async def _tell(messages: Any, descriptor: int) -> None:
    async with messages:
        async for message in messages:
            line = message.message.model_dump_json(by_alias=True, exclude_unset=True).encode() + b"\n"
            try:
                await asyncio.to_thread(_write, descriptor, line)
            except OSError:
                return  # the client is gone, which its stdin tells as well


def _write(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


@contextmanager
def _own_descriptors() -> Iterator[tuple[int, int]]:
    reading, writing = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    try:
        yield reading, writing
    finally:
        os.dup2(reading, 0)
        os.dup2(writing, 1)
        os.close(writing)
