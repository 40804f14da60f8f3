"""One stream of notifications from several servers (``subscriptions/listen``, of 2026-07-28)."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from mcp import MCPError
from mcp.shared.subscriptions import SUBSCRIPTION_ID_META_KEY
from mcp_types import METHOD_NOT_FOUND

from guarded_tools.gateway.guarded import Principal, subscribed
from guarded_tools.gateway.owners import OneLine, Owners
from guarded_tools.gateway.upstream import Params

ACKNOWLEDGED = "notifications/subscriptions/acknowledged"


class JoinedStream:
    """A request to listen, as it goes to several servers: their streams come together in one, acknowledged once."""

    def __init__(self, lines: Mapping[str, OneLine], owners: Owners, request: Any, principal: Principal) -> None:
        self._lines = lines
        self._owners = owners
        self._request = request
        self._principal = principal
        self._waited_for = set(lines)
        self._honoured: dict[str, Any] = {}
        self._early: list[tuple[str, Params]] = []
        self._any = False

    async def answer(self, params: Params) -> dict[str, Any]:
        """Listen until one of the servers ends its stream.

        Raises:
            MCPError: none of them knows of streams, or one refused.
        """
        asked = dict((params or {}).get("notifications") or {})
        owned: dict[str, list[str]] = {}
        for uri in subscribed(params):
            owned.setdefault(await self._owners.of(uri, params), []).append(uri)
        streams: list[asyncio.Task[dict[str, Any]]] = []
        for name, line in self._lines.items():
            wanted = {key: value for key, value in asked.items() if key != "resourceSubscriptions"}
            wanted |= {"resourceSubscriptions": owned[name]} if name in owned else {}
            given = {**(params or {}), "notifications": wanted}
            streams.append(asyncio.create_task(self._one(name, line, given)))
        try:
            open_ones = set(streams)
            while open_ones:
                done, open_ones = await asyncio.wait(open_ones, return_when=asyncio.FIRST_COMPLETED)
                for stream in done:
                    error = stream.exception()
                    if not isinstance(error, MCPError) or error.code != METHOD_NOT_FOUND:
                        return stream.result()
            return streams[-1].result()
        finally:
            for stream in streams:
                stream.cancel()
            await asyncio.wait(streams)

    async def _one(self, name: str, line: OneLine, params: Params) -> dict[str, Any]:
        stream = _OneStream(self, name, self._request)
        try:
            return await line.answer(stream, "subscriptions/listen", params, self._principal)
        except MCPError:
            await self._acknowledged_by(name)  # one that knows no streams keeps the others waiting no longer
            raise

    async def hear(self, name: str, method: str, params: Params) -> None:
        """Pass on what a server says on its stream: what comes before all have acknowledged theirs comes after that."""
        if method == ACKNOWLEDGED:
            if name not in self._waited_for:
                return
            for key, value in ((params or {}).get("notifications") or {}).items():
                so_far = self._honoured.get(key)
                self._honoured[key] = [*(so_far or []), *value] if isinstance(value, list) else bool(value or so_far)
            self._any = True
            await self._acknowledged_by(name)
        elif self._waited_for:
            self._early.append((method, params))
        else:
            await self._request.notify(method, params)

    async def _acknowledged_by(self, name: str) -> None:
        self._waited_for.discard(name)
        if self._waited_for or not self._any:
            return
        meta = {SUBSCRIPTION_ID_META_KEY: self._request.request_id}
        self._any = False  # it is told once
        await self._request.notify(ACKNOWLEDGED, {"notifications": self._honoured, "_meta": meta})
        early, self._early = self._early, []
        for each in early:
            await self._request.notify(*each)


class _OneStream:
    """The channel of a request to listen, as one of the servers has it."""

    def __init__(self, listening: JoinedStream, name: str, request: Any) -> None:
        self._listening = listening
        self._name = name
        self._request = request

    async def notify(self, method: str, params: Params, opts: Any = None) -> None:
        del opts
        await self._listening.hear(self._name, method, params)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._request, name)
