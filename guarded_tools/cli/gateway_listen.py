"""Where a gateway listens, and who may come: what the options of ``gateway`` say of it."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import typer

from guarded_tools.cli.app import FINE
from guarded_tools.errors import GuardError
from guarded_tools.listening import bind, check_tls

if TYPE_CHECKING:
    from guarded_tools.gateway.line import Gateway
    from guarded_tools.gateway.signed import SignedTokens
    from guarded_tools.gateway.tokens import TokenFile


class SignedBy(NamedTuple):
    """Whose tokens count: what the ``--jwt-`` options say."""

    keys: str | None
    issuer: str
    audience: str
    claim: str
    algorithm: str


class Listening(NamedTuple):
    """What is said of ``--http``."""

    at: str | None
    tokens: Path | None
    signed: SignedBy
    also: tuple[str, ...]
    public: str
    proxy: str
    certificate: Path | None
    key: Path | None

    @property
    def named(self) -> bool:
        """Whether it is known who clients are."""
        return self.tokens is not None or self.signed.keys is not None

    def check(self) -> None:
        """See that the options fit together.

        Raises:
            GuardError: they do not.
        """
        signed = self.signed
        if self.at is None and (self.named or self.also or self.public or self.proxy or self.certificate or self.key):
            raise GuardError("--tokens, --jwks, --tls-cert and the like are about --http: name an address to listen at")
        if self.tokens is not None and signed.keys is not None:
            raise GuardError("--tokens and --jwks exclude each other: there is one way to tell who a client is")
        if signed.keys is None and (signed.issuer or signed.audience):
            raise GuardError("--jwt-issuer and --jwt-audience need --jwks: the keys that tokens are checked with")
        check_tls(self.certificate, self.key)


def listen(gateway: Gateway, said: Listening, session: str | None) -> None:
    """Listen until the program is told to end.

    Raises:
        GuardError: the address is none, is taken, or is open to other machines and asks nobody who they are.
    """
    from guarded_tools.gateway.access import Entrance
    from guarded_tools.gateway.http import make_app, serve_http

    host, colon, port = (said.at or "").rpartition(":")
    host = host.strip("[]")
    if not colon or not host or not port.isdecimal():
        raise GuardError(f"--http {said.at} is no HOST:PORT, such as 127.0.0.1:8765")
    entrance = Entrance(host, int(port), said.also, said.public, said.proxy, said.certificate is not None)
    entrance.check(named=said.named)
    tokens = _tokens(said)
    listener = bind(host, int(port))
    entrance = entrance._replace(port=listener.getsockname()[1])
    app = make_app(gateway, tokens, entrance, session=session)

    def started() -> None:
        typer.echo(f"guarded-tools gateway: {entrance.address}", err=True)

    asyncio.run(serve_http(app, listener, started, certificate=said.certificate, key=said.key))


def _tokens(said: Listening) -> TokenFile | SignedTokens | None:
    if said.tokens is not None:
        from guarded_tools.gateway.tokens import TokenFile

        return TokenFile.from_file(said.tokens)
    signed = said.signed
    if signed.keys is None:
        return None
    from guarded_tools.gateway.signed import SignedTokens

    return SignedTokens(
        issuer=signed.issuer,
        audience=signed.audience,
        keys=signed.keys,
        claim=signed.claim,
        algorithm=signed.algorithm,
    )


@contextlib.contextmanager
def ending_when_told() -> Iterator[None]:
    """Have SIGTERM end the program as its own end would: whatever is open is closed."""

    def end(*_: object) -> None:
        raise SystemExit(FINE)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
