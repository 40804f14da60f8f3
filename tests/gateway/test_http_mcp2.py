"""A gateway that listens: who a client is says its token and nothing else, and what is one client's is no other's."""

from __future__ import annotations

import asyncio
import functools
import hashlib
import json
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from fastmcp import FastMCP
from fastmcp.server.dependencies import get_http_request
from mcp import Client
from mcp.client.stdio import StdioServerParameters, stdio_client
from mcp.client.streamable_http import streamable_http_client

from guarded_tools.errors import GuardError
from guarded_tools.gateway.access import Entrance
from guarded_tools.gateway.guarded import Principal
from guarded_tools.gateway.http import make_app, serve_http
from guarded_tools.gateway.tokens import TokenFile
from guarded_tools.listening import bind
from guarded_tools.mcp_session import HttpServer
from guarded_tools.policy import Policy
from tests.adapters.claiming_server import listening
from tests.gateway.test_passes_mcp2 import MODES, Human, opened, script, told_by
from tests.wire import ENVELOPE, NEW, OLD

LIMIT = {"counter": "n", "window": "hour", "max": 2, "scope": "session"}
LIMITED = {"default": "allow", "tools": {"add": {"limits": [LIMIT]}}}
HASHES = {name: hashlib.sha256(f"token of {name}".encode()).hexdigest() for name in ("ann", "bob")}


@asynccontextmanager
async def served(gateway: Any, tokens: TokenFile | None = None, **options: Any):
    """The address of a gateway that listens."""
    listener = bind("127.0.0.1", 0)
    ready = asyncio.Event()
    entrance = Entrance("127.0.0.1", listener.getsockname()[1], **options)
    app = make_app(gateway, tokens, entrance)
    serving = asyncio.create_task(serve_http(app, listener, ready.set))
    await ready.wait()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/mcp"
    finally:
        serving.cancel()
        await asyncio.wait({serving})


def at(url: str, **headers: str) -> Any:
    return streamable_http_client(url, http_client=httpx2.AsyncClient(headers=headers, timeout=30))


def named(name: str) -> dict[str, str]:
    return {"authorization": f"Bearer token of {name}"}


async def add(client: Client) -> bool:
    return not (await client.session.call_tool("add", {"a": 1})).is_error


@pytest.mark.parametrize("mode", MODES)
async def test_over_http_a_client_cannot_tell_either(mode: Any, command: Any, make_gateway: Any, reached: Any) -> None:
    here, there = Human(), Human()
    async with opened(stdio_client(StdioServerParameters(command=command[0], args=command[1:])), here, mode) as client:
        directly = await script(client, here, mode)
    lines = reached()
    async with served(make_gateway()) as url, opened(url, there, mode) as client:
        guarded = await script(client, there, mode)
    assert guarded == directly
    told = {"legacy": ("elicit", "sample", "progress", "log", "changed"), "auto": ("elicit", "progress")}[mode]
    for kind in told:
        assert [each for each in there.told if each[0] == kind] == [each for each in here.told if each[0] == kind], kind
    assert reached() == lines * 2


async def test_what_a_server_asks_comes_to_the_client_whose_call_it_is(make_gateway: Any) -> None:
    class Other(Human):
        async def elicit(self, context: Any, params: Any) -> Any:
            answer = await super().elicit(context, params)
            return answer.model_copy(update={"content": {"c": "blue"}})

    one, two = Human(), Other()
    async with served(make_gateway()) as url, opened(url, one, "legacy") as a, opened(url, two, "legacy") as b:
        said = await asyncio.gather(*(told_by(client.session.call_tool("asks", {})) for client in (a, b)))
    assert ["'c': 'red'" in str(each) for each in said] == [True, False]
    assert ["'c': 'blue'" in str(each) for each in said] == [False, True]
    assert len(one.told) == len(two.told)


async def test_each_session_has_limits_of_its_own_and_none_can_be_made_up(make_gateway: Any, reached: Any) -> None:
    gateway = make_gateway(LIMITED)
    async with served(gateway) as url:
        async with opened(url, Human(), "legacy") as a, opened(url, Human(), "legacy") as b:
            assert [await add(client) for client in (a, a, a, b, b, b)] == [True, True, False] * 2
        # On 2026-07-28 nothing tells clients apart, so that they share one.
        ran = []
        for made_up in ("a", "b", "c"):
            async with opened(at(url, **{"mcp-session-id": made_up, "x-user": made_up}), Human(), "auto") as client:
                ran.append(await add(client))
        assert ran == [True, True, False]
        async with httpx2.AsyncClient(timeout=30) as raw:
            stray = await raw.post(
                url, json=request("tools/list"), headers=accepting(OLD, **{"mcp-session-id": "f" * 32})
            )
            assert stray.status_code == 404
    scopes = sorted(usage.scope.partition(":")[2][:4] for usage in gateway.guard.usage())
    assert scopes == ["anon", "mcp:", "mcp:"]
    assert len(reached()) == 6


def request(method: str, **params: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}


def accepting(version: str, **more: str) -> dict[str, str]:
    return {"accept": "application/json, text/event-stream", "mcp-protocol-version": version, **more}


async def test_who_has_no_token_of_the_file_is_nobody(make_gateway: Any, reached: Any) -> None:
    async with served(make_gateway(), TokenFile(HASHES)) as url, httpx2.AsyncClient(timeout=30) as raw:
        for authorization in (
            "",
            "Bearer",
            "Bearer nobody's",
            f"Bearer {HASHES['ann']}",
            "Basic YW5uOg==",
            "token of ann",
        ):
            for version, method in ((OLD, "initialize"), (NEW, "server/discover"), (NEW, "tools/call")):
                answer = await raw.post(
                    url, json=request(method), headers=accepting(version, authorization=authorization)
                )
                assert answer.status_code == 401, authorization
        for verb in ("GET", "DELETE"):
            assert (await raw.request(verb, url)).status_code == 401
        # A token in the address is none.
        assert (await raw.post(f"{url}?access_token=token%20of%20ann", json=request("ping"))).status_code == 401
    assert reached() == []


async def test_a_verified_name_is_the_grant_with_its_own_policy(make_gateway: Any, reached: Any) -> None:
    mode = "auto"
    grant = {"counter": "n", "window": "hour", "max": 3, "scope": "grant"}
    policies = {
        "ann": Policy.model_validate({"version": "1", "default": "deny", "tools": {"add": {"limits": [grant]}}}),
        "bob": Policy.model_validate({"version": "1", "default": "allow", "hide": ["add"], "tools": {}}),
    }
    gateway = make_gateway(grants=policies)
    async with served(gateway, TokenFile({**HASHES, "eve": hashlib.sha256(b"token of eve").hexdigest()})) as url:
        ran = []
        for _ in range(2):
            async with opened(at(url, **named("ann"), **{"x-grant": "bob"}), Human(), mode) as ann:
                ran += [await add(ann), await add(ann)]
                assert (await ann.session.call_tool("echo", {"text": "x"})).is_error
        assert ran == [True, True, True, False]
        async with opened(at(url, **named("bob")), Human(), mode) as bob:
            assert "add" not in {tool.name for tool in (await bob.session.list_tools()).tools}
            assert not await add(bob)
            assert not (await bob.session.call_tool("echo", {"text": "x"})).is_error
        async with opened(at(url, **named("eve")), Human(), mode) as eve:
            assert (await eve.session.list_tools()).tools == []
            assert (await eve.session.call_tool("echo", {"text": "x"})).structured_content["rule"] == "(no policy)"
    assert reached() == ["add 1 1"] * 3 + ["echo 1"]
    assert {usage.scope for usage in gateway.guard.usage()} == {"grant:ann"}


async def test_a_session_serves_no_other_token(make_gateway: Any, reached: Any) -> None:
    async with served(make_gateway(), TokenFile(HASHES)) as url, httpx2.AsyncClient(timeout=30) as raw:
        hello = {"protocolVersion": OLD, "capabilities": {}, "clientInfo": {"name": "x", "version": "1"}}
        begun = await raw.post(url, json=request("initialize", **hello), headers=accepting(OLD, **named("ann")))
        session = begun.headers["mcp-session-id"]
        call = request("tools/call", name="add", arguments={"a": 1})
        for who, status in (("bob", 404), ("ann", 200)):
            answer = await raw.post(url, json=call, headers=accepting(OLD, **named(who), **{"mcp-session-id": session}))
            assert answer.status_code == status
    assert reached() == ["add 1 1"]


async def test_pages_of_other_sites_reach_nothing(make_gateway: Any, reached: Any) -> None:
    async with served(make_gateway()) as url, httpx2.AsyncClient(timeout=30) as raw:
        body = request("tools/call", name="add", arguments={"a": 1}, _meta=ENVELOPE)
        for wrong in (
            {"host": "evil.example"},
            {"origin": "https://evil.example"},
            {"origin": "null"},
            {"host": "127.0.0.1.evil.example"},
        ):
            headers = accepting(NEW, **{"mcp-method": "tools/call", "mcp-name": "add"}, **wrong)
            assert (await raw.post(url, json=body, headers=headers)).status_code in {403, 421}, wrong
        other = accepting(NEW, **{"mcp-method": "tools/call", "mcp-name": "echo"})
        assert (await raw.post(url, json=body, headers=other)).status_code == 400
    assert reached() == []


async def test_what_the_gateway_and_its_client_know_of_each_other_stays_there(make_gateway: Any) -> None:
    server: FastMCP[Any] = FastMCP("headers")

    came: list[dict[str, str]] = []

    @server.tool
    def heard() -> dict[str, str]:
        """Tell what headers came."""
        came.append(dict(get_http_request().headers))
        return came[-1]

    with listening(server) as behind:
        gateway = make_gateway(servers={"headers": HttpServer(behind, {"authorization": "Bearer the gateway's own"})})
        for mode in MODES:
            async with served(gateway, TokenFile(HASHES)) as url:
                mine = {**named("ann"), "x-secret": "of ann", "cookie": "of=ann", "mcp-param-x": "of ann"}
                async with opened(at(url, **mine), Human(), mode) as client:
                    result = await client.session.call_tool("heard", {})
            assert came[-1]["authorization"] == "Bearer the gateway's own"
            assert "the gateway's own" not in result.model_dump_json()
            assert "of ann" not in json.dumps(result.structured_content), mode
            assert "cookie" not in result.structured_content


def test_an_address_that_others_reach_needs_tokens_and_tls(make_gateway: Any) -> None:
    tokens = TokenFile(HASHES)
    for host in ("0.0.0.0", "::", "192.168.1.5", "example.com", "127.0.0.1.example.com"):
        entrance = Entrance(host, also=("mcp.example.com",))
        with pytest.raises(GuardError, match="name --tokens FILE"):
            make_app(make_gateway(), None, entrance._replace(tls=True))
        with pytest.raises(GuardError, match="--tls-cert and --tls-key"):
            make_app(make_gateway(), tokens, entrance)
        make_app(make_gateway(), tokens, entrance._replace(tls=True))
        make_app(make_gateway(), tokens, entrance._replace(proxy="10.0.0.7"))
        with pytest.raises(GuardError, match="no address of one proxy"):
            make_app(make_gateway(), tokens, entrance._replace(proxy="10.0.0.0/8"))
    with pytest.raises(GuardError, match="say by which they do"):
        make_app(make_gateway(), tokens, Entrance("0.0.0.0", tls=True))
    with pytest.raises(GuardError, match="name --tokens FILE"):  # whoever a proxy lets in is nobody
        make_app(make_gateway(), None, Entrance("127.0.0.1", proxy="10.0.0.7"))
    with pytest.raises(GuardError, match="is no address"):
        make_app(make_gateway(), tokens, Entrance("127.0.0.1", public="mcp.example.com"))
    make_app(make_gateway(), None, Entrance("::1"))


async def test_behind_a_proxy_nobody_else_is_let_in(make_gateway: Any, reached: Any) -> None:
    for proxy, status in (("10.0.0.7", 403), ("127.0.0.1", 200)):
        async with (
            served(make_gateway(), TokenFile(HASHES), proxy=proxy, public="https://mcp.example.com/mcp") as url,
            httpx2.AsyncClient(timeout=30) as raw,
        ):
            claimed = {"x-forwarded-for": "10.0.0.7", "forwarded": "for=10.0.0.7", "host": "mcp.example.com"}
            headers = accepting(NEW, **named("ann"), **claimed, **{"mcp-method": "server/discover"})
            body = request("server/discover", _meta=ENVELOPE)
            assert (await raw.post(url, json=body, headers=headers)).status_code == status


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "cannot be read"),
        ("[]", "holds no names"),
        ("{}", "holds no names"),
        ('{"ann": "secret"}', "64 hex digits"),
        (json.dumps({"": HASHES["ann"]}), "64 hex digits"),
        (json.dumps({"ann": HASHES["ann"].upper()}), "64 hex digits"),
        (f'{{"ann": "{HASHES["ann"]}", "ann": "{HASHES["bob"]}"}}', "twice"),
        (json.dumps({"ann": HASHES["ann"], "bob": HASHES["ann"]}), "have one token"),
    ],
)
def test_a_file_of_tokens_that_cannot_be_relied_on_is_refused(text: str, told: str, tmp_path: Path) -> None:
    path = tmp_path / "tokens.json"
    path.write_text(text)
    with pytest.raises(GuardError, match=told):
        TokenFile.from_file(path)


def test_tokens_are_told_by_their_hash_alone(tmp_path: Path) -> None:
    path = tmp_path / "tokens.json"
    path.write_text(json.dumps(HASHES))
    tokens = TokenFile.from_file(path)
    assert tokens.name_of("token of ann") == "ann"
    assert tokens.name_of(HASHES["ann"]) is None
    path.chmod(0o666)
    with pytest.raises(GuardError, match="chmod go-w"):
        TokenFile.from_file(path)


async def test_on_a_line_that_is_shared_nobody_hears_of_what_is_hidden(make_gateway: Any) -> None:
    """Of what a server tells, too: it may tell of more than it was asked about."""
    gateway = make_gateway({"default": "allow", "hide": ["resource:demo://secret/*"]})
    line = gateway.line(None, Principal("s"))
    heard: list[str] = []

    class Stream:
        request_id = 7

        async def notify(self, method: str, params: Any) -> None:
            heard.append(params["uri"])

    relay = line._relay
    relay._streams["1"] = (Stream(), 7, functools.partial(line._guarded.shown, principal=Principal("s")))
    for uri in ("demo://notes/1", "demo://secret/plan", "demo://notes/2"):
        params = {"uri": uri, "_meta": {"io.modelcontextprotocol/subscriptionId": "1"}}
        await relay._told(None, "notifications/resources/updated", params)
    assert heard == ["demo://notes/1", "demo://notes/2"]
