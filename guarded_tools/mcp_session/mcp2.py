"""Sessions by the second generation of the MCP SDK: ``mcp`` from 2.3, protocol revisions 2025-11-25 and 2026-07-28.

Which revision is spoken is negotiated for each connection: ``server/discover`` is tried, and where a server does not
know it, the handshake of old. On 2026-07-28 a server sends no requests. What it wants to know in the middle of a call
it *returns* (``InputRequiredResult``), and the client calls again with the answers: such a result is neither an answer
nor an error, and the call ends only with one of these. That its tools changed it tells on a stream that is asked for,
and a list says how long it may be taken for true.

A call is sent once, and once more for each round of questions that the server itself asked for. The SDK's own client
would also send it anew where a server found its headers not to fit; that is for whoever called to decide.
The SDK tells servers itself that a call was given up.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import httpcore2  # noqa: F401 - httpx2 would read it on the loop, where the first client is made
from mcp import Client, MCPError
from mcp.client.session import ElicitationFnT, MessageHandlerFnT
from mcp.client.streamable_http import streamable_http_client
from mcp.client.subscriptions import SubscriptionLost
from mcp.shared.message import SessionMessage
from mcp_types import (
    HEADER_MISMATCH,
    INVALID_REQUEST,
    PARSE_ERROR,
    CallToolResult,
    ElicitRequest,
    ElicitRequestFormParams,
    ElicitRequestParams,
    ElicitResult,
    ErrorData,
    InputRequiredResult,
    InputResponses,
    JSONRPCError,
    PaginatedRequestParams,
    Tool,
    ToolListChangedNotification,
)

from guarded_tools.mcp_session.protocol import Answer, Ask, Hooks, ListedTool, OnProgressOfCall, ToolPage, Unreadable

PATIENCE = 10.0  # how long the SDK waits for an answer to `server/discover`
ProtocolError = MCPError

log = logging.getLogger("guarded_tools.mcp")

_MOST_ROUNDS = 10  # as the SDK's own client
_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 0.25  # seconds before a call that needs no answers is sent on, likewise


@asynccontextmanager
async def open_http(url: str, client: Any) -> AsyncIterator[tuple[Any, Any]]:
    """Return the streams of streamable HTTP."""
    async with streamable_http_client(url, http_client=client) as streams:
        yield streams


def error_message(request: Any, code: int, text: str) -> SessionMessage:
    """Return what stands in a stream for a JSON-RPC error."""
    return SessionMessage(JSONRPCError(jsonrpc="2.0", id=request, error=ErrorData(code=code, message=text)))


@asynccontextmanager
async def enter(incoming: Any, outgoing: Any, hooks: Hooks) -> AsyncIterator[_SecondSession]:
    """Open a session by whichever revision the server speaks."""
    answers = None if hooks.ask is None else _answering(hooks.ask)
    client = Client(
        _Opened(incoming, outgoing),
        cache=None,  # what a list says of its age is kept by whoever holds the session
        message_handler=_listening(hooks.tools_changed),
        elicitation_callback=answers,
    )
    async with client:
        # It would match patterns of the server's own against strings of the server's own, by backtracking: one answer
        # could stop every thread of this process for hours. Whoever hands results on checks them in linear time.
        client.session.validate_tool_result = _unchecked  # type: ignore[method-assign]
        yield _SecondSession(client, hooks)


def without_secrets(error: MCPError, mask: Callable[[str], str]) -> MCPError:
    """Mask what a server wrote into an error of the protocol."""
    data = None if error.data is None else mask(json.dumps(error.data, ensure_ascii=False, default=str))
    return MCPError(error.code, mask(error.message), data)


class _Opened:
    """Two streams that are open already, as the SDK's client takes a transport. Whoever opened them closes them."""

    def __init__(self, incoming: Any, outgoing: Any) -> None:
        self._streams = (incoming, outgoing)

    async def __aenter__(self) -> tuple[Any, Any]:
        return self._streams

    async def __aexit__(self, *exc: object) -> None:
        return None


def _answering(ask: Ask) -> ElicitationFnT:
    """Return what answers ``elicitation/create``, as servers up to 2025-11-25 ask."""

    async def answer(context: object, params: ElicitRequestParams) -> ElicitResult:
        del context
        return await _answer(ask, params)

    return answer


async def _answer(ask: Ask, params: ElicitRequestParams) -> ElicitResult:
    schema = dict(params.requested_schema) if isinstance(params, ElicitRequestFormParams) else None
    content = await ask(params.message, schema)
    if content is None:
        return ElicitResult(action="decline")
    return ElicitResult(action="accept", content=dict(content))


def _listening(tools_changed: Callable[[], None]) -> MessageHandlerFnT:
    """Return what hears of changed tools."""

    async def hear(message: object) -> None:
        if isinstance(message, ToolListChangedNotification):
            tools_changed()

    return hear


class _SecondSession:
    def __init__(self, client: Client, hooks: Hooks) -> None:
        self._client = client
        self._session = client.session
        self._hooks = hooks
        self._listed = False
        self.server_info = client.server_info

    async def list_tools(self, cursor: str | None) -> ToolPage:
        self._listed = True
        page = await self._session.list_tools(params=PaginatedRequestParams(cursor=cursor))
        # 0 is what the SDK fills in for servers that say nothing, as well.
        return ToolPage(tuple(map(_listed, page.tools)), page.next_cursor, page.ttl_ms / 1000 or None)

    async def call_tool(self, name: str, arguments: dict[str, Any], told: OnProgressOfCall | None) -> Answer:
        answers, state, pause = None, None, _FIRST_PAUSE
        for _ in range(_MOST_ROUNDS + 1):
            try:
                result = await self._session.call_tool(
                    name,
                    arguments,
                    progress_callback=told,
                    input_responses=answers,
                    request_state=state,
                    allow_input_required=True,
                )
            except MCPError as refusal:
                if refusal.code == HEADER_MISMATCH:  # the list that the headers were made from is out of date
                    self._hooks.tools_changed()
                if refusal.code == PARSE_ERROR:  # what the SDK makes of an event that is no message
                    raise Unreadable from refusal
                raise
            if isinstance(result, CallToolResult):
                return Answer(result.is_error, tuple(result.content), result.structured_content, result)
            state = result.request_state
            answers = await self._answers(name, result)
            if answers is None:
                await asyncio.sleep(pause)
                pause = min(pause * 2, _LONGEST_PAUSE)
        raise MCPError(INVALID_REQUEST, f"{name} asked back more than {_MOST_ROUNDS} times")

    async def _answers(self, name: str, asked: InputRequiredResult) -> InputResponses | None:
        """Answer what a server asks in a round, one after the other: one human reads it."""
        answers: InputResponses = {}
        for key, request in (asked.input_requests or {}).items():
            if self._hooks.ask is None or not isinstance(request, ElicitRequest):
                raise MCPError(INVALID_REQUEST, f"{name} asks for {request.method}, which nobody here can answer")
            answers[key] = await _answer(self._hooks.ask, request.params)
        return answers or None

    async def tell_cancelled(self, request: int | str, why: str) -> None:
        del request, why  # the SDK did

    def watch(self) -> Coroutine[Any, Any, bool] | None:
        capabilities = self._client.server_capabilities.tools
        listens = self._session.discover_result is not None and capabilities is not None and capabilities.list_changed
        return self._watch() if listens else None

    async def _watch(self) -> bool:
        try:
            async with self._client.listen(tools_list_changed=True) as changes:
                if self._listed:  # who knows what happened since
                    self._hooks.tools_changed()
                async for _ in changes:
                    self._hooks.tools_changed()
        except SubscriptionLost:
            return True
        except MCPError as error:
            log.debug("The server does not tell of changed tools: %s", error.code)
            return False
        return True


async def _unchecked(name: str, result: CallToolResult) -> None:
    """Leave a result as it came."""


def _listed(tool: Tool) -> ListedTool:
    annotations = {} if tool.annotations is None else tool.annotations.model_dump(by_alias=True, exclude_none=True)
    return ListedTool(tool.name, tool.description or "", tool.input_schema, tool.output_schema, annotations, tool)
