"""A server for clients of either protocol revision, whichever of them it speaks.

Where both speak one revision, everything passes as it is. Otherwise it is translated: for a client of 2026-07-28 before
a server of up to 2025-11-25 by :mod:`~guarded_tools.gateway.older_server`, and the other way by
:mod:`~guarded_tools.gateway.newer_server`. Which it is, is found out with the first request.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from mcp import MCPError
from mcp_types import CLIENT_CAPABILITIES_META_KEY, CLIENT_INFO_META_KEY, PROTOCOL_VERSION_META_KEY
from mcp_types.version import LATEST_HANDSHAKE_VERSION, LATEST_MODERN_VERSION

from guarded_tools._version import __version__
from guarded_tools.errors import ConnectionFailed
from guarded_tools.gateway.answers import envelope, is_modern
from guarded_tools.gateway.newer_server import NewerServer
from guarded_tools.gateway.older_server import OlderServer
from guarded_tools.gateway.upstream import Hears, Params, Upstream
from guarded_tools.mcp_session.transport import Server

_PROBE = 30.0
"""Seconds within which a server says that it speaks 2026-07-28. Older ones may answer nothing that they do not know."""

_SELF = {"name": "guarded-tools-gateway", "version": __version__}


class EitherRevision:
    """A server that is about to be reached; as :class:`~guarded_tools.gateway.upstream.Upstream`.

    ``shared``: its clients cannot be told apart, so it may ask only where a single call is under way.
    """

    def __init__(self, server: Server, name: str, *, asked: Hears, told: Hears, timeout: float, shared: bool) -> None:
        self._client_asked = asked
        self._client_told = told
        self._upstream = Upstream(server, name, asked=self._asked, told=self._told, timeout=timeout)
        self._probe = max(_PROBE, server.start_timeout)
        self._timeout = timeout
        self._shared = shared
        self._is_newer = False
        self._older: OlderServer | None = None
        self._newer: NewerServer | None = None
        self._meeting = asyncio.Lock()
        self.name = name
        self.ended = self._upstream.ended
        self.start = self._upstream.start
        self.last_words = self._upstream.last_words
        self.reserve = self._upstream.reserve

    async def request(self, method: str, params: Params, *, schema: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Ask the server and return its answer. ``schema`` is the called tool's.

        Raises:
            ConnectionFailed: no answer came.
            MCPError: the server refused.
        """
        return await self.request_as(self.reserve(), method, params, schema=schema)

    async def request_as(
        self, number: int, method: str, params: Params, *, schema: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """As :meth:`request`, under an id from :meth:`reserve`."""
        if is_modern(params):
            if not self._is_newer:
                async with self._meeting:
                    met = await self._meet(number, method, params)
                if met is not None:
                    return met
            if self._older is not None:
                return await self._older.request(number, method, params)
        elif method == "initialize":
            return await self._initialize(number, params)
        elif self._newer is not None:
            return await self._newer.request(number, method, params, schema)
        return await self._upstream.request_as(number, method, params, schema=schema)

    async def _meet(self, number: int, method: str, params: Params) -> dict[str, Any] | None:
        """Find out what a server speaks, for a client of 2026-07-28; return its answer if that was the question."""
        if self._is_newer or self._older is not None:
            return None
        if method != "server/discover":
            number, params = self.reserve(), envelope(params, {})
        try:
            async with asyncio.timeout(self._probe):
                found = await self._upstream.request_as(number, "server/discover", params)
        except (MCPError, ConnectionFailed, TimeoutError) as error:
            if self.ended.is_set():
                raise
            refused: Exception = error
        else:
            if LATEST_MODERN_VERSION in (found.get("supportedVersions") or ()):
                self._is_newer = True
                return found if method == "server/discover" else None
            refused = ConnectionFailed(f"the server {self.name} speaks no revision of the protocol that is known here")
        meta = (params or {}).get("_meta") or {}
        hello = {
            "protocolVersion": LATEST_HANDSHAKE_VERSION,
            "capabilities": meta.get(CLIENT_CAPABILITIES_META_KEY) or {},
            "clientInfo": meta.get(CLIENT_INFO_META_KEY) or _SELF,
        }
        try:
            answer = await self._upstream.request("initialize", hello)
        except (MCPError, ConnectionFailed):
            raise refused from None
        await self._upstream.notify("notifications/initialized", None)
        self._older = OlderServer(
            self._upstream, answer, told=self._client_told, timeout=self._timeout, shared=self._shared
        )
        return None

    async def _initialize(self, number: int, params: Params) -> dict[str, Any]:
        """Begin a session, for a client of up to 2025-11-25."""
        if self._older is not None:  # it was begun, for a client that has thought better of it
            answer, self._older = self._older.hello, None
            return answer
        try:
            return await self._upstream.request_as(number, "initialize", params)
        except (MCPError, ConnectionFailed) as refused:
            if self.ended.is_set():
                raise
            given = params or {}
            meta = {
                PROTOCOL_VERSION_META_KEY: LATEST_MODERN_VERSION,
                CLIENT_INFO_META_KEY: given.get("clientInfo") or _SELF,
                CLIENT_CAPABILITIES_META_KEY: given.get("capabilities") or {},
            }
            try:
                found = await self._upstream.request("server/discover", {"_meta": meta})
            except (MCPError, ConnectionFailed):
                raise refused from None
            if LATEST_MODERN_VERSION not in (found.get("supportedVersions") or ()):
                raise
            self._newer = NewerServer(self._upstream, meta, found, asked=self._client_asked, told=self._client_told)
            return self._newer.introduce(given)

    async def notify(self, method: str, params: Params) -> None:
        """Tell the server something. Where it is gone, nobody is told."""
        if self._newer is not None:
            await self._newer.notify(method)
        elif self._older is None:
            await self._upstream.notify(method, params)

    async def _asked(self, context: Any, method: str, params: Params) -> Any:
        if self._older is not None:
            return await self._older.asked(method, params)
        return await self._client_asked(context, method, params)

    async def _told(self, context: Any, method: str, params: Params) -> None:
        if self._older is not None:
            await self._older.hear(method, params)
        elif self._newer is not None:
            await self._newer.hear(method, params)
        else:
            await self._client_told(context, method, params)

    async def close(self) -> None:
        """End the connection, and the process where it is one."""
        if self._newer is not None:
            await self._newer.close()
        await self._upstream.close()
