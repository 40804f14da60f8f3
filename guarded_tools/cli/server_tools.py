"""Which server a command is about, and what that server offers.

One way to say it: ``--tools TOOLS``, where TOOLS is ``pictify`` (what our catalogue knows, nothing is started),
``sandbox``, an address, a lock or a file with an answer to ``tools/list``, or the command that starts the server. The
older spellings are short for it: ``--server TOOLS`` of ``validate`` and ``explain``, and of ``scan`` and ``lock``
``--sandbox``, ``--url ADDRESS`` and ``-- COMMAND``. Whatever is said becomes one :class:`ToolSource`.
"""

from __future__ import annotations

import json
import logging
import os
import re
import shlex
import shutil
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple
from urllib.parse import urlsplit

import typer

from guarded_tools.errors import GuardError
from guarded_tools.pictify.catalogue import SERVER, catalogue, risk_of
from guarded_tools.values import Risk, ToolInfo

if TYPE_CHECKING:
    from guarded_tools.mcp_session import Server
    from guarded_tools.mcp_session.protocol import ListedTool

_SAID = (
    "Whose tools: pictify, sandbox, a lock, a file with the answer to tools/list, an address, or the command that "
    "starts the server."
)
Tools = Annotated[str | None, typer.Option("--tools", metavar="TOOLS", help=_SAID, show_default=False)]
ToolsToCheck = Annotated[
    str | None, typer.Option("--tools", "--server", metavar="TOOLS", help=_SAID, show_default=False)
]
Command = Annotated[
    list[str] | None, typer.Argument(help="What starts the server over stdio. Put -- before it.", show_default=False)
]
Sandbox = Annotated[bool, typer.Option("--sandbox", help="The local Pictify sandbox.")]
Url = Annotated[str | None, typer.Option("--url", help="The address of a server (streamable HTTP).")]
ServerName = Annotated[
    str | None, typer.Option("--server", help="What your program calls the server. Default: told from the address.")
]
Env = Annotated[
    list[str] | None, typer.Option("--env", metavar="NAME", help="Hand this environment variable to the command.")
]
Token = Annotated[
    str | None, typer.Option("--token-env", metavar="NAME", help="The environment variable that holds a bearer token.")
]
StartTimeout = Annotated[
    float | None,
    typer.Option(
        "--start-timeout",
        metavar="SECONDS",
        min=0.1,
        help="How long a server may take to start. Default: 60, npx 90.",
        show_default=False,
    ),
]


class ToolSource(NamedTuple):
    """Where tools are listed. ``where`` is an address or a path, ``command`` starts a server in so many seconds."""

    kind: Literal["catalogue", "sandbox", "address", "file", "command"]
    where: str = ""
    command: tuple[str, ...] = ()
    start_timeout: float | None = None


class ServerTools(NamedTuple):
    """What a server offers: its tools, each with its own annotations. ``server`` is empty where nobody knows."""

    server: str
    tools: tuple[tuple[ToolInfo, Mapping[str, Any]], ...]

    @property
    def infos(self) -> list[ToolInfo]:
        """The tools without their annotations."""
        return [info for info, _ in self.tools]

    @property
    def known(self) -> Callable[[str], Risk | None]:
        """What our catalogue says of this server's tools."""
        return risk_of if self.server == SERVER else lambda _: None


def parse_source(text: str, start_timeout: float | None = None) -> ToolSource:
    """Read what ``--tools`` names.

    Raises:
        GuardError: it is none of the things that it may be.
    """
    if text in {SERVER, "sandbox"}:
        return ToolSource("catalogue" if text == SERVER else "sandbox", start_timeout=start_timeout)
    if text.startswith(("http://", "https://")):
        return ToolSource("address", text, start_timeout=start_timeout)
    # A command may end with the name of a file, too.
    if Path(text).suffix in {".json", ".lock"} and (Path(text).exists() or not re.search(r"\s", text)):
        return ToolSource("file", text)
    try:
        command = shlex.split(text)
    except ValueError as error:
        raise GuardError(f"--server {text!r} is no command: {error}") from None
    if not command or shutil.which(command[0]) is None:
        raise GuardError(f"--server {text!r} is no server's name, lock, file of tools, address or command")
    return ToolSource("command", "", tuple(command), start_timeout)


def one_source(
    tools: str | None,
    command: Sequence[str] | None,
    *,
    sandbox: bool,
    url: str | None,
    start_timeout: float | None = None,
) -> ToolSource:
    """Read which server is meant, in whichever spelling.

    Raises:
        GuardError: none is named, or more than one.
    """
    named = [
        *([parse_source(tools)] if tools is not None else []),
        *([ToolSource("sandbox")] if sandbox else []),
        *([ToolSource("address", url)] if url is not None else []),
        *([ToolSource("command", command=tuple(command))] if command else []),
    ]
    if len(named) != 1:
        raise GuardError("name one server: --tools TOOLS, --sandbox, --url ADDRESS, or -- COMMAND")
    return named[0]._replace(start_timeout=start_timeout)


def read_tools(
    source: ToolSource, *, server: str | None = None, env: Sequence[str] | None = None, token_env: str | None = None
) -> ServerTools:
    """List the tools of a source; a server is started or reached for it. ``server`` is what it is to be called.

    Raises:
        ConnectionFailed: it did not start or did not answer.
        GuardError: a file is no list of tools, an option says nothing of this source, or the server lists two tools of
            one name.
    """
    if env and source.kind != "command":
        raise GuardError("--env hands a variable to a command: it says nothing of --sandbox or --url")
    if token_env and source.kind != "address":
        raise GuardError("--token-env is sent to an address: name one with --url")
    if source.kind == "catalogue":
        name = server or SERVER
        return ServerTools(name, tuple((info._replace(server=name), {}) for info in catalogue().values()))
    if source.kind == "file":
        return _in_file(Path(source.where), server)
    return ask(*reached(source, env or (), token_env), server=server, start_timeout=source.start_timeout)


def tools_of(said: str, start_timeout: float | None = None) -> list[ToolInfo]:
    """List the tools of a source as ``--tools`` names it; raises as :func:`read_tools`."""
    return read_tools(parse_source(said, start_timeout)).infos


def known_tools(server: object, given: list[ToolInfo] | None) -> list[ToolInfo] | None:
    """The tools that a policy is about: those of ``--tools``, else those that are known of the policy's own server."""
    return tools_of(SERVER) if given is None and server == SERVER else given


def reached(source: ToolSource, env: Sequence[str], token_env: str | None) -> tuple[Server, str]:
    """Return how a server of a source that runs is reached, and what its address or command tells of its name.

    Raises:
        GuardError: a variable that is named is not set.
    """
    from guarded_tools.mcp_session import HttpServer, StdioServer

    if source.kind == "address":
        headers = {"Authorization": f"Bearer {from_env(token_env)}"} if token_env else {}
        return HttpServer(source.where, headers=headers), urlsplit(source.where).hostname or ""
    if source.kind == "sandbox":
        return StdioServer(sys.executable, ("-m", "guarded_tools.pictify.sandbox")), SERVER
    given = {name: from_env(name) for name in env}
    return StdioServer(source.command[0], source.command[1:], env=given), told_by(source.command)


def ask(road: Server, told: str, *, server: str | None = None, start_timeout: float | None = None) -> ServerTools:
    """Start or reach a server and list its tools; raises as :func:`read_tools`."""
    from guarded_tools.mcp_session import HeldSession

    # It logs every line that is no message, with a traceback; the error that ends the command says enough.
    logging.getLogger("mcp").addHandler(logging.NullHandler())
    with HeldSession(road, name=server or told, start_timeout=start_timeout) as session:
        tools = session.tools
    name = server or (_catalogue_name(tools) or told)
    twice = [tool for tool, times in Counter(tool.name for tool in tools).items() if times > 1]
    if twice:
        raise GuardError(
            f"{name} lists {len(twice)} tools under a name that it uses twice: no policy could tell them apart"
        )
    return ServerTools(name, tuple((_info(name, tool), tool.annotations) for tool in tools))


def _in_file(path: Path, server: str | None) -> ServerTools:
    """The tools in a lock, of all its servers unless one is named, or in an answer to ``tools/list``."""
    from guarded_tools.tools.lock import Lock

    try:
        data = json.loads(path.read_bytes())
    except FileNotFoundError:
        made = "`guarded-tools lock -f` makes a lock" if path.suffix == ".lock" else "name a file with the tools"
        raise GuardError(f"{path} cannot be read: it is not there; {made}") from None
    except OSError as error:
        raise GuardError(f"{path} cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise GuardError(f"{path} cannot be read as JSON: {error}") from None
    if isinstance(data, dict) and "servers" in data:
        servers = Lock.from_file(path).servers
        picked = {server: servers[server]} if server is not None and server in servers else servers
        pinned = [(owner, name, pin) for owner, pins in picked.items() for name, pin in pins.items()]
        infos = [ToolInfo(name, owner, pin.description, pin.schema) for owner, name, pin in pinned]
        return ServerTools(server or (next(iter(picked)) if len(picked) == 1 else ""), tuple((i, {}) for i in infos))
    tools = data.get("tools", data) if isinstance(data, dict) else data
    listed = type(tools) is list and all(
        type(tool) is dict and type(tool.get("name")) is str and isinstance(tool.get("inputSchema"), dict | None)
        for tool in tools
    )
    if not listed:
        raise GuardError(f"{path} is not a lock, nor a list of tools with their names")
    name = server or path.stem
    return ServerTools(
        name,
        tuple((_written_down(name, tool), {}) for tool in tools),
    )


def told_by(command: Sequence[str]) -> str:
    """A server's name from what starts it: of `npx -y @scope/server-x` it is `server-x`."""
    runner = re.fullmatch(r"npx|bunx|pnpx|uvx|pipx|uv|node|python[0-9.]*", PurePath(command[0]).stem)
    words = [word for word in command[1:] if not word.startswith("-")] if runner else []
    if {"-c", "-e"} & set(command[1:2]):  # what follows is a program, not its name
        words = []
    return PurePath(words[0] if words else command[0]).name.partition("@")[0]


def _written_down(server: str, tool: Mapping[str, Any]) -> ToolInfo:
    """Return what an answer to ``tools/list`` says of one tool."""
    output = tool.get("outputSchema")
    listed: Mapping[str, Any] | Literal[False] = output if isinstance(output, dict) else False
    return ToolInfo(tool["name"], server, str(tool.get("description") or ""), tool.get("inputSchema"), output=listed)


def _info(server: str, tool: ListedTool) -> ToolInfo:
    return ToolInfo(tool.name, server, tool.description, tool.input_schema, output=tool.output_schema or False)


def _catalogue_name(tools: Sequence[ListedTool]) -> str:
    """The server's name in our catalogue, if most of its tools stand there."""
    found = sum(tool.name in catalogue() for tool in tools)
    return SERVER if found * 2 > len(tools) else ""


def from_env(name: str) -> str:
    """Return the value of an environment variable.

    Raises:
        GuardError: it is not set.
    """
    value = os.environ.get(name)
    if value is None:
        raise GuardError(f"the environment variable {name} is not set")
    return value
