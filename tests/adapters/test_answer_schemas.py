"""An answer that does not fit what a body's ``interrupt`` asks for. Older releases of LangGraph do not compare them."""

from __future__ import annotations

from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command, interrupt
from pydantic import BaseModel, ValidationError

from guarded_tools.approvers.interrupt import InterruptApprover

ASK = {"messages": [("user", "go")]}
LIMIT = {"counter": "rate", "window": "hour", "max": 2, "scope": "session"}


class Pin(BaseModel):
    pin: int


@pytest.mark.parametrize("asked", [False, True])
def test_an_answer_that_does_not_fit_a_bodys_interrupt_can_be_given_again(
    make_guard: Any, scripted: Any, answers_of: Any, outcomes: Any, asked: bool
) -> None:
    """It ended in a denial: the human's approval was spent, and each answer counted as an execution."""

    @tool
    def add(n: int) -> str:
        """Ask somebody."""
        return f"pin {interrupt('pin?', response_schema=Pin).pin}"

    policy = {"limits": [LIMIT], "action": "approve" if asked else "allow"}
    guard = make_guard({"version": "1", "default": "deny", "tools": {"add": policy}}, approver=InterruptApprover())
    agent = create_agent(scripted(("add", {"n": 1})), guard.wrap([add]), checkpointer=InMemorySaver())
    config = {"configurable": {"thread_id": "T"}}
    agent.invoke(ASK, config)
    if asked:
        agent.invoke(Command(resume={"type": "approve"}), config)
    with pytest.raises(ValidationError):
        agent.invoke(Command(resume={"pin": "none"}), config)
    (answer,) = answers_of(agent.invoke(Command(resume={"pin": 5}), config))
    assert answer.content == "pin 5"
    assert [usage.used for usage in guard.usage() if usage.counter.startswith("/add/")] == [1]
    assert [outcome for kind, _, outcome in outcomes() if kind == "settled"] == ["ok"]
