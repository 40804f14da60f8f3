"""Of generation 2: LangChain's own roads to an MCP server, and what a server answers. Both have the same names."""

from __future__ import annotations

import warnings
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import httpx2 as http
from fastmcp import Client
from fastmcp import FastMCP as Server
from fastmcp.client.transports import StdioTransport
from fastmcp.server.middleware import Middleware
from fastmcp.tools.base import ToolResult
from langchain_core.tools import BaseTool
from mcp import MCPError as ProtocolError
from mcp import types

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from langchain.mcp import MCPAdapter, as_langchain_tool


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
    yield await MCPAdapter(server).list_tools()


async def listening_at(url: str) -> list[BaseTool]:
    return await MCPAdapter(url).list_tools()


async def started_by(command: Sequence[str]) -> list[BaseTool]:
    return await MCPAdapter(_by_command(command)).list_tools()


@asynccontextmanager
async def unlisted(target: Any, *names: str) -> AsyncIterator[list[BaseTool]]:
    client = Client(target) if isinstance(target, str | Server) else _by_command(target)
    definitions = [types.Tool(name=name, input_schema=OPEN) for name in names]
    yield [await as_langchain_tool(each, client) for each in definitions]


def _by_command(command: Sequence[str]) -> Any:
    return Client(StdioTransport(command[0], list(command[1:]), keep_alive=False))


class Liar(Middleware):
    def __init__(self, lie: str | int, effects: list[Any]) -> None:
        self.lie = lie
        self.effects = effects

    async def on_call_tool(self, context: Any, call_next: Any) -> ToolResult:
        self.effects.append(self.lie)
        if isinstance(self.lie, int):
            raise refusal(self.lie, "no such method, says the upstream")
        return ToolResult(content=self.lie, is_error=True)


def lying(name: str, lie: str | int, effects: list[Any]) -> Any:
    server: Any = Server("liar", middleware=[Liar(lie, effects)])
    server.tool(lambda: "never", name=name)
    return server


def answered(*texts: str, failed: bool = False) -> Any:
    content = [types.TextContent(type="text", text=text) for text in texts]
    return types.CallToolResult(content=content, is_error=failed)


def refusal(code: int, message: str = "m") -> Exception:
    return ProtocolError(code, message)
