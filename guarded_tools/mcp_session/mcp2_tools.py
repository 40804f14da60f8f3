"""LangChain tools of the second generation, as ``langchain.mcp`` makes them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self, cast

from langchain_core._api import suppress_langchain_beta_warning
from mcp_types import AudioContent, BlobResourceContents, EmbeddedResource

from guarded_tools.mcp_session.protocol import Call, ListedTool

with suppress_langchain_beta_warning():  # whoever uses this package did not choose that namespace
    from langchain.mcp import as_langchain_tool

if TYPE_CHECKING:
    from fastmcp import Client
    from langchain_core.tools import StructuredTool
    from mcp_types import CallToolResult, ContentBlock


def convert(tool: ListedTool, call: Call, *, server: str, prefixed: bool, server_info: object) -> StructuredTool:
    """Return LangChain's tool, whose body runs ``call``."""
    making = as_langchain_tool(tool.own, cast("Client[Any]", _LangchainClient(call, server_info)))
    try:
        making.send(None)  # it waits for nothing: only a group of clients is asked who has a tool
    except StopIteration as made:
        converted = cast("StructuredTool", made.value)
    else:
        making.close()
        raise RuntimeError("as_langchain_tool waits for something other than its client")
    if prefixed:
        converted.name = f"{server}_{tool.name}"
    return converted


class _LangchainClient:
    """What ``langchain.mcp`` needs of a client."""

    def __init__(self, call: Call, server_info: object) -> None:
        self._call = call
        self.server_info = server_info

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        return None

    async def call_tool(self, name: str, arguments: Mapping[str, Any], *, raise_on_error: bool) -> CallToolResult:
        del raise_on_error  # errors are results, as it asks
        result: CallToolResult = (await self._call(name, arguments)).own
        return result.model_copy(update={"content": [_convertible(block) for block in result.content]})


def _convertible(block: ContentBlock) -> ContentBlock:
    """Put sound into a block that LangChain converts: it raises at others, and the result would be lost."""
    if not isinstance(block, AudioContent):
        return block
    contents = BlobResourceContents(uri="result:audio", blob=block.data, mime_type=block.mime_type)
    return EmbeddedResource(type="resource", resource=contents, annotations=block.annotations)
