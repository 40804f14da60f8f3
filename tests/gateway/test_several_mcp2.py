"""Several servers behind one line: each call goes to the one that is meant, and what nobody can tell apart to none."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import mcp_types as types
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mcp import Client
from mcp_types import METHOD_NOT_FOUND

from guarded_tools.errors import ConnectionFailed, GuardError
from guarded_tools.gateway.owners import _fits
from guarded_tools.gateway.servers_file import read_servers
from guarded_tools.gateway.several import check_server_names, check_spoken_names
from guarded_tools.mcp_session import StdioServer
from tests.gateway.harness_mcp2 import Opened, streams
from tests.gateway.test_decides_mcp2 import refused, said
from tests.wire import ENVELOPE

MODES = ["legacy", "auto"]


def opened(ways: Any, mode: Any, **options: Any) -> Client:
    return Client(Opened(*ways), mode=mode, cache=None, **options)


SMALL = """
import sys
from pathlib import Path
from fastmcp import FastMCP
server = FastMCP(sys.argv[2], instructions="Of " + sys.argv[2] + ".")
def note(what):
    with Path(sys.argv[1]).open("a") as log: log.write(sys.argv[2] + " " + what + "\\n")
@server.tool
def look(n: int) -> str:
    note(f"look {n}")
    return f"{sys.argv[2]} {n}"
@server.resource("demo://same")
def same() -> str:
    note("same")
    return sys.argv[2]
@server.resource(f"demo://{sys.argv[2]}/own")
def own() -> str:
    note("own")
    return sys.argv[2]
@server.resource("demo://" + sys.argv[2] + "/city/{name}")
def city(name: str) -> str:
    note("city " + name)
    return name
@server.prompt
def greet(name: str) -> str:
    note("greet " + name)
    return name
@server.completion
def complete(ref, argument, context):
    return [sys.argv[2]]
server.run(show_banner=False, log_level="ERROR")
"""


@pytest.fixture
def servers(upstream_log: Path) -> dict[str, StdioServer]:
    return {name: StdioServer(sys.executable, ("-c", SMALL, str(upstream_log), name)) for name in ("one", "two")}


@pytest.mark.parametrize("mode", MODES)
async def test_each_request_goes_to_the_server_that_is_meant(
    mode: Any, make_gateway: Any, servers: Any, reached: Any
) -> None:
    async with streams(make_gateway(servers=servers)) as ways, opened(ways, mode) as client:
        assert client.instructions == "one: Of one.\n\ntwo: Of two."
        assert client.server_info.name == "guarded-tools-gateway"
        assert client.server_capabilities.tools is not None
        session = client.session
        tools = (await session.list_tools()).tools
        assert [tool.name for tool in tools] == ["one_look", "two_look"]
        assert [prompt.name for prompt in (await session.list_prompts()).prompts] == ["one_greet", "two_greet"]
        assert sorted(str(each.uri) for each in (await session.list_resources()).resources) == [
            "demo://one/own", "demo://two/own",
        ]  # fmt: skip
        assert said(await session.call_tool("two_look", {"n": 1})) == "two 1"
        assert said(await session.call_tool("one_look", {"n": 2})) == "one 2"
        for name in ("look", "three_look", "one", "one_two_look"):
            if name == "one_two_look":
                assert (await session.call_tool(name, {"n": 3})).is_error
            else:
                assert "no server has" in (await refused(session.call_tool(name, {"n": 3}))).message
        assert (await session.get_prompt("two_greet", {"name": "Ann"})).messages[0].content.text == "Ann"
        assert (await session.read_resource("demo://two/own")).contents[0].text == "two"
        assert (await session.read_resource("demo://one/city/Ulm")).contents[0].text == "Ulm"
        assert "both have" in (await refused(session.read_resource("demo://same"))).message
        assert "no server lists" in (await refused(session.read_resource("demo://three/own"))).message
        for reference, owner in (
            (types.PromptReference(type="ref/prompt", name="two_greet"), "two"),
            (types.ResourceTemplateReference(type="ref/resource", uri="demo://one/city/{name}"), "one"),
        ):
            assert (await session.complete(reference, {"name": "name", "value": ""})).completion.values == [owner]
    assert reached() == ["two look 1", "one look 2", "two greet Ann", "two own", "one city Ulm"]


@pytest.mark.parametrize("mode", MODES)
async def test_a_policy_names_what_belongs_to_which(mode: Any, make_gateway: Any, servers: Any, reached: Any) -> None:
    limit = {"counter": "n", "window": "hour", "max": 1}
    policy = {
        "default": "deny",
        "hide": ["resource:two/*", "prompt:one/greet"],
        "tools": {"one/look": {"limits": [limit]}, "two/*": {}, "prompt:*": {}, "resource:one/demo://one/*": {}},
    }  # fmt: skip
    gateway = make_gateway(policy, servers=servers)
    async with streams(gateway) as ways, opened(ways, mode) as client:
        session = client.session
        assert [prompt.name for prompt in (await session.list_prompts()).prompts] == ["two_greet"]
        assert [str(each.uri) for each in (await session.list_resources()).resources][1:] == ["demo://one/own"]
        assert [(await session.call_tool("one_look", {"n": n})).is_error for n in (1, 2)] == [False, True]
        assert not (await session.call_tool("two_look", {"n": 3})).is_error
        assert (await refused(session.read_resource("demo://two/own"))).data["rule"] == "(hidden)"
        assert (await refused(session.get_prompt("one_greet", {"name": "x"}))).data["rule"] == "(hidden)"
        await session.read_resource("demo://one/own")
    assert reached() == ["one look 1", "two look 3", "one own"]
    assert [usage.used for usage in gateway.guard.usage("s")] == [1]


async def test_a_policy_that_names_what_no_server_has_refuses_the_first_call(
    make_gateway: Any, servers: Any, reached: Any
) -> None:
    """Though only one of the servers was asked for anything."""
    policy = {"default": "allow", "tools": {"two/lok": {"approval": True}}}
    async with streams(make_gateway(policy, servers=servers)) as ways, opened(ways, "auto") as client:
        assert "does not fit these servers" in said(await client.session.call_tool("one_look", {"n": 1}))
    assert reached() == []


TALKS = """
import sys
from mcp.server.mcpserver import Context, MCPServer
server = MCPServer(sys.argv[1])
@server.tool()
async def change(ctx: Context) -> str:
    await ctx.notify_tools_changed()
    return "changed"
@server.tool()
async def touch(uri: str, ctx: Context) -> str:
    await ctx.notify_resource_updated(uri)
    return "touched"
@server.resource("demo://" + sys.argv[1] + "/own")
def own() -> str:
    return ""
server.run()
"""


async def test_changes_come_on_one_stream_acknowledged_once(make_gateway: Any, servers: Any) -> None:
    talking = {name: StdioServer(sys.executable, ("-c", TALKS, name)) for name in ("three", "four")}
    gateway = make_gateway(servers={**servers, **talking})  # of which two know no streams
    async with streams(gateway) as ways, opened(ways, "auto") as client:
        uris = ["demo://three/own", "demo://four/own"]
        async with client.listen(tools_list_changed=True, resource_subscriptions=uris) as stream:
            assert stream.honored.tools_list_changed
            assert sorted(stream.honored.resource_subscriptions) == sorted(uris)
            await client.session.call_tool("four_touch", {"uri": "demo://four/own"})
            await client.session.call_tool("three_touch", {"uri": "demo://three/own"})
            await client.session.call_tool("four_change", {})
            heard: list[str] = []
            async with asyncio.timeout(20):
                async for event in stream:
                    heard.append(getattr(event, "uri", type(event).__name__))
                    if len(heard) == 3:
                        break
        assert sorted(heard) == ["ToolsListChanged", "demo://four/own", "demo://three/own"]
    async with streams(make_gateway(servers=servers)) as ways, opened(ways, "auto") as client:
        ask = client.session._dispatcher.send_raw_request
        listen = {"notifications": {"toolsListChanged": True}, "_meta": ENVELOPE}
        assert (await refused(ask("subscriptions/listen", listen))).code == METHOD_NOT_FOUND


async def test_where_one_server_is_gone_all_end(make_gateway: Any, servers: Any) -> None:
    ended: list[Exception] = []
    gone = {**servers, "three": StdioServer(sys.executable, ("-c", "import sys; sys.exit('no licence')"))}
    async with streams(make_gateway(servers=gone), ended=ended) as ways:
        with pytest.raises(ExceptionGroup):
            async with opened(ways, "legacy"):
                pass
    assert isinstance(ended[0], ConnectionFailed)
    assert "no licence" in str(ended[0])


def test_names_that_cannot_be_told_apart_are_refused() -> None:
    with pytest.raises(GuardError, match="cannot be told apart"):
        check_server_names(["a", "a_b"])
    check_server_names(["a", "ab", "b_a"])
    for name in ("prompt:greet", "resource:demo://x", "prompt:three/x", "resource:t?ree/*"):
        with pytest.raises(GuardError, match="begin with a server's"):
            check_spoken_names(["one", "two"], [name])
    check_spoken_names(["one", "two"], ["prompt:*", "resource:one/*", "prompt:t*/x", "resource:*/demo://x"])


names = st.text(st.sampled_from("ab_"), min_size=1, max_size=5)


@settings(max_examples=120)
@given(st.lists(names, min_size=2, max_size=4, unique=True), names)
def test_a_name_is_one_servers_or_nobodys(servers: list[str], tool: str) -> None:
    try:
        check_server_names(servers)
    except GuardError:
        return
    for server in servers:
        assert [each for each in servers if f"{server}_{tool}".startswith(f"{each}_")] == [server]


@settings(max_examples=120)
@given(st.lists(st.text(st.sampled_from("ab/"), max_size=3), min_size=1, max_size=4), st.data())
def test_whatever_a_template_makes_fits_it(parts: list[str], data: Any) -> None:
    filled = [data.draw(st.text(st.sampled_from("ab/"), max_size=3)) for _ in parts[1:]]
    made = parts[0] + "".join(fill + part for fill, part in zip(filled, parts[1:], strict=True))
    assert _fits("{x}".join(parts), made) or len(parts) == 1
    assert not _fits("{x}".join(["z", *parts]), made)


# A file of servers.


@pytest.fixture
def write(tmp_path: Path) -> Any:
    def write(servers: Any, **more: Any) -> Path:
        path = tmp_path / "servers.json"
        path.write_text(servers if isinstance(servers, str) else json.dumps({"mcpServers": servers, **more}))
        return path

    return write


def test_servers_are_read_as_clients_write_them(write: Any, monkeypatch: Any) -> None:
    monkeypatch.setenv("SHOP_KEY", "s3cret")
    monkeypatch.delenv("MISSING", raising=False)
    found = read_servers(
        write(
            {
                "shop": {
                    "type": "http",
                    "url": "https://shop.example.com/${MISSING:-v1}",
                    "headers": {"X-Key": "${SHOP_KEY}"},
                },
                "old": {"url": "https://old.example.com", "transport": "sse"},
                "here": {"command": sys.executable, "args": ["-c", "${env:SHOP_KEY}"], "env": {"A": "x${SHOP_KEY}y"}},
                "off": {"command": "no-such-command", "disabled": True},
            }
        )
    )
    assert list(found) == ["shop", "old", "here"]
    shop, old, here = found.values()
    assert (shop.url, shop.headers) == ("https://shop.example.com/v1", {"X-Key": "s3cret"})
    assert old.sse
    assert (here.args, here.env) == (("-c", "s3cret"), {"A": "xs3crety"})
    assert "s3cret" not in repr(found)
    assert list(read_servers(write('{// mine\n"servers": {"a": {"url": "http://127.0.0.1:1/mcp",},},}'))) == ["a"]


@pytest.mark.parametrize(
    ("servers", "told"),
    [
        ("", "cannot be read"),
        ("[]", "names no servers"),
        ('{"mcpServers": {}, "servers": {}}', "names no servers"),
        ("{}", "names no servers"),
        ({}, "switched on"),
        ({"a": {"command": "x", "disabled": True}}, "switched on"),
        ({"a": {"command": "x", "disabled": "yes"}}, "true or false"),
        ({"a b": {"url": "https://x"}}, "cannot stand before"),
        ({"a/b": {"url": "https://x"}}, "cannot stand before"),
        ({"a": []}, "an object"),
        ({"a": {"url": "https://x", "command": "y"}}, "exactly one"),
        ({"a": {"url": "https://x", "oauth": {}}}, "oauth is not known"),
        ({"a": {"url": "https://x", "auth": "oauth"}}, "use headers"),
        ({"a": {"url": "https://x", "type": "websocket"}}, "transport is"),
        ({"a": {"command": "x", "args": "y"}}, "list of texts"),
        ({"a": {"command": "no-such-command-here"}}, "not found"),
        ({"a": {"url": "https://${NOT_SET_ANYWHERE}"}}, "NOT_SET_ANYWHERE, which is not set"),
        ({"a": {"url": "https://${input:key}"}}, "only a client understands"),
        ({"a": {"command": "${workspaceFolder}/x"}}, "not set|only a client"),
    ],
)
def test_what_is_not_understood_is_refused(servers: Any, told: str, write: Any) -> None:
    with pytest.raises((GuardError, ConnectionFailed), match=told):
        read_servers(write(servers))
