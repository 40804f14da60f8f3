"""Checks of results on the roads of langchain-mcp-adapters: the interceptor, and tools that are wrapped."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from langchain_mcp_adapters.interceptors import MCPToolCallRequest
from langchain_mcp_adapters.tools import load_mcp_tools
from mcp.server.fastmcp import FastMCP
from mcp.shared.memory import create_connected_server_and_client_session
from mcp.types import CallToolResult, TextContent
from pydantic import BaseModel

from guarded_tools.adapters.wrap import identity
from guarded_tools.errors import ResultWithheld

KEY = "sk-ant-api03-abcdefghijklmnop"
LEFT = "sk-ant-[redacted: secret]"


def policy(**result: Any) -> dict[str, Any]:
    return {"version": "1", "default": "deny", "tools": {"leak": {"result": result}, "fail": {"result": result}}}


class Leaked(BaseModel):
    key: str


@pytest.fixture
def server() -> FastMCP[Any]:
    made: FastMCP[Any] = FastMCP("s")

    @made.tool()
    def leak() -> Leaked:
        """Give back a key."""
        return Leaked(key=KEY)

    @made.tool()
    def fail() -> str:
        """Fail with one."""
        raise ValueError(KEY)

    return made


async def intercepted(guard: Any, result: Any) -> Any:
    async def execute_tool(_: MCPToolCallRequest) -> Any:
        return result

    return await guard.interceptor(MCPToolCallRequest(name="leak", args={}, server_name="s"), execute_tool)


async def test_the_interceptor_redacts_a_result_of_mcp(make_guard: Any) -> None:
    whole = CallToolResult(content=[TextContent(type="text", text=KEY)], structuredContent={"key": KEY}, isError=True)
    found = await intercepted(make_guard(policy(redact=["secrets"])), whole)
    assert (found.content[0].text, found.structuredContent, found.isError) == (LEFT, {"key": LEFT}, True)
    assert whole.structuredContent == {"key": KEY}
    assert await intercepted(make_guard(policy(max_chars=1000)), whole) is whole


async def test_the_interceptor_withholds_a_result_of_mcp(make_guard: Any) -> None:
    whole = CallToolResult(content=[TextContent(type="text", text=KEY)])
    rules = policy(redact=["secrets"], on_breach="deny")
    found = await intercepted(make_guard(rules), whole)
    assert found.isError
    assert found.content[0].text.startswith("RESULT WITHHELD: leak was executed")
    assert found.structuredContent["withheld"] is True
    with pytest.raises(ResultWithheld):
        await intercepted(make_guard(rules, on_denied="raise"), whole)


async def test_wrapped_tools_hand_on_no_secret(make_guard: Any, server: Any) -> None:
    async with create_connected_server_and_client_session(server._mcp_server) as session:
        tools = make_guard(policy(redact=["secrets"])).wrap(await load_mcp_tools(session))
        for each in tools:
            call = {"type": "tool_call", "id": "call-1", "name": each.name, "args": {}}
            try:
                answer = await each.ainvoke(call)
            except Exception as error:
                answer = error
            assert KEY not in repr(answer) + repr(vars(answer))
            assert "[redacted: secret]" in repr(answer)
            if each.name == "leak":
                assert answer.artifact == {"structured_content": {"key": LEFT}}


async def test_the_schema_of_results_is_known_of_a_tool(make_guard: Any, server: Any) -> None:
    async with create_connected_server_and_client_session(server._mcp_server) as session:
        raw = await load_mcp_tools(session)
        assert [bool(identity(each).output) for each in raw if each.name == "leak"] == [True]
        guard = make_guard(policy(schema="strict"))
        (leak,) = [each for each in guard.wrap(raw) if each.name == "leak"]
        call = {"type": "tool_call", "id": "call-1", "name": "leak", "args": {}}
        assert (await leak.ainvoke(call)).artifact == {"structured_content": {"key": KEY}}
        problems = guard.policy.check_tools([identity(each) for each in raw])
        assert problems == ()
        told = [identity(each)._replace(output=False) for each in raw]
        (problem,) = [one for one in guard.policy.check_tools(told) if "leak" in one.pointer]
        assert (problem.pointer, "has no output schema" in problem.message) == ("/tools/leak/result/schema", True)


def test_both_drivers_tell_the_same(make_guard: Any) -> None:
    whole = CallToolResult(content=[TextContent(type="text", text="word " * 100)])
    found = asyncio.run(intercepted(make_guard(policy(max_chars=20)), whole))
    assert [len(block.text) <= 20 for block in found.content] == [True, False]
    assert found.content[1].text.startswith("[CUT by the policy (/tools/leak/result/max_chars): 481 of 500")
