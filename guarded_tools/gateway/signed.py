"""Who a client over HTTP is: whoever has a token that its issuer signed for this gateway, under the name in a claim.

FastMCP checks signature, issuer, audience and times. Here it is seen to that none of them can be missing, that only
signatures by which nobody who checks them could sign count, and that keys come from nowhere but where they were told
to: a file, or an address that cannot be changed on the way.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
from fastmcp.server.auth.providers.jwt import JWTVerifier
from mcp.server.auth.provider import AccessToken

from guarded_tools.errors import GuardError
from guarded_tools.listening import is_loopback
from guarded_tools.text.visible import one_line

ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "Ed25519", "EdDSA")
"""Signatures that are checked with a public key. With a shared one, whoever checks could sign."""

_IN_FILE = "https://jwks.invalid/"  # asked of nobody: the file answers


class SignedTokens:
    """Tells names by tokens of one issuer. ``keys`` is the address of its JWKS, or a file that holds it.

    The name is the text in ``claim``.

    Raises:
        GuardError: no such token could be relied on.
    """

    def __init__(self, *, issuer: str, audience: str, keys: str, claim: str = "sub", algorithm: str = "RS256") -> None:
        if not (issuer and audience and claim):
            raise GuardError("--jwks needs --jwt-issuer and --jwt-audience: whose tokens, and made for whom")
        if algorithm not in ALGORITHMS:
            raise GuardError(f"--jwt-algorithm {algorithm} is none of {', '.join(ALGORITHMS)}")
        self.issuer = issuer
        self._claim = claim
        address = urlsplit(keys)
        client = None
        if address.scheme in {"http", "https"}:
            if address.scheme == "http" and not is_loopback(address.hostname or ""):
                raise GuardError(f"--jwks {keys}: over http, others could put keys of their own there; use https")
        else:
            _check_file(Path(keys))
            client, keys = httpx2.AsyncClient(transport=_KeyFile(Path(keys))), _IN_FILE
        self._verifier = JWTVerifier(
            issuer=issuer, audience=audience, jwks_uri=keys, algorithm=algorithm, http_client=client
        )

    async def verify_token(self, token: str) -> AccessToken | None:
        """As the SDK asks it. The token itself is not kept."""
        try:
            found = await self._verifier.load_access_token(token)
        except Exception:  # noqa: BLE001 - it is made by anybody, and what cannot be read names nobody
            return None
        claims: Mapping[str, Any] = {} if found is None else found.claims
        name, ends = claims.get(self._claim), claims.get("exp")
        if not isinstance(name, str) or not name or isinstance(ends, bool) or not isinstance(ends, int | float):
            return None
        return AccessToken(token="", client_id=name, scopes=[], expires_at=int(ends))


class _KeyFile(httpx2.AsyncBaseTransport):
    """Answers with what is in a file, as it is then."""

    def __init__(self, path: Path) -> None:
        self._path = path

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, content=await asyncio.to_thread(self._path.read_bytes), request=request)


def _check_file(path: Path) -> None:
    try:
        keys = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise GuardError(f"--jwks {path} cannot be read: {one_line(str(error))}") from None
    found = keys.get("keys") if isinstance(keys, dict) else None
    if not isinstance(found, list) or not found:
        raise GuardError(f'--jwks {path} holds no keys: it is {{"keys": [...]}}, as the issuer publishes it')
