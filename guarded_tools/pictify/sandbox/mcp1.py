"""The sandbox's server on ``mcp`` 1, which serves protocol revisions up to 2025-11-25."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mcp import types
from mcp.server.lowlevel import Server

from guarded_tools.pictify.sandbox.answers import Args, Call, Row


def server(name: str, version: str, tools: Sequence[Row], call: Call) -> Server[Any, Any]:
    """Make a server that lists ``tools`` and answers with ``call``."""
    made: Server[Any, Any] = Server(name, version=version)
    listed = [types.Tool.model_validate(tool) for tool in tools]

    @made.list_tools()  # type: ignore[no-untyped-call,untyped-decorator]
    async def list_tools() -> list[types.Tool]:
        return listed

    async def call_tool(tool: str, args: Args) -> types.CallToolResult:
        request = made.request_context.request
        return types.CallToolResult.model_validate(await call(tool, args, request and request.headers))

    # The server's own argument check words its errors differently from the real one, hence not `validate_input`.
    made.call_tool(validate_input=False)(call_tool)
    return made
