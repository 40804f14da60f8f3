"""Who may reach a gateway that listens, and how: looked at before anything is served.

On this machine alone it may listen as it is. To others it listens with TLS or behind one proxy that brings it, and only
to clients of which it knows who they are.
"""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import urlsplit

from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from guarded_tools.errors import GuardError
from guarded_tools.listening import check_proxy, is_loopback, same_address

PATH = "/mcp"

_HERE = ("127.0.0.1", "localhost", "[::1]")
_UNNAMED = ("0.0.0.0", "::")  # noqa: S104 - told apart here, and bound by nobody


class Entrance(NamedTuple):
    """How clients reach a gateway.

    ``also`` are names that they call it by beside ``host``, ``public`` the address that they use where it is another
    one than that which is bound, and ``proxy`` the only address that connections may come from.
    """

    host: str
    port: int = 0
    also: tuple[str, ...] = ()
    public: str = ""
    proxy: str = ""
    tls: bool = False

    @property
    def names(self) -> list[str]:
        """What a request may call the gateway, without ports."""
        bound = _HERE if is_loopback(self.host) else (bracketed(self.host),)
        public = urlsplit(self.public).netloc.rpartition("@")[2]
        return [*bound, *self.also, *([public] if public else [])]

    @property
    def address(self) -> str:
        """Where clients find it."""
        scheme = "https" if self.tls else "http"
        return self.public or f"{scheme}://{bracketed(self.host)}:{self.port}{PATH}"

    def check(self, *, named: bool) -> None:
        """See that it may be served like that. ``named``: it knows who its clients are.

        Raises:
            GuardError: it may not; the text says what is missing.
        """
        if self.proxy:
            check_proxy(self.proxy)
        parts = urlsplit(self.public)
        if self.public and (
            parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment
        ):
            raise GuardError(f"--public {self.public} is no address, such as https://mcp.example.com{PATH}")
        if is_loopback(self.host) and not self.proxy:
            return
        where = f"--http {self.host}" if not self.proxy else f"--proxy-from {self.proxy}"
        if not named:
            raise GuardError(
                f"{where}: whoever reaches this address could call every tool; name --tokens FILE as well, or --jwks"
            )
        if not (self.tls or self.proxy):
            raise GuardError(
                f"{where} is reached from elsewhere, where others read along: name --tls-cert and --tls-key, or with"
                " --proxy-from ADDRESS the proxy that brings TLS"
            )
        if self.host in _UNNAMED and not (self.also or self.public):
            raise GuardError(f"{where} is no name that clients can use: say by which they do, --public https://…{PATH}")


def bracketed(host: str) -> str:
    """Write a host as it stands in an address."""
    return f"[{host}]" if ":" in host else host


class OnlyFrom:
    """Lets through what comes from one address: that of the proxy, which alone may speak to a gateway in the clear."""

    def __init__(self, app: ASGIApp, address: str) -> None:
        self._app = app
        self._address = address

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or hand it on."""
        if scope["type"] == "http" and not same_address((scope.get("client") or ("",))[0], self._address):
            await PlainTextResponse("this address is reached by way of its proxy", 403)(scope, receive, send)
            return
        await self._app(scope, receive, send)
