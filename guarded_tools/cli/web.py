"""``guarded-tools web``: a local page on the state that is there."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from guarded_tools.audit import audit_path
from guarded_tools.cli.options import State, Url, opened, store_url
from guarded_tools.cli.policy_source import read_policy
from guarded_tools.errors import not_installed
from guarded_tools.state import state_dir
from guarded_tools.text.visible import one_line
from guarded_tools.values import ToolInfo

if TYPE_CHECKING:
    from guarded_tools.web.desk import Desk

_BEHIND = 10  # agents go first where the machine is busy

Port = Annotated[int, typer.Option("--port", min=0, max=65_535, help="0 takes a free one.")]
Host = Annotated[str, typer.Option("--host", help="The address to bind.")]
ReadOnly = Annotated[bool, typer.Option("--read-only", help="Show everything, change nothing.")]
PolicyInForce = Annotated[
    str | None, typer.Option("--policy", help="The policy in force: file or preset.", show_default=False)
]
Tools = Annotated[
    str | None, typer.Option("--tools", metavar="TOOLS", help="Whose tools, for help with edits: as for explain.")
]
Certificate = Annotated[Path | None, typer.Option("--tls-cert", help="A certificate, as PEM.")]
Key = Annotated[Path | None, typer.Option("--tls-key", help="Its key, as PEM.")]
Public = Annotated[str, typer.Option("--public", metavar="URL", help="The address that browsers use.")]
PasswordFile = Annotated[
    Path | None, typer.Option("--password-file", help="Its first line is the password that all share.")
]
ProxyHeader = Annotated[
    str, typer.Option("--proxy-user-header", metavar="NAME", help="The header in which a proxy names the user.")
]
ProxyFrom = Annotated[
    str, typer.Option("--proxy-from", metavar="ADDRESS", help="The address that this proxy connects from.")
]


def web(
    *,
    port: Port = 8765,
    host: Host = "127.0.0.1",
    read_only: ReadOnly = False,
    policy: PolicyInForce = None,
    tools: Tools = None,
    certificate: Certificate = None,
    key: Key = None,
    public: Public = "",
    password_file: PasswordFile = None,
    proxy_header: ProxyHeader = "",
    proxy_from: ProxyFrom = "",
    state: State = None,
    store: Url = None,
) -> None:
    """Open a page on the state: approvals, what happens now, limits, sessions, the stop button."""
    try:
        from guarded_tools.web.server import serve
        from guarded_tools.web.settings import WebSettings, checked, read_password
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in {"starlette", "uvicorn", "jinja2", "anyio"}:
            raise
        raise not_installed(f"{error.name}, which the page needs, is not installed", "web") from None
    password = None if password_file is None else read_password(password_file)
    settings = checked(WebSettings(host, port, read_only, certificate, key, public, password, proxy_header, proxy_from))
    logging.basicConfig(format="%(name)s: %(message)s", level=logging.WARNING)
    if hasattr(os, "nice"):
        os.nice(_BEHIND)
    serve(settings, _desk(policy, tools, state, store), lambda line: typer.echo(one_line(line)))


def _desk(policy: str | None, tools: str | None, state: Path | None, store: str | None) -> Desk:
    from guarded_tools.web.desk import Desk
    from guarded_tools.web.recent import Recent

    if policy is not None:
        read_policy(policy)  # what is wrong with it is said here, not on a page
    opened(store, state).close()
    recent = Recent(audit_path(state_dir(state)))
    in_force = None if policy is None else lambda: read_policy(policy)
    return Desk(store_url(store, state), state, recent, in_force, _known(tools))


def _known(tools: str | None) -> dict[str, ToolInfo]:
    if tools is None:
        return {}
    from guarded_tools.cli.server_tools import tools_of

    return {info.name: info for info in tools_of(tools)}
