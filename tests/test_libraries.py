"""What is private in other libraries is where our one file for each says it is."""

from typing import TypedDict

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.config import get_config
from langgraph.graph import START, StateGraph
from langgraph.types import Send

from guarded_tools.approval import execution
from guarded_tools.libraries import langgraph


class State(TypedDict):
    a: int


def seen_by_a_task(checkpointer, *, sent=False):
    seen = []

    def look(_state):
        config = get_config()
        configurable = config["configurable"]
        seen.append((langgraph.is_task(configurable), langgraph.is_kept(configurable), langgraph.runs_alone(config)))
        seen.append(execution.task() != "")
        return {}

    graph = StateGraph(State)
    graph.add_node("look", look)
    if sent:
        graph.add_conditional_edges(START, lambda state: [Send("look", state)])
    else:
        graph.add_edge(START, "look")
    graph.compile(checkpointer=checkpointer).invoke({"a": 1}, {"configurable": {"thread_id": "t"}})
    return seen


@pytest.mark.parametrize("sent", [False, True])
def test_a_task_of_a_kept_run_is_known_as_such(sent):
    assert seen_by_a_task(InMemorySaver(), sent=sent) == [(True, True, sent), True]


@pytest.mark.parametrize("none", [None, False])
def test_a_run_without_a_checkpointer_cannot_come_back(none):
    assert seen_by_a_task(none) == [(True, False, False), False]


def test_a_runnable_outside_a_graph_is_no_task():
    assert not langgraph.is_task({"thread_id": "t"})
    assert not langgraph.is_kept({"__pregel_checkpointer": False})
    assert not langgraph.runs_alone({})
    assert not langgraph.runs_alone({"metadata": None})
