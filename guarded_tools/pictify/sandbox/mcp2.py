"""The sandbox's server on ``mcp`` 2, which serves protocol revisions 2025-11-25 and 2026-07-28."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mcp import types
from mcp.server import ServerRequestContext
from mcp.server.lowlevel import Server

from guarded_tools.pictify.sandbox.answers import Call, Row


def server(name: str, version: str, tools: Sequence[Row], call: Call) -> Server[Any]:
    """Make a server that lists ``tools`` and answers with ``call``."""
    listed = types.ListToolsResult.model_validate({"tools": tools})

    # The SDK fills in what the revision that the client speaks asks for beside it.
    async def list_tools(
        context: ServerRequestContext[Any], params: types.PaginatedRequestParams | None
    ) -> types.ListToolsResult:
        del context, params
        return listed

    async def call_tool(
        context: ServerRequestContext[Any], params: types.CallToolRequestParams
    ) -> types.CallToolResult:
        request = context.request
        answer = await call(params.name, params.arguments or {}, request and request.headers)
        return types.CallToolResult.model_validate(answer)

    return Server(name, version=version, on_list_tools=list_tools, on_call_tool=call_tool)
