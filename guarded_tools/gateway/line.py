"""From one client to its server: what a front end holds for each connection."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from guarded_tools.gateway.answers import envelope, is_modern
from guarded_tools.gateway.catalogue import NameCheck
from guarded_tools.gateway.elicit import asking, shows_forms
from guarded_tools.gateway.guarded import GuardedServer, Principal, Request
from guarded_tools.gateway.relay import Channel, Relay
from guarded_tools.gateway.rounds import Rounds
from guarded_tools.gateway.several import SeveralLines
from guarded_tools.gateway.upstream import Params
from guarded_tools.mcp_session.transport import Server
from guarded_tools.pipeline.gate import Gate
from guarded_tools.values import Risk

TIMEOUT = 600.0
"""Seconds that a server has to answer a request, unless told otherwise."""


@dataclass(frozen=True)
class Gateway:
    """What all connections of a gateway share.

    ``timeout``: seconds that a server has to answer a request. ``risk``: what is known of a server's tool.
    ``answered_at`` says how people answer questions, for clients whose question nobody answered. ``rounds``: with it,
    clients that may be asked nothing in between are answered with the question.
    """

    guard: Gate
    servers: Mapping[str, Server]
    check: NameCheck
    timeout: float = TIMEOUT
    risk: Callable[[str, str], Risk | None] = lambda _, __: None
    answered_at: str = ""
    rounds: Rounds | None = None

    def line(self, client: Channel | None, principal: Principal) -> Line | SeveralLines:
        """Return the line of a client, or of all those together that nothing tells apart."""
        several = len(self.servers) > 1
        lines = {
            name: Line(self, name, server, client, principal, keyed=several) for name, server in self.servers.items()
        }
        return SeveralLines(lines) if several else next(iter(lines.values()))


class Line:
    """A connection of a client's, and one to the server, which ends with it."""

    def __init__(
        self,
        gateway: Gateway,
        name: str,
        server: Server,
        client: Channel | None,
        principal: Principal,
        *,
        keyed: bool = False,
    ) -> None:
        self._guarded = GuardedServer(
            gateway.guard,
            name,
            gateway.check,
            keyed=keyed,
            risk=functools.partial(gateway.risk, name),
            answered_at=gateway.answered_at,
            rounds=gateway.rounds,
        )
        self._relay = Relay(
            server,
            name,
            client,
            timeout=gateway.timeout,
            shown=functools.partial(self._guarded.shown, principal=principal),
            changed=self._guarded.catalogue.outdated,
        )
        self.upstream = self._relay.upstream
        self._own = client is not None
        self._forms = False

    async def start(self) -> None:
        """Start or reach the server.

        Raises:
            ConnectionFailed: it cannot be started.
        """
        await self.upstream.start()

    async def answer(self, request: Any, method: str, params: Params, principal: Principal) -> dict[str, Any]:
        """Answer what a client asks.

        Raises:
            MCPError: the server refused, or the policy did where the protocol has no other word for it.
        """
        if method == "initialize":
            self._forms = self._own and shows_forms(params)
        asked = Request(method, params, principal, str(request.request_id))
        token = asking.set(request if self._forms and not is_modern(params) else None)
        try:
            shown = functools.partial(self._guarded.shown, principal=principal)
            return await self._guarded.answer(asked, functools.partial(self._relay.send, request, shown=shown))
        finally:
            asking.reset(token)

    async def list_tools(self, params: Params) -> None:
        """Have the server's tools known, as a client of this request would see them.

        Raises:
            MCPError: the server refuses to list its tools.
            ConnectionFailed: it does not answer.
        """

        async def ask(method: str, more: Mapping[str, Any]) -> dict[str, Any]:
            return await self.ask(method, envelope(params, more))

        await self._guarded.catalogue.ready(ask)

    async def ask(self, method: str, params: Params) -> dict[str, Any]:
        """Ask the server itself.

        Raises:
            MCPError: it refused.
            ConnectionFailed: it does not answer.
        """
        return await self.upstream.request(method, params)

    async def tell(self, method: str, params: Params) -> None:
        """Send on what a client says."""
        await self._relay.tell(method, params)

    @property
    def is_over(self) -> bool:
        """Whether the server is gone."""
        return self.upstream.ended.is_set()

    async def ended(self) -> None:
        """Come back once the server is gone."""
        await self.upstream.ended.wait()

    def last_words(self) -> str:
        """Return what is known of the server's end, for people."""
        return self.upstream.last_words()

    async def close(self) -> None:
        """End the connection to the server."""
        await self.upstream.close()
