"""Streamable HTTP on which one request's failure is that request's alone, is always told, and is never sent again.

The SDK's transport gives up the whole session when one POST fails, and waits for ever when an event stream ends without
its answer. Here each such POST is answered by a JSON-RPC error of its own, and why it failed is kept beside it.

What a status means for a ``tools/call`` that was sent:

- A JSON-RPC message with the request's own id is the answer, whatever the status beside it: it is handed on.
- Any other status is an answer as well, and proves nothing: a gateway that acted and could not mail the receipt says
  400 or 404 like one that did nothing. So the call counts as sent, what the server said is told, and it is not sent
  again.
- A redirect is one more: the address that redirects had the call. So none is followed. The way is learned before, from
  the redirects of requests that do nothing, such as ``initialize``.
- One case is left in which a call is lost by no fault of its own: the server was restarted and no longer knows the
  session. The specification has it answer 404 to everything in that session. That is tried, with a ``ping`` in the
  same session: where the ping gets the very answer that the call got, the server looked at neither, and the call may
  go again on a new session. A server that answers 400 instead, as some do, loses its session here, too, but its
  calls are not repeated: what else that status says nobody knows.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from guarded_tools.errors import ConnectionFailed
from guarded_tools.mcp_session.auth import Answered, SendsCallsOnce
from guarded_tools.mcp_session.generation import http_library, sdk
from guarded_tools.mcp_session.transport import HttpServer, Masker, Streams, Unreachable
from guarded_tools.text.visible import one_line

if TYPE_CHECKING:
    import httpx
else:
    httpx = http_library()

GOODBYE_TIMEOUT = 2.0
"""Seconds that telling the server about the end of a session may take."""

SESSION_HEADER = "mcp-session-id"

_CONNECT_TIMEOUT = 10.0
_BODY_HEADERS = frozenset({"content-encoding", "content-length", "transfer-encoding"})
_LOST = -32000
_UNANSWERED = "the event stream ended without an answer"
NEVER_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.UnsupportedProtocol)
_FORGOTTEN = frozenset({httpx.codes.NOT_FOUND, httpx.codes.BAD_REQUEST})
_MOST_QUOTED = 300


@asynccontextmanager
async def open_http(server: HttpServer, mask: Masker, *, read_timeout: float) -> AsyncIterator[Streams]:
    """Reach ``server``. Nothing is sent before the first message."""
    failures: dict[Any, ConnectionFailed] = {}
    client = _Client(failures, mask, **client_options(server, mask, read_timeout))
    async with client, sdk().open_http(server.url, client) as (read, write):
        yield Streams(read, write, failures)


def client_options(server: HttpServer, mask: Masker, read_timeout: float) -> dict[str, Any]:
    """Return what an httpx client needs to reach ``server``."""
    return {
        "headers": dict(server.headers),
        "auth": None if server.auth is None else SendsCallsOnce(server.auth, is_call, mask),
        "timeout": httpx.Timeout(_CONNECT_TIMEOUT, read=read_timeout, pool=None),
        "limits": httpx.Limits(max_connections=None),
        # A proxy from the environment would carry a key for this very machine over the network.
        "mounts": dict.fromkeys(("all://", "http://", "https://")) if server.is_loopback else None,
    }


class _Client(httpx.AsyncClient):
    def __init__(self, failures: dict[Any, ConnectionFailed], mask: Masker, **options: Any) -> None:
        super().__init__(**options)
        self._failures = failures
        self._redact = mask
        self._moved: dict[httpx.URL, httpx.URL] = {}

    async def send(self, request: httpx.Request, **options: Any) -> httpx.Response:
        if request.method == "DELETE":
            request.extensions["timeout"] = httpx.Timeout(GOODBYE_TIMEOUT).as_dict()
        await request.aread()  # one that follows a redirect has its content still to come
        request_id, is_call = described(request)
        if request_id is None:
            return await super().send(request, **options)
        if is_call:
            request.url = self._moved.get(request.url, request.url)
        try:
            response = await super().send(request, **options)
        except Answered as answered:
            response = answered.response
        except NEVER_SENT as error:
            return self._failed(request, request_id, Unreachable(words(error), sent=False))
        except httpx.TransportError as error:
            return self._failed(request, request_id, ConnectionFailed(words(error)))
        try:
            return await self._answer(request, request_id, response, is_call=is_call)
        except httpx.TransportError as error:  # it began to answer, so it had the request
            return self._failed(request, request_id, ConnectionFailed(words(error)))

    async def _answer(
        self, request: httpx.Request, request_id: Any, response: httpx.Response, *, is_call: bool
    ) -> httpx.Response:
        """Make of what a request got what the SDK can hand on, or the reason why there is no answer."""
        if response.next_request is not None:
            failure = self._redirected(response, is_call=is_call)
            if failure is None:
                return response
        elif response.is_success and _is_stream(response):
            return _decoded(
                response, _Answered(response, lambda: self._failure(request_id, ConnectionFailed(_UNANSWERED)))
            )
        else:
            message = _message(await response.aread())
            if response.is_success and message is not None:
                return response
            if message is not None and message.get("id") == request_id:
                return httpx.Response(200, json=message, request=request)
            failure = await self._refused(request, response, is_call=is_call)
        await response.aclose()
        return self._failed(request, request_id, failure)

    def _redirected(self, response: httpx.Response, *, is_call: bool) -> ConnectionFailed | None:
        """Say why a redirect is not followed; ``None`` lets the SDK follow it."""
        there, here = response.next_request.url, response.request.url  # type: ignore[union-attr]
        # The SDK follows where it is safe; a key was meant for one origin, so nothing follows it to another.
        same = (there.scheme, there.host, there.port) == (here.scheme, here.host, here.port)
        if same and not is_call:
            self._moved = {url: there if to == here else to for url, to in self._moved.items()} | {here: there}
            return None
        elsewhere = there.copy_with(userinfo=b"", query=None, fragment=None)
        return ConnectionFailed(f"the server redirects to {elsewhere}; if that is right, use it as url", sent=is_call)

    async def _refused(self, request: httpx.Request, response: httpx.Response, *, is_call: bool) -> ConnectionFailed:
        """Say what an answer means that is no JSON-RPC message for the request."""
        status = response.status_code
        if response.is_success:
            return ConnectionFailed("the answer was no JSON-RPC message")
        if status in _FORGOTTEN and SESSION_HEADER in request.headers:
            tried = await self._pinged(request, response) if is_call else response
            if tried is not None and tried.status_code == status:
                taken = is_call and (status != httpx.codes.NOT_FOUND or _said(tried) != _said(response))
                return Unreachable("the server no longer knows this session", sent=taken)
        return refusal_of(response, self._redact, sent=is_call)

    async def _pinged(self, request: httpx.Request, response: httpx.Response) -> httpx.Response | None:
        """Send a ping in the session of a call that was answered like one in a session nobody knows."""
        ping = {"jsonrpc": "2.0", "id": f"{json.loads(request.content)['id']}-ping", "method": "ping"}
        headers = [(name, value) for name, value in request.headers.items() if name not in _BODY_HEADERS]
        try:
            probe = self.build_request("POST", response.request.url, json=ping, headers=headers)
            answer = await super().send(probe, stream=True)
            try:
                if not answer.is_success:  # else a stream may follow that nobody waits for
                    await answer.aread()
            finally:
                await answer.aclose()
        except httpx.TransportError:
            return None
        return answer

    def _failed(self, request: httpx.Request, request_id: Any, failure: ConnectionFailed) -> httpx.Response:
        return httpx.Response(200, json=self._failure(request_id, failure), request=request)

    def _failure(self, request_id: Any, failure: ConnectionFailed) -> dict[str, Any]:
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


def described(request: httpx.Request) -> tuple[Any, bool]:
    """Return the id of the JSON-RPC request in a POST, and whether it calls a tool.

    The id is ``None`` for notifications and for everything else.
    """
    if request.method != "POST":
        return None, False
    message = json.loads(request.content)
    return (message.get("id") if "method" in message else None), message.get("method") == "tools/call"


def is_call(request: httpx.Request) -> bool:
    """Whether a request calls a tool; what an ``auth`` sends for itself is no JSON-RPC."""
    try:
        return described(request)[1]
    except (ValueError, TypeError, AttributeError, httpx.RequestNotRead):
        return False


def refusal_of(response: httpx.Response, mask: Masker, *, sent: bool) -> ConnectionFailed:
    """Say that a request got a status instead of an answer, in the server's words."""
    status = response.status_code
    hint = " The key was not accepted." if status in {httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN} else ""
    said = one_line(mask(_text(response)))  # masked before it is cut: half a key is a secret as well
    quoted = f" It said: {said[:_MOST_QUOTED]}" if said else ""
    return ConnectionFailed(f"the server answered HTTP {status}.{hint}{quoted}", sent=sent)


def _is_stream(response: httpx.Response) -> bool:
    return str(response.headers.get("content-type", "")).lower().startswith("text/event-stream")


def _message(body: bytes) -> dict[str, Any] | None:
    try:
        message = json.loads(body)
    except ValueError:
        return None
    is_one = isinstance(message, dict) and ("result" in message or "error" in message)
    return message if is_one else None


def _said(response: httpx.Response) -> object:
    """What a response says, but for the id of the request that it answers."""
    try:
        said = json.loads(response.content)
    except ValueError:
        return response.content
    return {key: value for key, value in said.items() if key != "id"} if isinstance(said, dict) else said


def _text(response: httpx.Response) -> str:
    """The words of an answer that is none: those of its JSON-RPC error, or as it came."""
    error = (_message(response.content) or {}).get("error")
    said = error.get("message") if isinstance(error, dict) else error
    return said if isinstance(said, str) else " ".join(response.text.split())


def words(error: httpx.TransportError) -> str:
    """Say what failed on the way."""
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
