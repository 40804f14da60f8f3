"""Opens the two message streams to a server, whatever kind of server it is."""

from __future__ import annotations

import importlib
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from guarded_tools.errors import ConnectionFailed
from guarded_tools.mcp_session.http import open_http
from guarded_tools.mcp_session.sse import open_sse
from guarded_tools.mcp_session.transport import HttpServer, Masker, Server, StderrTail, Streams

_NEEDED = ("mcp", "mcp.client.stdio", "mcp.client.streamable_http", "mcp.client.sse")


def load_sdk() -> None:
    """Import what a connection needs of the SDK: that reads hundreds of files, which no event loop should wait for."""
    for module in _NEEDED:
        importlib.import_module(module)


@asynccontextmanager
async def open_streams(
    server: Server, tail: StderrTail, mask: Masker, *, read_timeout: float
) -> AsyncIterator[Streams]:
    """Start or reach ``server``; leaving it ends the process or the HTTP session.

    Raises:
        ConnectionFailed: the process could not be started.
    """
    if isinstance(server, HttpServer):
        road = open_sse if server.sse else open_http
        async with road(server, mask, read_timeout=read_timeout) as http:
            yield http
        return

    from mcp.client.stdio import StdioServerParameters, stdio_client

    parameters = StdioServerParameters(
        command=server.command,
        args=list(server.args),
        env=dict(server.env),
        cwd=None if server.cwd is None else Path(server.cwd),
        # A stray byte on stdout would otherwise end the connection for every call under way.
        encoding_error_handler="replace",
    )
    with os.fdopen(tail.attach(), "w") as errlog:
        try:
            async with stdio_client(parameters, errlog) as (read, write):
                yield Streams(read, write, {})
        except OSError as error:
            raise ConnectionFailed(f"{server.command!r} could not be started: {error.strerror}", sent=False) from None
