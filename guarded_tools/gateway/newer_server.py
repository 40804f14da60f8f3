"""A server of 2026-07-28 for clients of up to 2025-11-25.

Such a server asks by answering a call with its questions: the client is asked them as it expects to be, and the call is
made again with the answers. What a client subscribes to becomes one stream.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from mcp.shared.subscriptions import SUBSCRIPTION_ID_META_KEY
from mcp_types import LOG_LEVEL_META_KEY, SERVER_INFO_META_KEY
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS, LATEST_HANDSHAKE_VERSION

from guarded_tools.errors import ConnectionFailed
from guarded_tools.gateway.answers import OURS
from guarded_tools.gateway.older_server import ACKNOWLEDGED
from guarded_tools.gateway.upstream import Hears, Params, Upstream

_MOST_ROUNDS = 10
_PAUSE = 0.1
_ACKNOWLEDGED_WITHIN = 10.0
_NEW_WORDS = frozenset({"resultType", "ttlMs", "cacheScope"})


class NewerServer:
    """Translates. ``meta`` is what each request says of itself and its client, ``found`` the server's introduction."""

    def __init__(
        self, upstream: Upstream, meta: Mapping[str, Any], found: Mapping[str, Any], *, asked: Hears, told: Hears
    ) -> None:
        self._upstream = upstream
        self._meta = dict(meta)
        self._found = found
        self._asked = asked
        self._told = told
        self._uris: set[str] = set()
        self._listening: asyncio.Task[Any] | None = None
        self._acknowledged = asyncio.Event()

    def introduce(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Answer ``initialize``."""
        version = given.get("protocolVersion")
        info = (self._found.get("_meta") or {}).get(SERVER_INFO_META_KEY) or {}
        return {
            "protocolVersion": version if version in HANDSHAKE_PROTOCOL_VERSIONS else LATEST_HANDSHAKE_VERSION,
            "capabilities": self._found.get("capabilities") or {},
            "serverInfo": {"name": self._upstream.name, "version": "0", **info},
            **({"instructions": self._found["instructions"]} if "instructions" in self._found else {}),
        }

    async def request(
        self, number: int, method: str, params: Params, schema: Mapping[str, Any] | None
    ) -> dict[str, Any]:
        """Answer a request; raises as :meth:`Upstream.request`."""
        given = params or {}
        if method == "ping":
            return {}
        if method == "logging/setLevel":
            self._meta[LOG_LEVEL_META_KEY] = given.get("level")
            return {}
        if method in ("resources/subscribe", "resources/unsubscribe"):
            (self._uris.add if method == "resources/subscribe" else self._uris.discard)(str(given.get("uri")))
            await self._listen()
            return {}
        sent = {**given, "_meta": {**(given.get("_meta") or {}), **self._meta}}
        answer = await self._upstream.request_as(number, method, sent, schema=schema)
        for _ in range(_MOST_ROUNDS):
            if answer.get("resultType") != "input_required":
                return _older(answer)
            answer = await self._upstream.request(method, {**sent, **await self._answers(answer)}, schema=schema)
        raise ConnectionFailed(f"the server {self._upstream.name} asked {_MOST_ROUNDS} times, and did not answer")

    async def _answers(self, answer: Mapping[str, Any]) -> dict[str, Any]:
        """Ask the client what the server asks it."""
        questions = answer.get("inputRequests") or {}
        if not isinstance(questions, Mapping) or not all(isinstance(each, Mapping) for each in questions.values()):
            raise ConnectionFailed(f"the server {self._upstream.name} asks what cannot be read")
        given = {
            name: await self._asked(None, str(each.get("method")), each.get("params"))
            for name, each in questions.items()
        }
        if not questions:
            await asyncio.sleep(_PAUSE)  # it has nothing to ask, and is not done yet
        state = {"requestState": answer["requestState"]} if "requestState" in answer else {}
        return {**({"inputResponses": given} if given else {}), **state}

    async def notify(self, method: str) -> None:
        """Hear what a client tells; the server itself is told nothing."""
        if method == "notifications/initialized":
            await self._listen()

    async def _listen(self) -> None:
        """Listen to what the client should hear of, anew."""
        await self.close()
        capabilities = self._found.get("capabilities") or {}
        wanted: dict[str, Any] = {
            f"{area}ListChanged": True
            for area in ("tools", "prompts", "resources")
            if (capabilities.get(area) or {}).get("listChanged")
        }
        if self._uris:
            wanted["resourceSubscriptions"] = sorted(self._uris)
        if not wanted:
            return
        self._acknowledged.clear()
        asked = {"notifications": wanted, "_meta": self._meta}
        listening = asyncio.ensure_future(self._upstream.request("subscriptions/listen", asked))
        listening.add_done_callback(lambda done: done.cancelled() or done.exception())
        self._listening = listening
        known = asyncio.ensure_future(self._acknowledged.wait())
        await asyncio.wait({listening, known}, timeout=_ACKNOWLEDGED_WITHIN, return_when=asyncio.FIRST_COMPLETED)
        known.cancel()

    async def hear(self, method: str, params: Params) -> None:
        """Pass on what the server tells."""
        if method == ACKNOWLEDGED:
            self._acknowledged.set()
            return
        given = dict(params or {})
        meta = {
            key: value for key, value in (given.pop("_meta", None) or {}).items() if key != SUBSCRIPTION_ID_META_KEY
        }
        await self._told(None, method, {**given, "_meta": meta} if meta else given)

    async def close(self) -> None:
        """Listen no longer."""
        if self._listening is not None:
            self._listening.cancel()
            await asyncio.wait({self._listening})
            self._listening = None


def _older(answer: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out of an answer what older clients do not know."""
    meta = {key: value for key, value in (answer.get("_meta") or {}).items() if not key.startswith(OURS)}
    known = {key: value for key, value in answer.items() if key not in _NEW_WORDS and key != "_meta"}
    return {**known, "_meta": meta} if meta else known
