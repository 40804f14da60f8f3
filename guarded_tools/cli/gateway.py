"""``gateway``: the guard between an MCP client and its server."""

from __future__ import annotations

import asyncio
import logging
import secrets
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from typer.core import TyperGroup

from guarded_tools.cli.app import FINE, PROBLEMS
from guarded_tools.cli.gateway_listen import Listening, SignedBy, ending_when_told, listen
from guarded_tools.cli.gateway_servers import Behind
from guarded_tools.cli.gateway_wrap import unwrap, wrap
from guarded_tools.cli.options import State, Url, opened, store_name
from guarded_tools.cli.server_tools import Command, Env, ServerName, Token
from guarded_tools.errors import ConnectionFailed, GuardError
from guarded_tools.text.visible import one_line
from guarded_tools.values import AuditEvent, Risk

if TYPE_CHECKING:
    from guarded_tools.gateway.line import Gateway
    from guarded_tools.guard import Guard
    from guarded_tools.mcp_session.transport import Server
    from guarded_tools.policy.policy import Policy

_TIMEOUT = 600.0


Policies = Annotated[
    list[str],
    typer.Option("--policy", metavar="POLICY", help="A policy file, or a preset's name. With --tokens: NAME=POLICY."),
]
Address = Annotated[
    str | None, typer.Option("--url", help="The address of the server (streamable HTTP), in place of a command.")
]
AddressIn = Annotated[
    str | None, typer.Option("--url-env", metavar="NAME", help="The environment variable that holds the address.")
]
ServersFile = Annotated[
    Path | None, typer.Option("--servers", metavar="FILE", help="Several servers, as clients write them: mcpServers.")
]
HeadersIn = Annotated[
    list[str] | None,
    typer.Option("--header-env", metavar="NAME=VARIABLE", help="A header, and the variable with its value."),
]
OlderTransport = Annotated[bool, typer.Option("--sse", help="The address speaks HTTP with SSE, the older transport.")]
Http = Annotated[
    str | None,
    typer.Option("--http", metavar="HOST:PORT", help="Listen (streamable HTTP) in place of stdin and stdout."),
]
Names = Annotated[Path | None, typer.Option("--tokens", metavar="FILE", help="Names, and hashes of their tokens.")]
Keys = Annotated[str | None, typer.Option("--jwks", metavar="URL|FILE", help="Keys of the issuer of clients' tokens.")]
Issuer = Annotated[str, typer.Option("--jwt-issuer", metavar="URL", help="Who issues clients' tokens.")]
Audience = Annotated[str, typer.Option("--jwt-audience", metavar="NAME", help="Whom these tokens are made for.")]
Claim = Annotated[str, typer.Option("--jwt-claim", metavar="CLAIM", help="What of a token names the client.")]
Algorithm = Annotated[str, typer.Option("--jwt-algorithm", metavar="NAME", help="How tokens are signed.")]
Certificate = Annotated[Path | None, typer.Option("--tls-cert", help="A certificate, as PEM.")]
Key = Annotated[Path | None, typer.Option("--tls-key", help="Its key, as PEM.")]
Public = Annotated[str, typer.Option("--public", metavar="URL", help="The address that clients use.")]
ProxyFrom = Annotated[
    str, typer.Option("--proxy-from", metavar="ADDRESS", help="The address that the proxy with TLS connects from.")
]
Also = Annotated[
    list[str] | None, typer.Option("--allow-host", metavar="NAME", help="A further name that clients reach it by.")
]
Whose = Annotated[
    str | None, typer.Option("--session", help="Whose limits count. Default: the client's own.", show_default=False)
]
Pins = Annotated[str | None, typer.Option("--lock", metavar="FILE", help="Pinned tools; one that changed is refused.")]
Approve = Annotated[
    Literal["inbox", "elicit"],
    typer.Option("--approve", help="Who is asked: whoever runs `guarded-tools approvals`, or the client itself."),
]
Patience = Annotated[float, typer.Option("--timeout", min=0.001, help="Seconds that the server has to answer.")]


class _Commands(TyperGroup):
    """Whatever is neither wrap nor unwrap is about a gateway that is to run."""

    default = "run"

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put the command's name before its words."""
        own = args[:1] in (["wrap"], ["unwrap"])
        return super().parse_args(ctx, args if own else [self.default, *args])


app = typer.Typer(cls=_Commands, add_completion=False)
app.command("wrap")(wrap)
app.command("unwrap")(unwrap)


@app.command("run")
def gateway(
    command: Command = None,
    *,
    policy: Policies,
    url: Address = None,
    url_env: AddressIn = None,
    servers: ServersFile = None,
    server: ServerName = None,
    env: Env = None,
    token_env: Token = None,
    header_env: HeadersIn = None,
    sse: OlderTransport = False,
    http: Http = None,
    tokens: Names = None,
    jwks: Keys = None,
    jwt_issuer: Issuer = "",
    jwt_audience: Audience = "",
    jwt_claim: Claim = "sub",
    jwt_algorithm: Algorithm = "RS256",
    also: Also = None,
    public: Public = "",
    proxy_from: ProxyFrom = "",
    certificate: Certificate = None,
    key: Key = None,
    store: Url = None,
    state: State = None,
    session: Whose = None,
    lock: Pins = None,
    approve: Approve = "inbox",
    timeout: Patience = _TIMEOUT,
) -> None:
    """Stand between an MCP client and its servers; `gateway wrap FILE` puts one before each of a client's."""
    _prepare()
    signed = SignedBy(jwks, jwt_issuer, jwt_audience, jwt_claim, jwt_algorithm)
    listening = Listening(http, tokens, signed, tuple(also or ()), public, proxy_from, certificate, key)
    listening.check()
    source = _policies(policy, named=listening.named)
    judged = _loaded(source)
    behind = Behind(command or (), url, url_env, servers, server, env or (), token_env, header_env or (), sse)
    found = behind.read(judged[0].server)
    with ending_when_told(), _guard(source, store, state, lock, approve) as guard:
        ready = _gateway(guard, found, judged, timeout, _answered_at(store, state))
        if approve == "elicit":
            ready = _asking_in_clients(ready)
        if http is None:
            _serve(ready, session, store_name(store, state))
        else:
            listen(ready, listening, session)
    raise typer.Exit(FINE)


def _prepare() -> None:
    from guarded_tools.mcp_session import generation
    from guarded_tools.mcp_session.streams import load_sdk

    generation.require_second("gateway takes the second generation of MCP")
    load_sdk()
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(message)s")


def _policies(given: Sequence[str], *, named: bool) -> str | dict[str, str]:
    """Read one policy, or one for each name.

    Raises:
        GuardError: it is neither.
    """
    pairs = [each.partition("=") for each in given]
    if len(given) == 1 and (not pairs[0][1] or Path(given[0]).exists()):
        return given[0]
    if not all(equals and name for name, equals, _ in pairs) or len({name for name, _, _ in pairs}) < len(pairs):
        raise GuardError("name one --policy, or one for each client: --policy ann=one.json --policy bob=two.json")
    if not named:
        raise GuardError(
            "a policy for each client needs to know who they are: --http HOST:PORT --tokens FILE, or --jwks"
        )
    return {name: source for name, _, source in pairs}


def _loaded(source: str | Mapping[str, str]) -> list[Policy]:
    from guarded_tools.policy.policy import load_policy

    return [load_policy(each) for each in ([source] if isinstance(source, str) else source.values())]


def _serve(gateway: Gateway, session: str | None, where: str) -> None:
    """Serve until one of the two ends.

    Raises:
        typer.Exit: the server could not be started, or ended first.
    """
    from guarded_tools.gateway.guarded import Principal
    from guarded_tools.gateway.stdio import serve_stdio

    principal = Principal(session or f"gateway-{secrets.token_hex(4)}")
    typer.echo(one_line(f"guarded-tools gateway: session {principal.session}, {where}"), err=True)
    try:
        asyncio.run(serve_stdio(gateway, principal))
    except ConnectionFailed as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(PROBLEMS) from None


@contextmanager
def _guard(
    policy: str | dict[str, str], store: str | None, state: Path | None, lock: str | None, approve: str
) -> Iterator[Guard]:
    from guarded_tools.approvers.inbox import InboxApprover
    from guarded_tools.gateway.elicit import ElicitApprover
    from guarded_tools.guard import Guard

    kept = opened(store, state)
    try:
        guard = Guard(
            policy,
            store=kept,
            approver=ElicitApprover(InboxApprover(kept)) if approve == "elicit" else InboxApprover(kept),
            grant=lambda config: config["configurable"]["grant"],  # who it is by its token, or nobody
            state=state,
            lock=lock,
            observers=[_tell_of_questions],
        )
        with guard.audit:
            yield guard
    finally:
        kept.close()


def _gateway(
    guard: Guard, servers: Mapping[str, Server], policies: Sequence[Policy], timeout: float, answered_at: str
) -> Gateway:
    from guarded_tools.gateway.catalogue import PROMPT, RESOURCE, NameCheck
    from guarded_tools.gateway.line import Gateway
    from guarded_tools.gateway.several import check_server_names, check_spoken_names
    from guarded_tools.pictify.catalogue import SERVER, risk_of

    names = [name for policy in policies for name in (*policy.hide, *policy.tools)]
    spoken = [name for name in names if name.startswith((PROMPT, RESOURCE))]
    if len(servers) > 1:
        check_server_names(list(servers))
        check_spoken_names(list(servers), spoken)
    check = NameCheck(guard, servers, spoken)

    def risk(server: str, tool: str) -> Risk | None:
        return risk_of(tool) if server == SERVER else None

    return Gateway(guard, servers, check, timeout, risk, answered_at)


def _asking_in_clients(gateway: Gateway) -> Gateway:
    from guarded_tools.gateway.rounds import Rounds

    return replace(gateway, rounds=Rounds(gateway.guard.store))


def _answered_at(store: str | None, state: Path | None) -> str:
    """Say how people answer questions, without the password of a store."""
    where = "" if state is None else f" --state {state}"
    if store is not None:
        where = f" --store {store_name(store, state)}"
    return f"guarded-tools approvals{where}, or in a browser: guarded-tools web{where}"


def _tell_of_questions(event: AuditEvent) -> None:
    """Say on standard error, which clients keep as the server's log, that somebody is asked."""
    if event.kind == "asked":
        typer.echo(one_line(f"guarded-tools gateway: a question about {event.tool} waits for an answer"), err=True)
