"""``guarded-tools init``: a policy, its cases and an agent that runs, for a server, in one go."""

from __future__ import annotations

import os
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from guarded_tools.cli.console import say
from guarded_tools.cli.server_tools import (
    Command,
    Env,
    Sandbox,
    ServerName,
    StartTimeout,
    Token,
    Tools,
    Url,
    ask,
    one_source,
    reached,
)
from guarded_tools.errors import GuardError, install
from guarded_tools.text.strict_json import loads
from guarded_tools.text.units import counted
from guarded_tools.text.visible import one_line

if TYPE_CHECKING:
    from guarded_tools.authoring.first.agent import FirstAgent
    from guarded_tools.authoring.scan import Rated
    from guarded_tools.cli.server_tools import ServerTools
    from guarded_tools.mcp_session import Server

POLICY, CASES, AGENT = "policy.yaml", "cases.yaml", "agent.py"


class _Road(NamedTuple):
    """How the server is reached, and what the agent is to know of that."""

    server: Server
    told: str
    given: Mapping[str, str] = {}
    entry: Sequence[str] = ()


def init(
    command: Command = None,
    *,
    tools: Tools = None,
    sandbox: Sandbox = False,
    url: Url = None,
    servers: Annotated[
        Path | None,
        typer.Option("--servers", metavar="FILE", help="An mcpServers file; with several in it, --server says which."),
    ] = None,
    server: ServerName = None,
    env: Env = None,
    token_env: Token = None,
    start_timeout: StartTimeout = None,
    folder: Annotated[Path, typer.Option("--dir", help="Where to write. Made if it is not there.")] = Path(),
) -> None:
    """Write a policy, cases and a runnable agent for a server. Starts it, asks nothing, overwrites nothing."""
    from guarded_tools.authoring.first.agent import agent_source
    from guarded_tools.authoring.first.cases import first_cases
    from guarded_tools.authoring.first.model import PACKAGES, chosen_model
    from guarded_tools.authoring.scan import draft, draft_yaml, rate
    from guarded_tools.policy import Policy

    _refuse_to_overwrite(folder)
    if servers is None:
        source = one_source(tools, command, sandbox=sandbox, url=url)
        if source.kind in {"catalogue", "file"}:
            raise GuardError("--tools names a list of tools; an agent needs a server that runs: -- COMMAND or --url")
        road = _Road(*reached(source, env or (), token_env), _given(env, token_env))
    elif tools or command or sandbox or url or env or token_env:
        raise GuardError("--servers names the server: leave out --tools, --sandbox, --url, --env, --token-env and --")
    else:
        road = _in_file(servers, server)
    offer = ask(road.server, road.told, server=server, start_timeout=start_timeout)
    rated = [rate(info, annotations, offer.known(info.name)) for info, annotations in offer.tools]
    model = chosen_model([name for name in PACKAGES if _is_installed(name)], os.environ)
    agent = agent_source(offer.server, road.server, model.name, given=road.given, entry=road.entry)
    _write(
        folder,
        {
            POLICY: draft_yaml(offer.server, rated),
            CASES: first_cases(Policy.model_validate(draft(offer.server, rated)), rated),
            AGENT: agent.source,
        },
    )
    _say(folder, offer, rated, agent, model.lacking)


def _given(env: Sequence[str] | None, token_env: str | None) -> dict[str, str]:
    """Say which variables of the environment the server's own and its headers are taken from."""
    return {name: name for name in env or ()} | ({"Authorization": token_env} if token_env else {})


def _in_file(path: Path, name: str | None) -> _Road:
    """Pick a server out of a client's file, where the agent can read it, too: it may hold a key."""
    from guarded_tools.gateway.servers_file import read_servers

    found = read_servers(path)
    if name is None and len(found) > 1:
        raise GuardError(f"--servers {path} names several servers: say which with --server: {', '.join(found)}")
    name = name or next(iter(found))
    if name not in found:
        raise GuardError(f"--servers {path} names no server {one_line(name)}; there is {', '.join(found)}")
    try:
        whole = loads(path.read_text(encoding="utf-8"))
    except ValueError:
        whole = {}
    section = "mcpServers" if "mcpServers" in whole else "servers"
    entry = whole.get(section, {}).get(name)
    # A variable, a switch and a comment are a client's: what the agent hands on would be something else.
    if entry is None or "${" in str(entry) or "disabled" in entry:
        raise GuardError(
            f"--servers {path}: an agent cannot read {name} there, for it has a variable, a comment or a switch that"
            " only a client understands; name it by its command: guarded-tools init --env NAME -- COMMAND"
        )
    return _Road(found[name], name, {}, (str(path.absolute()), section, name))


def _is_installed(package: str) -> bool:
    try:
        metadata.version(package)
    except metadata.PackageNotFoundError:
        return False
    return True


def _refuse_to_overwrite(folder: Path) -> None:
    there = [str(folder / name) for name in (POLICY, CASES, AGENT) if os.path.lexists(folder / name)]
    if there:
        raise GuardError(
            f"{' and '.join(there)} {'is' if len(there) == 1 else 'are'} there already, and nothing was written:"
            " name another folder with --dir"
        )


def _write(folder: Path, texts: Mapping[str, str]) -> None:
    """Write all files or none; one that came meanwhile stays as it is."""
    written: list[Path] = []
    path = folder
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            path = folder / name
            with path.open("x", encoding="utf-8") as file:
                written.append(path)
                file.write(text)
    except BaseException as error:
        for made in written:
            made.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise GuardError(f"{path} cannot be written, so nothing was: {error.strerror}") from None
        raise


def _say(folder: Path, offer: ServerTools, rated: Sequence[Rated], agent: FirstAgent, lacking: str) -> None:
    from guarded_tools.tools.risk import RANK

    classes = Counter(tool.risk for tool in rated)
    told = ", ".join(f"{classes[risk]} {risk}" for risk in RANK if classes[risk]) or "none"
    say(one_line(f"{counted(len(rated), 'tool')} of {offer.server}: {told}"))
    paths = {name: shlex.quote(str(folder / name)) for name in (POLICY, CASES, AGENT)}
    say(f"Wrote {paths[POLICY]}, {paths[CASES]} and {paths[AGENT]}.")
    first = [] if find_spec("langchain") else [install("agent")]
    first += [lacking] if lacking else []
    # The variables that hold what the agent may not: a key in the server's command or address.
    first += [f"export {name}=…  # as you gave it just now" for name in agent.variables]
    if first:
        say("First, for the agent:")
        for line in first:
            typer.echo(f"  {line}")
    say("Next:")
    typer.echo(f"  guarded-tools test {paths[POLICY]} {paths[CASES]}")
    typer.echo(f"  python {paths[AGENT]}")
    typer.echo("  guarded-tools audit")
