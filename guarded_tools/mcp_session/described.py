"""A server as MCP clients write it down; what is not understood is an error, since it could be a safeguard."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

from guarded_tools.errors import ConnectionFailed
from guarded_tools.mcp_session.transport import HttpServer, Server, StdioServer

Config: TypeAlias = Mapping[str, Any]

_KEYS = {"command": ("command", "args", "env", "cwd"), "url": ("url", "headers", "auth")}
_TRANSPORTS = {"command": ("stdio",), "url": ("http", "streamable_http", "streamable-http", "sse")}


def read_server(name: str, config: Config) -> Server:
    """Read one server.

    Raises:
        ConnectionFailed: it is described wrongly.
    """
    roads = [road for road in _KEYS if road in config]
    if len(roads) != 1:
        raise _wrong(name, "exactly one of command and url is needed")
    road = roads[0]
    named = [config[key] for key in ("transport", "type") if key in config]
    if not all(transport in _TRANSPORTS[road] for transport in named):
        raise _wrong(name, f"with {road}, the transport is {' or '.join(_TRANSPORTS[road])}, not {named[0]}")
    if "sse" in named and set(named) != {"sse"}:
        raise _wrong(name, "transport and type say two different things")
    unknown = sorted(config.keys() - {*_KEYS[road], "transport", "type"})
    if unknown:
        raise _wrong(name, f"{', '.join(unknown)} is not known beside {road}; {', '.join(_KEYS[road])} are")
    if road == "url":
        auth = config.get("auth")
        if not (auth is None or hasattr(auth, "async_auth_flow")):
            raise _wrong(name, f"auth is an httpx.Auth, not {type(auth).__name__}")
        headers = _texts_by_name(name, config, "headers")
        return HttpServer(_text(name, config, "url"), headers, auth, sse="sse" in named)
    args = config.get("args", ())
    if isinstance(args, str) or not all(isinstance(arg, str) for arg in args):
        raise _wrong(name, "args is a list of texts")
    env = _texts_by_name(name, config, "env")
    return StdioServer(_text(name, config, "command"), tuple(args), env, config.get("cwd"))


def _text(name: str, config: Config, key: str) -> str:
    value = config[key]
    if not isinstance(value, str) or not value:
        raise _wrong(name, f"{key} is a text")
    return value


def _texts_by_name(name: str, config: Config, key: str) -> dict[str, str]:
    value = config.get(key) or {}
    if not isinstance(value, Mapping) or not all(isinstance(text, str) for pair in value.items() for text in pair):
        raise _wrong(name, f"{key} is a mapping of texts to texts")
    return dict(value)


def _wrong(name: str, what: str) -> ConnectionFailed:
    return ConnectionFailed(f"the server {name} is described wrongly: {what}", sent=False)
