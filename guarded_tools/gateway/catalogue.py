"""What a server lists: the tools behind a gateway, as a call of one is judged.

A tool that a server lists later is judged as it is then. One that nobody listed is called by nobody. Of two tools of
one name only the first is known: no policy could tell them apart.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, TypeAlias

from guarded_tools.adapters.wrap import raised
from guarded_tools.errors import PolicyError
from guarded_tools.pipeline.gate import Gate
from guarded_tools.text.visible import one_line
from guarded_tools.values import Risk, ToolInfo

Ask: TypeAlias = Callable[[str, Mapping[str, Any]], Awaitable[dict[str, Any]]]

PROMPT, RESOURCE = "prompt:", "resource:"
"""What policies call prompts and resources by: ``prompt:<name>`` and ``resource:<URI>``."""

FRESH = 300.0
"""Seconds for which a list is taken for true where the server says nothing of it."""

SOONEST = 2.0
"""Seconds before a list is asked for again because something is not in it."""

_MOST_PAGES = 1000

log = logging.getLogger("guarded_tools.gateway")


class NameCheck:
    """Holds a policy against all the tools that there are, once the servers have listed them.

    ``spoken`` are the names that the policy itself has of prompts and resources, which are in no list of tools.
    """

    def __init__(self, guard: Gate, servers: Iterable[str], spoken: Iterable[str] = ()) -> None:
        self.flaw = ""
        self._guard = guard
        self._servers = frozenset(servers)
        self._spoken = tuple(spoken)
        self._names: dict[str, tuple[str, ...]] = {}

    def listed(self, server: str, names: tuple[str, ...]) -> None:
        """Take note of what a server lists. What is wrong stands in ``flaw``, and every call is refused for it."""
        if self._names.get(server) == names:
            return
        first = self._names.keys() != self._servers
        self._names[server] = names
        if self._names.keys() != self._servers or not first:
            return  # a server that drops a tool later must not end everything else
        try:
            self._guard.check_names([*(name for each in self._names.values() for name in each), *self._spoken])
        except PolicyError as error:
            self.flaw = f"the policy does not fit these servers: {one_line(str(error))}"
            log.error("%s", error)  # noqa: TRY400 - the message says it all


class Catalogue:
    """The tools of one server. With ``keyed``, policies know them as ``server/tool``."""

    def __init__(
        self, guard: Gate, server: str, check: NameCheck, risk: Callable[[str], Risk | None], *, keyed: bool
    ) -> None:
        self.server = server
        self._guard = guard
        self._check = check
        self._risk = risk
        self._keyed = keyed
        self._tools: dict[str, ToolInfo] = {}
        self._fresh_until = self._asked_at = float("-inf")
        self._asking = asyncio.Lock()

    def known_as(self, name: str, kind: str = "") -> str:
        """Return what policies call a tool, or with ``kind`` a prompt or a resource."""
        return f"{kind}{self.server}/{name}" if self._keyed else f"{kind}{name}"

    def outdated(self) -> None:
        """Ask for the list before the next call."""
        self._fresh_until = float("-inf")

    async def find(self, name: str, ask: Ask) -> ToolInfo | None:
        """Return a tool as its server lists it, and ask for the list where it may have changed.

        Raises:
            MCPError: the server refuses to list its tools.
            ConnectionFailed: it does not answer.
        """
        async with self._asking:
            now = time.monotonic()
            unknown = name not in self._tools and now >= self._asked_at + SOONEST
            if now >= self._fresh_until or unknown:
                await self._list(ask)
        return self._tools.get(name)

    async def ready(self, ask: Ask) -> None:
        """Have the list, as it is; raises as :meth:`find`."""
        async with self._asking:
            if time.monotonic() >= self._fresh_until:
                await self._list(ask)

    async def _list(self, ask: Ask) -> None:
        started = self._asked_at = time.monotonic()
        self._fresh_until = started + FRESH  # before it is asked: a change that is told meanwhile counts
        entries: list[Any] = []
        cursor: Any = None
        for _ in range(_MOST_PAGES):
            page = await ask("tools/list", {} if cursor is None else {"cursor": cursor})
            entries += page["tools"] if isinstance(page.get("tools"), list) else []
            lasts = page.get("ttlMs")
            if isinstance(lasts, int | float) and lasts > 0:
                self._fresh_until = min(self._fresh_until, started + lasts / 1000)
            cursor = page.get("nextCursor")
            if not isinstance(cursor, str):
                break
        self._tools = {}
        await asyncio.to_thread(self.take, entries)
        names = tuple(info.name for info in self._tools.values())
        await asyncio.to_thread(self._check.listed, self.server, names)

    def take(self, entries: list[Any]) -> list[Mapping[str, Any]]:
        """Make tools known, and return the entries of those that can be told apart."""
        kept: list[Mapping[str, Any]] = []
        here: set[str] = set()
        for entry in entries:
            name = entry.get("name") if isinstance(entry, Mapping) else None
            if not isinstance(name, str) or name.startswith((PROMPT, RESOURCE)) or name in here:
                log.warning(
                    "%s lists a tool that cannot be told apart; it is left out: %s", self.server, one_line(str(name))
                )
                continue
            here.add(name)
            kept.append(entry)
            info = self._info(name, entry)
            self._tools[name] = info
            if self._guard.info(info.name) != info:
                self._guard.register(info)
        return kept

    def _info(self, name: str, entry: Mapping[str, Any]) -> ToolInfo:
        schema, output, hints = entry.get("inputSchema"), entry.get("outputSchema"), entry.get("annotations")
        info = ToolInfo(
            self.known_as(name),
            self.server,
            str(entry.get("description") or ""),
            schema if isinstance(schema, Mapping) else {},
            self._risk(name),
            origin=name if self._keyed else "",
            output=output if isinstance(output, Mapping) else False,
        )
        return info._replace(risk=raised(info, [hints] if isinstance(hints, Mapping) else []))
