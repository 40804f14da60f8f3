"""Carries messages between a client and a server, both ways, as they are.

Three numbers are not carried but translated, since each side gives its own: the ids of requests, by which answers and
cancellations are told apart (the SDK's dispatcher does that); tokens of progress; and ids of subscriptions. What a
server says goes to the request that it is about, as far as that can be told, and else to the client as a whole. Where
several clients share a server there is no such whole: what cannot be told apart is told to nobody.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from typing import Any, Protocol, TypeAlias

from mcp import MCPError
from mcp.shared.subscriptions import SUBSCRIPTION_ID_META_KEY
from mcp_types import METHOD_NOT_FOUND

from guarded_tools.gateway.revisions import EitherRevision
from guarded_tools.gateway.upstream import Params
from guarded_tools.mcp_session.transport import Server

Shown: TypeAlias = Callable[[str], bool]
"""Says whether somebody may hear of a resource."""

_ASKED = frozenset({"ping", "sampling/createMessage", "roots/list", "elicitation/create"})
_TOLD = frozenset({"notifications/initialized", "notifications/roots/list_changed", "notifications/progress"})
_TOKEN = "progressToken"  # noqa: S105 - a number of the protocol's


class Channel(Protocol):
    """A way to a client: of one of its requests, or the client's as a whole."""

    async def send_raw_request(self, method: str, params: Params, opts: Any = None) -> dict[str, Any]:
        """Ask the client."""
        ...

    async def notify(self, method: str, params: Params, opts: Any = None) -> None:
        """Tell the client."""
        ...


class Relay:
    """A server behind a gateway, and the client that it is reached for; ``None`` where several clients share it.

    ``shown`` is about the client; of what several share, each stream has its own. ``changed`` is called when the
    server's tools change.
    """

    def __init__(
        self,
        server: Server,
        name: str,
        client: Channel | None,
        *,
        timeout: float,
        shown: Shown = lambda _: True,
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        self.upstream = EitherRevision(
            server, name, asked=self._asked, told=self._told, timeout=timeout, shared=client is None
        )
        self._client = client
        self._shown = shown
        self._changed = changed
        self._tokens = itertools.count(1)
        self._progress: dict[str, tuple[Channel, Any]] = {}
        self._streams: dict[str, tuple[Channel, Any, Shown]] = {}
        self._under_way: dict[int, Any] = {}

    async def send(
        self,
        request: Any,
        method: str,
        params: Params,
        *,
        schema: Mapping[str, Any] | None = None,
        shown: Shown = lambda _: True,
    ) -> dict[str, Any]:
        """Send on what a client asks in ``request``, and return the answer. ``shown`` is about whoever asks.

        Raises:
            ConnectionFailed: no answer came.
            MCPError: the server refused.
        """
        token = ""
        params, original = self._with_token(params)
        if original is not None:
            token = str(params["_meta"][_TOKEN]) if params else ""
            self._progress[token] = (request, original)
        number = self.upstream.reserve()
        if method == "subscriptions/listen":
            self._streams[str(number)] = (request, request.request_id, shown)
        self._under_way[number] = request
        try:
            return await self.upstream.request_as(number, method, params, schema=schema)
        finally:
            del self._under_way[number]
            self._progress.pop(token, None)
            self._streams.pop(str(number), None)

    def _with_token(self, params: Params) -> tuple[Params, Any]:
        """Put a token of our own in the place of the client's: two clients of one server may choose the same."""
        meta = (params or {}).get("_meta")
        if params is None or not isinstance(meta, Mapping) or _TOKEN not in meta:
            return params, None
        return {**params, "_meta": {**meta, _TOKEN: f"gateway-{next(self._tokens)}"}}, meta[_TOKEN]

    async def tell(self, method: str, params: Params) -> None:
        """Send on what a client says. That it gives a request up is told by whoever sent that on."""
        if method in _TOLD and self._client is not None:
            await self.upstream.notify(method, params)

    async def _asked(self, _: object, method: str, params: Params) -> dict[str, Any]:
        """Ask the client what its server asks."""
        if method not in _ASKED:
            raise MCPError(METHOD_NOT_FOUND, "Method not found", method)
        way = self._way()
        if way is None:
            raise MCPError(METHOD_NOT_FOUND, "several clients share this server: there is none to be asked", method)
        return await way.send_raw_request(method, params)

    async def _told(self, _: object, method: str, params: Params) -> None:
        """Tell the client what its server says."""
        if method == "notifications/cancelled":
            return  # of a request to the client: the dispatcher has given it up, and has told so
        if method == "notifications/progress":
            way, original = self._progress.get(str((params or {}).get(_TOKEN)), (None, None))
            if way is not None:
                await way.notify(method, {**(params or {}), _TOKEN: original})
            return
        if method == "notifications/tools/list_changed":
            self._changed()
        updated = str((params or {}).get("uri")) if method == "notifications/resources/updated" else None
        meta = (params or {}).get("_meta")
        stream = meta.get(SUBSCRIPTION_ID_META_KEY) if isinstance(meta, Mapping) else None
        if isinstance(meta, Mapping) and stream is not None:
            way, original, shown = self._streams.get(str(stream), (None, None, self._shown))
            if way is not None and (updated is None or shown(updated)):
                await way.notify(method, {**(params or {}), "_meta": {**meta, SUBSCRIPTION_ID_META_KEY: original}})
            return
        if updated is not None and not self._shown(updated):
            return
        way = self._way() if method == "notifications/message" else self._client
        if way is not None:
            await way.notify(method, params)

    def _way(self) -> Channel | None:
        """Return the way of the request that a server most likely means: the only one, or the youngest."""
        if self._client is None:
            return None
        open_ones = [request for request in self._under_way.values() if request.can_send_request]
        return open_ones[-1] if open_ones else self._client
