"""The page served: a socket of ours, and a server that waits for nobody who is slow."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable
from typing import Any, Final

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from guarded_tools.approvers.protocol import who
from guarded_tools.errors import GuardError
from guarded_tools.listening import bind
from guarded_tools.web.app import make_app, make_live
from guarded_tools.web.approvals import look
from guarded_tools.web.desk import Desk
from guarded_tools.web.doors import Door, LinkDoor, PasswordDoor, ProxyDoor
from guarded_tools.web.live import Live
from guarded_tools.web.settings import WebSettings

_PATIENCE: Final = 10.0
_MOST_CONNECTIONS: Final = 900
_LONGEST_HEAD: Final = 16 * 1024


class PatientProtocol(H11Protocol):
    """HTTP/1.1, but for whoever takes longer than ten seconds to say what they want, or comes too many times."""

    _late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for a request."""
        super().connection_made(transport)
        if len(self.connections) > _MOST_CONNECTIONS:
            transport.abort()
            return
        self._wait()

    def data_received(self, data: bytes) -> None:
        """Wait as long as a request has begun, and its head is not whole."""
        super().data_received(data)
        if self.cycle is None or self.cycle.response_complete:
            self._wait()
        else:
            self._stop_waiting()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no longer."""
        super().connection_lost(exc)
        self._stop_waiting()

    def _wait(self) -> None:
        if self._late is None:
            self._late = asyncio.get_running_loop().call_later(_PATIENCE, self.transport.abort)

    def _stop_waiting(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None


class PageServer(uvicorn.Server):
    """A server that lets go of its tabs as soon as it is to end: they would stay for ever."""

    def __init__(self, how: uvicorn.Config, live: Live) -> None:
        super().__init__(how)
        self.live = live

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End the tabs, then the server."""
        self.live.stop()
        await super().shutdown(sockets)


def serve(
    settings: WebSettings,
    desk: Desk,
    say: Callable[[str], None],
    started: Callable[[PageServer], None] = lambda _: None,
) -> None:
    """Serve the page until it is interrupted. ``say`` shows a line to whoever started it: where it is, and the link.

    Raises:
        GuardError: the port cannot be used.
    """
    taken = bind(settings.host, settings.port)
    port = taken.getsockname()[1]
    origins = settings.origins(port)
    first = settings.public or next(origin for origin in sorted(origins) if "localhost" not in origin)
    door = open_door(settings, lambda token: say(f"Open once, within ten minutes: {first}/enter?token={token}"))
    # Cookies do not tell ports apart, so each has a name of its own.
    cookie = f"{'__Host-' if settings.secure else ''}guarded_tools_{port}"
    live = make_live(desk)
    app = make_app(
        desk, door, live, origins=origins, cookie=cookie, secure=settings.secure, read_only=settings.read_only
    )
    with contextlib.suppress(GuardError):  # which the page says
        look(desk)  # before anybody waits for it
    say(f"Serving {desk.url.partition('://')[0]} state at {first}; Ctrl-C ends it.")
    if isinstance(door, LinkDoor):
        door.renew()
    server = PageServer(config(settings, app), live)
    started(server)
    server.run([taken])


def config(settings: WebSettings, app: Any) -> uvicorn.Config:
    """Say how the server behaves: it believes no proxy's headers, logs no address, and upgrades no socket."""
    return uvicorn.Config(
        app,
        http=PatientProtocol,
        ws="none",
        loop="asyncio",
        lifespan="on",
        proxy_headers=False,
        server_header=False,
        access_log=False,
        log_level="warning",
        timeout_keep_alive=20,
        timeout_graceful_shutdown=2,
        h11_max_incomplete_event_size=_LONGEST_HEAD,
        ssl_certfile=settings.certificate,
        ssl_keyfile=None if settings.key is None else str(settings.key),
    )


def open_door(settings: WebSettings, announce: Callable[[str], None]) -> Door:
    """Make the one door that the settings ask for."""
    if settings.password is not None:
        return PasswordDoor(settings.password)
    if settings.proxy_header:
        return ProxyDoor(settings.proxy_header, settings.proxy_from)
    return LinkDoor(f"{who()} (web)", announce)
