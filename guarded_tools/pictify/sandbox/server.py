"""The sandbox as an MCP server: the catalogue's 31 tools over stdio or streamable HTTP, on an account in memory.

Off unless asked for: a log of what arrived, and a key without which nobody is answered.

It is served by the MCP SDK that is installed. What it lists and answers is said here in the protocol's own JSON, which
is the same for both generations of the SDK; how either is told stands in ``mcp1.py`` and ``mcp2.py``. The second serves
both revisions of the protocol: a client that opens with ``initialize`` gets 2025-11-25, one that sends what 2026-07-28
asks for with each request gets that.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, TypeAlias

import jsonschema_rs

from guarded_tools.mcp_session.generation import installed
from guarded_tools.pictify.catalogue import SERVER, catalogue
from guarded_tools.pictify.sandbox.account import Account
from guarded_tools.pictify.sandbox.answers import Args, Call, Headers, Refused, Row

VERSION = "1.2.0"

Act: TypeAlias = Callable[[str, Args], Awaitable[str]]
"""What a call comes to: the text for a tool and its arguments, or :class:`Refused`."""


@dataclass(frozen=True, slots=True)
class Options:
    """How a sandbox behaves beyond what Pictify does.

    ``log`` is a file that gets one JSON line for each step of each call: ``{"seq", "tool", "state"}``, where state is
    ``arrived`` and then ``completed`` (it acted), ``invalid``, ``refused`` or ``cancelled``; a call that died has no
    second line. ``key`` is the only API key that is accepted; without it none is needed.
    """

    log: Path | None = None
    key: str | None = None


class Journal:
    """Appends what arrived, each line in one write, so that a killed server leaves whole lines."""

    def __init__(self, path: Path | None) -> None:
        self._file = path.open("ab", buffering=0) if path else None
        self._seq = 0

    def arrived(self, tool: str) -> int:
        """Note a call that reached the server; the answer is its number, from 1."""
        self._seq += 1
        self.note(self._seq, tool, "arrived")
        return self._seq

    def note(self, seq: int, tool: str, state: str) -> None:
        """Note what became of call number ``seq``."""
        if self._file is not None:
            self._file.write(json.dumps({"seq": seq, "tool": tool, "state": state}).encode() + b"\n")


def build(call: Call) -> Any:
    """Make the server of the SDK that is installed; ``call`` answers. Nothing is served yet.

    Raises:
        GuardError: no generation of the SDK is installed as a whole.
    """
    return import_module(f"{__package__}.mcp{installed()}").server(SERVER, VERSION, tools(), call)


def tools() -> list[Row]:
    """What the server lists."""
    return [
        {"name": info.name, "description": info.description, "inputSchema": dict(info.schema or {})}
        for info in catalogue().values()
    ]


def calling(options: Options, act: Act | None = None) -> Call:
    """Answer calls as the real server does; ``act`` says what they come to, in the place of a new account.

    Raises:
        OSError: the log cannot be written.
    """
    act = act or acting(Account())
    journal = Journal(options.log)
    checks = validators()

    async def call(tool: str, args: Args, headers: Headers | None) -> Row:
        seq = journal.arrived(tool)
        args = pruned(catalogue()[tool].schema or {}, args) if tool in checks else args
        wrong = invalid(checks.get(tool), tool, args)
        if wrong:
            journal.note(seq, tool, "invalid")
            return _result(wrong, error=True)
        try:
            if not _accepts(options.key, headers):
                raise Refused(401, "Unauthorized")  # noqa: TRY301 - answered like every other refusal
            text = await act(tool, with_defaults(catalogue()[tool].schema or {}, args))
            journal.note(seq, tool, "completed")
        except Refused as refusal:
            journal.note(seq, tool, "refused")
            return _result(str(refusal), error=True)
        except asyncio.CancelledError:
            journal.note(seq, tool, "cancelled")
            raise
        return _result(text)

    return call


def acting(account: Account) -> Act:
    """Answer calls from an account."""

    async def act(tool: str, args: Args) -> str:
        return account.answer(tool, args)

    return act


async def serve_stdio(server: Any) -> None:
    """Serve until stdin ends."""
    from mcp.server.stdio import stdio_server

    async with stdio_server() as (reader, writer):
        await server.run(reader, writer, server.create_initialization_options())


def listen(port: int) -> socket.socket:
    """Take a port that only this machine can connect to; 0 picks a free one.

    Raises:
        OSError: the port is taken.
    """
    return socket.create_server(("127.0.0.1", port))


async def serve_http(server: Any, listener: socket.socket, *, json_response: bool = False) -> None:
    """Serve ``/mcp`` on ``listener`` until interrupted; the address is the first line on stdout.

    A browser page of another origin is turned away.
    """
    import uvicorn
    from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
    from mcp.server.transport_security import TransportSecuritySettings

    port = listener.getsockname()[1]
    hosts = [f"127.0.0.1:{port}", f"localhost:{port}"]
    manager = StreamableHTTPSessionManager(
        server,
        json_response=json_response,
        security_settings=TransportSecuritySettings(
            allowed_hosts=hosts, allowed_origins=[f"http://{host}" for host in hosts]
        ),
    )

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http" and scope["path"] == "/mcp":
            await manager.handle_request(scope, receive, send)
        elif scope["type"] == "http":
            await send({"type": "http.response.start", "status": 404, "headers": []})
            await send({"type": "http.response.body", "body": b""})

    config = uvicorn.Config(app, log_level="error", lifespan="off", timeout_graceful_shutdown=1)
    print(f"http://127.0.0.1:{port}/mcp", flush=True)  # noqa: T201 - how a parent process learns the port
    async with manager.run():
        await uvicorn.Server(config).serve(sockets=[listener])


def _accepts(key: str | None, headers: Headers | None) -> bool:
    if key is None:
        return True
    if headers is None:
        return os.environ.get("PICTIFY_API_KEY") == key
    return key in (headers.get("authorization", "").removeprefix("Bearer "), headers.get("x-api-key"))


def validators() -> dict[str, jsonschema_rs.Draft7Validator]:
    """What checks the arguments of each tool."""
    return {
        info.name: jsonschema_rs.Draft7Validator(dict(info.schema or {}), validate_formats=True)
        for info in catalogue().values()
    }


def invalid(validator: jsonschema_rs.Draft7Validator | None, tool: str, args: Mapping[str, Any]) -> str:
    """Say what is wrong with the arguments, as the real server does; nothing if nothing is."""
    if validator is None:
        return f"MCP error -32602: Tool {tool} not found"
    issues = [{"path": list(error.instance_path), "message": error.message} for error in validator.iter_errors(args)]
    listed = json.dumps(issues, indent=2)
    text = f"MCP error -32602: Input validation error: Invalid arguments for tool {tool}: {listed}"
    return text if issues else ""


def pruned(schema: Mapping[str, Any], value: Any) -> Any:
    """Leave out the keys that a schema forbids: the real server drops what it does not know, at every depth."""
    if isinstance(value, list):
        return [pruned(schema.get("items", {}), each) for each in value]
    if not isinstance(value, Mapping):
        return value
    known = schema.get("properties", {})
    closed = schema.get("additionalProperties") is False
    return {key: pruned(known.get(key, {}), each) for key, each in value.items() if key in known or not closed}


def with_defaults(schema: Mapping[str, Any], args: Mapping[str, Any]) -> dict[str, Any]:
    """Fill in the defaults of the top-level arguments, as the real server does before it acts."""
    defaults = {name: value["default"] for name, value in schema["properties"].items() if "default" in value}
    return {**defaults, **args}


def _result(text: str, *, error: bool = False) -> Row:
    return {"content": [{"type": "text", "text": text}], "isError": error}
