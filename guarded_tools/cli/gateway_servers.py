"""The servers behind a gateway: what its options say of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

from guarded_tools.cli.server_tools import from_env, told_by
from guarded_tools.errors import GuardError

if TYPE_CHECKING:
    from guarded_tools.mcp_session.transport import HttpServer, Server


class Behind(NamedTuple):
    """What is said of the servers: one by a command or an address, or those in a file."""

    command: Sequence[str]
    url: str | None
    url_env: str | None
    file: Path | None
    name: str | None
    env: Sequence[str]
    token_env: str | None
    headers: Sequence[str]
    sse: bool

    def read(self, said: str | None) -> dict[str, Server]:
        """Return the servers by name. ``said`` is what the policy calls its server.

        Raises:
            GuardError: not exactly one way is named, or an option says nothing of it.
        """
        named = [each for each in (self.command, self.url, self.url_env, self.file) if each]
        if len(named) != 1:
            raise GuardError("name one server: -- COMMAND, or --url ADDRESS; or several: --servers FILE")
        if (self.token_env or self.headers or self.sse) and not (self.url or self.url_env):
            raise GuardError("--token-env, --header-env and --sse are about an address: name one with --url")
        if self.env and not self.command:
            raise GuardError("--env hands a variable to a command: it says nothing of an address or a file")
        if self.file is not None:
            from guarded_tools.gateway.servers_file import read_servers

            if self.name:
                raise GuardError("--server names one server; those of a file have names there")
            return read_servers(self.file)
        if self.command:
            return {self.name or said or told_by(self.command): self._process()}
        server = self._address()
        return {self.name or said or urlsplit(server.url).hostname or "server": server}

    def _process(self) -> Server:
        from guarded_tools.mcp_session import StdioServer

        found = StdioServer(self.command[0], tuple(self.command[1:]), {name: from_env(name) for name in self.env})
        found.check()
        return found

    def _address(self) -> HttpServer:
        from guarded_tools.mcp_session import HttpServer

        headers: dict[str, str] = {}
        for pair in self.headers:
            name, equals, variable = pair.partition("=")
            if not (name and equals and variable):
                raise GuardError(f"--header-env {pair} is no NAME=VARIABLE, such as X-Api-Key=EXAMPLE_KEY")
            headers[name] = from_env(variable)
        if self.token_env:
            headers["Authorization"] = f"Bearer {from_env(self.token_env)}"
        return HttpServer(self.url or from_env(self.url_env or ""), headers, sse=self.sse)
