"""A client's configuration, with the guard before each of its servers: what is written in place of what, and back.

Only the entries of servers are replaced, and each keeps its environment and what else it says: what was secret stays
where it was. An entry that starts a gateway already stays as it is. Pure: files are the caller's.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import PurePath
from typing import Any, NamedTuple, TypeAlias

from guarded_tools.mcp_session.transport import HttpServer, StdioServer
from guarded_tools.text.commented_json import PlacedValue, read_parts

Way: TypeAlias = tuple[str, ...]
"""The keys that lead to an entry."""
Options: TypeAlias = Callable[[str], Sequence[str] | None]
"""What a gateway before a server of that name is started with; ``None`` where none is to be."""

HEADER, ADDRESS = "GUARDED_TOOLS_HEADER_", "GUARDED_TOOLS_URL"
"""Variables of a gateway, in which it gets what should not be seen on a command line."""

_SECTIONS: tuple[Way, ...] = (("mcpServers",), ("servers",), ("mcp", "servers"))
_OVER_HTTP = {None, "http", "streamable-http", "streamable_http", "streamableHttp", "sse"}
_OF_A_COMMAND = frozenset({"command", "args"})
_OF_AN_ADDRESS = frozenset({"url", "headers", "type", "transport"})


class Wrapped(NamedTuple):
    """A new text, the servers that were treated, and of those that were not, why."""

    text: str
    done: tuple[str, ...]
    left: tuple[str, ...]


class _ServerEntry(NamedTuple):
    way: Way
    part: PlacedValue

    @property
    def name(self) -> str:
        return self.way[-1]

    @property
    def shown(self) -> str:
        """The server's name; of several projects, with the project's."""
        return " ".join((self.name, *self.way[1:2])) if self.way[0] == "projects" else self.name


def wrap(text: str, program: Sequence[str], options: Options) -> Wrapped:
    """Put a gateway before each server. ``program`` starts one.

    Raises:
        ValueError: the text is no configuration of a client; the message says where.
    """
    entries, changes, done, left = list(_entries(text)), [], [], []
    if not entries:
        raise ValueError("it names no servers: neither mcpServers nor servers is there")
    for entry in entries:
        chosen = options(entry.name)
        fault = "it is behind a gateway already" if is_gateway(entry.part.value) else _fault(entry.part.value)
        if chosen is None or fault:
            left.append(f"{entry.shown}: {fault or 'no policy is named for it'}")
            continue
        changes.append((entry.part, _written(text, entry.part, _before(entry.part.value, program, chosen))))
        done.append(entry.shown)
    return Wrapped(_changed(text, changes), tuple(done), tuple(left))


def unwrap(text: str, before: str, after: str) -> Wrapped:
    """Take the gateways away again that led from ``before`` to ``after``, in a text that may have been edited since.

    An entry whose environment was changed keeps that. One that was changed otherwise stays.

    Raises:
        ValueError: one of the texts is no configuration of a client.
    """
    if text == after:
        return Wrapped(before, tuple(entry.shown for entry in _differing(before, after)), ())
    originals = {entry.way: entry.part for entry in _entries(before)}
    ours = {entry.way: entry.part.value for entry in _differing(before, after)}
    changes, done, left = [], [], []
    for entry in _entries(text):
        if entry.way not in ours or entry.way not in originals:
            if is_gateway(entry.part.value):
                left.append(f"{entry.shown}: its gateway was written by somebody else, and stays")
            continue
        original, now = originals[entry.way], entry.part.value
        if now == ours[entry.way]:
            changes.append((entry.part, before[original.start : original.end]))
        elif isinstance(now, dict) and "command" in original.value and _alike(now, ours[entry.way]):
            kept = {key: value for key, value in original.value.items() if key != "env"}
            kept |= {"env": now["env"]} if "env" in now else {}
            changes.append((entry.part, _written(text, entry.part, kept)))
        else:
            if now != original.value:
                left.append(f"{entry.shown}: it was changed since, and stays as it is")
            continue
        done.append(entry.shown)
    return Wrapped(_changed(text, changes), tuple(done), tuple(left))


def values_in(text: str) -> Iterator[str]:
    """Return what of a configuration nobody should read over somebody's shoulder."""
    for entry in _entries(text):
        value = entry.part.value if isinstance(entry.part.value, dict) else {}
        for key in ("env", "headers"):
            given = value.get(key)
            yield from (str(each) for each in given.values()) if isinstance(given, dict) else ()
        if isinstance(value.get("url"), str):
            yield from HttpServer(value["url"]).secrets()
        if isinstance(value.get("args"), list):
            yield from StdioServer("", [str(each) for each in value["args"]]).secrets()


def is_gateway(entry: Any) -> bool:
    """Whether an entry starts a gateway of ours."""
    if not isinstance(entry, dict) or not isinstance(entry.get("args"), list):
        return False
    words = [str(entry.get("command")), *map(str, entry["args"])]
    ours = PurePath(words[0]).stem == "guarded-tools"
    return words[1:2] == ["gateway"] if ours else words[1:4] == ["-m", "guarded_tools.cli", "gateway"]


def _entries(text: str) -> Iterator[_ServerEntry]:
    whole = read_parts(text)
    if whole.members is None:
        raise ValueError("line 1, column 1: an object is expected")
    for way in _SECTIONS:
        yield from _section(whole, way)
    for project, part in _members(whole, ("projects",)).items():
        for entry in _section(part, ("mcpServers",)):
            yield entry._replace(way=("projects", project, *entry.way))


def _section(part: PlacedValue, way: Way) -> Iterator[_ServerEntry]:
    yield from (_ServerEntry((*way, name), entry) for name, entry in _members(part, way).items())


def _members(part: PlacedValue, way: Way) -> Mapping[str, PlacedValue]:
    for key in way:
        part = (part.members or {}).get(key, PlacedValue(None, 0, 0))
    return part.members or {}


def _differing(before: str, after: str) -> Iterator[_ServerEntry]:
    """Return the entries of ``after`` that stand otherwise in ``before``."""
    originals = {entry.way: entry.part.value for entry in _entries(before)}
    yield from (entry for entry in _entries(after) if originals.get(entry.way) != entry.part.value)


def _alike(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two entries are one but for their environments, which name the same variables."""
    return (
        {**one, "env": None} == {**other, "env": None}
        and isinstance(one.get("env", {}), dict)
        and one.get("env", {}).keys() == other.get("env", {}).keys()
    )


def _fault(entry: Any) -> str:
    """Say why no gateway can stand before a server that is described like this."""
    if not isinstance(entry, dict) or ("command" in entry) == ("url" in entry):
        return "it has neither a command nor a url, or both"
    texts = [entry.get("command", ""), entry.get("url", ""), *_listed(entry.get("args", []))]
    pairs = [entry.get(key, {}) for key in ("env", "headers")]
    if not all(isinstance(each, str) for each in texts) or not all(isinstance(each, dict) for each in pairs):
        return "its command, args, env, url or headers are of another kind than clients read"
    if not all(isinstance(value, str | int | float) for pair in pairs for value in pair.values()):
        return "a value of its env or headers is no text"
    if "url" in entry and entry.get("type", entry.get("transport")) not in _OVER_HTTP:
        return "it is reached in a way that a gateway does not know"
    if "url" in entry and entry.get("env"):
        return "it has a url and an env"
    more = {"auth", "oauth", "headersHelper", "envFile"} & entry.keys()
    return f"it has {', '.join(sorted(more))}, which a gateway does not read" if more else ""


def _listed(args: Any) -> list[Any]:
    return args if isinstance(args, list) else [None]


def _before(entry: Mapping[str, Any], program: Sequence[str], options: Sequence[str]) -> dict[str, Any]:
    """Return the entry of a gateway before a server."""
    words = [*program[1:], "gateway", *options]
    if "command" in entry:
        given = [word for name in entry.get("env", {}) for word in ("--env", name)]
        args = [*words, *given, "--", entry["command"], *entry.get("args", [])]
        rest = {key: value for key, value in entry.items() if key not in _OF_A_COMMAND}
        return {"command": program[0], "args": args, **rest}
    env: dict[str, str] = {}
    if any(True for _ in HttpServer(entry["url"]).secrets()):
        env[ADDRESS] = entry["url"]
        words += ["--url-env", ADDRESS]
    else:
        words += ["--url", entry["url"]]
    for number, (name, value) in enumerate(entry.get("headers", {}).items(), 1):
        env[f"{HEADER}{number}"] = str(value)
        words += ["--header-env", f"{name}={HEADER}{number}"]
    if "sse" in (entry.get("type"), entry.get("transport")):
        words.append("--sse")
    rest = {key: value for key, value in entry.items() if key not in _OF_AN_ADDRESS}
    said = {key: "stdio" for key in ("type", "transport") if key in entry}
    return {**said, "command": program[0], "args": words, **({"env": env} if env else {}), **rest}


def _written(text: str, old: PlacedValue, entry: Mapping[str, Any]) -> str:
    """Write an entry as the one in its place is written: in one line, or indented as that."""
    if "\n" not in text[old.start : old.end]:
        return _text(entry)
    line = text[text.rfind("\n", 0, old.start) + 1 : old.start]
    margin = line[: len(line) - len(line.lstrip(" \t"))]
    first = text[old.start : old.end].split("\n")[1]
    inner = first[: len(first) - len(first.lstrip(" \t"))]
    step = inner[len(margin) :] if inner.startswith(margin) and len(inner) > len(margin) else "  "
    lines = _text(entry, step).split("\n")
    ends = "\r\n" if "\r\n" in text[old.start : old.end] else "\n"
    return ends.join([lines[0], *(margin + each for each in lines[1:])])


def _text(entry: Mapping[str, Any], indent: str | None = None) -> str:
    plain = json.dumps(entry, ensure_ascii=False, indent=indent)
    # Half a surrogate pair can be written down in no other way.
    return plain if plain.isascii() or "\\ud" not in json.dumps(plain) else json.dumps(entry, indent=indent)


def _changed(text: str, changes: Sequence[tuple[PlacedValue, str]]) -> str:
    for part, new in sorted(changes, key=lambda each: -each[0].start):
        text = text[: part.start] + new + text[part.end :]
    return text
