"""The sandbox as an MCP server: the catalogue's 31 tools over stdio or streamable HTTP, on an account in memory.

Test equipment, off unless asked for: a log of what arrived, and faults that a tool's calls run into.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import jsonschema_rs
from mcp import types
from mcp.server.lowlevel import Server

from guarded_tools.pictify.catalogue import SERVER, catalogue
from guarded_tools.pictify.sandbox.account import Account
from guarded_tools.pictify.sandbox.answers import Refused

FAULTS = (
    "4xx, 429, 5xx or a status: that upstream error",
    "hang: never acts, never answers",
    "hang-after: acts, never answers",
    "slow:SECONDS: waits, then acts",
    "die-before: the process dies before it acts",
    "die-after: the process dies after it acted",
    "malformed: acts, then answers what is no tool result",
)


@dataclass(frozen=True, slots=True)
class Options:
    """How a sandbox behaves beyond what Pictify does.

    ``log`` is a file that gets one JSON line for each step of each call: ``{"seq", "tool", "state"}``, where state is
    ``arrived`` and then ``completed`` (it acted), ``invalid``, ``refused`` or ``cancelled``; a call that died has no
    second line. ``faults`` maps a tool's name to one of :data:`FAULTS`. ``key`` is the only API key that is accepted;
    without it none is needed.
    """

    log: Path | None = None
    faults: Mapping[str, str] = field(default_factory=dict)
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


def build(options: Options, account: Account | None = None) -> Server[Any, Any]:
    """Make the MCP server. Nothing is served yet."""
    account = account or Account()
    journal = Journal(options.log)
    server: Server[Any, Any] = Server(SERVER, version="1.2.0")
    tools = [
        types.Tool(name=info.name, description=info.description, inputSchema=dict(info.schema or {}))
        for info in catalogue().values()
    ]
    checks = validators()

    @server.list_tools()  # type: ignore[no-untyped-call,untyped-decorator]
    async def list_tools() -> list[types.Tool]:
        return tools

    async def call(tool: str, args: Mapping[str, Any]) -> types.CallToolResult:
        seq = journal.arrived(tool)
        wrong = invalid(checks.get(tool), tool, args)
        if wrong:
            journal.note(seq, tool, "invalid")
            return _error(wrong)
        fault = options.faults.get(tool, "")
        try:
            if not _accepts(options.key, server):
                raise Refused(401, "Unauthorized")  # noqa: TRY301 - answered like every other refusal
            await _before(fault)
            text = account.answer(tool, with_defaults(catalogue()[tool].schema or {}, args))
            journal.note(seq, tool, "completed")
        except Refused as refusal:
            journal.note(seq, tool, "refused")
            return _error(str(refusal))
        except asyncio.CancelledError:
            journal.note(seq, tool, "cancelled")
            raise
        await _after(fault)
        if fault == "malformed":
            return types.CallToolResult.model_construct(content="this is no list of content blocks", isError=False)
        return types.CallToolResult(content=[types.TextContent(type="text", text=text)])

    # The server's own argument check words its errors differently from the real one, hence not `validate_input`.
    server.call_tool(validate_input=False)(call)
    return server


async def serve_stdio(options: Options) -> None:
    """Serve until stdin ends."""
    from mcp.server.stdio import stdio_server

    server = build(options)
    async with stdio_server() as (reader, writer):
        await server.run(reader, writer, server.create_initialization_options())


def listen(port: int) -> socket.socket:
    """Take a port that only this machine can connect to; 0 picks a free one.

    Raises:
        OSError: the port is taken.
    """
    return socket.create_server(("127.0.0.1", port))


async def serve_http(options: Options, listener: socket.socket, *, json_response: bool = False) -> None:
    """Serve ``/mcp`` on ``listener`` until interrupted; the address is the first line on stdout.

    A browser page of another origin is turned away.
    """
    import uvicorn
    from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
    from mcp.server.transport_security import TransportSecuritySettings

    port = listener.getsockname()[1]
    hosts = [f"127.0.0.1:{port}", f"localhost:{port}"]
    manager = StreamableHTTPSessionManager(
        build(options),
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


def parse_faults(specs: list[str]) -> dict[str, str]:
    """Read ``TOOL=FAULT`` options.

    Raises:
        ValueError: a tool that is not Pictify's, or a fault that is none of :data:`FAULTS`.
    """
    faults = {}
    for spec in specs:
        tool, _, fault = spec.partition("=")
        if tool not in catalogue():
            raise ValueError(f"--fault {spec}: there is no tool {tool!r}")
        kind, _, seconds = fault.partition(":")
        known = kind in {"hang", "hang-after", "die-before", "die-after", "malformed"} or _status(kind) is not None
        if not known and not (kind == "slow" and seconds.replace(".", "", 1).isdigit()):
            raise ValueError(f"--fault {spec}: a fault is one of: {'; '.join(FAULTS)}")
        faults[tool] = fault
    return faults


def _status(fault: str) -> int | None:
    status = {"4xx": "400", "5xx": "503"}.get(fault, fault)
    return int(status) if status.isdigit() and 400 <= int(status) <= 599 else None  # noqa: PLR2004 - HTTP errors


async def _before(fault: str) -> None:
    status = _status(fault)
    if status is not None:
        retry_after = 7 if status == 429 else None  # noqa: PLR2004 - an HTTP status
        raise Refused(status, "Too Many Requests" if retry_after else "Injected fault", retry_after=retry_after)
    if fault == "hang":
        await asyncio.Event().wait()
    if fault.startswith("slow:"):
        await asyncio.sleep(float(fault.removeprefix("slow:")))
    if fault == "die-before":
        _die()


async def _after(fault: str) -> None:
    if fault == "hang-after":
        await asyncio.Event().wait()
    if fault == "die-after":
        _die()


def _die() -> NoReturn:
    os._exit(70)


def _accepts(key: str | None, server: Server[Any, Any]) -> bool:
    if key is None:
        return True
    request = server.request_context.request
    if request is None:
        return os.environ.get("PICTIFY_API_KEY") == key
    return key in (request.headers.get("authorization", "").removeprefix("Bearer "), request.headers.get("x-api-key"))


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


def with_defaults(schema: Mapping[str, Any], args: Mapping[str, Any]) -> dict[str, Any]:
    """Fill in the defaults of the top-level arguments, as the real server does before it acts."""
    defaults = {name: value["default"] for name, value in schema["properties"].items() if "default" in value}
    return {**defaults, **args}


def _error(text: str) -> types.CallToolResult:
    return types.CallToolResult(content=[types.TextContent(type="text", text=text)], isError=True)
