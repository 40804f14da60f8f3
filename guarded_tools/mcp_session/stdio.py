"""A server that is started as a process. Both generations of the SDK start one in the same way."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import IO, Any

from mcp.client.stdio import StdioServerParameters, stdio_client

from guarded_tools.mcp_session.lines import ENCODING, UntilTooLong
from guarded_tools.mcp_session.transport import StdioServer


@asynccontextmanager
async def open_stdio(
    server: StdioServer, errlog: IO[str], tell: Callable[[str], None]
) -> AsyncIterator[tuple[Any, Any]]:
    """Start ``server`` and return the two message streams. ``tell`` is told why it was given up, where it was.

    Raises:
        OSError: it does not start.
    """
    parameters = StdioServerParameters(
        command=server.command,
        args=list(server.args),
        env=dict(server.env),
        cwd=None if server.cwd is None else Path(server.cwd),
        encoding=ENCODING,
        # A stray byte on stdout would otherwise end the connection for every call under way.
        encoding_error_handler="replace",
    )
    async with stdio_client(parameters, errlog) as (read, write):  # type: ignore[arg-type]  # any text file with a descriptor
        yield UntilTooLong(read, tell), write
