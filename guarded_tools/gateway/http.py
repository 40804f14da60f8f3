"""A gateway that listens: streamable HTTP, for clients of either protocol revision.

The SDK serves sessions, streams and headers, and checks Host and Origin; what a message asks never comes to it but goes
to a :class:`~guarded_tools.gateway.line.Line`. A client of up to 2025-11-25 has a session, and a line of its own, so
that no server's question comes to another client. On 2026-07-28 there are no sessions and no questions of servers: all
such clients share one line. Who a client is, its verified token says, and its session is the one that the SDK gave it,
which refuses it to other tokens: nothing that a client writes beside those is looked at.

Of the SDK this takes what is private in ``ServerSession``: the channel of a request, and the connection it came on.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from types import FrameType
from typing import Any

import uvicorn
from mcp import MCPError
from mcp.server.auth.middleware.auth_context import AuthContextMiddleware, get_access_token
from mcp.server.auth.middleware.bearer_auth import BearerAuthBackend, RequireAuthMiddleware
from mcp.server.auth.routes import build_resource_metadata_url, create_protected_resource_routes
from mcp.server.lowlevel import Server
from mcp.server.streamable_http_manager import StreamableHTTPASGIApp, StreamableHTTPSessionManager
from mcp.server.transport_security import TransportSecuritySettings
from mcp_types import INVALID_REQUEST
from pydantic import AnyHttpUrl
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.authentication import AuthenticationMiddleware
from starlette.routing import BaseRoute, Route

from guarded_tools._version import __version__
from guarded_tools.errors import ConnectionFailed
from guarded_tools.gateway.access import PATH, Entrance, OnlyFrom
from guarded_tools.gateway.guarded import Principal
from guarded_tools.gateway.line import Gateway, Line
from guarded_tools.gateway.several import SeveralLines
from guarded_tools.gateway.signed import SignedTokens
from guarded_tools.gateway.tokens import TokenFile

MOST_SESSIONS = 100
"""How many clients may have a session at once: each may have a process of its own behind it."""


def make_app(
    gateway: Gateway, tokens: TokenFile | SignedTokens | None, entrance: Entrance, *, session: str | None = None
) -> Starlette:
    """Return the application. ``session`` is the one of all its clients.

    Raises:
        GuardError: it would be open to other machines and ask nobody who they are, or let others read along.
    """
    entrance.check(named=tokens is not None)
    front = _Front(gateway, session, named=tokens is not None)
    server: Server[Any] = Server("guarded-tools-gateway", version=__version__)
    server.middleware[:] = [front.take]
    security = TransportSecuritySettings(
        allowed_hosts=[each for name in entrance.names for each in (name, f"{name}:*")],
        allowed_origins=[
            f"{scheme}://{name}{port}" for name in entrance.names for scheme in ("http", "https") for port in ("", ":*")
        ],
    )
    manager = StreamableHTTPSessionManager(server, security_settings=security, max_sessions=MOST_SESSIONS)
    endpoint: Any = StreamableHTTPASGIApp(manager)
    routes: list[BaseRoute] = []
    around = [Middleware(OnlyFrom, address=entrance.proxy)] if entrance.proxy else []
    if tokens is not None:
        told = None
        if isinstance(tokens, SignedTokens):
            here = AnyHttpUrl(entrance.address)
            told = build_resource_metadata_url(here)
            routes += create_protected_resource_routes(here, [AnyHttpUrl(tokens.issuer)])
        endpoint = RequireAuthMiddleware(endpoint, [], told)
        around += [
            Middleware(AuthenticationMiddleware, backend=BearerAuthBackend(tokens)),
            Middleware(AuthContextMiddleware),
        ]

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        try:
            async with manager.run():
                yield
        finally:
            await front.close()

    return Starlette(routes=[Route(PATH, endpoint=endpoint), *routes], middleware=around, lifespan=lifespan)


async def serve_http(
    app: Starlette,
    listener: socket.socket,
    started: Callable[[], None] = lambda: None,
    *,
    certificate: Path | None = None,
    key: Path | None = None,
) -> None:
    """Listen until the program is told to end, or this is cancelled: sessions are ended either way."""
    config = uvicorn.Config(
        app,
        log_level="warning",
        timeout_graceful_shutdown=2,
        proxy_headers=False,  # where a connection comes from is what the network says
        server_header=False,
        ssl_certfile=certificate,
        ssl_keyfile=None if key is None else str(key),
    )
    server = _Listener(config)
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    while not (server.started or serving.done()):  # noqa: ASYNC110 - uvicorn tells of it by this flag alone
        await asyncio.sleep(0.01)
    if not serving.done():
        started()
    try:
        await asyncio.shield(serving)
    except asyncio.CancelledError:
        server.should_exit = True
        await serving
        raise


class _Listener(uvicorn.Server):
    """Ends when it is told to, and the program goes on to close what it has open."""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """End. Any signal but Ctrl-C's is not sent again: the program would end where it stands."""
        if sig == signal.SIGINT:
            super().handle_exit(sig, frame)
        else:
            self.should_exit = True


class _Front:
    """Takes each message of a client before the SDK has looked into it."""

    def __init__(self, gateway: Gateway, session: str | None, *, named: bool) -> None:
        self._gateway = gateway
        self._named = named
        self._session = session
        self._lines: dict[str, Line | SeveralLines] = {}
        self._shared: Line | SeveralLines | None = None
        self._opening = asyncio.Lock()

    async def take(self, ctx: Any, call_next: Callable[[Any], Any]) -> Any:
        """Answer a request, or send a notification on."""
        context = ctx
        connection, request = context.session._connection, context.session._request_outbound  # noqa: SLF001 - see above
        if context.request_id is None:
            line = self._lines.get(connection.session_id or "")
            if line is not None:
                await line.tell(context.method, context.params)
            return await call_next(context)  # the SDK takes note of `initialized`
        principal = self._principal(connection.session_id)
        try:
            line = await self._line(connection, principal)
        except ConnectionFailed as failure:
            raise MCPError(INVALID_REQUEST, str(failure)) from None
        return await line.answer(_Asked(request, context.request_id), context.method, context.params, principal)

    def _principal(self, session: str | None) -> Principal:
        """Say whose request it is: the name by its token, and its session, which is the SDK's own."""
        token = get_access_token()
        name = None if token is None else token.client_id
        if self._named and name is None:
            raise MCPError(INVALID_REQUEST, "nobody knows whose request this is")
        if self._session is not None:
            return Principal(self._session, name)
        if session is not None:
            return Principal(f"mcp:{session}", name)
        return Principal("anonymous" if name is None else f"user:{name}", name)

    async def _line(self, connection: Any, principal: Principal) -> Line | SeveralLines:
        if connection.session_id is None:
            async with self._opening:
                if self._shared is None or self._shared.is_over:
                    self._shared = await _opened(self._gateway.line(None, principal))
                return self._shared
        line = self._lines.get(connection.session_id)
        if line is None:
            line = await _opened(self._gateway.line(connection.outbound, principal))
            self._lines[connection.session_id] = line
            connection.exit_stack.push_async_callback(self._end, connection.session_id)
        return line

    async def _end(self, session: str) -> None:
        await self._lines.pop(session).close()

    async def close(self) -> None:
        """End what is still open."""
        lines = [*self._lines.values(), *([self._shared] if self._shared else [])]
        self._lines, self._shared = {}, None
        await asyncio.gather(*(line.close() for line in lines))


class _Asked:
    """The channel of one request, with the id that its client gave it."""

    def __init__(self, channel: Any, request_id: Any) -> None:
        self._channel = channel
        self.request_id = request_id

    def __getattr__(self, name: str) -> Any:
        return getattr(self._channel, name)


async def _opened(line: Line | SeveralLines) -> Line | SeveralLines:
    try:
        await line.start()
    except BaseException:
        await line.close()
        raise
    return line
