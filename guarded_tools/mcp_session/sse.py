"""MCP's older HTTP transport: requests go by POST, and all answers come by one stream of events.

The SDK's client only logs a POST that failed, and sends nothing any more: the call would wait for its whole time. Here
each such request is answered in the stream by a JSON-RPC error of its own, and why it failed is kept beside it. A POST
that got any status was taken by somebody, so its call counts as sent (:mod:`guarded_tools.mcp_session.http`); it is not
sent again, and no redirect of one is followed.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import anyio
from mcp.client.sse import sse_client

from guarded_tools.errors import ConnectionFailed
from guarded_tools.mcp_session.auth import Answered
from guarded_tools.mcp_session.generation import http_library, sdk
from guarded_tools.mcp_session.http import NEVER_SENT, client_options, described, refusal_of, words
from guarded_tools.mcp_session.transport import HttpServer, Masker, Streams

if TYPE_CHECKING:
    import httpx
    from anyio.streams.memory import MemoryObjectSendStream
else:
    httpx = http_library()

_LOST = -32000
_SILENT = 300.0
"""Seconds for which the stream may be silent, at least: it is there between the calls, too."""


@asynccontextmanager
async def open_sse(server: HttpServer, mask: Masker, *, read_timeout: float) -> AsyncIterator[Streams]:
    """Reach ``server``, and wait until it says where to post."""
    failures: dict[Any, ConnectionFailed] = {}
    told, heard = anyio.create_memory_object_stream[Any](256)

    def client(headers: Any = None, timeout: Any = None, auth: Any = None) -> Any:
        del headers, timeout, auth  # the SDK's own
        return _SseClient(failures, told, mask, **client_options(server, mask, max(read_timeout, _SILENT)))

    async with (
        told,
        heard,
        sse_client(server.url, httpx_client_factory=client) as (read, write),
        anyio.create_task_group() as beside,
    ):
        beside.start_soon(_hand_on, read, told)
        try:
            yield Streams(heard, write, failures)
        finally:
            beside.cancel_scope.cancel()


async def _hand_on(read: Any, told: MemoryObjectSendStream[Any]) -> None:
    """Hand on what the server says, and its end."""
    async for message in read:
        await told.send(message)
    await told.aclose()


class _SseClient(httpx.AsyncClient):
    def __init__(
        self,
        failures: dict[Any, ConnectionFailed],
        told: MemoryObjectSendStream[Any],
        mask: Masker,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self._failures = failures
        self._told = told
        self._redact = mask

    async def send(self, request: httpx.Request, **options: Any) -> httpx.Response:
        await request.aread()  # one that follows a redirect has its content still to come
        request_id, is_call = described(request)
        if request_id is None:
            return await super().send(request, **options)
        try:
            response = await super().send(request, **options)
        except Answered as answered:
            response = answered.response
        except NEVER_SENT as error:
            return await self._failed(request, request_id, ConnectionFailed(words(error), sent=False))
        except httpx.TransportError as error:
            return await self._failed(request, request_id, ConnectionFailed(words(error)))
        if response.is_success or (response.next_request is not None and not is_call):
            return response
        await response.aread()
        return await self._failed(request, request_id, refusal_of(response, self._redact, sent=is_call))

    async def _failed(self, request: httpx.Request, request_id: Any, failure: ConnectionFailed) -> httpx.Response:
        self._failures[request_id] = failure
        await self._told.send(sdk().error_message(request_id, _LOST, str(failure)))
        return httpx.Response(202, request=request)
