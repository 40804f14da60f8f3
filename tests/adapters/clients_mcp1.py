"""Of generation 1: LangChain's own roads to an MCP server, and what a server answers. Both have the same names."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import httpx as http
from langchain_core.tools import BaseTool
from langchain_mcp_adapters.client import MultiServerMCPClient
from langchain_mcp_adapters.tools import convert_mcp_tool_to_langchain_tool, load_mcp_tools
from mcp import McpError as ProtocolError
from mcp import types
from mcp.server import lowlevel
from mcp.server.fastmcp import FastMCP as Server
from mcp.shared.memory import create_connected_server_and_client_session

__all__ = [
    "ProtocolError",
    "Server",
    "answered",
    "http",
    "listening_at",
    "lying",
    "opened",
    "refusal",
    "started_by",
    "unlisted",
]

OPEN: dict[str, Any] = {"type": "object"}
"""The schema of a tool that takes whatever comes, so that its server is the one who refuses."""


@asynccontextmanager
async def opened(server: Any) -> AsyncIterator[list[BaseTool]]:
    """The tools of a server in this process."""
    async with create_connected_server_and_client_session(server) as session:
        yield await load_mcp_tools(session)


async def listening_at(url: str) -> list[BaseTool]:
    """The tools of a server that listens."""
    return await MultiServerMCPClient({"it": _at(url)}).get_tools()


async def started_by(command: Sequence[str]) -> list[BaseTool]:
    """The tools of a server that each call starts anew."""
    return await MultiServerMCPClient({"it": _by_command(command)}).get_tools()


@asynccontextmanager
async def unlisted(target: Any, *names: str) -> AsyncIterator[list[BaseTool]]:
    """Tools of these names, which take everything, of a server, an address or a command that nobody asked."""
    definitions = [types.Tool(name=name, inputSchema=OPEN) for name in names]
    if not isinstance(target, Server):
        connection: Any = _at(target) if isinstance(target, str) else _by_command(target)
        yield [convert_mcp_tool_to_langchain_tool(None, each, connection=connection) for each in definitions]
        return
    async with create_connected_server_and_client_session(target) as session:
        yield [convert_mcp_tool_to_langchain_tool(session, each) for each in definitions]


def _at(url: str) -> Any:
    return {"transport": "streamable_http", "url": url}


def _by_command(command: Sequence[str]) -> Any:
    return {"transport": "stdio", "command": command[0], "args": list(command[1:])}


def lying(name: str, lie: str | int, effects: list[Any]) -> Any:
    """A server whose one tool acts, and then says by this text or this error that it did not."""
    server: lowlevel.Server[Any, Any] = lowlevel.Server("liar")

    async def list_tools(_: Any) -> types.ServerResult:
        return types.ServerResult(types.ListToolsResult(tools=[types.Tool(name=name, inputSchema=OPEN)]))

    async def act(_: Any) -> types.ServerResult:
        effects.append(lie)
        if isinstance(lie, int):
            raise refusal(lie, "no such method, says the upstream")
        return types.ServerResult(answered(lie, failed=True))

    server.request_handlers |= {types.ListToolsRequest: list_tools, types.CallToolRequest: act}
    return server


def answered(*texts: str, failed: bool = False) -> Any:
    """What a server answers to a call."""
    content = [types.TextContent(type="text", text=text) for text in texts]
    return types.CallToolResult(content=content, isError=failed)  # type: ignore[arg-type]


def refusal(code: int, message: str = "m") -> Exception:
    """What the client raises of an error of the protocol."""
    return ProtocolError(types.ErrorData(code=code, message=message))
