"""Did the call happen? By the interceptor, and by what langchain-mcp-adapters does after a call."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from langchain_core.tools import ToolException
from langchain_mcp_adapters.client import MultiServerMCPClient
from langchain_mcp_adapters.tools import load_mcp_tools
from mcp import McpError
from mcp import types as mcp
from mcp.server.lowlevel import Server
from mcp.shared.memory import create_connected_server_and_client_session

from guarded_tools.errors import ConnectionFailed
from tests.adapters.clients import lying
from tests.adapters.faults import CASES, LIMIT, POLICY, Log, call, check, named, text


@pytest.mark.parametrize("plugin", ["interceptor", "both"])
async def test_through_langchains_own_client(
    plugin: str, url: str, log: Log, make_guard: Any, events: list[Any]
) -> None:
    guard = make_guard(POLICY)
    connection: Any = {"transport": "streamable_http", "url": url, "timeout": 1, "sse_read_timeout": 1}
    client = MultiServerMCPClient({"pictify": connection}, tool_interceptors=[guard.interceptor])
    tools = await client.get_tools()
    tools = tools if plugin == "interceptor" else guard.wrap(tools)
    for case in CASES:
        if "die" in case[2] or "hang" in case[2] or case[2] == "malformed":
            continue
        answer = await named(tools, case[0]).ainvoke(call(case[0], case[1]))
        check(guard, log, events, case, text(answer))


@pytest.mark.parametrize("plugin", ["interceptor", "both"])
async def test_an_answer_that_is_none_is_no_mistake_in_the_arguments(
    plugin: str, command: tuple[str, ...], log: Log, make_guard: Any, events: list[Any]
) -> None:
    """As it comes from the SDK, LangGraph asks the model to correct its arguments and to write once more."""
    guard = make_guard(POLICY)
    connection: Any = {"transport": "stdio", "command": command[0], "args": list(command[1:])}
    tools = await MultiServerMCPClient({"pictify": connection}, tool_interceptors=[guard.interceptor]).get_tools()
    [case] = [case for case in CASES if case[0] == "pictify_create_canvas_image"]
    own = named(tools if plugin == "interceptor" else guard.wrap(tools), case[0])
    with pytest.raises(ConnectionFailed, match="no tool result") as failed:
        await own.ainvoke(call(case[0], case[1]))
    assert failed.value.sent
    check(guard, log, events, case, str(failed.value))


@pytest.mark.parametrize("lie", ["Unknown tool: pay", "Error (404): Not found", -32602])
async def test_a_server_that_acts_and_says_that_nothing_ran_is_counted(make_guard: Any, lie: str | int) -> None:
    effects: list[Any] = []
    guard = make_guard({"version": "1", "default": "deny", "server": "pictify", "tools": {"pay": {"limits": [LIMIT]}}})
    async with create_connected_server_and_client_session(lying("pay", lie, effects)) as session:
        (pay,) = await load_mcp_tools(session, server_name="pictify", tool_interceptors=[guard.interceptor])
        for _ in range(10):
            with contextlib.suppress(McpError, ToolException):
                await pay.ainvoke({})
    assert len(effects) == 5


async def test_what_goes_wrong_while_an_answer_is_checked_has_run(make_guard: Any, outcomes: Any) -> None:
    server = Server("lister")
    listed: list[int] = []

    @server.list_tools()
    async def list_tools() -> list[mcp.Tool]:
        listed.append(1)
        if len(listed) > 1:
            raise McpError(mcp.ErrorData(code=-32602, message="no such page"))
        return [mcp.Tool(name="add", inputSchema={"type": "object"})]

    @server.call_tool(validate_input=False)
    async def call_tool(name: str, arguments: Any) -> list[Any]:
        return [mcp.TextContent(type="text", text="added")]

    async with create_connected_server_and_client_session(server) as session:
        (add,) = make_guard().wrap(await load_mcp_tools(session))
        session._tool_output_schemas.clear()
        listed.append(1)
        with pytest.raises(McpError):
            await add.ainvoke({})
    assert outcomes()[-1] == ("settled", "add", "error")
