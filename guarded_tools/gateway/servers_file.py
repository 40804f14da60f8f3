"""Servers as MCP clients write them down: a file with ``mcpServers``, or ``servers`` as VS Code has it.

What is not understood is refused, since it could be a safeguard. Only ``disabled`` is the client's own: a server that
is switched off is left out. In texts, ``${NAME}`` and ``${env:NAME}`` stand for a variable of the environment, and
``${NAME:-otherwise}`` for one that may be missing.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from guarded_tools.errors import GuardError
from guarded_tools.mcp_session.described import read_server
from guarded_tools.mcp_session.transport import Server, StdioServer
from guarded_tools.text.commented_json import read_parts
from guarded_tools.text.visible import one_line

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
"""What a server of several may be called: its name stands before those of its tools."""

_REFERENCE = re.compile(r"\$\{(?:env:)?([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")


def read_servers(path: Path) -> dict[str, Server]:
    """Read the servers of a file, in its order.

    Raises:
        GuardError: it cannot be read, names no server, or one that is not understood or not to be found.
    """
    try:
        data = read_parts(path.read_bytes().decode()).value
    except (OSError, ValueError) as error:
        raise GuardError(f"--servers {path} cannot be read: {one_line(str(error))}") from None
    sections = [data[key] for key in ("mcpServers", "servers") if key in data] if isinstance(data, dict) else []
    if len(sections) != 1 or not isinstance(sections[0], dict):
        raise GuardError(f'--servers {path} names no servers: it is {{"mcpServers": {{"name": {{...}}, ...}}}}')
    found = {name: _read(path, name, entry) for name, entry in sections[0].items()}
    servers = {name: server for name, server in found.items() if server is not None}
    if not servers:
        raise GuardError(f"--servers {path} names no server that is switched on")
    return servers


def _read(path: Path, name: str, entry: Any) -> Server | None:
    if not NAME.fullmatch(name):
        raise GuardError(
            f"--servers {path}: {one_line(repr(name))} cannot stand before tools' names: letters, digits, _ . and - can"
        )
    if not isinstance(entry, dict):
        raise GuardError(f"--servers {path}: the server {name} is described by an object")
    switch = entry.get("disabled", False)
    if not isinstance(switch, bool):
        raise GuardError(f"--servers {path}: disabled of {name} is true or false")
    if switch:
        return None
    if "auth" in entry:
        raise GuardError(f"--servers {path}: {name} has auth, which a gateway does not read: use headers")
    server = read_server(name, {key: _expanded(path, name, entry[key]) for key in entry if key != "disabled"})
    if isinstance(server, StdioServer):
        server.check()
    return server


def _expanded(path: Path, name: str, value: Any) -> Any:
    """Put variables in."""
    if isinstance(value, Mapping):
        return {key: _expanded(path, name, each) for key, each in value.items()}
    if isinstance(value, list):
        return [_expanded(path, name, each) for each in value]
    if not isinstance(value, str):
        return value

    def variable(found: re.Match[str]) -> str:
        given = os.environ.get(found[1]) or found[2]  # as in a shell, one that is empty is as good as none
        if given is None:
            raise GuardError(f"--servers {path}: {name} needs the environment variable {found[1]}, which is not set")
        return given

    strange = _REFERENCE.sub("", value)
    if "${" in strange:
        raise GuardError(
            f"--servers {path}: {name} has a reference that only a client understands: {one_line(strange)[:80]};"
            " ${NAME}, ${env:NAME} and ${NAME:-otherwise} are known"
        )
    return _REFERENCE.sub(variable, value)
