"""Several servers behind one line, as one server to its client.

Tools and prompts are called ``server_name`` there, and ``server/name`` in policies, as with ``guarded_tools(…,
keyed=True)``: which server is meant stands in the name alone, and moves with no list. Resources keep their URIs, and
belong to the server that lists them, or whose template fits; one that could be two servers' is nobody's.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

from mcp import MCPError
from mcp_types import INVALID_PARAMS, METHOD_NOT_FOUND, SERVER_INFO_META_KEY

from guarded_tools._version import __version__
from guarded_tools.errors import GuardError
from guarded_tools.gateway.guarded import LISTS, Principal, reference_of, text_of
from guarded_tools.gateway.joined import JoinedStream
from guarded_tools.gateway.owners import OneLine, Owners
from guarded_tools.gateway.upstream import Params
from guarded_tools.text.visible import one_line

_OWN = {"name": "guarded-tools-gateway", "version": __version__}
_MOST_PAGES = 1000
_OF_A_URI = frozenset({"resources/read", "resources/subscribe", "resources/unsubscribe"})
_OF_ALL = frozenset({"ping", "logging/setLevel"})

log = logging.getLogger("guarded_tools.gateway")


def check_server_names(names: Sequence[str]) -> None:
    """See that what a client calls can be told apart by its name.

    Raises:
        GuardError: it cannot.
    """
    for name in names:
        for other in names:
            if name != other and other.startswith(f"{name}_"):
                raise GuardError(
                    f"the servers {name} and {other} cannot be told apart by the names of their tools, which begin with"
                    f" {name}_: call one of them otherwise"
                )


def check_spoken_names(servers: Sequence[str], names: Sequence[str]) -> None:
    """See that what a policy calls prompts and resources names a server: other rules would protect nobody.

    Raises:
        GuardError: one does not.
    """
    for name in names:
        kind, _, rest = name.partition(":")
        server, slash, _ = rest.partition("/")
        if not any(fnmatchcase(each, server) for each in servers) or not (slash or "*" in server):
            raise GuardError(
                f"the policy names {name}; with several servers, names of prompts and resources begin with a server's:"
                f" {kind}:{servers[0]}/{rest}"
            )


class SeveralLines:
    """The lines to several servers, for one client or for all those together that nothing tells apart."""

    def __init__(self, lines: Mapping[str, OneLine]) -> None:
        self._lines = dict(lines)
        self._owners = Owners(self._lines)

    async def start(self) -> None:
        """Start or reach the servers.

        Raises:
            ConnectionFailed: one cannot be started.
        """
        await asyncio.gather(*(line.start() for line in self._lines.values()))

    @property
    def is_over(self) -> bool:
        """Whether one of the servers is gone."""
        return any(line.is_over for line in self._lines.values())

    async def ended(self) -> None:
        """Come back once one of the servers is gone."""
        waiting = [asyncio.ensure_future(line.ended()) for line in self._lines.values()]
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in waiting:
                each.cancel()

    def last_words(self) -> str:
        """Return what is known of the end of those that are gone, for people."""
        return "".join(f" ({name}){line.last_words()}" for name, line in self._lines.items() if line.is_over)

    async def close(self) -> None:
        """End the connections to the servers."""
        await asyncio.gather(*(line.close() for line in self._lines.values()))

    async def tell(self, method: str, params: Params) -> None:
        """Send on what a client says. How far it is with an answer it says to one server, and nobody knows to which."""
        if method != "notifications/progress":
            await asyncio.gather(*(line.tell(method, params) for line in self._lines.values()))

    async def answer(self, request: Any, method: str, params: Params, principal: Principal) -> dict[str, Any]:
        """Answer what a client asks.

        Raises:
            MCPError: the server refused, or the policy did where the protocol has no other word for it.
        """
        if method in ("initialize", "server/discover"):
            return _introduced(await self._all(request, method, params, principal))
        if method in LISTS:
            return await self._list(request, method, params, principal)
        if method in ("tools/call", "prompts/get"):
            return await self._named(request, method, params, principal)
        if method == "subscriptions/listen":
            return await JoinedStream(self._lines, self._owners, request, principal).answer(params)
        if method in _OF_ALL:
            await self._some(request, method, params, principal)
            return {}
        return await self._about_a_resource(request, method, params, principal)

    async def _about_a_resource(
        self, request: Any, method: str, params: Params, principal: Principal
    ) -> dict[str, Any]:
        if method in _OF_A_URI:
            owner = await self._owners.of(text_of(params, "uri"), params)
            return await self._lines[owner].answer(request, method, params, principal)
        if method == "completion/complete":
            return await self._complete(request, params, principal)
        raise MCPError(METHOD_NOT_FOUND, "Method not found", method)

    async def _all(self, request: Any, method: str, params: Params, principal: Principal) -> dict[str, dict[str, Any]]:
        """Ask all of them; what one refuses is refused."""
        answers = await asyncio.gather(
            *(line.answer(request, method, params, principal) for line in self._lines.values())
        )
        return dict(zip(self._lines, answers, strict=True))

    async def _some(self, request: Any, method: str, params: Params, principal: Principal) -> dict[str, dict[str, Any]]:
        """Ask all of them; whoever does not know the method is passed over.

        Raises:
            MCPError: none knows it, or one refused otherwise.
        """
        asked = [self._pages(line, request, method, params, principal) for line in self._lines.values()]
        answers = await asyncio.gather(*asked, return_exceptions=True)
        found: dict[str, dict[str, Any]] = {}
        unknown: MCPError | None = None
        for name, answer in zip(self._lines, answers, strict=True):
            if isinstance(answer, MCPError) and answer.code == METHOD_NOT_FOUND:
                unknown = answer
            elif isinstance(answer, BaseException):
                raise answer
            else:
                found[name] = answer
        if not found and unknown is not None:
            raise unknown
        return found

    async def _pages(
        self, line: OneLine, request: Any, method: str, params: Params, principal: Principal
    ) -> dict[str, Any]:
        """Ask a server, and if it lists, for all that it lists: clients that read one page would miss other servers."""
        answer = await line.answer(request, method, params, principal)
        key = LISTS[method][0] if method in LISTS else ""
        page = answer
        for _ in range(_MOST_PAGES):
            cursor = page.get("nextCursor")
            if not key or not isinstance(cursor, str):
                break
            page = await line.answer(request, method, {**(params or {}), "cursor": cursor}, principal)
            answer = {**answer, key: [*answer[key], *page[key]]}
        return {name: value for name, value in answer.items() if name != "nextCursor"}

    async def _list(self, request: Any, method: str, params: Params, principal: Principal) -> dict[str, Any]:
        if (params or {}).get("cursor") is not None:
            raise MCPError(INVALID_PARAMS, "this list has one page: ask without a cursor")
        key, named, _ = LISTS[method]
        found = await self._some(request, method, params, principal)
        entries: list[dict[str, Any]] = []
        lists: dict[str, int] = {}
        for server, answer in found.items():
            for entry in answer[key]:
                name = entry[named] if named != "name" else f"{server}_{entry[named]}"
                lists[name] = lists.get(name, 0) + 1
                entries.append({**entry, named: name})
        for name in (name for name, times in lists.items() if times > 1):
            log.warning("several servers list %s; it is left out, for nobody knows whose is meant", one_line(name))
        merged: dict[str, Any] = {key: [entry for entry in entries if lists[entry[named]] == 1]}
        return {**merged, **_lasts(list(found.values()))}

    async def _named(self, request: Any, method: str, params: Params, principal: Principal) -> dict[str, Any]:
        name = text_of(params, "name")
        server = self._server_of(name)
        if server is None:
            raise MCPError(
                INVALID_PARAMS, f"no server has {one_line(name)}: names begin with a server's, as in the list"
            )
        if method == "tools/call":
            # The policy is held against all tools that there are before the first of them runs.
            await asyncio.gather(*(line.list_tools(params) for line in self._lines.values()))
        own = {**(params or {}), "name": name.removeprefix(f"{server}_")}
        answer = await self._lines[server].answer(request, method, own, principal)
        self._owners.learn(server, answer)
        return answer

    def _server_of(self, name: str) -> str | None:
        return next((server for server in self._lines if name.startswith(f"{server}_")), None)

    async def _complete(self, request: Any, params: Params, principal: Principal) -> dict[str, Any]:
        kind, named = reference_of(params)
        given = params or {}
        if kind.startswith("prompt"):
            server = self._server_of(named)
            if server is None:
                raise MCPError(INVALID_PARAMS, "no server has a prompt of that name")
            given = {**given, "ref": {**given["ref"], "name": named.removeprefix(f"{server}_")}}
        else:
            server = await self._owners.of(named, params)
        return await self._lines[server].answer(request, "completion/complete", given, principal)


def _introduced(found: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Introduce several servers as one: it can what any of them can."""
    capabilities: dict[str, dict[str, Any]] = {}
    for answer in found.values():
        for key, value in (answer.get("capabilities") or {}).items():
            if key == "experimental" or not isinstance(value, Mapping):
                continue  # whatever that is, nobody knows how two of them go together
            so_far = capabilities.setdefault(key, {})
            so_far.update({name: each or so_far.get(name, False) for name, each in value.items()})
    told = [f"{name}: {text}" for name, answer in found.items() if (text := answer.get("instructions"))]
    whole: dict[str, Any] = {"capabilities": capabilities}
    if told:
        whole["instructions"] = "\n\n".join(told)
    versions = [answer["protocolVersion"] for answer in found.values() if "protocolVersion" in answer]
    if versions:
        return {"protocolVersion": min(versions), "serverInfo": _OWN, **whole}
    first, *others = (answer.get("supportedVersions") or [] for answer in found.values())
    both = [version for version in first if all(version in other for other in others)]
    lasts = _lasts(list(found.values()))
    return {"supportedVersions": both, **whole, **lasts, "_meta": {SERVER_INFO_META_KEY: _OWN}}


def _lasts(answers: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Say for how long a merged answer holds: for as long as all of them do, and for whom they all do."""
    if not any("resultType" in answer for answer in answers):
        return {}
    times = [answer.get("ttlMs") for answer in answers]
    scopes = {answer.get("cacheScope") for answer in answers}
    return {
        "resultType": "complete",
        "ttlMs": min((each for each in times if isinstance(each, int)), default=0) if None not in times else 0,
        "cacheScope": "public" if scopes == {"public"} else "private",
    }
