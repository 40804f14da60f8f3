"""LangChain tools of the first generation, as langchain-mcp-adapters makes them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from langchain_mcp_adapters.tools import convert_mcp_tool_to_langchain_tool
from mcp.types import AudioContent, BlobResourceContents, EmbeddedResource
from pydantic import AnyUrl

from guarded_tools.mcp_session.protocol import Call, ListedTool

if TYPE_CHECKING:
    from langchain_core.tools import StructuredTool
    from mcp import ClientSession
    from mcp.types import CallToolResult, ContentBlock


def convert(tool: ListedTool, call: Call, *, server: str, prefixed: bool, server_info: object) -> StructuredTool:
    """Return the adapter's tool, whose body runs ``call``."""
    del server_info  # the adapter tells of a tool's annotations only
    made = convert_mcp_tool_to_langchain_tool(
        cast("ClientSession", _AdapterSession(call)), tool.own, server_name=server, tool_name_prefix=prefixed
    )
    return cast("StructuredTool", made)


class _AdapterSession:
    """What the adapter needs of a session."""

    def __init__(self, call: Call) -> None:
        self._call = call

    async def call_tool(self, name: str, arguments: Mapping[str, Any], *, progress_callback: None) -> CallToolResult:
        del progress_callback  # the adapter has one only where it was given callbacks
        result: CallToolResult = (await self._call(name, arguments)).own
        return result.model_copy(update={"content": [_convertible(block) for block in result.content]})


def _convertible(block: ContentBlock) -> ContentBlock:
    """Put sound into a block that the adapter converts: it raises at others, and the result would be lost."""
    if not isinstance(block, AudioContent):
        return block
    contents = BlobResourceContents(uri=AnyUrl("result:audio"), blob=block.data, mimeType=block.mimeType)
    return EmbeddedResource(type="resource", resource=contents, annotations=block.annotations)
