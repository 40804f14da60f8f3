"""Checks of results on the roads of FastMCP 4: a server that guards itself, and langchain.mcp's tools."""

from __future__ import annotations

import json
from typing import Any

import pytest
from fastmcp import Client, FastMCP
from fastmcp.exceptions import ToolError
from fastmcp.tools.base import ToolResult
from langchain.mcp import as_langchain_tool
from mcp_types import TextContent

KEY = "sk-ant-api03-abcdefghijklmnop"
LEFT = "sk-ant-[redacted: secret]"
pytestmark = pytest.mark.filterwarnings("ignore:.*langchain.mcp. is in beta")


def policy(**result: Any) -> dict[str, Any]:
    return {"version": "1", "default": "allow", "all_tools": {"result": result}}


def build(*middleware: Any) -> FastMCP[Any]:
    server: FastMCP[Any] = FastMCP("shop", middleware=list(middleware))

    @server.tool
    def leak() -> dict[str, str]:
        """Give back a key."""
        return {"key": KEY}

    @server.tool(output_schema={"type": "object", "properties": {"key": {"const": KEY}}, "required": ["key"]})
    def bound() -> dict[str, str]:
        """Give back what no redaction fits."""
        return {"key": KEY}

    @server.tool
    def fail() -> str:
        """Fail with one."""
        raise ToolError(KEY)

    @server.tool
    def more() -> ToolResult:
        """Give back more than is declared."""
        return ToolResult(content=[TextContent(type="text", text="x")], structured_content={"n": 1}, meta={"k": KEY})

    return server


async def answers(server: FastMCP[Any]) -> dict[str, Any]:
    async with Client(server) as client:
        names = [tool.name for tool in await client.list_tools()]
        return {name: await client.call_tool(name, {}, raise_on_error=False) for name in names}


async def test_a_server_that_guards_itself_tells_no_secret(make_guard: Any) -> None:
    found = await answers(build(make_guard(policy(redact=["secrets"])).fastmcp_middleware()))
    for answer in found.values():
        assert KEY not in repr(answer)
    assert found["leak"].structured_content == {"key": LEFT}
    assert json.loads(found["leak"].content[0].text) == {"key": LEFT}
    assert found["leak"].is_error is False
    assert found["bound"].is_error, "what fits its schema no more would be an error of the client's"
    assert "[redacted: secret]" in found["fail"].content[0].text


async def test_a_server_that_guards_itself_withholds(make_guard: Any) -> None:
    found = await answers(build(make_guard(policy(redact=["secrets"], on_breach="deny")).fastmcp_middleware()))
    for name in ("leak", "bound", "more"):
        assert found[name].is_error
        assert found[name].content[0].text.startswith(f"RESULT WITHHELD: {name} was executed")
        assert found[name].structured_content["withheld"] is True


async def test_structured_content_is_never_half(make_guard: Any) -> None:
    found = await answers(build(make_guard(policy(max_chars=20)).fastmcp_middleware()))
    assert "withheld" in json.dumps(found["leak"].structured_content)
    assert found["bound"].is_error


async def test_tools_of_langchain_mcp_hand_on_no_secret(make_guard: Any) -> None:
    client: Client[Any] = Client(build())
    async with client:
        raw = [await as_langchain_tool(tool, client) for tool in await client.list_tools()]
        for each in make_guard(policy(redact=["secrets"])).wrap(raw):
            call = {"type": "tool_call", "id": "call-1", "name": each.name, "args": {}}
            try:
                answer = await each.ainvoke(call)
            except Exception as error:
                answer = error
            assert KEY not in repr(answer) + repr(vars(answer)), each.name
            if each.name == "leak":
                assert answer.artifact == {"structured_content": {"key": LEFT}}
