"""With everything allowed, a guarded tool of langchain-mcp-adapters cannot be told from the raw one: answer by road."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.tools import BaseTool
from langchain_mcp_adapters.tools import convert_mcp_tool_to_langchain_tool
from mcp import types as mcp

from tests.adapters.roads import ROADS, told_of


class McpServer:
    """The one method of a session that a tool calls."""

    def __init__(self, result: mcp.CallToolResult | Exception) -> None:
        self.result = result

    async def call_tool(self, name: str, arguments: dict[str, Any], **_: Any) -> mcp.CallToolResult:
        if isinstance(self.result, Exception):
            raise self.result
        return self.result


def mcp_tool(result: mcp.CallToolResult | Exception) -> BaseTool:
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    definition = mcp.Tool(name="mcp", description="d", inputSchema=schema, annotations=mcp.ToolAnnotations(title="T"))
    return convert_mcp_tool_to_langchain_tool(McpServer(result), definition)  # type: ignore[arg-type]


def answered(*content: Any, **more: Any) -> mcp.CallToolResult:
    return mcp.CallToolResult(content=list(content) or [mcp.TextContent(type="text", text="answer")], **more)


ANSWERS: dict[str, mcp.CallToolResult | Exception] = {
    "text": answered(structuredContent={"n": 1}),
    "image": answered(mcp.ImageContent(type="image", data="AAAA", mimeType="image/png")),
    "error": answered(isError=True),
    "audio": answered(mcp.AudioContent(type="audio", data="AAAA", mimeType="audio/wav")),
    "failure": RuntimeError("the session is gone"),
}


@pytest.mark.parametrize("road", ROADS)
@pytest.mark.parametrize("kind", ANSWERS)
def test_a_guarded_tool_cannot_be_told_from_the_raw_one(
    kind: str, road: str, make_guard: Any, scripted: Any, events: Any
) -> None:
    raw = told_of(mcp_tool(ANSWERS[kind]), road, {"n": 1}, scripted)
    guarded = told_of(make_guard().wrap([mcp_tool(ANSWERS[kind])])[0], road, {"n": 1}, scripted)
    assert guarded == raw
    if any(call[0] == "end" for call in guarded[1]):
        assert {event.kind for event in events} == {"admitted", "settled"}  # it did go through the guard
