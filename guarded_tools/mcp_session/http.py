"""Streamable HTTP on which one request's failure is that request's alone, and is always told.

The SDK's transport gives up the whole session when one POST fails, and waits for ever when an event stream ends without
its answer. Here each such POST is answered by a JSON-RPC error of its own, and why it failed is kept beside it.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx

from guarded_tools.errors import ConnectionFailed
from guarded_tools.mcp_session.transport import HttpServer, Streams, Unreachable

GOODBYE_TIMEOUT = 2.0
"""Seconds that telling the server about the end of a session may take."""

SESSION_HEADER = "mcp-session-id"

_CONNECT_TIMEOUT = 10.0
_BODY_HEADERS = frozenset({"content-encoding", "content-length", "transfer-encoding"})
_LOST = -32000
_UNANSWERED = "the event stream ended without an answer"
_NEVER_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.UnsupportedProtocol)


@asynccontextmanager
async def open_http(server: HttpServer, *, read_timeout: float) -> AsyncIterator[Streams]:
    """Reach ``server``. Nothing is sent before the first message."""
    from mcp.client.streamable_http import streamable_http_client

    failures: dict[Any, ConnectionFailed] = {}
    client = _Client(
        failures,
        headers=dict(server.headers),
        timeout=httpx.Timeout(_CONNECT_TIMEOUT, read=read_timeout, pool=None),
        limits=httpx.Limits(max_connections=None),
        # A proxy from the environment would carry a key for this very machine over the network.
        mounts=dict.fromkeys(("all://", "http://", "https://")) if server.is_loopback else None,
    )
    async with client, streamable_http_client(server.url, http_client=client) as (read, write, _):
        yield Streams(read, write, failures)


class _Client(httpx.AsyncClient):
    def __init__(self, failures: dict[Any, ConnectionFailed], **options: Any) -> None:
        super().__init__(**options)
        self._failures = failures

    async def send(self, request: httpx.Request, **options: Any) -> httpx.Response:
        if request.method == "DELETE":
            request.extensions["timeout"] = httpx.Timeout(GOODBYE_TIMEOUT).as_dict()
        request_id = _request_id(request)
        if request_id is None:
            return await super().send(request, **options)
        try:
            response = await super().send(request, **options)
            failure = _refusal(request, response)
            if failure is None and response.next_request is not None:
                return response
            if failure is None and _is_stream(response):
                return _decoded(
                    response, _Answered(response, lambda: self._fail(request_id, ConnectionFailed(_UNANSWERED)))
                )
            if failure is None and _is_message(await response.aread()):
                return response
            await response.aclose()
            failure = failure or ConnectionFailed("the answer was no JSON-RPC message")
        except _NEVER_SENT as error:
            failure = Unreachable(_words(error), sent=False)
        except httpx.TransportError as error:
            failure = ConnectionFailed(_words(error))
        return httpx.Response(200, json=self._fail(request_id, failure), request=request)

    def _fail(self, request_id: Any, failure: ConnectionFailed) -> dict[str, Any]:
        self._failures[request_id] = failure
        return {"jsonrpc": "2.0", "id": request_id, "error": {"code": _LOST, "message": str(failure)}}


class _Answered(httpx.AsyncByteStream):
    """An event stream that does not end without an answer: ``fail`` makes one where the server sent none.

    The SDK stops reading at the answer, so the end is reached only without one. A stream whose events carry ids can be
    resumed, and the SDK does that at the true end.
    """

    def __init__(self, response: httpx.Response, fail: Callable[[], dict[str, Any]]) -> None:
        self._response = response
        self._fail = fail

    async def __aiter__(self) -> AsyncIterator[bytes]:
        resumable, seen = False, b"\n"
        try:
            async for chunk in self._response.aiter_bytes():
                seen = seen[-4:] + chunk
                resumable = resumable or b"\nid:" in seen
                yield chunk
        except httpx.TransportError:
            if resumable:
                raise
        if not resumable:
            # The blank line ends an event that broke off in the middle.
            yield f"\n\nevent: message\ndata: {json.dumps(self._fail())}\n\n".encode()

    async def aclose(self) -> None:
        await self._response.aclose()


def _decoded(response: httpx.Response, stream: httpx.AsyncByteStream) -> httpx.Response:
    plain = [(name, value) for name, value in response.headers.items() if name not in _BODY_HEADERS]
    return httpx.Response(response.status_code, headers=plain, stream=stream, request=response.request)


def _request_id(request: httpx.Request) -> Any:
    """The id of the JSON-RPC request in a POST; ``None`` for notifications and for everything else."""
    if request.method != "POST":
        return None
    message = json.loads(request.content)
    return message.get("id") if "method" in message else None


def _is_stream(response: httpx.Response) -> bool:
    return str(response.headers.get("content-type", "")).lower().startswith("text/event-stream")


def _is_message(body: bytes) -> bool:
    try:
        message = json.loads(body)
    except ValueError:
        return False
    return isinstance(message, dict) and ("result" in message or "error" in message)


def _refusal(request: httpx.Request, response: httpx.Response) -> ConnectionFailed | None:
    """What a status other than success means for the call that was sent."""
    status = response.status_code
    # 404 says the specification; 400 say many servers.
    if status in {httpx.codes.NOT_FOUND, httpx.codes.BAD_REQUEST} and SESSION_HEADER in request.headers:
        return Unreachable("the server no longer knows this session", sent=False)
    if response.next_request is not None:
        # The SDK follows where it is safe; a key was meant for one origin, so nothing follows it to another.
        there, here = response.next_request.url, request.url
        if (there.scheme, there.host, there.port) == (here.scheme, here.host, here.port):
            return None
        elsewhere = there.copy_with(userinfo=b"", query=None, fragment=None)
        return ConnectionFailed(f"the server redirects to {elsewhere}; if that is right, use it as url", sent=False)
    if response.is_success:
        return None
    hint = " The key was not accepted." if status in {httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN} else ""
    ambiguous = status >= 500 or status in {httpx.codes.REQUEST_TIMEOUT, httpx.codes.TOO_MANY_REQUESTS}  # noqa: PLR2004
    return ConnectionFailed(f"the server answered HTTP {status}.{hint}", sent=ambiguous)


def _words(error: httpx.TransportError) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
