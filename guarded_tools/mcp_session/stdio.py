"""A server that is started as a process. Both generations of the SDK start one in the same way."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import IO, Any

from mcp.client.stdio import StdioServerParameters, stdio_client

from guarded_tools.mcp_session.transport import StdioServer


@asynccontextmanager
async def open_stdio(server: StdioServer, errlog: IO[str]) -> AsyncIterator[tuple[Any, Any]]:
    """Start ``server`` and return the two message streams.

    Raises:
        OSError: it does not start.
    """
    parameters = StdioServerParameters(
        command=server.command,
        args=list(server.args),
        env=dict(server.env),
        cwd=None if server.cwd is None else Path(server.cwd),
        # A stray byte on stdout would otherwise end the connection for every call under way.
        encoding_error_handler="replace",
    )
    async with stdio_client(parameters, errlog) as streams:  # type: ignore[arg-type]  # any text file with a descriptor
        yield streams
