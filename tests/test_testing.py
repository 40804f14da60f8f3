"""What users test with: scripted, and otherwise the real thing."""

import gc
from pathlib import Path

import pytest
from langchain.agents import create_agent
from langchain_core.tools import tool

from guarded_tools import ToolCall, ToolDenied, Verdict
from guarded_tools.testing import FrozenClock, ScriptedApprover, ScriptedModel, approve_all, memory_guard

POLICY = {
    "version": "1",
    "default": "deny",
    "tools": {"add": {"action": "approve", "limits": [{"counter": "c", "window": 60, "max": 2}]}},
}
CALL = ToolCall("add", {"a": 1, "b": 2}, session="test")


@tool
def add(a: int, b: int) -> int:
    """Add."""
    return a + b


def test_a_list_of_turns_goes_on_where_the_conversation_stands():
    turns = [[("add", {"a": 1, "b": 2})], [("add", {"a": 3, "b": 4}), ("add", {"a": 5, "b": 6})]]
    guard = memory_guard(POLICY | {"default": "allow", "tools": {}})
    model = ScriptedModel(turns, last="all added")
    messages = create_agent(model, guard.wrap([add])).invoke({"messages": [("user", "go")]})["messages"]
    assert [m.text for m in messages if m.type == "tool"] == ["3", "7", "11"]
    assert messages[-1].text == "all added"
    assert model.bound == [["add"]] * 3
    again = create_agent(ScriptedModel(turns), guard.wrap([add])).invoke({"messages": messages[:3]})["messages"]
    assert [m.text for m in again if m.type == "tool"] == ["3", "7", "11"]


def test_a_scenario_is_sent_the_answers():
    heard = []

    def scenario():
        answers = yield [("add", {"a": 1, "b": 2})]
        heard.extend(answers)
        yield [("add", {"a": int(answers[0]), "b": 10})]

    messages = create_agent(ScriptedModel(scenario), [add]).invoke({"messages": [("user", "go")]})["messages"]
    assert heard == ["3"]
    assert [m.text for m in messages if m.type == "tool"] == ["3", "13"]


def test_an_unexpected_question_is_refused():
    approver = ScriptedApprover(True)
    guard = memory_guard(POLICY, approver=approver)
    assert guard.call(CALL, lambda args: args["a"]) == 1
    with pytest.raises(ToolDenied, match="no answer to question 2, about add"):
        guard.call(CALL, lambda args: args["a"])
    assert len(approver.asked) == 2


def test_verdicts_are_given_in_order():
    guard = memory_guard(POLICY, approver=ScriptedApprover(Verdict.edit({"a": 7, "b": 2}), Verdict.reject("no")))
    assert guard.call(CALL, lambda args: args["a"]) == 7
    with pytest.raises(ToolDenied, match="no"):
        guard.call(CALL, lambda args: args["a"])


def test_the_clock_holds_a_limit_until_it_is_moved():
    clock = FrozenClock()
    guard = memory_guard(POLICY, approver=approve_all, clock=clock)
    for _ in range(2):
        guard.call(CALL, lambda _: None)
    with pytest.raises(ToolDenied) as caught:
        guard.call(CALL, lambda _: None)
    clock.advance(caught.value.retry_after)
    guard.call(CALL, lambda _: None)


def test_nothing_is_left_behind():
    guard = memory_guard(POLICY, approver=approve_all)
    guard.call(CALL, lambda _: None)
    folder = Path(guard.audit.path).parent
    assert folder.exists()
    del guard
    gc.collect()
    assert not folder.exists()
