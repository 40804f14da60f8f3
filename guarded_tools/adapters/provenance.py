"""Whose an MCP tool is, told by the user's own words wherever there are any: a server may call itself what it likes.

In order, of tools that langchain.mcp made:

- the key that the user wrote in a ``ClientGroup`` or an ``MCPConfig``. Where LangChain's name begins with it, policies
  know the tool as ``key/tool``, as with ``guarded_tools(keyed=True)``: else one rule, and one counter, would be about
  tools of two servers;
- of a server that runs in this process, its name: its own code, which is the user's, gives it;
- of any other, its *place*, an address or a command. What it calls itself is shown in the audit and decides nothing,
  for else it could go by another one's approvals, pins and risk, or by none that it had before.

Tools of langchain-mcp-adapters go by the name that the user gave their server.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from pathlib import PurePath
from typing import Any, Literal, NamedTuple
from urllib.parse import urlsplit

from langchain_core.tools import BaseTool

from guarded_tools.errors import GuardError
from guarded_tools.libraries import langchain_mcp, mcp_adapters
from guarded_tools.text.redaction import mask
from guarded_tools.text.visible import one_line
from guarded_tools.values import Risk, ToolInfo

# What FastMCP calls a server that nobody named: another name each time it starts.
_MADE_UP = re.compile(r"\w*FastMCP\w*-(?:.*-)?[0-9a-f]{4,}")
_LONGEST = 200
_DIGEST = re.compile(r" #[0-9a-f]{8}\Z")


class Provenance(NamedTuple):
    """What is known of an MCP tool beside what LangChain shows of it.

    ``tool`` is what policies call it and ``origin`` what its server does. ``server`` is the user's name for its server;
    where ``place`` is set, it is only what the server at that place calls itself. ``schema`` is what the server lists,
    where LangChain's differs; ``output`` is as :class:`ToolInfo` has it, and ``hints`` are the server's own words on
    what the tool does.
    """

    tool: str
    server: str = ""
    risk: Risk | None = None
    origin: str = ""
    place: str = ""
    schema: Mapping[str, Any] | None = None
    hints: Sequence[Mapping[str, Any]] = ()
    output: Mapping[str, Any] | Literal[False] | None = None


def site(info: ToolInfo) -> str:
    """Return which server a rule takes a tool to be of; "" where nobody knows.

    As :attr:`ToolInfo.source`, but accounts at one address, or one command with other secrets, are one server.
    """
    return _DIGEST.sub("", info.place) or info.server


def provenance_of(tool: BaseTool) -> Provenance | None:
    """Return whose an MCP tool is; ``None`` for any other tool.

    Raises:
        GuardError: it may be of one server or of another.
    """
    coroutine = getattr(tool, "coroutine", None)
    hints = _hints(tool.metadata)
    own = getattr(coroutine, "__mcp__", None)
    if own is not None:
        return Provenance(*own)._replace(hints=hints)
    known = mcp_adapters.known_as(coroutine, tool.name)
    if known is not None:
        return Provenance(known.name, known.server, output=known.output, hints=hints)
    made_of = langchain_mcp.converted(coroutine)
    if made_of is None:
        return None
    listed, client = made_of
    name = getattr(listed, "name", tool.name)
    try:
        found = _reached_through(client, name, _claimed(tool.metadata))
    except ValueError as error:
        raise GuardError(f"{one_line(name)} cannot be guarded: {error}") from None
    annotations = getattr(listed, "annotations", None)
    if annotations is not None:  # metadata may be the user's own by now
        hints = (*hints, annotations.model_dump(exclude_none=True))
    output: Mapping[str, Any] | Literal[False] = getattr(listed, "output_schema", None) or False
    # LangChain's schema differs from the listed one in what models are told of open objects.
    return found._replace(schema=getattr(listed, "input_schema", None), hints=hints, output=output)


def _hints(metadata: Mapping[str, Any] | None) -> tuple[Mapping[str, Any], ...]:
    """Return what a server says of its tool: flat as langchain-mcp-adapters keeps it, or as langchain.mcp does."""
    nested: Any = metadata
    for key in ("mcp", "tool", "annotations"):
        nested = nested.get(key) if isinstance(nested, Mapping) else None
    return tuple(hints for hints in (metadata, nested) if isinstance(hints, Mapping))


def _claimed(metadata: Mapping[str, Any] | None) -> str:
    """Return what a server calls itself."""
    found: Any = metadata
    for key in ("mcp", "server", "name"):
        found = found.get(key) if isinstance(found, Mapping) else None
    return given_name(found) if isinstance(found, str) else ""


def given_name(name: str) -> str:
    """Return a server's name, or "" where FastMCP made it up."""
    return "" if _MADE_UP.fullmatch(name) else name


def _reached_through(client: Any, name: str, claimed: str) -> Provenance:
    """Say whose tool a client calls by this name.

    Raises:
        ValueError: it may be that of one server or of another.
    """
    if isinstance(getattr(client, "clients", None), Mapping):  # a ClientGroup
        route = langchain_mcp.route(client, name)
        return Provenance(name, place="(unknown)") if route is None else _keyed(*route)
    transport = getattr(client, "transport", None)
    servers = getattr(getattr(transport, "config", None), "mcpServers", None)
    if not isinstance(servers, Mapping):
        return Provenance(name, claimed, place=_place(transport))
    if len(servers) == 1:
        return Provenance(name, next(iter(servers)))
    if not getattr(transport, "name_as_prefix", True):
        return Provenance(name, place=f"one of {', '.join(servers)}")
    key = _only_one(name, servers)
    return _keyed(key, name.removeprefix(f"{key}_"))


def _keyed(key: str, name: str) -> Provenance:
    return Provenance(f"{key}/{name}", key, origin=name)


def _only_one(name: str, keys: Iterable[str]) -> str:
    """Return the server whose key a name begins with."""
    found = [key for key in keys if name.startswith(f"{key}_")]
    if len(found) == 1:
        return found[0]
    if not found:
        raise ValueError("its name begins with the key of none of the servers in its MCPConfig")
    raise ValueError(
        f"it may be of the server {' or '.join(found)}, since one key begins like the other: rename one, or open them"
        " as ClientGroup.from_config(…)"
    )


def _place(transport: Any) -> str:
    """Say where a server is reached, as the user wrote it and without secrets; "" where it runs in this process."""
    url, command = getattr(transport, "url", None), getattr(transport, "command", None)
    if url is not None:
        parts = urlsplit(str(url))
        host = parts.netloc.rpartition("@")[2]
        return _shown(f"{parts.scheme}://{host}{parts.path}", str(url))
    if isinstance(command, str):
        args = [str(arg) for arg in getattr(transport, "args", None) or ()]
        # Where a program lies is left out of what is shown; that it is this one, the digest says.
        shown = shlex.join([PurePath(command).name, *args])
        return _shown(shown, repr((command, args, str(getattr(transport, "cwd", None)))))
    return "" if hasattr(transport, "server") else f"({type(transport).__qualname__})"


def _shown(text: str, whole: str) -> str:
    """Mask and shorten a place; where something of it is not shown, a digest keeps it apart from others."""
    shown = mask(text)[:_LONGEST]
    return shown if shown == whole else f"{shown} #{sha256(whole.encode('utf-8', 'surrogatepass')).hexdigest()[:8]}"
