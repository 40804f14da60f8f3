"""Opens the two message streams to a server, whatever kind of server it is."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib import import_module

from guarded_tools.errors import ConnectionFailed
from guarded_tools.mcp_session.generation import sdk
from guarded_tools.mcp_session.transport import HttpServer, Masker, Server, StderrTail, Streams


def load_sdk() -> None:
    """Import what a connection needs: that reads hundreds of files, which no event loop should wait for.

    Raises:
        GuardError: no MCP SDK is installed, or one by halves.
    """
    sdk()
    from guarded_tools.mcp_session import http, sse, stdio  # noqa: F401 - loaded here, used below

    # anyio would import it in the first loop that runs, and a second one, of another session, would wait for that.
    import_module("anyio._backends._asyncio")


@asynccontextmanager
async def open_streams(
    server: Server, tail: StderrTail, mask: Masker, *, read_timeout: float
) -> AsyncIterator[Streams]:
    """Start or reach ``server``; leaving it ends the process or the HTTP session.

    Raises:
        ConnectionFailed: the process could not be started.
    """
    if isinstance(server, HttpServer):
        from guarded_tools.mcp_session.http import open_http
        from guarded_tools.mcp_session.sse import open_sse

        road = open_sse if server.sse else open_http
        async with road(server, mask, read_timeout=read_timeout) as http:
            yield http
        return
    from guarded_tools.mcp_session.stdio import open_stdio

    with os.fdopen(tail.attach(), "w") as errlog:
        try:
            async with open_stdio(server, errlog, tail.add) as (read, write):
                yield Streams(read, write, {})
        except OSError as error:
            raise ConnectionFailed(f"{server.command!r} could not be started: {error.strerror}", sent=False) from None
