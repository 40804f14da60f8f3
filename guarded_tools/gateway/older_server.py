"""A server of up to 2025-11-25 for clients of 2026-07-28.

What a server asks in the middle of a call, such a client is told as the call's answer, and answers by calling again:
meanwhile the call waits here, under a name that nobody could guess, for as long as a server has to answer. What a
server tells of changes goes to the streams that asked for it.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mcp import MCPError
from mcp.shared.subscriptions import SUBSCRIPTION_ID_META_KEY
from mcp_types import (
    CLIENT_CAPABILITIES_META_KEY,
    INVALID_PARAMS,
    LOG_LEVEL_META_KEY,
    METHOD_NOT_FOUND,
    SERVER_INFO_META_KEY,
)
from mcp_types.version import LATEST_MODERN_VERSION

from guarded_tools.gateway.answers import OURS
from guarded_tools.gateway.rounds import METHODS
from guarded_tools.gateway.upstream import Hears, Params, Upstream

ACKNOWLEDGED = "notifications/subscriptions/acknowledged"
_NOBODY = "nobody's"
_CHANGES = {
    "notifications/tools/list_changed": "toolsListChanged",
    "notifications/prompts/list_changed": "promptsListChanged",
    "notifications/resources/list_changed": "resourcesListChanged",
}
_UPDATED = "notifications/resources/updated"
_CACHED = frozenset({"tools/list", "prompts/list", "resources/list", "resources/templates/list", "resources/read"})
_NEEDED = {"elicitation/create": "elicitation", "sampling/createMessage": "sampling", "roots/list": "roots"}
_LEVELS = ("debug", "info", "notice", "warning", "error", "critical", "alert", "emergency")
_OF_A_ROUND = ("requestState", "inputResponses")


@dataclass
class _WaitingCall:
    """A call that was sent, and what its server asks meanwhile."""

    key: str
    may_ask: Mapping[str, Any]
    task: asyncio.Task[dict[str, Any]]
    questions: dict[str, tuple[str, Params, asyncio.Future[Any]]] = field(default_factory=dict)
    news: asyncio.Event = field(default_factory=asyncio.Event)
    expiry: asyncio.TimerHandle | None = None


class OlderServer:
    """Translates. ``hello`` is what the server answered to ``initialize``; ``timeout``: seconds that a question has."""

    def __init__(self, upstream: Upstream, hello: dict[str, Any], *, told: Hears, timeout: float, shared: bool) -> None:
        self.hello = hello
        self._upstream = upstream
        self._told = told
        self._timeout = timeout
        self._shared = shared
        self._capabilities: Mapping[str, Any] = hello.get("capabilities") or {}
        self._who = {SERVER_INFO_META_KEY: hello.get("serverInfo") or {}}
        self._numbers = itertools.count(1)
        self._running: list[_WaitingCall] = []
        self._held: dict[str, _WaitingCall] = {}
        self._streams: dict[int, dict[str, Any]] = {}
        self._level: str | None = None

    async def request(self, number: int, method: str, params: Params) -> dict[str, Any]:
        """Answer a request; raises as :meth:`Upstream.request`."""
        given = dict(params or {})
        meta = given.pop("_meta", None) or {}
        if method == "server/discover":
            return self._introduction()
        if method == "subscriptions/listen":
            return await self._listen(number, given)
        await self._log_at(meta.get(LOG_LEVEL_META_KEY))
        plain = {key: value for key, value in given.items() if key not in _OF_A_ROUND}
        kept = {key: value for key, value in meta.items() if not key.startswith(OURS)}
        sent = {**plain, "_meta": kept} if kept else plain
        if method in METHODS:
            call = self._come_back(method, plain, given) or self._begin(number, method, sent, plain, meta)
            answer = await self._followed(call)
        else:
            answer = await self._upstream.request_as(number, method, sent)
        cached = {"ttlMs": 0, "cacheScope": "private"} if method in _CACHED else {}
        told = {**self._who, **(answer.get("_meta") or {})}
        return {"resultType": "complete", **cached, **answer, "_meta": told}

    def _introduction(self) -> dict[str, Any]:
        told: dict[str, Any] = {key: self.hello[key] for key in ("capabilities", "instructions") if key in self.hello}
        return {
            "resultType": "complete",
            "supportedVersions": [LATEST_MODERN_VERSION, self.hello.get("protocolVersion")],
            "ttlMs": 0,
            "cacheScope": "private",
            "capabilities": {},
            **told,
            "_meta": self._who,
        }

    async def _log_at(self, level: Any) -> None:
        """Have the server log as much as somebody wants to hear."""
        wanted = level in _LEVELS and "logging" in self._capabilities
        if wanted and (self._level is None or _LEVELS.index(level) < _LEVELS.index(self._level)):
            self._level = level
            await self._upstream.request("logging/setLevel", {"level": level})

    # Calls that may be asked about.

    def _begin(
        self, number: int, method: str, sent: Params, plain: Mapping[str, Any], meta: Mapping[str, Any]
    ) -> _WaitingCall:
        task = asyncio.ensure_future(self._upstream.request_as(number, method, sent))
        task.add_done_callback(lambda done: done.cancelled() or done.exception())
        call = _WaitingCall(_key(method, plain), meta.get(CLIENT_CAPABILITIES_META_KEY) or {}, task)
        self._running.append(call)
        return call

    def _come_back(self, method: str, plain: Mapping[str, Any], given: Mapping[str, Any]) -> _WaitingCall | None:
        """Return the call that a client answers a question about, if it does, and have the answers given."""
        state, answers = given.get("requestState"), given.get("inputResponses")
        if state is None:
            return None
        call = self._held.get(state) if isinstance(state, str) else None
        if call is None or call.key != _key(method, plain):
            raise MCPError(INVALID_PARAMS, "this request state is not known, was used, or belongs to another call")
        del self._held[state]
        assert call.expiry is not None
        call.expiry.cancel()
        for name, (_, _, answer) in list(call.questions.items()):
            if isinstance(answers, Mapping) and isinstance(answers.get(name), Mapping):
                del call.questions[name]
                answer.set_result(answers[name])
        return call

    async def _followed(self, call: _WaitingCall) -> dict[str, Any]:
        try:
            return await self._outcome(call)
        except asyncio.CancelledError:
            call.task.cancel()
            raise
        finally:
            if call.task.done() or call.task.cancelling():
                self._running.remove(call)

    async def _outcome(self, call: _WaitingCall) -> dict[str, Any]:
        """Wait for the answer, or for a question."""
        while not call.questions:
            news = asyncio.ensure_future(call.news.wait())
            try:
                await asyncio.wait({call.task, news}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                news.cancel()
            call.news.clear()
            if call.task.done():
                return call.task.result()
        state = secrets.token_urlsafe(32)
        self._held[state] = call
        call.expiry = asyncio.get_running_loop().call_later(self._timeout, self._give_up, state)
        asked = {
            name: {"method": method, "params": params or {}} for name, (method, params, _) in call.questions.items()
        }
        return {"resultType": "input_required", "inputRequests": asked, "requestState": state}

    def _give_up(self, state: str) -> None:
        call = self._held.pop(state)
        call.task.cancel()
        self._running.remove(call)

    async def asked(self, method: str, params: Params) -> Any:
        """Ask the client what its server asks.

        Raises:
            MCPError: there is none that could be asked.
        """
        if method == "ping":
            return {}
        needed = _NEEDED.get(method)
        open_ones = [call for call in self._running if not call.task.done()]
        if needed is None or not open_ones or (self._shared and len(open_ones) > 1):
            raise MCPError(METHOD_NOT_FOUND, "Method not found", method)
        call = open_ones[-1]
        if needed not in call.may_ask:
            raise MCPError(METHOD_NOT_FOUND, f"the client has no {needed}", method)
        name = f"question-{next(self._numbers)}"
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        call.questions[name] = (method, params, answer)
        call.news.set()
        try:
            return await answer
        finally:
            call.questions.pop(name, None)

    # Changes.

    async def _listen(self, number: int, given: Mapping[str, Any]) -> dict[str, Any]:
        asked = given.get("notifications") or {}
        honoured: dict[str, Any] = {}
        for change in _CHANGES.values():
            area = self._capabilities.get(change.removesuffix("ListChanged")) or {}
            if asked.get(change) and area.get("listChanged"):
                honoured[change] = True
        uris = asked.get("resourceSubscriptions") or []
        if uris and (self._capabilities.get("resources") or {}).get("subscribe"):
            for uri in uris:
                await self._upstream.request("resources/subscribe", {"uri": uri})
            honoured["resourceSubscriptions"] = uris
        self._streams[number] = honoured
        meta = {"_meta": {SUBSCRIPTION_ID_META_KEY: number}}
        try:
            await self._told(None, ACKNOWLEDGED, {"notifications": honoured, **meta})
            await self._upstream.ended.wait()
        finally:
            del self._streams[number]
        return {"resultType": "complete", **meta}

    async def hear(self, method: str, params: Params) -> None:
        """Pass on what the server tells, to those who asked for it."""
        if method == "notifications/message" and self._level is None:
            return
        if method != _UPDATED and method not in _CHANGES:
            await self._told(None, method, params)
            return
        meta = (params or {}).get("_meta") or {}
        streams: list[Any] = [number for number, asked in self._streams.items() if _wants(asked, method, params)]
        for number in streams or [_NOBODY]:  # the gateway itself hears of changes in any case
            await self._told(None, method, {**(params or {}), "_meta": {**meta, SUBSCRIPTION_ID_META_KEY: number}})


def _key(method: str, plain: Mapping[str, Any]) -> str:
    """Name a call, so that no other can be taken for it."""
    return json.dumps([method, plain], sort_keys=True)


def _wants(asked: Mapping[str, Any], method: str, params: Params) -> bool:
    if method in _CHANGES:
        return bool(asked.get(_CHANGES[method]))
    return (params or {}).get("uri") in asked.get("resourceSubscriptions", ())
