"""What a server asks in the middle of a call, where a human answers by resuming a graph: the call is made once."""

import asyncio
import json
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from langchain_core.messages import AIMessage, ToolMessage
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode
from langgraph.types import Command, Send

from guarded_tools import InterruptApprover, Policy, guarded_tools
from guarded_tools.adapters.held_calls import HeldCall, HeldCalls
from guarded_tools.approval.withdrawal import withdraw
from guarded_tools.mcp_session.generation import installed
from guarded_tools.values import Charge, session_scope

SERVER = str(Path(__file__).with_name("asking_server.py"))


def entry(**more):
    return {"rate_limit": "5/hour", **more}


class Shop:
    """A server behind a guard, and a graph that makes one call of each tool it is told to."""

    def __init__(self, folder, options, tool, args, *more, asks=False, awaits=False, store="memory://", **others):
        self.folder = folder
        self.awaits = awaits
        self.saver = InMemorySaver()
        self.audit = options["audit"]
        self.config = {"configurable": {"thread_id": "t"}}
        self.calls = [(tool, args), *more]
        self.open = lambda: guarded_tools(
            {"shop": {"command": sys.executable, "args": [SERVER, str(folder / "ran")]}},
            policy=Policy.model_validate(
                {
                    "version": "1",
                    "server": "shop",
                    "default": "deny",
                    "tools": {
                        name: entry(approval=True) if asks else entry() for name in ("pay", "twice", "both", "dies")
                    },
                }
            ),
            approver=InterruptApprover(),
            start_timeout=60,
            **{**options, "store": store, **others},
        )

    def graph(self, tools):
        def calls(_):
            made = [
                {"name": name, "args": args, "id": f"c{at}", "type": "tool_call"}
                for at, (name, args) in enumerate(self.calls)
            ]
            return {"messages": [AIMessage("", tool_calls=made)]}

        def send(state):
            return [
                Send("tools", {"__type": "tool_call_with_context", "tool_call": call, "state": state})
                for call in state["messages"][-1].tool_calls
            ]

        graph = StateGraph(MessagesState)
        graph.add_node("model", calls)
        graph.add_node("tools", ToolNode(list(tools)))
        graph.add_edge(START, "model")
        graph.add_conditional_edges("model", send, ["tools"])
        return graph.compile(checkpointer=self.saver)

    def go(self, tools, given=None):
        graph = self.graph(tools)
        given = {"messages": []} if given is None else given
        made = asyncio.run(graph.ainvoke(given, self.config)) if self.awaits else graph.invoke(given, self.config)
        self.waiting = list(made.get("__interrupt__", ()))
        return {m.tool_call_id: m.text for m in made["messages"] if isinstance(m, ToolMessage)}

    def answer(self, tools, answer, at=0):
        return self.go(tools, Command(resume={self.waiting[at].id: answer}))

    def ran(self):
        path = self.folder / "ran"
        return path.read_text().splitlines() if path.exists() else []

    def lines(self, *kinds):
        lines = [json.loads(line) for line in self.audit.read_text().splitlines()]
        return [line for line in lines if line["kind"] in kinds]


@pytest.fixture
def shop(tmp_path, options):
    options.pop("session")
    return lambda *args, **more: Shop(tmp_path, options, *args, **more)


def edit(tool, **args):
    return {"type": "edit", "edited_action": {"name": f"{tool} (asks back)", "args": args}}


def until(condition):
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.01)


def used(tools):
    return sum(usage.used for usage in tools.guard.usage() if usage.counter.endswith("rate_limit"))


ACCEPTED = (edit("pay", confirm=True, note="thanks"), "accept confirm=True note='thanks'")


@pytest.mark.parametrize(
    ("answer", "said", "awaits", "asks"),
    [
        (*ACCEPTED, False, False),
        (*ACCEPTED, True, True),
        (*ACCEPTED, False, True),
        ({"type": "approve"}, "decline None", True, False),  # there is no default for what is required
        ({"type": "reject"}, "decline None", False, False),
        (edit("pay", confirm="perhaps"), "decline None", False, False),
    ],
)
def test_the_question_interrupts_and_its_answer_reaches_the_same_call(shop, answer, said, awaits, asks):
    shop = shop("pay", {"to": "ann"}, awaits=awaits, asks=asks)
    with shop.open() as tools:
        assert shop.go(tools) == {}
        if asks:
            assert shop.ran() == []
            assert shop.answer(tools, {"type": "approve"}) == {}
        [waiting] = shop.waiting
        assert waiting.value["name"] == "pay (asks back)"
        assert waiting.value["rule"] == "(elicitation)"
        assert "Really pay ann?" in waiting.value["reason"]
        assert "confirm: boolean, required" in " ".join(waiting.value["description"].split())
        assert "0123456789abcdefghij" not in json.dumps(waiting.value)
        assert used(tools) == 1
        assert shop.ran() == ["began ann"]
        assert shop.answer(tools, answer) == {"c0": said}
        assert shop.ran() == ["began ann", f"{said.split()[0]} ann"]
        assert used(tools) == 1
    assert [line["outcome"] for line in shop.lines("settled")] == ["ok"]
    assert len(shop.lines("admitted")) == 1
    told = [line for line in shop.lines("asked", "answered") if line["rule"] == "(elicitation)"]
    assert [line["kind"] for line in told] == ["asked", "answered"]
    assert told[1]["approval"]["sent"] is said.startswith("accept")
    assert "0123456789abcdefghij" not in shop.audit.read_text()
    assert "thanks" not in shop.audit.read_text()


@pytest.mark.parametrize("awaits", [False, True])
def test_a_call_that_asks_twice_is_suspended_twice_and_made_once(shop, awaits):
    shop = shop("twice", {}, awaits=awaits)
    with shop.open() as tools:
        shop.go(tools)
        assert "Which code?" in shop.waiting[0].value["reason"]
        assert shop.answer(tools, {"type": "respond", "message": "1"}) == {}
        assert "And which now?" in shop.waiting[0].value["reason"]
        assert shop.answer(tools, {"type": "respond", "message": "2"}) == {"c0": "accept code='1', accept code='2'"}
        assert used(tools) == 1
    assert shop.ran() == ["began twice"]
    assert [len(shop.lines(kind)) for kind in ("asked", "answered", "admitted", "settled")] == [2, 2, 1, 1]


def test_two_questions_at_once_are_put_one_after_the_other(shop):
    shop = shop("both", {})
    with shop.open() as tools:
        shop.go(tools)
        assert shop.answer(tools, {"type": "respond", "message": "1"}) == {}
        assert shop.answer(tools, {"type": "respond", "message": "2"}) == {"c0": "accept code='1' accept code='2'"}


def test_an_answer_that_is_not_understood_is_asked_for_again(shop):
    shop = shop("pay", {"to": "ann"})
    with shop.open() as tools:
        shop.go(tools)
        assert shop.answer(tools, {"type": "perhaps"}) == {}
        assert "not understood" in shop.waiting[0].value["error"]
        assert "accept" in shop.answer(tools, edit("pay", confirm=True))["c0"]
    assert shop.ran() == ["began ann", "accept ann"]
    assert len(shop.lines("asked")) == 1


@pytest.mark.skipif(installed() == 2, reason="with protocol 2026-07-28 each question comes as the answer to its call")
def test_a_second_call_under_way_leaves_the_question_of_the_first_alone(shop):
    shop = shop("pay", {"to": "ann"})
    with shop.open() as tools:
        shop.go(tools)
        waiting = shop.waiting
        # Whose question it is cannot be told while two calls are under way in one session.
        beside = {"configurable": {"thread_id": "another"}}
        made = shop.graph(tools).invoke({"messages": []}, beside)
        assert made["messages"][-1].text == "decline None"
        shop.waiting = waiting
        assert shop.answer(tools, edit("pay", confirm=True)) == {"c0": "accept confirm=True note='none'"}
        assert used(tools) == 2
    assert shop.ran() == ["began ann", "began ann", "decline ann", "accept ann"]


def test_the_same_resume_at_once_in_many_threads_sends_one_answer(shop):
    shop = shop("pay", {"to": "ann"})
    with shop.open() as tools:
        shop.go(tools)
        command = Command(resume={shop.waiting[0].id: edit("pay", confirm=True)})
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda _: shop.graph(tools).invoke(command, shop.config), range(4)))
    assert shop.ran() == ["began ann", "accept ann"]


def test_whoever_comes_second_declines_nothing_while_the_first_sends_the_answer(shop, monkeypatch):
    """The first has closed the question and talks to the store; only once the second went by does it send."""
    went_by, end = threading.Event(), HeldCalls._end
    asks = HeldCall.asks

    def slow_end(self, question, answer):
        assert went_by.wait(30)
        yield from end(self, question, answer)

    def passing(self, at):
        if at == 1:
            went_by.set()
        return asks(self, at)

    shop = shop("pay", {"to": "ann"})
    with shop.open() as tools:
        shop.go(tools)
        monkeypatch.setattr(HeldCalls, "_end", slow_end)
        monkeypatch.setattr(HeldCall, "asks", passing)
        command = Command(resume={shop.waiting[0].id: edit("pay", confirm=True)})
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(lambda _: shop.graph(tools).invoke(command, shop.config), range(2)))
    assert shop.ran() == ["began ann", "accept ann"]


@pytest.mark.parametrize("asks", [False, True])
def test_after_a_restart_the_fate_of_the_call_is_unknown_and_it_is_not_made_again(shop, tmp_path, asks):
    shop = shop("pay", {"to": "ann"}, asks=asks, store=f"disk://{tmp_path / 'store'}")
    with shop.open() as tools:
        shop.go(tools)
        if asks:
            shop.answer(tools, {"type": "approve"})
        assert shop.ran() == ["began ann"]
    with shop.open() as tools:
        said = shop.answer(tools, edit("pay", confirm=True))["c0"]
        assert "UNKNOWN OUTCOME" in said
        assert "not made a second time" in said
        assert used(tools) == 1
    assert [line for line in shop.ran() if line.startswith("began")] == ["began ann"]
    assert [line["outcome"] for line in shop.lines("settled")] == ["unknown"]
    assert len(shop.lines("admitted")) == 1


def test_a_server_that_dies_while_a_human_thinks(shop):
    shop = shop("dies", {})
    with shop.open() as tools:
        shop.go(tools)
        until(lambda: shop.ran() == ["gone"])
        said = shop.answer(tools, {"type": "respond", "message": "1"})["c0"]
        assert "while dies was under way" in said
        assert "UNKNOWN OUTCOME" in said
    assert [line["outcome"] for line in shop.lines("settled")] == ["unknown"]


def test_a_question_that_nobody_answers_ends_and_the_call_goes_on(shop):
    shop = shop("pay", {"to": "ann"}, question_timeout=0.3)
    with shop.open() as tools:
        shop.go(tools)
        until(lambda: shop.ran() == ["began ann", "decline ann"])
        assert shop.answer(tools, edit("pay", confirm=True)) == {"c0": "decline None"}
    assert [line["approval"]["cause"] for line in shop.lines("answered")] == ["timeout"]
    assert [line["outcome"] for line in shop.lines("settled")] == ["ok"]


def test_the_time_of_the_call_stands_still_while_a_human_thinks(shop):
    shop = shop("pay", {"to": "ann"}, read_timeout=1.5)
    with shop.open() as tools:
        shop.go(tools)
        began = time.monotonic()
        until(lambda: time.monotonic() - began > 2)
        assert "accept" in shop.answer(tools, edit("pay", confirm=True))["c0"]


def test_the_stop_button_ends_a_suspended_call(shop):
    shop = shop("pay", {"to": "ann"}, question_timeout=5)
    with shop.open() as tools:
        shop.go(tools)
        tools.guard.store.halt("global", "enough")
        assert "enough" in shop.answer(tools, edit("pay", confirm=True))["c0"]
        until(lambda: shop.ran() == ["began ann", "decline ann"])  # and the server is not left waiting


def test_outside_a_graph_the_question_is_declined_and_the_audit_says_so(shop):
    shop = shop("pay", {"to": "ann"})
    with shop.open() as tools:
        pay = next(tool for tool in tools if tool.name == "pay")
        said = pay.invoke({"type": "tool_call", "id": "c1", "name": "pay", "args": {"to": "ann"}}).text
        assert said == "decline None"
    [answered] = shop.lines("answered")
    assert answered["approval"]["cause"] == "unavailable"
    assert "checkpointer" in answered["message"]


def test_a_graph_without_a_checkpointer_declines(shop):
    shop = shop("pay", {"to": "ann"})
    shop.saver = None
    with shop.open() as tools:
        assert shop.go(tools) == {"c0": "decline None"}
    assert [line["approval"]["cause"] for line in shop.lines("answered")] == ["unavailable"]


def test_a_human_is_asked_no_more_often_than_for_anything_else(shop):
    shop = shop("pay", {"to": "ann"})
    with shop.open() as tools:
        scope = session_scope("t")
        for _ in range(20):
            tools.guard.store.reserve([Charge(scope, "*/*/(asks)", 1, 20, 3600, "(asks)", refundable=False)])
        assert shop.go(tools) == {"c0": "decline None"}
    assert [line["approval"]["cause"] for line in shop.lines("answered")] == ["asks"]


def test_a_question_that_was_withdrawn_takes_no_answer(shop):
    shop = shop("pay", {"to": "ann"}, question_timeout=20)
    with shop.open() as tools:
        shop.go(tools)
        late = shop.waiting[0].id
        withdraw(None, store=tools.guard.store)
        answers = shop.go(tools, Command(resume={late: edit("pay", confirm=True)}))
        assert answers == {"c0": "decline None"}
    assert [line["approval"]["cause"] for line in shop.lines("answered")] == ["stray"]
