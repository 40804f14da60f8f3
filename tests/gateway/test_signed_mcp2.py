"""Tokens that an issuer signed: only one that it signed for this gateway, and that has not ended, names anybody."""

from __future__ import annotations

import base64
import hmac
import json
import time
from pathlib import Path
from typing import Any

import httpx2
import pytest
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256
from joserfc import jwk

from guarded_tools.errors import GuardError
from guarded_tools.gateway.signed import SignedTokens
from guarded_tools.policy import Policy
from tests.gateway.test_http_mcp2 import Human, accepting, add, at, opened, request, served
from tests.wire import ENVELOPE, NEW

ISSUER, AUDIENCE = "https://id.example.com", "https://mcp.example.com/mcp"
KEY, OTHER = (jwk.RSAKey.generate_key(2048, {"kid": kid}) for kid in ("one", "two"))


def token(key: Any = KEY, *, header: Any = None, **changed: Any) -> str:
    """A good token, but for what is changed in it; with ``None`` it is left out."""
    claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": "ann", "exp": int(time.time()) + 600, **changed}
    parts = [{"alg": "RS256", "kid": "one", **(header or {})}, claims]
    head = ".".join(part({name: value for name, value in each.items() if value is not None}) for each in parts)
    return f"{head}.{text(key.private_key.sign(head.encode(), PKCS1v15(), SHA256()))}"


def text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def part(what: Any) -> str:
    return text(json.dumps(what).encode())


def unsigned(alg: str) -> str:
    """A good token, with another header and no signature."""
    return f"{part({'alg': alg, 'typ': 'JWT', 'kid': 'one'})}.{token().split('.')[1]}."


def signed_with_the_public_key() -> str:
    head = f"{part({'alg': 'HS256', 'kid': 'one'})}.{token().split('.')[1]}"
    return f"{head}.{text(hmac.digest(KEY.as_pem(private=False), head.encode(), 'sha256'))}"


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    path = tmp_path / "jwks.json"
    path.write_text(json.dumps({"keys": [KEY.as_dict(private=False)]}))
    return path


@pytest.fixture
def tokens(keys: Path) -> SignedTokens:
    return SignedTokens(issuer=ISSUER, audience=AUDIENCE, keys=str(keys))


async def name_of(tokens: SignedTokens, made: str) -> str | None:
    found = await tokens.verify_token(made)
    return None if found is None else found.client_id


async def test_a_good_token_names_its_subject(tokens: SignedTokens) -> None:
    assert await name_of(tokens, token()) == "ann"
    assert await name_of(tokens, token(aud=["other", AUDIENCE])) == "ann"
    found = await tokens.verify_token(token())
    assert found is not None
    assert found.token == ""  # it is not kept


FORGED = {
    "another's audience": lambda: token(aud="https://other.example.com"),
    "a part of the audience": lambda: token(aud="https://mcp.example.com"),
    "no audience": lambda: token(aud=None),
    "another issuer": lambda: token(iss="https://evil.example.com"),
    "the issuer with a slash": lambda: token(iss=ISSUER + "/"),
    "no issuer": lambda: token(iss=None),
    "several issuers": lambda: token(iss=[ISSUER]),
    "ended": lambda: token(exp=int(time.time()) - 1),
    "without an end": lambda: token(exp=None),
    "an end that is no time": lambda: token(exp="2999-01-01"),
    "an end that is true": lambda: token(exp=True),
    "not yet": lambda: token(nbf=int(time.time()) + 600),
    "no subject": lambda: token(sub=None),
    "an empty subject": lambda: token(sub=""),
    "a subject that is a list": lambda: token(sub=["ann"]),
    "another's key, under this one's id": lambda: token(OTHER),
    "an unknown key": lambda: token(OTHER, header={"kid": "two"}),
    "no key named, signed by another": lambda: token(OTHER, header={"kid": None}),
    "a header that is critical": lambda: token(header={"crit": ["x"], "x": 1}),
    "not signed": lambda: unsigned("none"),
    "not signed, in capitals": lambda: unsigned("NONE"),
    "not signed, it says otherwise": lambda: unsigned("RS256"),
    "with the public key as the secret": signed_with_the_public_key,
    "other claims": lambda: ".".join((token().split(".")[0], part({"sub": "root"}), token().split(".")[2])),
    "key of its own in the header": lambda: token(OTHER, header={"jwk": OTHER.as_dict(private=False)}),
    "address of keys in the header": lambda: token(OTHER, header={"jku": "https://evil.example.com/jwks"}),
    "no token": lambda: "",
    "dots": lambda: "..",
    "no text": lambda: "\udcff.\x00.é",
    "too deep": lambda: f"{part({'alg': 'RS256'})}.{text(b'[' * 5000)}.x",
}


@pytest.mark.parametrize("how", FORGED)
async def test_no_other_token_names_anybody(how: str, tokens: SignedTokens) -> None:
    assert await name_of(tokens, FORGED[how]()) is None
    assert await name_of(tokens, token()) == "ann"


async def test_another_claim_may_name_the_client(keys: Path) -> None:
    tokens = SignedTokens(issuer=ISSUER, audience=AUDIENCE, keys=str(keys), claim="email")
    assert await name_of(tokens, token(email="ann@example.com")) == "ann@example.com"
    assert await name_of(tokens, token()) is None


def test_what_cannot_be_relied_on_is_refused(keys: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty.json"
    empty.write_text('{"keys": []}')
    for options, told in (
        ({"keys": "http://id.example.com/jwks"}, "use https"),
        ({"keys": str(tmp_path / "none.json")}, "cannot be read"),
        ({"keys": str(empty)}, "holds no keys"),
        ({"algorithm": "HS256"}, "is none of"),
        ({"algorithm": "none"}, "is none of"),
        ({"issuer": ""}, "needs --jwt-issuer"),
        ({"audience": ""}, "needs --jwt-issuer"),
    ):
        with pytest.raises(GuardError, match=told):
            SignedTokens(**{"issuer": ISSUER, "audience": AUDIENCE, "keys": str(keys), **options})
    SignedTokens(issuer=ISSUER, audience=AUDIENCE, keys="http://127.0.0.1:1/jwks")


async def test_over_http_the_claim_is_the_grant_and_who_has_no_token_learns_where_to_get_one(
    make_gateway: Any, tokens: SignedTokens, reached: Any
) -> None:
    policies = {"ann": Policy.model_validate({"version": "1", "default": "allow", "tools": {}})}
    gateway = make_gateway(grants=policies)
    async with served(gateway, tokens) as url, httpx2.AsyncClient(timeout=30) as raw:
        for mode in ("legacy", "auto"):
            async with opened(at(url, authorization=f"Bearer {token()}"), Human(), mode) as client:
                assert await add(client)
            async with opened(at(url, authorization=f"Bearer {token(sub='bob')}"), Human(), mode) as client:
                assert not await add(client)
        body = request("tools/list", _meta=ENVELOPE)
        for made in ("", f"Bearer {FORGED['ended']()}", f"Bearer {unsigned('none')}"):
            answer = await raw.post(url, json=body, headers=accepting(NEW, authorization=made))
            assert answer.status_code == 401
            where = answer.headers["www-authenticate"].partition('resource_metadata="')[2].partition('"')[0]
        assert where == url.replace("/mcp", "/.well-known/oauth-protected-resource/mcp")
        told = (await raw.get(where)).json()
    assert told["resource"] == url
    assert [each.rstrip("/") for each in told["authorization_servers"]] == [ISSUER]
    assert reached() == ["add 1 1"] * 2
