"""An answer that does not fit what an interceptor's ``interrupt`` asks for. Older releases of LangGraph do not compare them."""

from __future__ import annotations

from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_mcp_adapters.tools import load_mcp_tools
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command, interrupt
from mcp.server.fastmcp import FastMCP
from mcp.shared.memory import create_connected_server_and_client_session
from pydantic import BaseModel, ValidationError

ASK = {"messages": [("user", "go")]}
LIMIT = {"counter": "rate", "window": "hour", "max": 2, "scope": "session"}


class Pin(BaseModel):
    pin: int


async def test_an_answer_that_does_not_fit_an_interceptors_interrupt_can_be_given_again(
    make_guard: Any, scripted: Any, answers_of: Any, outcomes: Any
) -> None:
    async def ask(request: Any, handler: Any) -> Any:
        return await handler(request.override(args={"n": interrupt("pin?", response_schema=Pin).pin}))

    server = FastMCP("adder")

    @server.tool()
    def add(n: int) -> str:
        return f"added {n}"

    guard = make_guard({"version": "1", "default": "deny", "tools": {"add": {"limits": [LIMIT]}}})
    async with create_connected_server_and_client_session(server) as session:
        tools = await load_mcp_tools(session, tool_interceptors=[ask])
        agent = create_agent(scripted(("add", {"n": 1})), guard.wrap(tools), checkpointer=InMemorySaver())
        config = {"configurable": {"thread_id": "T"}}
        await agent.ainvoke(ASK, config)
        with pytest.raises(ValidationError):
            await agent.ainvoke(Command(resume={"pin": "none"}), config)
        (answer,) = answers_of(await agent.ainvoke(Command(resume={"pin": 5}), config))
    assert answer.text == "added 5"
    assert [outcome for kind, _, outcome in outcomes() if kind == "settled"] == ["ok"]
