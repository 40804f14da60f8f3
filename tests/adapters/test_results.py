"""Checks of results on the roads of an agent: with a middleware, by tools that are wrapped, and after a pause."""

from __future__ import annotations

from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.messages import ToolMessage
from langchain_core.tools import BaseTool, ToolException, tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command, interrupt

from guarded_tools.approvers.interrupt import InterruptApprover

KEY = "sk-ant-api03-abcdefghijklmnop"
LEFT = "sk-ant-[redacted: secret]"
ASK = {"messages": [("user", "go")]}
CONFIG = {"configurable": {"thread_id": "T"}}


def policy(on_breach: str = "cut", **entry: Any) -> dict[str, Any]:
    rules = {"redact": ["secrets"], "max_chars": 60, "on_breach": on_breach}
    tools = dict.fromkeys(("leak", "fail", "hand_over", "pause", "made_up"), entry)
    return {"version": "1", "default": "deny", "all_tools": {"result": rules}, "tools": tools}


@tool
def leak(n: int) -> str:
    """Give back a key."""
    return f"{n} {KEY}"


@tool
def fail(n: int) -> str:
    """Fail with a key."""
    raise ToolException(f"{n} {KEY}")


fail.handle_tool_error = True


@tool
def hand_over(n: int) -> Command[Any]:
    """Answer by a command."""
    return Command(update={"messages": [ToolMessage(f"{n} {KEY}", tool_call_id="call-0-0")]})


def agent_of(guard: Any, model: Any, given: BaseTool, *, wrapped: bool, **options: Any) -> Any:
    if wrapped:
        return create_agent(model, guard.wrap([given]), **options)
    return create_agent(model, [given], middleware=[guard.middleware()], **options)


@pytest.mark.parametrize("wrapped", [True, False], ids=["wrapped", "middleware"])
@pytest.mark.parametrize("given", [leak, fail], ids=lambda given: given.name)
async def test_a_model_never_reads_what_was_to_be_redacted(
    given: Any, wrapped: bool, make_guard: Any, scripted: Any, answers_of: Any, events: Any
) -> None:
    call = (given.name, {"n": 1})
    agent = agent_of(make_guard(policy()), scripted(call), given, wrapped=wrapped)
    (sync,) = answers_of(agent.invoke(ASK))
    agent = agent_of(make_guard(policy()), scripted(call), given, wrapped=wrapped)
    (awaited,) = answers_of(await agent.ainvoke(ASK))
    for answer in (sync, awaited):
        assert answer.content == f"1 {LEFT}"
        assert KEY not in repr(answer)
    assert [event.result["did"] for event in events if event.kind == "settled"] == ["redacted"] * 2


@pytest.mark.parametrize("wrapped", [True, False], ids=["wrapped", "middleware"])
@pytest.mark.parametrize("given", [leak, fail], ids=lambda given: given.name)
def test_a_model_is_told_that_a_call_was_executed(
    given: Any, wrapped: bool, make_guard: Any, scripted: Any, answers_of: Any, outcomes: Any
) -> None:
    agent = agent_of(make_guard(policy("deny")), scripted((given.name, {"n": 1})), given, wrapped=wrapped)
    (answer,) = answers_of(agent.invoke(ASK))
    assert answer.status == "error"
    assert answer.content.startswith(f"RESULT WITHHELD: {given.name} was executed")
    assert KEY not in repr(answer)
    assert [outcome for kind, _, outcome in outcomes() if kind == "settled"] == ["ok" if given is leak else "error"]


def test_a_call_of_a_tool_that_only_other_middleware_knows_is_checked(make_guard: Any) -> None:
    from langgraph.prebuilt.tool_node import ToolCallRequest

    call = {"type": "tool_call", "id": "call-1", "name": "made_up", "args": {}}
    request = ToolCallRequest(tool_call=call, tool=None, state={}, runtime=None)  # type: ignore[arg-type,typeddict-item]

    def execute(_: ToolCallRequest) -> ToolMessage:
        return ToolMessage(KEY, tool_call_id="call-1")

    answer = make_guard(policy()).middleware().wrap_tool_call(request, execute)
    assert answer.content == LEFT


@pytest.mark.parametrize("asked", [False, True])
def test_what_a_call_gives_after_a_pause_is_checked(
    asked: bool, make_guard: Any, scripted: Any, answers_of: Any, events: Any
) -> None:
    @tool
    def pause(n: int) -> str:
        """Ask somebody."""
        return f"{interrupt('go on?')} {KEY}"

    guard = make_guard(policy(**({"approval": True} if asked else {})), approver=InterruptApprover())
    kept = InMemorySaver()
    agent = create_agent(scripted(("pause", {"n": 1})), guard.wrap([pause]), checkpointer=kept)
    agent.invoke(ASK, CONFIG)
    if asked:
        agent.invoke(Command(resume={"type": "approve"}), CONFIG)
    (answer,) = answers_of(agent.invoke(Command(resume="yes"), CONFIG))
    assert answer.content == f"yes {LEFT}"
    assert KEY not in repr(list(kept.list(CONFIG))), "LangGraph keeps what was handed on"
    assert [event.kind for event in events if event.result] == ["settled"]


def test_two_adapters_of_one_guard_check_once(make_guard: Any, scripted: Any, answers_of: Any, events: Any) -> None:
    guard = make_guard(policy())
    agent = create_agent(scripted(("leak", {"n": 1})), guard.wrap([leak]), middleware=[guard.middleware()])
    (answer,) = answers_of(agent.invoke(ASK))
    assert answer.content == f"1 {LEFT}"
    assert len([event for event in events if event.result]) == 1


def test_a_note_of_the_guard_is_neither_cut_nor_lost(make_guard: Any) -> None:
    @tool
    def leak(n: int) -> str:
        """Time out."""
        raise TimeoutError("slow " * 100)

    (guarded,) = make_guard(policy(risk="write")).wrap([leak])
    with pytest.raises(TimeoutError) as raised:
        guarded.invoke({"type": "tool_call", "id": "1", "name": "leak", "args": {"n": 1}})
    said = str(raised.value)
    assert "[CUT by the policy" in said
    assert "may have taken effect" in said
    assert "was executed" not in said
