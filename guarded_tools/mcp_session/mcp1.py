"""Sessions by the first generation of the MCP SDK: ``mcp`` below 2, protocol revisions up to 2025-11-25.

The SDK leaves three things to do here. It answers what a server asks in the loop that reads, where a human's answer
would hold up all others, so that is done beside it. It compares results with schemas by backtracking patterns, so that
is left out (:mod:`~guarded_tools.mcp_session.sdk_privates` for both). And it tells no server that a call was given up.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

from mcp import ClientSession, McpError
from mcp.client.session import ElicitationFnT, MessageHandlerFnT
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.message import SessionMessage
from mcp.types import (
    CancelledNotification,
    CancelledNotificationParams,
    ClientNotification,
    ElicitRequestParams,
    ElicitResult,
    ErrorData,
    JSONRPCError,
    JSONRPCMessage,
    PaginatedRequestParams,
    ServerNotification,
    Tool,
    ToolListChangedNotification,
)

from guarded_tools.mcp_session import sdk_privates
from guarded_tools.mcp_session.protocol import Answer, Ask, Hooks, ListedTool, OnProgressOfCall, ToolPage

PATIENCE = 0.0
ProtocolError = McpError


@asynccontextmanager
async def open_http(url: str, client: Any) -> AsyncIterator[tuple[Any, Any]]:
    """Return the streams of streamable HTTP."""
    async with streamable_http_client(url, http_client=client) as (read, write, _):
        yield read, write


def error_message(request: Any, code: int, text: str) -> SessionMessage:
    """Return what stands in a stream for a JSON-RPC error."""
    error = JSONRPCError(jsonrpc="2.0", id=request, error=ErrorData(code=code, message=text))
    return SessionMessage(JSONRPCMessage(error))


@asynccontextmanager
async def enter(incoming: Any, outgoing: Any, hooks: Hooks) -> AsyncIterator[_FirstSession]:
    """Open a session by the handshake, ``initialize``."""
    kind = sdk_privates.asking_beside(ClientSession, hooks.beside)
    answers = None if hooks.ask is None else _answering(hooks.ask)
    async with kind(
        incoming, outgoing, message_handler=_listening(hooks.tools_changed), elicitation_callback=answers
    ) as session:
        sdk_privates.check_no_results(session)
        started = await session.initialize()
        yield _FirstSession(session, started.serverInfo)


def without_secrets(error: McpError, mask: Callable[[str], str]) -> McpError:
    """Mask what a server wrote into an error of the protocol."""
    said = error.error
    data = None if said.data is None else mask(json.dumps(said.data, ensure_ascii=False, default=str))
    return McpError(said.model_copy(update={"message": mask(said.message), "data": data}))


def _answering(ask: Ask) -> ElicitationFnT:
    """Return what answers ``elicitation/create``."""

    async def answer(context: object, params: ElicitRequestParams) -> ElicitResult:
        del context
        content = await ask(params.message, getattr(params, "requestedSchema", None))
        if content is None:
            return ElicitResult(action="decline")
        return ElicitResult(action="accept", content=dict(content))

    return answer


def _listening(tools_changed: Callable[[], None]) -> MessageHandlerFnT:
    """Return what hears of changed tools."""

    async def hear(message: object) -> None:
        if isinstance(message, ServerNotification) and isinstance(message.root, ToolListChangedNotification):
            tools_changed()

    return hear


class _FirstSession:
    def __init__(self, session: ClientSession, server_info: object) -> None:
        self._session = session
        self.server_info = server_info

    async def list_tools(self, cursor: str | None) -> ToolPage:
        page = await self._session.list_tools(params=PaginatedRequestParams(cursor=cursor))
        return ToolPage(tuple(map(_listed, page.tools)), page.nextCursor)

    async def call_tool(self, name: str, arguments: dict[str, Any], told: OnProgressOfCall | None) -> Answer:
        result = await self._session.call_tool(name, arguments, progress_callback=told)
        return Answer(result.isError, tuple(result.content), result.structuredContent, result)

    async def tell_cancelled(self, request: int | str, why: str) -> None:
        params = CancelledNotificationParams(requestId=request, reason=why)
        await self._session.send_notification(ClientNotification(CancelledNotification(params=params)))

    def watch(self) -> Coroutine[Any, Any, bool] | None:
        return None  # changes are announced in the session itself


def _listed(tool: Tool) -> ListedTool:
    annotations = {} if tool.annotations is None else tool.annotations.model_dump(by_alias=True, exclude_none=True)
    return ListedTool(tool.name, tool.description or "", tool.inputSchema, tool.outputSchema, annotations, tool)
