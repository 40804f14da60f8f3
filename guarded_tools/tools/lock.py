"""A pin on a server's tools: what they were called, said and took when somebody last looked. Pure but for one read.

A description is a prompt and a schema is a promise; a server that changes either after it was trusted has to be
looked at again. The lock keeps both in full, so that it can say what changed.
"""

from __future__ import annotations

import difflib
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

from guarded_tools.errors import PolicyError, Problem
from guarded_tools.text.visible import one_line
from guarded_tools.values import ToolInfo, digest

VERSION = "1"
# The command reads the lock that is there, to say what changed and to keep the other servers' pins.
_ANEW = "delete it, then write it anew with `guarded-tools lock`"


class Pinned(NamedTuple):
    """A tool as it was. ``hash`` covers name, description and schema."""

    hash: str
    description: str
    schema: Mapping[str, Any] | None


class Drift(NamedTuple):
    """How one tool differs from its pin.

    ``summary`` is in this package's words only, so it may be shown to a model; ``diff`` quotes the server and is for
    people.
    """

    server: str
    tool: str
    kind: Literal["new", "changed", "gone"]
    summary: str
    diff: str = ""


@dataclass(frozen=True, slots=True)
class Lock:
    """The pinned tools by server and name."""

    servers: Mapping[str, Mapping[str, Pinned]]

    @classmethod
    def of(cls, tools: Iterable[ToolInfo]) -> Lock:
        """Pin tools as they are.

        Raises:
            PolicyError: a server offers one name twice, or a schema that is not JSON.
        """
        servers: dict[str, dict[str, Pinned]] = {}
        for info in tools:
            pinned = servers.setdefault(info.server, {})
            if info.name in pinned:
                raise _error("", f"server {info.server!r} offers {info.name!r} twice")
            pinned[info.name] = _pin(info)
        return cls(MappingProxyType({server: MappingProxyType(pinned) for server, pinned in servers.items()}))

    @classmethod
    def from_file(cls, path: str | os.PathLike[str]) -> Lock:
        """Read a lock.

        Raises:
            PolicyError: no such file, not a lock, or an entry whose hash is not that of its content.
        """
        try:
            return cls.from_json(Path(path).read_text(encoding="utf-8"), str(path))
        except (OSError, UnicodeDecodeError) as error:
            raise _error(str(path), f"cannot be read: {error}", unreadable=True) from None

    @classmethod
    def from_json(cls, text: str, file: str = "<lock>") -> Lock:
        """Read a lock from its text; raises as :meth:`from_file` does."""
        try:
            document = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise _error(file, f"not JSON: {error}", unreadable=True) from None
        if not isinstance(document, dict) or document.get("version") != VERSION:
            raise _error(file, f"not a lock of version {VERSION!r}; {_ANEW}")
        try:
            tools = [
                (ToolInfo(name, server, entry["description"], entry["schema"]), entry["hash"])
                for server, entries in document["servers"].items()
                for name, entry in entries.items()
            ]
        except (AttributeError, KeyError, TypeError) as error:
            raise _error(file, f"a part is missing or of the wrong kind ({error})") from None
        for info, hashed in tools:
            if _pin(info).hash != hashed:
                raise _error(file, f"its hash is not that of its content; {_ANEW}", info)
        return cls.of(info for info, _ in tools)

    def to_json(self) -> str:
        """The lock as a file: sorted, so that two locks of one server are the same bytes."""
        servers = {
            server: {name: pinned._asdict() for name, pinned in tools.items()} for server, tools in self.servers.items()
        }
        return json.dumps({"version": VERSION, "servers": servers}, indent=1, sort_keys=True, ensure_ascii=False) + "\n"

    def joined(self, other: Lock) -> Lock:
        """This lock, with the servers of ``other`` added or put in the place of their older pins."""
        return Lock(MappingProxyType({**self.servers, **other.servers}))

    def check(self, info: ToolInfo) -> str | None:
        """Say in a few words how a tool that is offered now differs from its pin, or ``None`` where it does not."""
        drift = self.drift(info)
        return drift.summary if drift else None

    def drift(self, info: ToolInfo) -> Drift | None:
        """Say how a tool that is offered now differs from its pin. A tool that has none is new, and differs."""
        name, pinned = self._find(info)
        if pinned is None:
            return Drift(info.server, info.name, "new", f"it is new: the lock {self._lacks(info)}")
        try:
            now = _pin(info._replace(name=name))
        except PolicyError:
            return Drift(info.server, info.name, "changed", "its schema is not JSON")
        if now.hash == pinned.hash:
            return None
        parts = [
            (what, _diff(f"{info.name} {what}", before, after))
            for what, before, after in (
                ("description", pinned.description, now.description),
                ("schema", _lines(pinned.schema), _lines(now.schema)),
            )
            if before != after
        ]
        changed = " and ".join(what for what, _ in parts)
        return Drift(
            info.server,
            info.name,
            "changed",
            f"its {changed} changed since it was pinned",
            "\n".join(diff for _, diff in parts),
        )

    def compare(self, server: str, tools: Iterable[ToolInfo]) -> list[Drift]:
        """List every difference between the lock and what ``server`` offers now, tools that are gone included."""
        offered = {info.name: info for info in tools}
        changed = [drift for info in offered.values() if (drift := self.drift(info))]
        gone = [name for name in self.servers.get(server, {}) if name not in offered]
        return [*changed, *(Drift(server, name, "gone", "it is gone: the server no longer offers it") for name in gone)]

    def _find(self, info: ToolInfo) -> tuple[str, Pinned | None]:
        """The name under which a tool is pinned, and its pin."""
        if info.server and not info.place:
            name = info.origin or info.name
            return name, self.servers.get(info.server, {}).get(name)
        # Whoever wraps tools without saying whose they are may still use a lock, as long as one pin has that name. What
        # a server calls itself says nothing here: it could pick the pins that suit it.
        found = [tools[info.name] for tools in self.servers.values() if info.name in tools]
        return info.name, found[0] if len(found) == 1 else None

    def _lacks(self, info: ToolInfo) -> str:
        """Why a tool has no pin: a server that goes by another name here than in the lock has no new tools."""
        if info.server and not info.place and self.servers and info.server not in self.servers:
            return f"pins no server {info.server!r}, only {', '.join(map(repr, sorted(self.servers)))}"
        if any(info.name in tools for tools in self.servers.values()) and (info.place or not info.server):
            return "has several of that name, and it is not known which server this one is of"
        return "has no such tool"


def _pin(info: ToolInfo) -> Pinned:
    try:
        hashed = digest(info.name, info.description, info.schema)
    except ValueError as error:
        raise _error("", f"its schema is not JSON: {error}", info) from None
    return Pinned(f"sha256:{hashed}", info.description, info.schema)


def _lines(schema: Mapping[str, Any] | None) -> str:
    return json.dumps(schema, indent=1, sort_keys=True, ensure_ascii=False)


def _diff(what: str, before: str, after: str) -> str:
    lines = difflib.unified_diff(
        before.split("\n"), after.split("\n"), f"{what} (pinned)", f"{what} (now)", lineterm="", n=1
    )
    return "\n".join(map(one_line, lines))


def _error(file: str, message: str, info: ToolInfo | None = None, *, unreadable: bool = False) -> PolicyError:
    pointer = f"/servers/{info.server}/{one_line(info.name)}" if info else ""
    return PolicyError((Problem(file, 0, 0, pointer, message),), unreadable=unreadable)
