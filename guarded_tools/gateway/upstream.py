"""One connection to the server behind a gateway. What is sent on it goes as it is, and comes back as it is.

The connection lives in a task of its own, since whoever opens it is often a request that ends long before it does.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeAlias

from mcp import MCPError
from mcp.shared.inbound import (
    MCP_METHOD_HEADER,
    MCP_NAME_HEADER,
    MCP_PROTOCOL_VERSION_HEADER,
    NAME_BEARING_METHODS,
    encode_header_value,
    mcp_param_headers,
    x_mcp_header_map,
)
from mcp.shared.jsonrpc_dispatcher import JSONRPCDispatcher
from mcp_types import CONNECTION_CLOSED, PROTOCOL_VERSION_META_KEY, REQUEST_TIMEOUT

from guarded_tools.errors import ConnectionFailed
from guarded_tools.mcp_session.streams import open_streams
from guarded_tools.mcp_session.transport import Masker, Server, StderrTail
from guarded_tools.text.secret_shapes import MASK

Hears: TypeAlias = Callable[[Any, str, Mapping[str, Any] | None], Awaitable[Any]]
Params: TypeAlias = Mapping[str, Any] | None

_UNCANCELLABLE = frozenset({"initialize", "server/discover"})
_SHORTEST_SECRET = 12  # a shorter one may be a word, which would be missing from what servers say
_WAY_OUT = 10.0  # seconds; the SDK takes some seven for a process that nothing but SIGKILL ends
_ENDLESS = "subscriptions/listen"


class Upstream:
    """A server that is about to be reached. ``asked`` answers its requests, and ``told`` hears its notifications.

    ``timeout``: seconds that a request may take.
    """

    def __init__(self, server: Server, name: str, *, asked: Hears, told: Hears, timeout: float) -> None:
        self.name = name
        self.ended = asyncio.Event()
        self._server = server
        self._client_asked = asked
        self._client_told = told
        secrets = {each for each in server.secrets() if len(each) >= _SHORTEST_SECRET}
        self._secrets = sorted(secrets, key=len, reverse=True)
        self._timeout = timeout
        self._mask = Masker(server.secrets())
        self._tail = StderrTail(self._mask)
        self._ids = itertools.count(1)
        self._version = ""
        self._dispatcher: JSONRPCDispatcher[Any] | None = None
        self._failures: dict[Any, ConnectionFailed] = {}
        self._task: asyncio.Task[None] | None = None
        self._error: BaseException | None = None

    async def start(self) -> None:
        """Start or reach the server; nothing is said to it.

        Raises:
            ConnectionFailed: it cannot be started.
        """
        ready = asyncio.Event()
        self._task = asyncio.create_task(self._run(ready))
        over = asyncio.create_task(self.ended.wait())
        opened = asyncio.create_task(ready.wait())
        try:
            await asyncio.wait({over, opened}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            over.cancel()
            opened.cancel()
        if not ready.is_set():
            raise ConnectionFailed(f"the server {self.name} could not be reached{self.last_words()}", sent=False)

    async def _run(self, ready: asyncio.Event) -> None:
        try:
            async with open_streams(self._server, self._tail, self._mask, read_timeout=self._timeout) as streams:
                self._failures = streams.failures
                self._dispatcher = JSONRPCDispatcher(streams.read, streams.write)
                await self._dispatcher.run(self._asked, self._told, task_status=_Started(ready))
                self.ended.set()  # now: to see a process out may take seconds
        except Exception as error:  # noqa: BLE001 - whatever ended it, whoever waits for an answer is told
            self._error = error
        finally:
            self.ended.set()

    def last_words(self) -> str:
        """Return what is known of the server's end, for people: its last lines on stderr, without secrets."""
        said = f": {self._mask(str(self._error))}" if self._error is not None else ""
        tail = str(self._tail)
        return f"{said}\n{tail}" if tail else said

    async def request(self, method: str, params: Params, *, schema: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Ask the server and return its answer. ``schema`` is the called tool's, which may put arguments into headers.

        Raises:
            ConnectionFailed: no answer came; ``sent`` is false where the request certainly did not leave.
            MCPError: the server refused.
        """
        number = self.reserve()
        return await self.request_as(number, method, params, schema=schema)

    def reserve(self) -> int:
        """Return the id of a request that is about to be sent."""
        return next(self._ids)

    async def request_as(
        self, number: int, method: str, params: Params, *, schema: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """As :meth:`request`, under an id from :meth:`reserve`."""
        if self._dispatcher is None or self.ended.is_set():
            raise ConnectionFailed(f"the server {self.name} is gone{self.last_words()}", sent=False)
        options: dict[str, Any] = {"request_id": number, "headers": self._headers(method, params, schema)}
        options["cancel_on_abandon"] = method not in _UNCANCELLABLE
        if method in _UNCANCELLABLE:  # the first that it is asked: it may still be starting
            options["timeout"] = max(self._timeout, self._server.start_timeout)
        elif method != _ENDLESS:
            options["timeout"] = self._timeout
        try:
            answer = await self._dispatcher.send_raw_request(method, params, options)  # type: ignore[arg-type]
        except MCPError as error:
            hidden = MCPError(error.code, self._hidden(error.message), self._hidden(error.data))
            raise self._told_why(number, error) or hidden from None
        hidden_answer: dict[str, Any] = self._hidden(answer)
        if method == "initialize":
            self._version = str(answer.get("protocolVersion", ""))
        return hidden_answer

    def _hidden(self, value: Any) -> Any:
        """Take what opens the server out of what it says: it may quote what it was sent, and clients are nobody's."""
        if not self._secrets:
            return value
        if isinstance(value, str):
            for secret in self._secrets:
                value = value.replace(secret, MASK)
            return value
        if isinstance(value, Mapping):
            return {key: self._hidden(each) for key, each in value.items()}
        return [self._hidden(each) for each in value] if isinstance(value, list) else value

    async def _asked(self, context: Any, method: str, params: Params) -> Any:
        return await self._client_asked(context, method, self._hidden(params))

    async def _told(self, context: Any, method: str, params: Params) -> None:
        await self._client_told(context, method, self._hidden(params))

    def _told_why(self, number: int, error: MCPError) -> ConnectionFailed | None:
        """Tell a connection that failed from a server that refused."""
        failure = self._failures.pop(number, None)
        if failure is not None:
            return failure
        if error.code == CONNECTION_CLOSED and error.message == "Connection closed":
            return ConnectionFailed(f"the server {self.name} ended before it answered{self.last_words()}")
        if error.code == REQUEST_TIMEOUT and error.message.endswith(" timed out"):
            return ConnectionFailed(f"the server {self.name} did not answer within {self._timeout:g} seconds")
        return None

    async def notify(self, method: str, params: Params) -> None:
        """Tell the server something. Where it is gone, nobody is told."""
        if self._dispatcher is not None:
            headers = self._headers(method, params, None)
            await self._dispatcher.notify(method, params, {"headers": headers} if headers else None)

    def _headers(self, method: str, params: Params, schema: Mapping[str, Any] | None) -> dict[str, str]:
        """Return what streamable HTTP repeats of a message in its headers: made here, and of nobody's own headers."""
        meta = (params or {}).get("_meta")
        version = meta.get(PROTOCOL_VERSION_META_KEY) if isinstance(meta, Mapping) else None
        if not isinstance(version, str):
            return {MCP_PROTOCOL_VERSION_HEADER: self._version} if self._version else {}
        headers = {MCP_PROTOCOL_VERSION_HEADER: encode_header_value(version), MCP_METHOD_HEADER: method}
        name = (params or {}).get(NAME_BEARING_METHODS.get(method, ""))
        if isinstance(name, str):
            headers[MCP_NAME_HEADER] = encode_header_value(name)
        if schema is not None:
            headers.update(mcp_param_headers(x_mcp_header_map(schema), (params or {}).get("arguments") or {}))
        return headers

    async def close(self) -> None:
        """End the connection, and the process where it is one."""
        if self._task is None:
            return
        if self.ended.is_set():  # it is on its way out, and told to hurry it would leave the process behind
            await asyncio.wait({self._task}, timeout=_WAY_OUT)
        self._task.cancel()
        await asyncio.wait({self._task})


class _Started:
    """What a dispatcher tells that it is ready."""

    def __init__(self, ready: asyncio.Event) -> None:
        self._ready = ready

    def started(self, value: object = None) -> None:
        del value
        self._ready.set()
