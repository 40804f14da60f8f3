"""What the interceptor answers in a server's form: of refusals, open outcomes, edits, and answers in a tool's place."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_mcp_adapters.interceptors import MCPToolCallRequest
from langchain_mcp_adapters.tools import load_mcp_tools
from mcp.server.fastmcp import FastMCP
from mcp.shared.memory import create_connected_server_and_client_session
from mcp.types import CallToolResult, TextContent

from guarded_tools.errors import ToolDenied
from guarded_tools.values import Decision, Verdict

ASKS = {"version": "1", "default": "deny", "tools": {"refund": {"risk": "write", "approval": True}}}
DENY = {"version": "1", "default": "deny", "tools": {}}
WANTED = {"amount": 500, "customer": "ann"}
EDITED = {"amount": 100, "customer": "ann"}
NOTE = (
    'NOTE: a human changed this call before it ran. What ran is refund with the arguments {"amount": 100, "customer":'
    ' "ann"}, not what you asked for. This was intended: do not repeat your call.'
)
ELSEWHERE = ToolDenied("DENIED: another call", Decision("deny", "/elsewhere"), "denied")


async def run(guard: Any, body: Any) -> Any:
    """Run ``body`` in the place of a server."""

    async def execute_tool(_: MCPToolCallRequest) -> Any:
        return body()

    return await guard.interceptor(MCPToolCallRequest(name="refund", args=WANTED, server_name="s"), execute_tool)


def raises(error: Exception) -> Any:
    def body() -> Any:
        raise error

    return body


def said(text: str, **more: Any) -> CallToolResult:
    return CallToolResult(content=[TextContent(type="text", text=text)], **more)


def texts(result: Any) -> list[str]:
    return [block.text for block in result.content]


@pytest.fixture
def edits(make_guard: Any) -> Any:
    """A guard whose human edits every call."""
    return make_guard(ASKS, approver=lambda _: Verdict.edit(EDITED))


async def test_a_refusal_is_a_result_that_says_it_failed_or_is_raised(make_guard: Any) -> None:
    result = await run(make_guard(DENY), lambda: "never")
    assert isinstance(result, CallToolResult)
    assert result.isError
    with pytest.raises(ToolDenied):
        await run(make_guard(DENY, on_denied="raise"), lambda: "never")


@pytest.mark.parametrize("on_denied", ["return", "raise"])
async def test_a_refusal_that_a_body_met_elsewhere_is_its_error(on_denied: str, make_guard: Any, outcomes: Any) -> None:
    allow = {"version": "1", "default": "deny", "tools": {"refund": {"risk": "write"}}}
    with pytest.raises(ToolDenied) as caught:
        await run(make_guard(allow, on_denied=on_denied), raises(ELSEWHERE))
    assert caught.value is ELSEWHERE
    assert [outcome for *_, outcome in outcomes()] == [None, "error"]


@pytest.mark.parametrize("risk", ["read", "write"])
async def test_an_open_outcome_is_said_unless_the_tool_only_reads(risk: str, make_guard: Any, outcomes: Any) -> None:
    guard = make_guard({"version": "1", "default": "deny", "server": "pictify", "tools": {"refund": {"risk": risk}}})
    with pytest.raises(TimeoutError) as caught:
        await run(guard, raises(TimeoutError("too slow")))
    failed = said("Error (503): later", isError=True)
    told = [str(caught.value), " ".join(texts(await run(guard, lambda: failed)))]
    assert [("UNKNOWN OUTCOME" in text) for text in told] == [risk == "write"] * 2
    assert [outcome for *_, outcome in outcomes()] == [None, "unknown"] * 2
    assert len(failed.content) == 1, "the server's own answer is not changed"


async def test_an_edited_call_says_so_and_its_structured_part_stays(edits: Any) -> None:
    result = said("done", structuredContent={"paid": 100})
    answered = await run(edits, lambda: result)
    assert texts(answered) == [f"{NOTE}\n\n", "done"]
    assert answered.structuredContent == {"paid": 100}
    assert len(result.content) == 1


@pytest.mark.parametrize("fails", [False, True])
async def test_a_tool_of_a_server_says_that_its_call_was_edited(fails: bool, edits: Any) -> None:
    server = FastMCP("bank")

    @server.tool()
    def refund(customer: str, amount: int) -> str:
        if fails:
            raise ValueError("too much")
        return f"paid {amount}"

    async with create_connected_server_and_client_session(server) as session:
        (made,) = await load_mcp_tools(session, tool_interceptors=[edits.interceptor])
        message = await made.ainvoke({"type": "tool_call", "id": "c1", "name": "refund", "args": WANTED})
    assert message.status == ("error" if fails else "success")
    assert NOTE in message.text
    assert message.text.endswith("too much" if fails else "paid 100")


async def test_who_answered_in_a_tools_place_is_said(make_guard: Any) -> None:
    guard = make_guard(ASKS, approver=lambda _: Verdict.respond("book it by hand"))
    result = await run(guard, raises(AssertionError("it ran")))
    told = "NOTE: refund did not run. A human answered in its place:\nbook it by hand"
    assert (texts(result), result.isError) == ([told], False)
