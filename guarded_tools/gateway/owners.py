"""Which of several servers a resource belongs to: by what they list, by their templates, or by who linked to it."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Mapping
from typing import Any, Protocol

from mcp import MCPError
from mcp_types import INVALID_PARAMS, INVALID_REQUEST

from guarded_tools.gateway.answers import envelope
from guarded_tools.gateway.catalogue import FRESH, SOONEST
from guarded_tools.gateway.guarded import Principal
from guarded_tools.gateway.upstream import Params
from guarded_tools.text.visible import one_line

_MOST_PAGES = 1000
_MOST_LINKS = 10_000
_EXPRESSION = re.compile(r"\{[^{}]*\}")


class OneLine(Protocol):
    """A line to one of several servers."""

    @property
    def is_over(self) -> bool:
        """Whether the server is gone."""
        ...

    async def start(self) -> None:
        """Start or reach the server."""
        ...

    async def answer(self, request: Any, method: str, params: Params, principal: Principal) -> dict[str, Any]:
        """Answer what a client asks."""
        ...

    async def ask(self, method: str, params: Params) -> dict[str, Any]:
        """Ask the server itself."""
        ...

    async def list_tools(self, params: Params) -> None:
        """Have the server's tools known."""
        ...

    async def tell(self, method: str, params: Params) -> None:
        """Send on what a client says."""
        ...

    async def ended(self) -> None:
        """Come back once the server is gone."""
        ...

    def last_words(self) -> str:
        """Return what is known of the server's end."""
        ...

    async def close(self) -> None:
        """End the connection to the server."""
        ...


class Owners:
    """Whose each URI is. What is hidden is known here as well: its own server refuses it."""

    def __init__(self, lines: Mapping[str, OneLine]) -> None:
        self._lines = lines
        self._uris: dict[str, set[str]] = {}
        self._templates: dict[str, set[str]] = {}
        self._links: dict[str, set[str]] = {}
        self._listed_at = float("-inf")
        self._listing = asyncio.Lock()

    async def of(self, uri: str, params: Params) -> str:
        """Name the server of a resource, or of a template. ``params`` are those of the request that is about it.

        Raises:
            MCPError: it could be several servers', or none has it.
            ConnectionFailed: a server does not say what it lists.
        """
        async with self._listing:
            age = time.monotonic() - self._listed_at
            if age >= FRESH or (age >= SOONEST and not self._known(uri)):
                await self._list(params)
        found = self._known(uri)
        if len(found) == 1:
            return next(iter(found))
        if found:
            servers = " and ".join(sorted(found))
            raise MCPError(INVALID_REQUEST, f"{servers} both have {one_line(uri)}: nobody knows which of them is meant")
        raise MCPError(INVALID_PARAMS, f"no server lists {one_line(uri)}")

    def _known(self, uri: str) -> set[str]:
        fitting = [servers for template, servers in self._templates.items() if uri == template or _fits(template, uri)]
        return self._uris.get(uri) or set().union(*fitting) or self._links.get(uri, set())

    def learn(self, server: str, answer: Mapping[str, Any]) -> None:
        """Take note of what a server linked to: it may list that nowhere."""
        blocks = answer.get("content")
        for block in blocks if isinstance(blocks, list) else []:
            uri = block.get("uri") if isinstance(block, Mapping) and block.get("type") == "resource_link" else None
            if isinstance(uri, str) and (uri in self._links or len(self._links) < _MOST_LINKS):
                self._links.setdefault(uri, set()).add(server)

    async def _list(self, params: Params) -> None:
        found = await asyncio.gather(
            *(
                self._of_server(line, method, key, named, params)
                for line in self._lines.values()
                for method, key, named in (
                    ("resources/list", "resources", "uri"),
                    ("resources/templates/list", "resourceTemplates", "uriTemplate"),
                )
            )
        )
        self._uris, self._templates = {}, {}
        for number, server in enumerate(self._lines):
            for uri in found[2 * number]:
                self._uris.setdefault(uri, set()).add(server)
            for template in found[2 * number + 1]:
                self._templates.setdefault(template, set()).add(server)
        self._listed_at = time.monotonic()

    @staticmethod
    async def _of_server(line: OneLine, method: str, key: str, named: str, params: Params) -> list[str]:
        listed: list[str] = []
        cursor: Any = None
        for _ in range(_MOST_PAGES):
            try:
                page = await line.ask(method, envelope(params, {} if cursor is None else {"cursor": cursor}))
            except MCPError:
                break  # it has none
            entries = page.get(key)
            listed += [entry[named] for entry in entries if isinstance(entry.get(named), str)] if entries else []
            cursor = page.get("nextCursor")
            if not isinstance(cursor, str):
                break
        return listed


def _fits(template: str, uri: str) -> bool:
    """Whether a template could make a URI. Braces may stand for anything: rather two owners than a wrong one."""
    first, *others = _EXPRESSION.split(template)
    if not others or not uri.startswith(first) or not uri.endswith(others[-1]):
        return False
    at, end = len(first), len(uri) - len(others[-1])
    for part in others[:-1]:
        found = uri.find(part, at, end)
        if found < 0:
            return False
        at = found + len(part)
    return at <= end
