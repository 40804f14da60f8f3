"""Clients and servers of either revision, in every combination: the client cannot tell which one the server speaks."""

from __future__ import annotations

import asyncio
import sys
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import mcp_types as types
import pytest
from fastmcp import FastMCP
from mcp import Client, MCPError
from mcp.client.stdio import StdioServerParameters, stdio_client
from mcp_types import INVALID_PARAMS, METHOD_NOT_FOUND, PROTOCOL_VERSION_META_KEY

from guarded_tools.mcp_session import HttpServer, StdioServer
from tests.adapters.claiming_server import listening
from tests.gateway.harness_mcp2 import EVERYTHING, Opened, streams
from tests.gateway.test_decides_mcp2 import refused, said
from tests.gateway.test_http_mcp2 import served
from tests.gateway.test_passes_mcp2 import Human, opened, told_by
from tests.wire import ENVELOPE, NEW, OLD, Wire

ONE = str(Path(__file__).with_name("one_revision.py"))
SPEAKS = {"old": "legacy", "new": "auto"}


async def script(client: Client, human: Human) -> list[Any]:
    """All that a client of either revision may do, but be asked."""
    session = client.session
    heard: list[Any] = [client.protocol_version, client.server_info.name, client.instructions]
    heard += [await told_by(list_()) for list_ in (session.list_tools, session.list_resources, session.list_prompts)]
    heard.append(await told_by(session.list_resource_templates()))
    for name, arguments in (
        ("add", {"a": 1}), ("echo", {"text": "ü\u2028 😀"}), ("picture", {}), ("table", {}), ("fails", {}),
    ):  # fmt: skip
        heard.append(await told_by(session.call_tool(name, arguments)))
    heard.append(await told_by(session.call_tool("steps", {}, progress_callback=human.progress)))
    heard += [await told_by(session.read_resource(uri)) for uri in ("demo://notes/1", "demo://city/Ulm")]
    heard.append(await told_by(session.get_prompt("greet", {"name": "Ann"})))
    reference = types.PromptReference(type="ref/prompt", name="greet")
    heard.append(await told_by(session.complete(reference, {"name": "name", "value": "an"})))
    heard.append(await told_by(session.call_tool("grows", {})))
    heard.append(await told_by(session.call_tool("grown", {"n": 1})))
    return heard


@pytest.fixture
def only(upstream_log: Path) -> Any:
    def only(speaks: str) -> StdioServer:
        return StdioServer(sys.executable, (ONE, speaks, sys.executable, EVERYTHING, str(upstream_log)))

    return only


@pytest.mark.parametrize("speaks", SPEAKS)
@pytest.mark.parametrize("mode", ["legacy", "auto"])
async def test_over_stdio(speaks: str, mode: Any, only: Any, command: Any, make_gateway: Any, reached: Any) -> None:
    here, there = Human(), Human()
    async with opened(stdio_client(StdioServerParameters(command=command[0], args=command[1:])), here, mode) as client:
        directly = await script(client, here)
    lines = reached()
    async with (
        streams(make_gateway(servers={"everything": only(speaks)})) as ways,
        opened(Opened(*ways), there, mode) as client,
    ):
        assert client.protocol_version == {"legacy": OLD, "auto": NEW}[mode]
        guarded = await script(client, there)
    assert guarded == directly
    assert [each for each in there.told if each[0] == "progress"] == [e for e in here.told if e[0] == "progress"]
    assert reached() == lines * 2


def over_http(speaks: str) -> FastMCP[Any]:
    server: FastMCP[Any] = FastMCP("over http")

    @server.tool
    def twice(n: int) -> int:
        """Twice."""
        return 2 * n

    async def only_one(context: Any, call_next: Any) -> Any:
        modern = PROTOCOL_VERSION_META_KEY in ((context.params or {}).get("_meta") or {})
        if context.request_id is not None and modern == (speaks == "old"):
            raise MCPError(METHOD_NOT_FOUND, "Method not found", context.method)
        return await call_next(context)

    server._mcp_server.middleware.insert(0, only_one)
    return server


@pytest.mark.parametrize("speaks", SPEAKS)
async def test_over_http_on_both_sides(speaks: str, make_gateway: Any) -> None:
    with listening(over_http(speaks)) as behind:
        async with served(make_gateway(servers={"there": HttpServer(behind)})) as url:
            for mode in ("legacy", "auto"):
                async with opened(url, Human(), mode) as client:
                    assert [tool.name for tool in (await client.session.list_tools()).tools] == ["twice"]
                    assert said(await client.session.call_tool("twice", {"n": 21})) == "42"
            for revision in (OLD, NEW):

                def call(revision: str = revision) -> Any:
                    with Wire(url, revision) as wire:
                        return wire.call("twice", {"n": 4})["structuredContent"]

                assert await asyncio.to_thread(call) == {"result": 8}


async def test_a_client_that_asks_nothing_first_is_served_as_well(only: Any, make_gateway: Any) -> None:
    for speaks in SPEAKS:
        gateway = make_gateway(servers={"everything": only(speaks)})
        async with streams(gateway) as ways, Client(Opened(*ways), mode=NEW, cache=None) as client:
            assert said(await client.session.call_tool("add", {"a": 1})) == "2"


async def test_an_older_server_asks_a_newer_client(only: Any, make_gateway: Any, reached: Any) -> None:
    """What it asks in the middle of a call comes as the call's answer, and goes on with the next."""
    human = Human()
    async with (
        streams(make_gateway(servers={"everything": only("old")})) as ways,
        opened(Opened(*ways), human, "auto") as client,
    ):
        answer = said(await client.call_tool("asks", {}))
    assert "red" in answer
    assert "file:///home/ann" in answer
    assert "hello" in answer
    assert reached() == ["asks"]
    assert [each[0] for each in human.told if each[0] in {"elicit", "sample"}] == ["elicit", "sample"]


async def test_a_newer_server_asks_an_older_client(only: Any, make_gateway: Any, reached: Any) -> None:
    human = Human()
    async with (
        streams(make_gateway(servers={"everything": only("new")})) as ways,
        opened(Opened(*ways), human, "legacy") as client,
    ):
        answer = said(await client.session.call_tool("asks_back", {}))
    assert answer == "accept {'c': 'red'} asked"
    assert reached() == ["asks_back None", "asks_back asked"]


async def test_a_state_continues_its_own_call_once(only: Any, make_gateway: Any, reached: Any) -> None:
    capable = {
        **ENVELOPE,
        "io.modelcontextprotocol/clientCapabilities": {"elicitation": {}, "roots": {}, "sampling": {}},
    }
    async with (
        streams(make_gateway(servers={"everything": only("old")})) as ways,
        opened(Opened(*ways), Human(), "auto") as client,
    ):
        ask = client.session._dispatcher.send_raw_request

        def call(name: str, **more: Any) -> Any:
            return ask("tools/call", {"name": name, "arguments": {}, "_meta": capable, **more})

        first = await call("asks")
        state, [(question, asked)] = first["requestState"], first["inputRequests"].items()
        assert asked["method"] == "elicitation/create"
        answers = {question: {"action": "accept", "content": {"c": "red"}}}
        for wrong in ("", "x", 3, state[:-1], [state]):
            error = await refused(call("asks", requestState=wrong, inputResponses=answers))
            assert error.code == INVALID_PARAMS, wrong
        assert (await refused(call("secret", requestState=state, inputResponses=answers))).code == INVALID_PARAMS
        again = await call("asks", requestState=state, inputResponses={})
        assert list(again["inputRequests"]) == [question]  # it is still waited for
        assert again["requestState"] != state
        second = await call("asks", requestState=again["requestState"], inputResponses=answers)
        assert [each["method"] for each in second["inputRequests"].values()] == ["roots/list"]
        assert (await refused(call("asks", requestState=state, inputResponses=answers))).code == INVALID_PARAMS
    assert reached() == ["asks"]


async def test_who_cannot_be_asked_is_not(only: Any, make_gateway: Any) -> None:
    async with (
        streams(make_gateway(servers={"everything": only("old")})) as ways,
        Client(Opened(*ways), mode="auto", cache=None) as client,
    ):
        assert (await client.session.call_tool("asks", {})).is_error


@asynccontextmanager
async def mixed(make_gateway: Any, only: Any, mode: Any):
    gateway = make_gateway(servers={speaks: only(speaks) for speaks in SPEAKS})
    async with streams(gateway) as ways, opened(Opened(*ways), Human(), mode) as client:
        yield client


@pytest.mark.parametrize("mode", ["legacy", "auto"])
async def test_one_of_each_behind_one_line(mode: Any, make_gateway: Any, only: Any, reached: Any) -> None:
    async with mixed(make_gateway, only, mode) as client:
        names = {tool.name for tool in (await client.session.list_tools()).tools}
        assert {"old_add", "new_add"} <= names
        for server in SPEAKS:
            assert said(await client.session.call_tool(f"{server}_add", {"a": 1})) == "2"
    assert reached() == ["add 1 1"] * 2


TALKS = """
import sys
from mcp.server.mcpserver import Context, MCPServer
server = MCPServer("talks")
@server.tool()
async def change(ctx: Context) -> str:
    await ctx.notify_tools_changed()
    await ctx.notify_resource_updated("demo://own")
    await ctx.notify_resource_updated("demo://other")
    return "changed"
@server.resource("demo://own")
def own() -> str:
    return "mine"
server.run()
"""


async def test_an_older_client_hears_of_what_it_subscribed_to(make_gateway: Any) -> None:
    heard: list[Any] = []
    both = asyncio.Event()

    async def message(told: Any) -> None:
        heard.append(getattr(told.params, "uri", None) or type(told).__name__)
        if len(heard) == 2:
            both.set()

    newer = StdioServer(sys.executable, (ONE, "new", sys.executable, "-c", TALKS))
    gateway, options = make_gateway(servers={"talks": newer}), {"mode": "legacy", "message_handler": message}
    async with streams(gateway) as ways:  # noqa: SIM117 - too long for a line
        async with Client(Opened(*ways), cache=None, **options) as client:
            assert client.server_info.name == "talks"
            await client.session.subscribe_resource("demo://own")
            await client.session.send_ping()
            assert said(await client.session.call_tool("change", {})) == "changed"
            async with asyncio.timeout(20):
                await both.wait()
            await client.session.unsubscribe_resource("demo://own")
            await client.session.call_tool("change", {})
    assert sorted(map(str, heard[:2])) == ["ToolListChangedNotification", "demo://own"]
    assert "demo://other" not in map(str, heard)
    assert len([each for each in heard if str(each) == "demo://own"]) == 1


OLDER = """
import json, sys
for line in sys.stdin:
    message = json.loads(line)
    kind, params = message.get("method"), message.get("params") or {}
    def say(**more): print(json.dumps({"jsonrpc": "2.0", **more}), flush=True)
    if "id" not in message: continue
    with open(sys.argv[1], "a") as log: log.write(kind + " " + str(params.get("uri") or params.get("level") or "") + "\\n")
    result = {}
    if kind == "initialize":
        capabilities = {"tools": {"listChanged": True}, "resources": {"subscribe": True}, "logging": {}}
        result = {"protocolVersion": "2025-11-25", "capabilities": capabilities, "serverInfo": {"name": "older", "version": "1"}}
    elif kind == "tools/list":
        result = {"tools": [{"name": "change", "inputSchema": {"type": "object"}}]}
    elif kind == "tools/call":
        say(method="notifications/message", params={"level": "info", "data": "changing"})
        say(method="notifications/tools/list_changed")
        for uri in ("demo://own", "demo://other"): say(method="notifications/resources/updated", params={"uri": uri})
        result = {"content": [{"type": "text", "text": "changed"}]}
    elif not kind.startswith(("resources/", "logging/")):
        say(id=message["id"], error={"code": -32601, "message": "Method not found"})
        continue
    say(id=message["id"], result=result)
"""


async def test_a_newer_client_hears_of_what_it_listens_to(make_gateway: Any, upstream_log: Path, reached: Any) -> None:
    older = StdioServer(sys.executable, ("-c", OLDER, str(upstream_log)))
    human = Human()
    async with streams(make_gateway(servers={"older": older})) as ways:  # noqa: SIM117 - too long for a line
        async with opened(Opened(*ways), human, "auto") as client:
            await client.session.call_tool("change", {})  # nobody listens
            heard: list[str] = []
            async with client.listen(
                tools_list_changed=True, prompts_list_changed=True, resource_subscriptions=["demo://own"]
            ) as stream:
                assert stream.honored.tools_list_changed
                assert not stream.honored.prompts_list_changed
                ask = client.session._dispatcher.send_raw_request
                meta = {**ENVELOPE, "io.modelcontextprotocol/logLevel": "info"}
                await ask("tools/call", {"name": "change", "arguments": {}, "_meta": meta})
                async with asyncio.timeout(20):
                    async for event in stream:
                        heard.append(getattr(event, "uri", type(event).__name__))
                        if len(heard) == 2:
                            break
    assert heard == ["ToolsListChanged", "demo://own"]
    assert [each[:3] for each in human.told if each[0] == "log"] == [("log", "info", "changing")]
    assert [line.strip() for line in reached() if line.startswith(("resources", "logging"))] == [
        "resources/subscribe demo://own", "logging/setLevel info",
    ]  # fmt: skip
