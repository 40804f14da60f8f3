"""Whatever goes wrong, the client is told so that it understands, and what is counted is what the server did."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

import pytest
from mcp import Client, MCPError

from guarded_tools.adapters.notes import UNCERTAIN
from guarded_tools.errors import ConnectionFailed
from guarded_tools.mcp_session import HttpServer, StdioServer, lines
from tests.gateway.harness_mcp2 import Opened, streams

LIMIT = {"counter": "n", "window": "hour", "max": 9}
POLICY = {"default": "allow", "tools": {name: {"limits": [LIMIT]} for name in ("dies", "hangs", "echo", "fails")}}


def opened(ways: Any, mode: Any = "legacy") -> Client:
    return Client(Opened(*ways), mode=mode, cache=None)


def said(result: Any) -> str:
    return "\n".join(block.text for block in result.content)


async def until(condition: Any) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 - it is another process that is waited for
            await asyncio.sleep(0.01)


def used(gateway: Any) -> dict[str, int]:
    return {usage.counter.split("/")[1]: usage.used for usage in gateway.guard.usage("s")}


@pytest.mark.parametrize("mode", ["legacy", "auto"])
async def test_a_server_that_dies_under_a_call_ends_the_gateway(
    mode: Any, make_gateway: Any, reached: Any, events: Any
) -> None:
    gateway, ended = make_gateway(POLICY), []
    async with streams(gateway, ended=ended) as ways, opened(ways, mode) as client:
        beside = asyncio.create_task(client.session.call_tool("hangs", {}))
        await until(lambda: "hangs" in reached())
        result = await client.session.call_tool("dies", {})
        for each in (result, await beside):
            assert each.is_error
            assert "ended before it answered" in said(each)
            assert UNCERTAIN in said(each)
    assert isinstance(ended[0], ConnectionFailed)
    assert used(gateway) == {"dies": 1, "hangs": 1}
    assert {event.outcome for event in events if event.kind == "settled"} == {"unknown"}
    assert sorted(reached()) == ["dies", "hangs"]


async def test_a_slow_server_is_given_up_and_told_so(make_gateway: Any, reached: Any, events: Any) -> None:
    gateway = make_gateway(POLICY, timeout=2.0)
    async with streams(gateway) as ways, opened(ways) as client:
        slow = await client.session.call_tool("hangs", {})
        assert slow.is_error
        assert "did not answer within 2 seconds" in said(slow)
        assert UNCERTAIN in said(slow)
        await until(lambda: "given up" in reached())
        assert said(await client.session.call_tool("echo", {"text": "still here"})) == "still here"
    assert used(gateway) == {"hangs": 1, "echo": 1}


async def test_a_call_that_its_client_gives_up_is_given_up(make_gateway: Any, reached: Any, events: Any) -> None:
    gateway = make_gateway(POLICY)
    async with streams(gateway) as ways, opened(ways) as client:
        call = asyncio.create_task(client.session.call_tool("hangs", {}))
        await until(lambda: "hangs" in reached())
        call.cancel()
        await until(lambda: "given up" in reached())
        assert said(await client.session.call_tool("echo", {"text": "x"})) == "x"
        await until(lambda: len([event for event in events if event.kind == "settled"]) == 2)
    assert used(gateway) == {"hangs": 1, "echo": 1}
    assert {event.outcome for event in events if event.kind == "settled"} == {"unknown", "ok"}


async def test_a_client_that_is_gone_leaves_nothing_behind(make_gateway: Any, reached: Any, events: Any) -> None:
    gateway = make_gateway(POLICY)
    async with streams(gateway) as ways, opened(ways) as client:
        call = asyncio.create_task(client.session.call_tool("hangs", {}))
        await until(lambda: "hangs" in reached())
        ways[1].close()
        call.cancel()
    await until(lambda: any(event.kind == "settled" for event in events))
    assert used(gateway) == {"hangs": 1}
    assert [event.outcome for event in events if event.kind == "settled"] == ["unknown"]


async def test_a_server_that_is_not_there_starts_nothing(make_gateway: Any) -> None:
    for server in (
        StdioServer("no-such-command-here"),
        StdioServer(sys.executable, ("-c", "import sys; sys.exit('no key')")),
    ):
        ended: list[Exception] = []
        async with streams(make_gateway(servers={"gone": server}), ended=ended) as ways:
            with pytest.raises(ExceptionGroup):
                async with opened(ways):
                    pass
        assert isinstance(ended[0], ConnectionFailed), server
    assert "no key" in str(ended[0])


async def test_nobody_at_an_address_is_told_without_the_key_in_it(make_gateway: Any) -> None:
    server = HttpServer("http://127.0.0.1:9/mcp?key=sk-verysecretkey", {"Authorization": "Bearer sk-othersecretkey"})
    async with streams(make_gateway(servers={"gone": server}), ended=[]) as ways:
        with pytest.raises(ExceptionGroup) as info:
            async with opened(ways):
                pass
    told = repr(info.value.exceptions)
    assert "secretkey" not in told
    assert "All connection attempts failed" in told


ODD = """
import json, sys
for line in sys.stdin:
    message = json.loads(line)
    if "id" not in message: continue
    kind = message.get("method")
    def answer(**more): print(json.dumps({"jsonrpc": "2.0", "id": message["id"], **more}), flush=True)
    if kind == "initialize":
        version = message["params"]["protocolVersion"]
        info = {"name": "odd", "version": "1"}
        answer(result={"protocolVersion": version, "capabilities": {"tools": {}, "tasks": {}}, "serverInfo": info})
    elif kind == "tools/list":
        one = {"name": "odd", "inputSchema": {"type": "object"}}
        answer(result={"tools": [one, {**one, "description": "twin"}, {"name": 3}, "no tool", {**one, "name": "prompt:x"}]})
    elif kind == "tools/call":
        open(sys.argv[1], "a").write("odd\\n")
        how = message["params"]["arguments"]["how"]
        if how == "no result": answer(result={"content": "not a list"})
        if how == "garbage": print("this is {no message", flush=True); print("\\xff\\x00", flush=True)
        if how == "refuses": answer(error={"code": -32602, "message": "no such thing"})
        if how == "overloaded": answer(error={"code": -32000, "message": "overloaded"})
        if how == "another's": print(json.dumps({"jsonrpc": "2.0", "id": 999, "result": {}}), flush=True)
        if how == "asks": print(json.dumps({"jsonrpc": "2.0", "id": 1, "method": "secrets/list", "params": {}}), flush=True)
        while how == "endless": sys.stdout.write("x" * 65536)
        if how == "twice": answer(result={"content": []}); answer(result={"content": [{"type": "text", "text": "2"}]})
    elif kind == "prompts/list":
        answer(result={"prompts": 7})
"""


@pytest.mark.parametrize(
    ("how", "told", "outcome"),
    [
        ("no result", "the server's answer is no tool result", "unknown"),
        ("garbage", "did not answer within", "unknown"),
        ("refuses", "no such thing", "error"),
        ("overloaded", "overloaded", "unknown"),
        ("another's", "did not answer within", "unknown"),
        ("asks", "did not answer within", "unknown"),
        ("twice", "", "ok"),
    ],
)
async def test_a_server_that_answers_garbage(
    how: str, told: str, outcome: str, make_gateway: Any, events: Any, upstream_log: Path, reached: Any
) -> None:
    server = StdioServer(sys.executable, ("-c", ODD, str(upstream_log)))
    gateway = make_gateway(
        {"default": "allow", "tools": {"odd": {"limits": [LIMIT]}}}, servers={"odd": server}, timeout=2.0
    )
    async with streams(gateway) as ways, opened(ways) as client:
        assert client.server_capabilities.tasks is None
        [tool] = (await client.session.list_tools()).tools
        assert tool.description is None
        with pytest.raises(MCPError):
            await client.session.list_prompts()
        try:
            answer = said(await client.session.call_tool("odd", {"how": how}))
        except MCPError as error:
            answer = error.message
    assert told in answer
    assert (UNCERTAIN in answer) is (outcome == "unknown")
    assert [event.outcome for event in events if event.kind == "settled"] == [outcome]
    assert used(gateway) == {"odd": 1}
    assert reached() == ["odd"]


async def test_a_line_without_an_end_ends_the_gateway(
    make_gateway: Any, events: Any, upstream_log: Path, reached: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lines, "LONGEST_LINE", 1_000_000)
    server = StdioServer(sys.executable, ("-c", ODD, str(upstream_log)))
    gateway = make_gateway({"default": "allow", "tools": {"odd": {"limits": [LIMIT]}}}, servers={"odd": server})
    ended: list[Exception] = []
    async with streams(gateway, ended=ended) as ways, opened(ways) as client:
        silent = asyncio.create_task(client.session.call_tool("odd", {"how": "asks"}))
        await until(reached)
        for result in (await client.session.call_tool("odd", {"how": "endless"}), await silent):
            assert "a line that it wrote is longer than 1000000 bytes" in said(result)
            assert UNCERTAIN in said(result)
    assert isinstance(ended[0], ConnectionFailed)
    assert "longer than 1000000 bytes" in str(ended[0])
    assert [event.outcome for event in events if event.kind == "settled"] == ["unknown", "unknown"]
    assert used(gateway) == {"odd": 2}
    assert reached() == ["odd", "odd"]


TELLS = """
import os
from fastmcp import FastMCP
from mcp import MCPError
server = FastMCP("tells")
@server.tool
def fails() -> str:
    raise MCPError(-32000, "bad key " + os.environ["SHOP_KEY"], {"sent": "Bearer " + os.environ["SHOP_KEY"]})
@server.resource("demo://x")
def x() -> str:
    raise MCPError(-32000, "bad key " + os.environ["SHOP_KEY"])
server.run(show_banner=False, log_level="ERROR")
"""


@pytest.mark.parametrize("mode", ["legacy", "auto"])
async def test_what_a_server_says_of_its_key_is_told_without_it(mode: Any, make_gateway: Any, events: Any) -> None:
    server = StdioServer(sys.executable, ("-c", TELLS), {"SHOP_KEY": "s3cret-of-the-shop"})
    heard: list[str] = []
    async with streams(make_gateway(servers={"tells": server})) as ways, opened(ways, mode) as client:
        for ask in (client.session.call_tool("fails", {}), client.session.read_resource("demo://x")):
            try:
                heard.append(repr(await ask))
            except MCPError as error:
                heard.append(repr((error.message, error.data)))
    assert all("bad key" in each or "rror" in each for each in heard)
    assert "s3cret-of-the-shop" not in repr((heard, events))
