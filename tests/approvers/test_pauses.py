"""A tool that pauses to ask its user is one execution: counted, approved and recorded once, however often it pauses."""

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import ToolRetryMiddleware
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.types import Command, interrupt

from guarded_tools import ConnectionFailed, Guard, InterruptApprover, Policy, ToolCall, Verdict, open_store
from guarded_tools.adapters.outcome import judge_mcp
from guarded_tools.approval import execution
from guarded_tools.flow import run

APPROVE = {"type": "approve"}


class Scripted(BaseChatModel):
    """Asks for the calls of each turn, then says it is done."""

    turns: list[list[dict[str, Any]]]

    @property
    def _llm_type(self):
        return "scripted"

    def bind_tools(self, tools, **kwargs):
        return self

    def _generate(self, messages, stop=None, run_manager=None, **kwargs):
        at = sum(isinstance(m, AIMessage) for m in messages)
        calls = self.turns[at] if at < len(self.turns) else []
        return ChatResult(generations=[ChatGeneration(message=AIMessage("" if calls else "done", tool_calls=calls))])


def turn(*calls):
    return [
        {"name": name, "args": args, "id": f"call_{at}", "type": "tool_call"} for at, (name, args) in enumerate(calls)
    ]


class Agent:
    """An agent whose tools pause, behind a guard."""

    def __init__(self, folder, rule, approver=None, middleware=False, extra=(), store=None):
        self.ran = []
        self.path = folder / "audit.jsonl"
        self.policy_path = folder / "policy.json"
        self.write_policy(rule)
        self.store = store or open_store("memory://")
        self.guard = Guard(self.policy_path, store=self.store, approver=approver, audit=self.path)
        self.middleware = middleware
        self.extra = list(extra)
        self.checkpointer = InMemorySaver()
        self.config = {"configurable": {"thread_id": "thread"}}
        self.fails = []
        self.build(turn(("book", {"day": "mon"})))

    def write_policy(self, rule):
        tools = {"book": rule, "other": {"rate_limit": "9/hour"}}
        self.policy_path.write_text(json.dumps({"version": "1", "default": "deny", "server": "s", "tools": tools}))

    def tools(self):
        ran, fails = self.ran, self.fails

        @tool
        def book(day: str) -> str:
            """Book a trip."""
            ran.append(f"begins {day}")
            seat = interrupt("seat?")
            ran.append(f"{seat} seat")
            meal = interrupt("meal?")
            if fails:
                raise fails.pop()
            ran.append(f"{meal} {day}")
            return f"booked {seat} {meal} {day}"

        @tool
        def other(day: str) -> str:
            """Do something else."""
            ran.append(f"other {day}")
            return "other"

        return [book, other]

    def build(self, *turns):
        self.agent = create_agent(
            Scripted(turns=list(turns)),
            self.tools() if self.middleware else self.guard.wrap(self.tools()),
            middleware=[*self.extra, *([self.guard.middleware()] if self.middleware else [])],
            checkpointer=self.checkpointer,
        )
        return self

    def go(self, given=None, config=None):
        given = {"messages": [HumanMessage("go")]} if given is None else given
        return self.agent.invoke(given, config or self.config)

    def resume(self, answer):
        return self.go(Command(resume=answer))

    def pending(self):
        return {waiting.value: waiting.id for waiting in self.agent.get_state(self.config).interrupts}

    def answers(self):
        messages = self.agent.get_state(self.config).values["messages"]
        return {m.tool_call_id: m.content for m in messages if isinstance(m, ToolMessage)}

    def used(self, counter="s/book/rate_limit"):
        return sum(usage.used for usage in self.guard.usage() if usage.counter == counter)

    def lines(self, *kinds):
        lines = [json.loads(line) for line in self.path.read_text().splitlines()]
        return [(line["kind"], line.get("outcome")) for line in lines if not kinds or line["kind"] in kinds]

    def keys(self):
        return {json.loads(line)["key"] for line in self.path.read_text().splitlines()}


@pytest.fixture
def agent(tmp_path):
    return lambda rule, *args, **options: Agent(tmp_path, rule, *args, **options)


LIMITED = {"rate_limit": "1/hour"}
ASKED = {"action": "approve", "risk": "write", "rate_limit": "1/hour"}
ONE = [("admitted", None), ("settled", "ok")]


@pytest.mark.parametrize("middleware", [False, True], ids=["wrapped", "middleware"])
def test_two_pauses_under_a_limit_of_one_come_to_their_end(agent, middleware):
    a = agent(LIMITED, middleware=middleware)
    a.go()
    assert a.used() == 1
    assert a.lines() == [("admitted", None)]
    a.resume("window")
    assert a.used() == 1
    assert a.lines() == [("admitted", None)]
    a.resume("fish")
    assert a.answers() == {"call_0": "booked window fish mon"}
    assert a.used() == 1
    assert a.lines() == ONE
    assert len(a.keys()) == 1


async def test_the_same_from_asyncio(agent):
    a = agent(LIMITED)
    await a.agent.ainvoke({"messages": [HumanMessage("go")]}, a.config)
    await a.agent.ainvoke(Command(resume="window"), a.config)
    await a.agent.ainvoke(Command(resume="fish"), a.config)
    assert a.answers() == {"call_0": "booked window fish mon"}
    assert (a.used(), a.lines()) == (1, ONE)


def test_a_pause_gives_nothing_back_so_what_acted_before_it_is_counted(agent):
    a = agent(LIMITED).build(turn(("book", {"day": "mon"})), turn(("book", {"day": "tue"})))
    a.go()
    a.resume("window")
    a.go({"messages": [HumanMessage("never mind, book tuesday")]})
    assert a.answers()["call_0"].startswith("DENIED")
    assert [line for line in a.ran if line.startswith("begins")] == ["begins mon"] * 2


def test_a_resume_without_an_answer_is_the_same_execution(agent):
    a = agent(LIMITED)
    a.go()
    for _ in range(3):
        a.agent.invoke(None, a.config)
    a.resume("window")
    a.agent.invoke(None, a.config)
    a.resume("fish")
    assert (a.used(), a.lines()) == (1, ONE)


def test_of_two_calls_at_once_under_a_limit_of_one_one_comes_to_its_end(agent):
    a = agent(LIMITED).build(turn(("book", {"day": "mon"}), ("book", {"day": "tue"})))
    a.go()
    a.resume("window")
    a.resume("fish")
    assert sorted(said[:6] for said in a.answers().values()) == ["DENIED", "booked"]
    assert a.used() == 1


def test_siblings_pause_and_go_on_each_on_its_own(agent):
    a = agent({"rate_limit": "2/hour"})
    a.build(turn(("book", {"day": "mon"}), ("other", {"day": "x"}), ("book", {"day": "tue"})))
    a.go()
    for answer in ("window", "fish"):
        for waiting in a.agent.get_state(a.config).interrupts:
            a.resume({waiting.id: answer})
    assert a.answers() == {
        "call_0": "booked window fish mon",
        "call_1": "other",
        "call_2": "booked window fish tue",
    }
    assert (a.used(), a.used("s/other/rate_limit")) == (2, 1)
    assert sorted(a.lines()) == sorted(ONE * 3)


def test_after_an_approval_it_is_one_execution_too_and_the_human_is_asked_once(agent):
    a = agent(ASKED, InterruptApprover())
    a.go()
    assert a.used() == 0
    a.resume(APPROVE)
    a.resume("window")
    a.resume("fish")
    assert a.answers() == {"call_0": "booked window fish mon"}
    assert a.used() == 1
    assert a.lines() == [("asked", None), ("answered", None), *ONE]


def test_an_approver_that_returns_is_asked_once_and_its_edit_stands(agent):
    asked = []
    a = agent(ASKED, lambda request: asked.append(1) or Verdict.edit({"day": "sun"}, by="ann"))
    a.go()
    a.resume("window")
    a.resume("fish")
    assert a.answers()["call_0"].endswith("booked window fish sun")
    assert asked == [1]
    assert a.used() == 1
    assert a.lines() == [("asked", None), ("answered", None), *ONE]


def test_an_answer_that_permitted_a_paused_execution_permits_no_other(agent):
    asked = []
    a = agent(ASKED | {"rate_limit": "9/hour"}, lambda request: asked.append(1) or True)
    a.build(turn(("book", {"day": "mon"})), turn(("book", {"day": "mon"})))
    a.go()
    paused = a.agent.get_state(a.config).config
    a.resume("window")
    a.resume("fish")
    assert asked == [1, 1]  # the second turn
    a.agent.invoke(None, a.agent.update_state(paused, {"messages": []}, as_node="model"))
    assert asked == [1, 1, 1]


def test_a_fork_counts_anew(agent):
    a = agent({"rate_limit": "2/hour"})
    a.go()
    paused = a.agent.get_state(a.config).config
    a.agent.invoke(None, a.agent.update_state(paused, {"messages": []}, as_node="model"))
    assert a.used() == 2


def test_a_replay_of_what_ended_counts_anew(agent):
    a = agent({"rate_limit": "9/hour"})
    a.go()
    paused = a.agent.get_state(a.config).config
    a.resume("window")
    a.resume("fish")
    assert a.used() == 1
    a.go(Command(resume="aisle"), paused)
    assert a.used() == 2


def test_another_thread_is_another_execution(agent):
    a = agent({"rate_limit": "9/hour"})
    a.guard = a.guard.for_session("shared")
    a.build(turn(("book", {"day": "mon"})))
    a.go()
    a.go(config={"configurable": {"thread_id": "another"}})
    assert a.used() == 2


def test_a_retry_after_a_pause_is_an_execution_of_its_own(agent):
    retry = ToolRetryMiddleware(max_retries=1, initial_delay=0, jitter=False)
    a = agent({"rate_limit": "9/hour"}, extra=[retry])
    a.fails.append(ValueError("hiccup"))
    a.go()
    a.resume("window")
    a.resume("fish")
    assert a.used() == 2
    assert a.lines() == [("admitted", None), ("settled", "error"), ("admitted", None)]
    a.resume("to the retry")
    assert a.answers() == {"call_0": "booked window fish mon"}
    assert a.used() == 2
    assert a.lines("settled") == [("settled", "error"), ("settled", "ok")]


def test_what_never_got_far_after_a_pause_may_have_acted_before_it(agent):
    a = agent(LIMITED)
    calls = iter(["pause", "lost"])

    def body(_):
        if next(calls) == "pause":
            interrupt("seat?")
        raise ConnectionFailed("nobody listens", sent=False)

    def node(state):
        call = ToolCall("book", {"day": "mon"}, session="thread", id="c")
        try:
            a.guard.call(call, body, judge=judge_mcp())
        except ConnectionFailed:
            return {"messages": [HumanMessage("failed")]}

    graph = (
        StateGraph(MessagesState).add_node("node", node).add_edge(START, "node").compile(checkpointer=a.checkpointer)
    )
    graph.invoke({"messages": []}, a.config)
    graph.invoke(Command(resume="window"), a.config)
    assert a.lines("settled") == [("settled", "unknown")]
    assert a.used() == 1


def test_a_policy_that_denies_by_now_ends_a_paused_execution(agent):
    a = agent(LIMITED)
    a.go()
    a.write_policy({"action": "deny", "reason": "closed"})
    a.guard.reload()
    a.resume("window")
    assert a.ran == ["begins mon"]
    told = a.answers()["call_0"]
    assert "closed" in told
    assert "did not go on" in told
    assert "did not run" not in told
    assert a.lines("refused", "settled") == [("refused", "denied")]


def test_the_stop_button_ends_a_paused_execution(agent):
    a = agent(LIMITED)
    a.go()
    a.store.halt("global", "fire")
    a.resume("window")
    assert a.ran == ["begins mon"]
    assert "fire" in a.answers()["call_0"]


def test_a_policy_that_asks_by_now_does_not_take_the_tools_answer_for_an_approval(agent):
    a = agent(LIMITED, InterruptApprover())
    a.go()
    a.write_policy(ASKED)
    a.guard.reload()
    a.resume(APPROVE)
    assert a.ran == ["begins mon"]
    assert "not to this question" in a.answers()["call_0"]


@pytest.mark.parametrize("kind", ["memory", "disk"])
def test_of_many_that_come_back_at_once_one_goes_on_as_the_same_execution(tmp_path, kind):
    store = open_store("memory://" if kind == "memory" else f"disk://{tmp_path / 'state'}")
    for round_ in range(20):
        name = execution.named("task", "call", str(round_))
        run(execution.pause(name, execution.Paused("key"), None, store=store))
        with ThreadPoolExecutor(8) as pool:
            back = list(pool.map(lambda _, name=name: run(execution.come_back(name, store=store)), range(8)))
        assert [each for each in back if each is not None] == [execution.Paused("key")]


def test_a_hand_over_to_the_parent_graph_is_no_pause(tmp_path):
    @tool
    def hand_over() -> Command:
        """Let another agent go on."""
        return Command(goto="other", graph=Command.PARENT)

    policy = {"version": "1", "default": "deny", "tools": {"hand_over": LIMITED}}
    guard = Guard(Policy.model_validate(policy), store="memory://", audit=tmp_path / "audit.jsonl")
    agent = create_agent(Scripted(turns=[turn(("hand_over", {}))]), guard.wrap([hand_over]))
    graph = StateGraph(MessagesState).add_node("agent", agent, destinations=("other",))
    graph.add_node("other", lambda state: {"messages": [AIMessage("here")]}).add_edge(START, "agent")
    end = graph.compile(checkpointer=InMemorySaver()).invoke(
        {"messages": [HumanMessage("go")]}, {"configurable": {"thread_id": "t"}}
    )
    assert end["messages"][-1].content == "here"
    lines = [json.loads(line) for line in (tmp_path / "audit.jsonl").read_text().splitlines()]
    assert [(line["kind"], line.get("outcome")) for line in lines] == ONE
    assert list(guard.store.scan("executions/")) == []


def test_where_nothing_could_come_back_a_pause_is_the_end_and_stays_charged(agent):
    a = agent(LIMITED)
    a.checkpointer = None
    a.build(turn(("book", {"day": "mon"})))
    a.go()
    assert a.lines() == [("admitted", None), ("settled", "suspended")]
    assert a.used() == 1
    assert list(a.store.scan("executions/")) == []


@pytest.mark.parametrize(
    "damage",
    [
        lambda kept: b"",
        lambda kept: b"[]",
        lambda kept: b"{}",
        lambda kept: kept.replace(b'"verdict": null', b'"verdict": {"kind": "reject"}'),
        lambda kept: kept.replace(b'"verdict": null', b'"verdict": 7'),
        lambda kept: kept[:-9],
    ],
)
def test_what_is_kept_of_a_paused_execution_may_be_damaged_and_then_nothing_runs(agent, damage):
    a = agent(LIMITED)
    a.go()
    ((name, kept),) = a.store.scan("executions/")
    a.store.put(name, damage(kept))
    a.agent.invoke(None, a.config)
    assert a.lines()[-1] == ("refused", "failed_closed")
    assert a.ran == ["begins mon"]


def test_the_record_is_taken_once_and_gone_at_the_end(agent):
    a = agent(LIMITED)
    a.go()
    assert len(list(a.store.scan("executions/"))) == 1
    a.resume("window")
    assert len(list(a.store.scan("executions/"))) == 1
    a.resume("fish")
    assert list(a.store.scan("executions/")) == []


def test_a_guard_in_another_process_takes_it_up(agent, tmp_path):
    """Another guard on the same store and checkpoints, as after a restart."""
    a = agent(LIMITED, store=open_store(f"disk://{tmp_path / 'state'}"))
    a.go()
    b = Agent(tmp_path, LIMITED, store=open_store(f"disk://{tmp_path / 'state'}"))
    b.checkpointer = a.checkpointer
    b.build(turn(("book", {"day": "mon"})))
    b.resume("window")
    b.resume("fish")
    assert b.answers() == {"call_0": "booked window fish mon"}
    assert (b.used(), b.lines()) == (1, ONE)
