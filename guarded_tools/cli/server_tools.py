"""Which server a command is about, and what that server offers right now."""

from __future__ import annotations

import logging
import os
import re
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import PurePath
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple
from urllib.parse import urlsplit

import typer

from guarded_tools.errors import GuardError
from guarded_tools.pictify.catalogue import SERVER, catalogue, risk_of
from guarded_tools.values import Risk, ToolInfo

if TYPE_CHECKING:
    from mcp.types import Tool

    from guarded_tools.mcp_session import HttpServer, StdioServer

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


class ServerTools(NamedTuple):
    """What a server offers: its tools, each with the server's own annotations."""

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


def ask_server(
    command: Sequence[str] | None,
    *,
    sandbox: bool,
    url: str | None,
    server: str | None,
    env: Sequence[str] | None,
    token_env: str | None,
) -> ServerTools:
    """Start or reach a server and list its tools.

    Raises:
        ConnectionFailed: it did not start or did not answer.
        GuardError: it is not clear which server is meant, or the server lists two tools of one name.
    """
    from guarded_tools.mcp_session import HeldSession, HttpServer, StdioServer

    if sum((bool(command), sandbox, url is not None)) != 1:
        raise GuardError("name one server: --sandbox, --url ADDRESS, or -- COMMAND")
    if env and not command:
        raise GuardError("--env hands a variable to a command: it says nothing of --sandbox or --url")
    if token_env and url is None:
        raise GuardError("--token-env is sent to an address: name one with --url")
    road: StdioServer | HttpServer
    if url is not None:
        headers = {"Authorization": f"Bearer {_from_env(token_env)}"} if token_env else {}
        road, told = HttpServer(url, headers=headers), urlsplit(url).hostname or ""
    elif sandbox:
        road, told = StdioServer(sys.executable, ("-m", "guarded_tools.pictify.sandbox")), "pictify"
    else:
        assert command
        given = {name: _from_env(name) for name in env or ()}
        road, told = StdioServer(command[0], tuple(command[1:]), env=given), _told_by(command)
    # It logs every line that is no message, with a traceback; the error that ends the command says enough.
    logging.getLogger("mcp").addHandler(logging.NullHandler())
    with HeldSession(road, name=server or told) as session:
        tools = session.tools
    name = server or (_catalogue_name(tools) or told)
    twice = [tool for tool, times in Counter(tool.name for tool in tools).items() if times > 1]
    if twice:
        raise GuardError(
            f"{name} lists {len(twice)} tools under a name that it uses twice: no policy could tell them apart"
        )
    return ServerTools(name, tuple((_info(name, tool), _annotations(tool)) for tool in tools))


def _told_by(command: Sequence[str]) -> str:
    """A server's name from what starts it: of `npx -y @scope/server-x` it is `server-x`."""
    runner = re.fullmatch(r"npx|bunx|pnpx|uvx|pipx|uv|node|python[0-9.]*", PurePath(command[0]).stem)
    words = [word for word in command[1:] if not word.startswith("-")] if runner else []
    if {"-c", "-e"} & set(command[1:2]):  # what follows is a program, not its name
        words = []
    return PurePath(words[0] if words else command[0]).name.partition("@")[0]


def _info(server: str, tool: Tool) -> ToolInfo:
    return ToolInfo(tool.name, server, tool.description or "", tool.inputSchema)


def _annotations(tool: Tool) -> Mapping[str, Any]:
    return tool.annotations.model_dump(exclude_none=True) if tool.annotations else {}


def _catalogue_name(tools: Sequence[Tool]) -> str:
    """The server's name in our catalogue, if most of its tools stand there."""
    found = sum(tool.name in catalogue() for tool in tools)
    return SERVER if found * 2 > len(tools) else ""


def _from_env(name: str) -> str:
    value = os.environ.get(name)
    if value is None:
        raise GuardError(f"the environment variable {name} is not set")
    return value
