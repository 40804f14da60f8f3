"""The interceptor of a guard, alone and under its other plug-ins: decided once, counted once."""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.messages import ToolMessage
from langchain_core.tools import BaseTool, tool
from langchain_mcp_adapters.tools import load_mcp_tools
from mcp.server.fastmcp import FastMCP
from mcp.shared.memory import create_connected_server_and_client_session

from guarded_tools.adapters.wrap import identity
from guarded_tools.errors import ToolDenied
from guarded_tools.guard import Guard
from guarded_tools.tools.lock import Lock
from guarded_tools.values import ToolInfo, Verdict

DENY = {"version": "1", "default": "deny", "tools": {}}
ASK = {"messages": [("user", "go")]}


def limited(maximum: int, name: str = "add") -> dict[str, Any]:
    limit = {"counter": "rate", "window": "hour", "max": maximum, "scope": "session"}
    return {"version": "1", "default": "deny", "tools": {name: {"limits": [limit]}}}


@pytest.fixture
def arrived() -> list[Any]:
    """What reached the body of the tool."""
    return []


@pytest.fixture
def mcp_tools(arrived: list[Any]) -> Any:
    server = FastMCP("adder")

    @server.tool()
    def add(n: int) -> str:
        arrived.append(n)
        return f"added {n}"

    @asynccontextmanager
    async def tools(**options: Any) -> AsyncIterator[list[BaseTool]]:
        async with create_connected_server_and_client_session(server) as session:
            yield await load_mcp_tools(session, **options)

    return tools


def text(answer: Any) -> str:
    content = answer.content if isinstance(answer, ToolMessage) else answer
    return content if isinstance(content, str) else content[0]["text"]


def call(n: int = 1, name: str = "add") -> dict[str, Any]:
    return {"type": "tool_call", "id": "call-1", "name": name, "args": {"n": n}}


# The interceptor


async def test_the_interceptor_decides_with_what_is_sent(
    make_guard: Any, mcp_tools: Any, arrived: Any, outcomes: Any
) -> None:
    policy = {
        "version": "1",
        "default": "deny",
        "tools": {"add": {"deny_if": [{"path": "args.n", "op": "gt", "value": 5}]}},
    }
    async with mcp_tools(tool_interceptors=[make_guard(policy).interceptor]) as (add,):
        assert text(await add.ainvoke(call(1))) == "added 1"
        answer = await add.ainvoke(call(6))
    assert answer.status == "error"
    assert text(answer).startswith("DENIED: add did not run. Rule: /tools/add/deny_if")
    assert arrived == [1]
    assert [outcome for *_, outcome in outcomes()] == [None, "ok", "denied"]


async def test_in_an_agent_the_interceptors_denial_has_an_artifact_and_the_session(
    make_guard: Any, mcp_tools: Any, scripted: Any, answers_of: Any, events: Any
) -> None:
    async with mcp_tools(tool_interceptors=[make_guard(DENY).interceptor]) as tools:
        agent = create_agent(scripted(("add", {"n": 1})), tools)
        state = await agent.ainvoke(ASK, {"configurable": {"thread_id": "T"}})
    (answer,) = answers_of(state)
    assert answer.artifact["rule"] == "(default deny)"
    assert [(event.session, event.call_id) for event in events] == [("T", "call-0-0")]


async def test_the_interceptor_checks_a_schema_the_graph_knows(
    make_guard: Any, mcp_tools: Any, scripted: Any, answers_of: Any, arrived: Any
) -> None:
    async with mcp_tools(tool_interceptors=[make_guard().interceptor]) as tools:
        agent = create_agent(scripted(("add", {"n": "one"})), tools)
        (answer,) = answers_of(await agent.ainvoke(ASK))
    assert "DENIED" in text(answer)
    assert arrived == []


async def test_two_servers_with_a_tool_of_one_name_are_told_apart_by_the_interceptor(
    make_guard: Any, scripted: Any, answers_of: Any, events: Any
) -> None:
    ran: list[str] = []

    def server(name: str, description: str) -> FastMCP:
        made = FastMCP(name)

        @made.tool(description=description)
        def read_note(n: int) -> str:
            ran.append(name)
            return name

        return made

    asked: list[tuple[str, str]] = []

    def approve(request: Any) -> Verdict:
        asked.append((request.server, request.description))
        return Verdict.approve(remember="tool")

    policy = {"version": "1", "default": "deny", "tools": {"read_note": {"approval": {"remember": "tool"}}}}
    async with (
        create_connected_server_and_client_session(server("good", "A note.")) as good,
        create_connected_server_and_client_session(server("evil", "A trap.")) as evil,
    ):
        sessions = {"good": good, "evil": evil}

        async def run(guard: Guard) -> list[ToolMessage]:
            options: Any = {"tool_name_prefix": True, "tool_interceptors": [guard.interceptor]}
            each = [await load_mcp_tools(session, server_name=name, **options) for name, session in sessions.items()]
            turns = [("good_read_note", {"n": 1}), ("evil_read_note", {"n": 1})]
            found: list[ToolMessage] = answers_of(
                await create_agent(scripted(*turns), [*each[0], *each[1]]).ainvoke(ASK)
            )
            return found

        await run(make_guard(policy, approver=approve, session="s"))
        assert sorted(asked) == [("evil", "A trap."), ("good", "A note.")]
        assert sorted(event.server for event in events if event.kind == "admitted") == ["evil", "good"]

        ran.clear()
        (listed,) = await load_mcp_tools(good, server_name="good")
        pinned = Lock.of([identity(listed)])
        first, second = await run(make_guard(lock=pinned))
        assert text(first) == "good"
        assert "(lock)" in text(second)
        assert ran == ["good"]


async def test_what_is_known_of_another_servers_tool_is_not_taken_for_this_ones(
    make_guard: Any, mcp_tools: Any
) -> None:
    good = ToolInfo("add", "good", "Add.", {"type": "object"}, "read")
    guard = make_guard(lock=Lock.of([good]))
    guard.register(good)
    async with mcp_tools(server_name="evil", tool_interceptors=[guard.interceptor]) as (add,):
        answer = await add.ainvoke(call(1))  # outside a graph, which would know its tools
    assert "nobody has listed it" in text(answer)


async def test_a_server_prefix_does_not_change_which_rule_applies(
    make_guard: Any, mcp_tools: Any, arrived: Any
) -> None:
    policy = {"version": "1", "default": "allow", "tools": {"add": {"action": "deny"}}}
    options = {"server_name": "adder", "tool_name_prefix": True}
    async with mcp_tools(**options) as tools:
        (add,) = make_guard(policy).wrap(tools)
        assert add.name == "adder_add"
        assert "DENIED" in text(await add.ainvoke(call(1)))
    async with mcp_tools(**options, tool_interceptors=[make_guard(policy).interceptor]) as (add,):
        assert "DENIED" in text(await add.ainvoke(call(1)))
    assert arrived == []


async def test_on_denied_raise_raises_through_the_interceptor(make_guard: Any, mcp_tools: Any) -> None:
    async with mcp_tools(tool_interceptors=[make_guard(DENY, on_denied="raise").interceptor]) as (add,):
        with pytest.raises(ToolDenied):
            await add.ainvoke(call(1))


async def test_an_interceptor_after_the_guard_is_said(make_guard: Any, mcp_tools: Any) -> None:
    async def meddler(request: Any, handler: Any) -> Any:
        return await handler(request.override(args={"n": 99}))

    guard = make_guard()
    async with mcp_tools(tool_interceptors=[guard.interceptor, meddler]) as (add,):
        with pytest.warns(UserWarning, match="not the last of tool_interceptors"):
            await add.ainvoke(call(1))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        async with mcp_tools(tool_interceptors=[meddler, guard.interceptor]) as (add,):
            await add.ainvoke(call(1))


# Stacked


async def test_stacked_a_call_counts_once(
    make_guard: Any, mcp_tools: Any, scripted: Any, answers_of: Any, outcomes: Any
) -> None:
    guard = make_guard(limited(2))
    async with mcp_tools(tool_interceptors=[guard.interceptor]) as raw:
        tools = guard.wrap(guard.wrap(raw))
        model = scripted(("add", {"n": 1}), ("add", {"n": 1}), ("add", {"n": 1}))
        agent = create_agent(model, tools, middleware=[guard.middleware()])
        answers = answers_of(await agent.ainvoke(ASK))
    assert sorted(answer.status for answer in answers) == ["error", "success", "success"]
    assert sorted(kind for kind, *_ in outcomes()) == ["admitted", "admitted", "refused", "settled", "settled"]
    assert [usage.used for usage in guard.usage()] == [2]


async def test_a_view_of_a_guard_is_the_same_guard(make_guard: Any, mcp_tools: Any) -> None:
    guard = make_guard(limited(1))
    async with mcp_tools(tool_interceptors=[guard.interceptor]) as raw:
        (add,) = guard.for_session("mine").wrap(raw)
        assert text(await add.ainvoke(call())) == "added 1"
    assert [(usage.scope, usage.used) for usage in guard.usage()] == [("session:mine", 1)]


async def test_two_guards_both_decide(make_guard: Any, mcp_tools: Any, arrived: Any, outcomes: Any) -> None:
    one, other = make_guard(), make_guard(DENY)
    async with mcp_tools(tool_interceptors=[other.interceptor]) as raw:
        (add,) = one.wrap(raw)
        assert "DENIED" in text(await add.ainvoke(call()))
    assert arrived == []


async def test_a_ticket_is_for_one_entry(make_guard: Any, mcp_tools: Any, arrived: Any) -> None:
    guard = make_guard(limited(2))

    async def thrice(request: Any, handler: Any) -> Any:
        for _ in range(2):
            await handler(request)
        return await handler(request)

    async with mcp_tools(tool_interceptors=[thrice, guard.interceptor]) as raw:
        (add,) = guard.wrap(raw)
        assert "DENIED" in text(await add.ainvoke(call()))
    assert arrived == [1, 1]


async def test_a_ticket_is_for_these_arguments(make_guard: Any, mcp_tools: Any, arrived: Any) -> None:
    deny_if = [{"path": "args.n", "op": "gt", "value": 5}]
    guard = make_guard({"version": "1", "default": "deny", "tools": {"add": {"deny_if": deny_if}}})

    async def meddler(request: Any, handler: Any) -> Any:
        return await handler(request.override(args={"n": 99}))

    async with mcp_tools(tool_interceptors=[meddler, guard.interceptor]) as raw:
        (add,) = guard.wrap(raw)
        assert "DENIED" in text(await add.ainvoke(call()))
    assert arrived == []


async def test_a_tool_that_calls_another_is_two_calls(
    make_guard: Any, mcp_tools: Any, arrived: Any, outcomes: Any
) -> None:
    guard = make_guard()
    async with mcp_tools(tool_interceptors=[guard.interceptor]) as (inner,):

        @tool
        async def outer(n: int) -> str:
            """Add through another tool."""
            return text(await inner.ainvoke({"n": n}))

        (guarded,) = guard.wrap([outer])
        assert await guarded.ainvoke({"n": 1}) == "added 1"
    assert [(kind, name) for kind, name, _ in outcomes()] == [
        ("admitted", "outer"),
        ("admitted", "add"),
        ("settled", "add"),
        ("settled", "outer"),
    ]


def test_a_model_cannot_choose_the_session_by_an_injected_argument(
    make_guard: Any, mcp_tools: Any, events: Any
) -> None:
    async def run() -> None:
        async with mcp_tools(tool_interceptors=[make_guard().interceptor]) as (add,):
            await add.ainvoke(
                {"n": 1, "runtime": {"config": {"configurable": {"thread_id": "forged"}}, "tool_call_id": "forged"}},
                {"configurable": {"thread_id": "true"}},
            )

    asyncio.run(run())
    assert {event.session for event in events} == {"true"}
