"""Asking by interrupting a LangGraph run: each answer reaches its own call, counts once, and runs once."""

import json
import re
from typing import Any
from uuid import UUID

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import ToolRetryMiddleware
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.errors import GraphInterrupt
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode
from langgraph.types import Command, Send, interrupt
from markdown_it import MarkdownIt

from guarded_tools import Guard, Policy
from guarded_tools.approvers.interrupt import InterruptApprover, check_of
from guarded_tools.audit import AuditLog

ASK = {"action": "approve", "risk": "write"}


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
        message = AIMessage("" if calls else "done", tool_calls=[{"type": "tool_call", **call} for call in calls])
        return ChatResult(generations=[ChatGeneration(message=message)])


def turn(*calls):
    return [{"name": name, "args": args, "id": f"call_{at}"} for at, (name, args) in enumerate(calls)]


class Run:
    """An agent with a guard, and what its tools ran with."""

    def __init__(self, folder, store, clock, tools=None, build=None, **options):
        self.ran = []
        self.tools = self.make_tools()
        self.policy = {"version": "1", "default": "allow", "server": "s", "tools": {"t": ASK, "u": ASK} | (tools or {})}
        self.audit_path = folder / "audit.jsonl"
        self.clock = clock
        self.guard = Guard(
            Policy.model_validate(self.policy),
            store=store,
            approver=InterruptApprover(),
            audit=AuditLog(self.audit_path),
            clock=clock,
            **options,
        )
        self.checkpointer = InMemorySaver()
        self.config = {"configurable": {"thread_id": "thread"}}
        self.how = "sync"
        self.agent = None

    def make_tools(self):
        ran = self.ran

        @tool
        def t(x: int) -> str:
            """A tool."""
            ran.append(("t", x))
            return f"t{x}"

        @tool
        def u(x: int) -> str:
            """Another tool."""
            ran.append(("u", x))
            return f"u{x}"

        @tool
        def asks_itself(x: int) -> str:
            """A tool with a question of its own."""
            answer = interrupt({"own question": x})
            ran.append(("asks_itself", x, answer))
            return f"own {answer}"

        return [t, u, asks_itself]

    def agent_of(self, *turns, middleware=False, checkpointer=True):
        self.agent = create_agent(
            Scripted(turns=list(turns)),
            self.tools if middleware else self.guard.wrap(self.tools),
            middleware=[self.guard.middleware()] if middleware else [],
            checkpointer=self.checkpointer if checkpointer else None,
        )
        return self

    def go(self, given=None):
        if given is None:
            given = {"messages": [HumanMessage("go")]}
        return self.agent.invoke(given, self.config)

    def resume(self, answer):
        return self.go(Command(resume=answer))

    def pending(self):
        return list(self.agent.get_state(self.config).interrupts)

    def answers(self):
        messages = self.agent.get_state(self.config).values["messages"]
        return {m.tool_call_id: m.content for m in messages if isinstance(m, ToolMessage)}

    def kinds(self, *kinds):
        lines = [json.loads(line) for line in self.audit_path.read_text().splitlines()]
        return [(line["kind"], line.get("outcome")) for line in lines if not kinds or line["kind"] in kinds]

    def charges(self):
        return {u.counter: u.used for u in self.guard.usage() if not u.counter.endswith(")")}


@pytest.fixture
def start(tmp_path, store, clock):
    return lambda **options: Run(tmp_path, store, clock, **options)


APPROVE = {"type": "approve"}


@pytest.mark.parametrize("middleware", [False, True], ids=["wrapped", "middleware"])
def test_a_call_waits_is_approved_counts_once_and_runs_once(start, middleware):
    run = start(tools={"t": ASK | {"rate_limit": "5/minute"}}).agent_of(turn(("t", {"x": 1})), middleware=middleware)
    run.go()
    assert run.ran == []
    (asked,) = run.pending()
    assert asked.value["type"] == "tool_approval"
    assert run.charges().get("s/t/rate_limit", 0) == 0
    run.resume(APPROVE)
    assert run.ran == [("t", 1)]
    assert run.answers() == {"call_0": "t1"}
    assert sum(run.charges().values()) == 1
    assert run.kinds() == [("asked", None), ("answered", None), ("admitted", None), ("settled", "ok")]


@pytest.mark.parametrize("answer", [APPROVE, {"type": "reject"}], ids=["approved", "rejected"])
def test_the_guard_took_no_less_than_no_time_however_long_a_human_thought(start, clock, answer):
    run = start().agent_of(turn(("t", {"x": 1})))
    run.go()
    clock.now += 300
    run.resume(answer)
    lines = [json.loads(line) for line in run.audit_path.read_text().splitlines()]
    assert {line["kind"]: line.get("human_ms") for line in lines}["answered"] == 300_000.0
    assert all(0 <= line["guard_ms"] < 60_000 for line in lines)
    assert lines[0]["timeout"] == 600


@pytest.mark.parametrize("middleware", [False, True], ids=["wrapped", "middleware"])
async def test_the_same_from_asyncio(start, middleware):
    run = start().agent_of(turn(("t", {"x": 1}), ("u", {"x": 2})), middleware=middleware)
    await run.agent.ainvoke({"messages": [HumanMessage("go")]}, run.config)
    first, second = run.pending()
    await run.agent.ainvoke(Command(resume={second.id: APPROVE}), run.config)
    assert run.ran == [(second.value["name"], second.value["args"]["x"])]
    await run.agent.ainvoke(Command(resume={first.id: {"type": "reject"}}), run.config)
    assert len(run.ran) == 1


def test_the_payload_renders_in_front_ends_of_every_age(start):
    run = start(tools={"t": ASK | {"approval": {"remember": "tool"}}}).agent_of(turn(("t", {"x": 1})))
    run.go()
    (asked,) = run.pending()
    value = asked.value
    assert (value["name"], value["args"], value["tool_call_id"]) == ("t", {"x": 1}, "call_0")
    (action,) = value["action_requests"]
    assert (action["name"], action["args"], action["arguments"]) == ("t", {"x": 1}, {"x": 1})
    assert value["review_configs"] == [
        {"action_name": "t", "allowed_decisions": ["approve", "edit", "reject", "respond"]}
    ]
    assert '"x": 1' in value["description"]
    schema = asked.response_schema
    assert schema == value["response_schema"]
    kinds = {branch["properties"]["type"]["const"]: branch for branch in schema["oneOf"]}
    assert kinds["approve"]["properties"]["remember"]["enum"] == ["once", "same", "tool"]
    assert "ANY arguments of t" in kinds["approve"]["properties"]["remember"]["description"]
    assert kinds["edit"]["properties"]["edited_action"]["properties"]["name"] == {"const": "t"}
    json.dumps(value)


@pytest.mark.parametrize("prefix", ["", "Please decide:\n"])
@pytest.mark.parametrize(
    "text",
    [
        "<img src=x onerror=alert(1)>",
        "<div style='display:none'>",
        "![](https://evil.example/?q=1)",
        "**approved** by [security](https://evil.example)",
        "a\n```\n# Approved\n- risk: read\n~~~",
        "`" * 200,
        "\n\n    ```\n\n",
        "a | b\n--|--\n~~gone~~ &lt; \\*",
    ],
)
def test_a_front_end_that_reads_descriptions_as_markdown_shows_every_character_as_it_is(start, text, prefix):
    run = start()

    @tool
    def note(text: str, amount: int) -> str:
        """A tool `with` **marks**."""

    run.tools.append(note)
    run.guard = Guard(
        Policy.model_validate({"version": "1", "default": "deny", "tools": {"note": ASK}}),
        store=run.guard.store,
        approver=InterruptApprover(),
        audit=run.guard.audit,
        clock=run.clock,
    )
    run.agent_of(turn(("note", {"text": text, "amount": 9999}))).go()
    (asked,) = run.pending()
    for description in (asked.value["description"], asked.value["action_requests"][0]["description"]):
        *above, block = MarkdownIt("gfm-like", {"linkify": False}).parse(prefix + description.strip())
        assert block.type == "fence"
        line = description.partition("\n")[0]
        assert description.strip() == f"{line}\n\n```text\n{block.content}```"
        assert [each.type for each in above] == ["paragraph_open", "inline", "paragraph_close"]
        assert {child.type for child in above[1].children} <= {"text", "softbreak"}
        assert above[1].content == (prefix + line).strip()
        assert '"amount": 9999' in block.content
        assert block.content.startswith("tool:")


EDIT = {"name": "t", "args": {"x": 7}}


@pytest.mark.parametrize(
    ("answer", "ran"),
    [
        ({"type": "approve"}, [1]),
        ([{"type": "approve"}], [1]),
        ({"decisions": [{"type": "approve"}]}, [1]),
        ([{"type": "accept", "args": None}], [1]),
        ({"type": "accept"}, [1]),
        ({"type": "edit", "edited_action": EDIT}, [7]),
        ({"decisions": [{"type": "edit", "edited_action": EDIT}]}, [7]),
        ([{"type": "edit", "args": {"action": "t", "args": {"x": 7}}}], [7]),
        ({"type": "reject", "message": "no, wrong"}, []),
        ({"decisions": [{"type": "reject"}]}, []),
        ([{"type": "ignore", "args": None}], []),
        ({"type": "respond", "message": "forty"}, []),
        ([{"type": "response", "args": "forty"}], []),
    ],
    ids=repr,
)
def test_every_answer_that_front_ends_send_is_understood(start, answer, ran):
    run = start().agent_of(turn(("t", {"x": 1})))
    run.go()
    run.resume(answer)
    assert run.ran == [("t", x) for x in ran]
    said = run.answers()["call_0"]
    if "forty" in str(answer):
        assert said.endswith("\nforty")
    elif not ran:
        assert said.startswith("DENIED")
        assert "do not repeat" in said
    assert ("no, wrong" in said) == ("no, wrong" in str(answer))
    assert run.pending() == []


MALFORMED = [
    True,
    "approve",
    7,
    [],
    {"decisions": []},
    {"decisions": [APPROVE, APPROVE]},
    [APPROVE, {"type": "reject"}],
    {"type": "yes"},
    {"type": "edit"},
    {"type": "edit", "edited_action": {"name": "t"}},
    {"type": "edit", "edited_action": {"name": "u", "args": {"x": 7}}},
    {"type": "edit", "args": {"action": "u", "args": {"x": 7}}},
    {"type": "edit", "edited_action": {"name": "t", "args": [7]}},
    {"type": "edit", "edited_action": {"name": "t", "args": {"x": float("nan")}}},
    {"type": "respond"},
    {"type": "reject", "message": 7},
    {"type": "approve", "remember": "for ever"},
]


@pytest.mark.parametrize("answer", MALFORMED, ids=repr)
def test_an_answer_that_says_nothing_leaves_the_run_resumable(start, answer):
    run = start().agent_of(turn(("t", {"x": 1})))
    run.go()
    run.resume(answer)
    run.resume(answer)
    (asked,) = run.pending()
    assert "not understood" in asked.value["error"]
    assert run.ran == []
    run.resume({asked.id: {"type": "edit", "edited_action": EDIT}})
    assert run.ran == [("t", 7)]
    assert run.kinds("asked", "answered") == [("asked", None), ("answered", None)]


def test_one_bad_answer_among_several_holds_up_only_its_own_call(start):
    run = start().agent_of(turn(("t", {"x": 1}), ("u", {"x": 2})))
    run.go()
    asked = {waiting.value["name"]: waiting.id for waiting in run.pending()}
    run.resume({asked["t"]: {"type": "nonsense"}, asked["u"]: APPROVE})
    assert run.ran == [("u", 2)]
    (again,) = run.pending()
    assert again.value["name"] == "t"
    run.resume({again.id: APPROVE, asked["u"]: APPROVE})  # a front end that sends all of them again
    assert run.ran == [("u", 2), ("t", 1)]


def test_a_resume_that_answers_nothing_changes_nothing(start):
    run = start().agent_of(turn(("t", {"x": 1})))
    run.go()
    run.resume({})
    assert run.ran == []
    run.resume(APPROVE)
    assert run.ran == [("t", 1)]


def test_pending_asks_are_answered_in_any_order_and_partially(start):
    run = start().agent_of(turn(*(("t", {"x": x}) for x in range(4))))
    run.go()
    by_x = {asked.value["args"]["x"]: asked.id for asked in run.pending()}
    run.resume({by_x[2]: APPROVE})
    assert run.ran == [("t", 2)]
    run.resume(
        {by_x[3]: {"type": "reject"}, by_x[0]: {"type": "edit", "edited_action": {"name": "t", "args": {"x": 10}}}}
    )
    assert run.ran == [("t", 2), ("t", 10)]
    assert {asked.value["args"]["x"] for asked in run.pending()} == {1}
    run.resume({by_x[1]: APPROVE})
    assert run.ran == [("t", 2), ("t", 10), ("t", 1)]
    assert run.answers()["call_3"].startswith("DENIED")
    assert {k: v.splitlines()[-1] for k, v in run.answers().items() if k != "call_3"} == {
        "call_0": "t10",
        "call_1": "t1",
        "call_2": "t2",
    }


def test_one_answer_for_several_asks_runs_nothing(start):
    run = start().agent_of(turn(("t", {"x": 1}), ("u", {"x": 2})))
    run.go()
    with pytest.raises(RuntimeError, match="interrupt id"):
        run.resume({"decisions": [APPROVE, APPROVE]})
    assert run.ran == []
    run.resume({asked.id: APPROVE for asked in run.pending()})
    assert sorted(run.ran) == [("t", 1), ("u", 2)]


def test_an_answer_to_an_interrupt_that_does_not_exist_runs_nothing(start):
    run = start().agent_of(turn(("t", {"x": 1})))
    run.go()
    run.resume({"0" * 32: APPROVE})
    assert run.ran == []
    assert len(run.pending()) == 1


def test_an_answer_given_twice_runs_once(start):
    run = start().agent_of(turn(("t", {"x": 1}), ("u", {"x": 2})))
    run.go()
    t = next(asked.id for asked in run.pending() if asked.value["name"] == "t")
    run.resume({t: APPROVE})
    run.resume({t: APPROVE})
    assert run.ran == [("t", 1)]


def test_a_run_that_is_resumed_again_from_before_the_execution_runs_nothing(start):
    run = start().agent_of(turn(("t", {"x": 1})))
    run.go()
    waiting = run.agent.get_state(run.config).config
    run.resume(APPROVE)
    run.agent.invoke(Command(resume=APPROVE), waiting)
    assert run.ran == [("t", 1)]
    assert "used its answer already" in run.answers()["call_0"]


@pytest.mark.parametrize("plugin", ["wrap", "middleware", "both"])
def test_an_approval_does_not_cover_the_retry_of_what_it_approved(start, plugin):
    """A task that is resumed again hears its first answer again, so a second question in it could not be answered."""
    run = start()
    ran = run.ran

    @tool
    def t(x: int) -> str:
        """A tool that fails at first."""
        ran.append(("t", x))
        if len(ran) == 1:
            raise ValueError("hiccup")
        return f"t{x}"

    retry = ToolRetryMiddleware(max_retries=2, initial_delay=0, jitter=False)
    run.agent = create_agent(
        Scripted(turns=[turn(("t", {"x": 7})), [{"name": "t", "args": {"x": 7}, "id": "again"}]]),
        [t] if plugin == "middleware" else run.guard.wrap([t]),
        middleware=[retry] if plugin == "wrap" else [retry, run.guard.middleware()],
        checkpointer=run.checkpointer,
    )
    run.go()
    run.resume(APPROVE)
    assert ran == [("t", 7)]
    assert "used its answer already: let the model call the tool once more" in run.answers()["call_0"]
    (asked,) = run.pending()
    assert asked.value["tool_call_id"] == "again"
    run.resume({"type": "reject", "message": "no"})
    assert ran == [("t", 7)]
    assert "no" in run.answers()["again"]
    assert run.kinds("admitted", "settled") == [("admitted", None), ("settled", "error")]


@pytest.mark.parametrize("second", [5, 6])
def test_a_tool_that_calls_a_guarded_one_twice_in_its_task_is_asked_about_once(start, second):
    run = start()
    guarded, *_ = run.guard.wrap(run.tools)

    @tool
    def outer(x: int) -> str:
        """Call another tool twice."""
        return " | ".join(guarded.invoke({"x": each}) for each in (x, second))

    run.agent = create_agent(Scripted(turns=[turn(("outer", {"x": 5}))]), [outer], checkpointer=run.checkpointer)
    run.go()
    run.resume(APPROVE)
    assert run.ran == [("t", 5)]
    assert run.pending() == []
    assert run.answers()["call_0"].startswith("t5 | DENIED")


def test_a_rejected_call_stays_rejected_when_the_policy_changes_its_mind(start, tmp_path):
    path = tmp_path / "policy.json"
    run = start()
    path.write_text(json.dumps(run.policy))
    run.guard = Guard(path, store=run.guard.store, approver=InterruptApprover(), audit=run.guard.audit, clock=run.clock)
    run.agent_of(turn(("t", {"x": 1})))
    run.go()
    path.write_text(json.dumps(run.policy | {"tools": {"t": {"action": "allow"}}}))
    run.guard.reload()
    run.resume({"type": "reject"})
    assert run.ran == []
    assert run.answers()["call_0"].startswith("DENIED")


def test_a_policy_that_denies_by_now_wins_over_an_approval(start, tmp_path):
    path = tmp_path / "policy.json"
    run = start()
    path.write_text(json.dumps(run.policy))
    run.guard = Guard(path, store=run.guard.store, approver=InterruptApprover(), audit=run.guard.audit, clock=run.clock)
    run.agent_of(turn(("t", {"x": 1})))
    run.go()
    path.write_text(json.dumps(run.policy | {"tools": {"t": {"action": "deny", "reason": "closed"}}}))
    run.guard.reload()
    run.resume(APPROVE)
    assert run.ran == []
    assert "closed" in run.answers()["call_0"]


def test_a_question_shown_again_is_as_whole_as_it_was(start):
    run = start(tools={"t": ASK | {"rate_limit": "5/minute"}}).agent_of(turn(("t", {"x": 1}), ("t", {"x": 2})))
    first = run.go()["__interrupt__"]
    [left] = run.resume({first[0].id: APPROVE})["__interrupt__"]
    assert re.search(r"^limit: +[01] of 5 used", left.value["description"], re.MULTILINE)  # the call beside it runs now
    for waiting in (*first, left):
        check = check_of(json.loads(json.dumps(waiting.value)))
        assert "valid integer" in check({"x": "two"})
        assert check({"x": 2}) == ""
    assert check_of({"type": "tool_approval"}) is None


def test_an_edit_is_judged_anew(start):
    rule = ASK | {"deny_if": [{"path": "args.x", "op": "gt", "value": 100, "on_deny": "too much"}]}
    run = start(tools={"t": rule}).agent_of(turn(("t", {"x": 1})))
    run.go()
    run.resume({"type": "edit", "edited_action": {"name": "t", "args": {"x": 9999}}})
    assert run.ran == []
    assert "too much" in run.answers()["call_0"]


def test_an_edit_that_does_not_fit_the_tool_runs_nothing(start):
    run = start().agent_of(turn(("t", {"x": 1})))
    run.go()
    run.resume({"type": "edit", "edited_action": {"name": "t", "args": {"x": "many"}}})
    assert run.ran == []


def test_arguments_changed_in_the_state_while_a_human_thinks_run_nothing(start):
    run = start().agent_of(turn(("t", {"x": 1})))
    run.go()
    message = run.agent.get_state(run.config).values["messages"][-1]
    changed = message.model_copy(update={"tool_calls": [{**message.tool_calls[0], "args": {"x": 9999}}]})
    run.agent.update_state(run.config, {"messages": [changed]}, as_node="model")
    run.go(Command(resume=APPROVE))
    assert run.ran == []
    assert "changed after a human was asked" in run.answers()["call_0"]


def test_changed_arguments_are_shown_anew_and_the_answer_is_to_these(start):
    run = start().agent_of(turn(("t", {"x": 1})))
    run.go()
    message = run.agent.get_state(run.config).values["messages"][-1]
    changed = message.model_copy(update={"tool_calls": [{**message.tool_calls[0], "args": {"x": 2}}]})
    run.agent.update_state(run.config, {"messages": [changed]}, as_node="model")
    run.agent.invoke(None, run.config)
    (asked,) = run.pending()
    assert asked.value["args"] == {"x": 2}
    assert run.kinds() == [("asked", None)] * 2
    run.resume({asked.id: APPROVE})
    assert run.ran == [("t", 2)]


@pytest.mark.parametrize("thread", [7, UUID(int=7)], ids=["a number", "a UUID"])
def test_a_thread_may_be_named_by_whatever_the_checkpointer_takes(start, thread):
    run = start().agent_of(turn(("t", {"x": 1}), ("u", {"x": 2})))
    run.config = {"configurable": {"thread_id": thread}}
    run.go()
    by_name = {asked.value["name"]: asked.id for asked in run.pending()}
    run.resume({by_name["u"]: APPROVE})
    run.resume({by_name["t"]: APPROVE})
    assert run.ran == [("u", 2), ("t", 1)]


def test_asks_that_vanish_between_interrupt_and_resume_shift_nothing(start, tmp_path):
    path = tmp_path / "policy.json"
    run = start()
    path.write_text(json.dumps(run.policy))
    run.guard = Guard(path, store=run.guard.store, approver=InterruptApprover(), audit=run.guard.audit, clock=run.clock)
    run.agent_of(turn(("t", {"x": 1}), ("u", {"x": 2})))
    run.go()
    by_name = {asked.value["name"]: asked.id for asked in run.pending()}
    path.write_text(json.dumps(run.policy | {"tools": {"t": {"action": "allow"}, "u": ASK}}))
    run.guard.reload()
    run.resume({by_name["u"]: APPROVE})
    assert ("u", 2) in run.ran
    run.resume({by_name["t"]: {"type": "reject"}})
    assert ("t", 1) not in run.ran


def test_an_answer_after_the_question_expired_runs_nothing(start):
    run = start(tools={"t": ASK | {"approval": {"timeout": "10m"}}}).agent_of(turn(("t", {"x": 1})))
    run.go()
    run.clock.now += 601
    run.resume(APPROVE)
    assert run.ran == []
    assert "expired" in run.answers()["call_0"]


def test_a_question_asked_when_the_clock_begins_expires_too(start):
    run = start()
    run.clock.now = 0.0
    run.agent_of(turn(("t", {"x": 1}))).go()
    assert run.pending()[0].value["expires_at"] == 600
    run.clock.now = 601
    run.resume(APPROVE)
    assert run.ran == []


def test_a_question_shown_again_says_when_it_really_expires(start):
    run = start(tools={"t": ASK | {"approval": {"timeout": "10m"}}}).agent_of(turn(("t", {"x": 1}), ("u", {"x": 2})))
    run.go()
    asked = {waiting.value["name"]: waiting for waiting in run.pending()}
    run.clock.now += 500
    run.resume({asked["u"].id: APPROVE})
    (shown,) = run.pending()
    assert shown.value["expires_at"] == asked["t"].value["expires_at"] == run.clock.now + 100


def test_a_fork_asks_anew_also_when_the_question_it_repeats_has_expired(start):
    run = start(tools={"t": ASK | {"approval": {"timeout": "10m"}}}).agent_of(turn(("t", {"x": 1})))
    run.go()
    run.clock.now += 601
    forked = run.agent.update_state(run.config, {"messages": []}, as_node="model")
    run.agent.invoke(None, forked)
    (asked,) = run.pending()
    assert asked.value["expires_at"] == run.clock.now + 600
    assert run.kinds() == [("asked", None)] * 2
    run.resume({asked.id: APPROVE})
    assert run.ran == [("t", 1)]
    run.resume({asked.id: APPROVE})
    assert run.ran == [("t", 1)]


def test_the_human_is_not_asked_what_the_limits_refuse(start):
    run = start(tools={"t": ASK | {"rate_limit": "1/hour"}})
    run.agent_of(turn(("t", {"x": 1})), [{"name": "t", "args": {"x": 2}, "id": "second"}])
    run.go()
    run.resume(APPROVE)
    assert run.ran == [("t", 1)]
    assert run.pending() == []
    assert "etry after" in run.answers()["second"]


def test_limits_hold_for_executions_that_were_approved_together(start):
    run = start(tools={"t": ASK | {"rate_limit": "2/minute"}}).agent_of(turn(*(("t", {"x": x}) for x in range(4))))
    run.go()
    assert len(run.pending()) == 4
    run.resume({asked.id: APPROVE for asked in run.pending()})
    assert len(run.ran) == 2


def test_no_more_than_five_questions_of_a_session_wait(start):
    run = start().agent_of(turn(*(("t", {"x": x}) for x in range(8))))
    run.go()
    assert len(run.pending()) == 5
    run.resume({asked.id: APPROVE for asked in run.pending()})
    assert len(run.ran) == 5
    assert sum("must be answered before another" in said for said in run.answers().values()) == 3


def test_an_approval_is_remembered_for_the_session(start):
    run = start(tools={"t": ASK | {"approval": {"remember": "tool"}}})
    run.agent_of(turn(("t", {"x": 1})), [{"name": "t", "args": {"x": 2}, "id": "second"}])
    run.go()
    run.resume({"type": "approve", "remember": "tool"})
    assert run.ran == [("t", 1), ("t", 2)]


def test_a_tool_with_a_question_of_its_own_gets_its_own_answer(start):
    rule = ASK | {"rate_limit": "5/hour"}
    run = start(tools={"asks_itself": rule}).agent_of(turn(("asks_itself", {"x": 1})))
    run.go()
    run.resume(APPROVE)
    (own,) = run.pending()
    assert own.value == {"own question": 1}
    run.resume("mine")
    assert run.ran == [("asks_itself", 1, "mine")]
    assert sum(run.charges().values()) == 1


def test_an_approval_given_in_time_stands_while_the_tool_waits_for_an_answer_of_its_own(start):
    run = start(tools={"asks_itself": ASK | {"approval": {"timeout": "10m"}}}).agent_of(turn(("asks_itself", {"x": 1})))
    run.go()
    run.resume(APPROVE)
    run.clock.now += 3_600
    run.resume("mine")
    assert run.ran == [("asks_itself", 1, "mine")]


def test_a_tool_with_a_question_of_its_own_that_is_rejected_asks_nothing(start):
    run = start(tools={"asks_itself": ASK}).agent_of(turn(("asks_itself", {"x": 1})))
    run.go()
    run.resume({"type": "reject"})
    assert run.pending() == []
    assert run.ran == []


def test_a_remembered_approval_does_not_swallow_the_tools_own_answer(start):
    rule = ASK | {"approval": {"remember": "tool"}}
    run = start(tools={"asks_itself": rule})
    run.agent_of(turn(("asks_itself", {"x": 1})), [{"name": "asks_itself", "args": {"x": 2}, "id": "second"}])
    run.go()
    run.resume({"type": "approve", "remember": "tool"})
    run.resume("one")
    run.resume("two")
    assert run.ran == [("asks_itself", 1, "one"), ("asks_itself", 2, "two")]


# Graphs built by hand


def hand_built(run, calls, *, send):
    tools = run.guard.wrap(run.tools)
    graph = StateGraph(MessagesState)
    graph.add_node(
        "model", lambda state: {"messages": [AIMessage("", tool_calls=[{"type": "tool_call", **c} for c in calls])]}
    )
    graph.add_node("tools", ToolNode(tools))
    graph.add_edge(START, "model")
    if send:
        graph.add_conditional_edges(
            "model",
            lambda state: [
                Send("tools", {"__type": "tool_call_with_context", "tool_call": call, "state": state})
                for call in state["messages"][-1].tool_calls
            ],
            ["tools"],
        )
    else:
        graph.add_edge("model", "tools")
    run.agent = graph.compile(checkpointer=run.checkpointer)
    return run


def test_a_graph_that_runs_all_calls_in_one_task_is_refused_and_told_how_to_build_it(start):
    run = hand_built(start(), turn(("t", {"x": 1}), ("u", {"x": 2})), send=False)
    run.go()
    assert run.pending() == []
    assert run.ran == []
    for said in run.answers().values():
        assert said.startswith("DENIED")
        assert "create_agent" in said
        assert "Send(" in said


def test_a_graph_that_sends_each_call_on_its_own_works(start):
    run = hand_built(start(), turn(("t", {"x": 1}), ("u", {"x": 2})), send=True)
    run.go()
    by_name = {asked.value["name"]: asked.id for asked in run.pending()}
    run.resume({by_name["u"]: APPROVE, by_name["t"]: {"type": "reject"}})
    assert run.ran == [("u", 2)]


def test_a_call_inside_a_node_is_refused(start):
    run = start()
    (t, *_) = run.guard.wrap(run.tools)
    graph = StateGraph(MessagesState)
    graph.add_node("node", lambda state: {"messages": [HumanMessage(t.invoke({"x": 1}))]})
    graph.add_edge(START, "node")
    run.agent = graph.compile(checkpointer=run.checkpointer)
    said = run.go()["messages"][-1].content
    assert said.startswith("DENIED")
    assert run.ran == []


def test_without_a_checkpointer_denied_saying_so(start):
    run = start().agent_of(turn(("t", {"x": 1})), checkpointer=False)
    state = run.go()
    said = next(m.content for m in state["messages"] if isinstance(m, ToolMessage))
    assert said.startswith("DENIED")
    assert "checkpointer" in said
    assert "__interrupt__" not in state


def test_outside_a_graph_denied_saying_so(start):
    run = start()
    said = run.guard.wrap(run.tools)[0].invoke({"x": 1})
    assert said.startswith("DENIED")
    assert "outside a LangGraph run" in said


def test_an_agent_inside_a_tool_of_another_agent(start):
    run = start()
    inner = create_agent(Scripted(turns=[turn(("t", {"x": 1}), ("u", {"x": 2}))]), run.guard.wrap(run.tools))

    @tool
    def delegate(task: str) -> str:
        """Let another agent do it."""
        return inner.invoke({"messages": [HumanMessage(task)]})["messages"][-2].content

    run.agent = create_agent(
        Scripted(turns=[[{"name": "delegate", "args": {"task": "do"}, "id": "outer"}]]),
        [delegate],
        checkpointer=run.checkpointer,
    )
    run.go()
    by_name = {asked.value["name"]: asked.id for asked in run.pending()}
    assert set(by_name) == {"t", "u"}
    run.resume({by_name["u"]: APPROVE})
    run.resume({by_name["t"]: {"type": "reject"}})
    assert run.ran == [("u", 2)]


def test_agents_inside_tools_may_number_their_calls_alike(start):
    run = start()
    inner = create_agent(Scripted(turns=[turn(("t", {"x": 1}))]), run.guard.wrap(run.tools))

    @tool
    def delegate(task: str) -> str:
        """Let another agent do it."""
        return inner.invoke({"messages": [HumanMessage(task)]})["messages"][-2].content

    calls = [{"name": "delegate", "args": {"task": task}, "id": task} for task in ("one", "two")]
    run.agent = create_agent(Scripted(turns=[calls]), [delegate], checkpointer=run.checkpointer)
    run.go()
    first, second = run.pending()
    run.resume({second.id: APPROVE})
    assert run.ran == [("t", 1)]
    run.resume({first.id: APPROVE})
    assert run.ran == [("t", 1)] * 2
    assert run.answers() == {"one": "t1", "two": "t1"}


def several_in_one_task(run, *calls):
    """A graph whose calls look sent on their own, but share one task after all."""
    graph = StateGraph(MessagesState)
    message = AIMessage("", tool_calls=[{"type": "tool_call", **call} for call in turn(*calls)])
    graph.add_node("model", lambda state: {"messages": [message]})
    graph.add_node("tools", ToolNode(run.guard.wrap(run.tools)))
    graph.add_edge(START, "model")
    graph.add_conditional_edges("model", lambda state: [Send("tools", state)], ["tools"])
    run.agent = graph.compile(checkpointer=run.checkpointer)
    return run


@pytest.mark.parametrize("round_", range(10))
def test_of_several_calls_in_one_sent_task_one_is_asked_about_and_no_answer_reaches_another(start, round_):
    run = several_in_one_task(start(), ("t", {"x": 1}), ("u", {"x": 2}), ("t", {"x": 3}))
    run.go()
    (asked,) = run.pending()
    run.resume({asked.id: APPROVE})
    assert run.ran == [(asked.value["name"], asked.value["args"]["x"])]
    assert run.pending() == []
    others = [said for call, said in run.answers().items() if call != asked.value["tool_call_id"]]
    assert len(others) == 2
    assert all("create_agent" in said for said in others)


@pytest.mark.parametrize("id_", [None, "same"], ids=["without an id", "with the same id"])
def test_calls_of_one_task_that_go_by_one_name_do_not_get_each_others_answers(start, id_):
    run = start()
    (t, *_) = run.guard.wrap(run.tools)
    orders = iter([(1, 9999), (9999, 1)])  # as of threads, which start in any order each time

    def both(state):
        said, waits = [], None
        for x in next(orders):
            call = {"name": "t", "args": {"x": x}, "id": id_, "type": "tool_call"} if id_ else {"x": x}
            try:
                said.append(HumanMessage(getattr(answer := t.invoke(call), "content", answer)))
            except GraphInterrupt as interrupted:
                waits = waits or interrupted
        if waits is not None:
            raise waits
        return {"messages": said}

    graph = StateGraph(MessagesState)
    graph.add_node("both", both)
    graph.add_conditional_edges(START, lambda state: [Send("both", state)], ["both"])
    run.agent = graph.compile(checkpointer=run.checkpointer)
    run.go()
    (asked,) = run.pending()
    assert asked.value["args"] == {"x": 1}
    said = run.resume({asked.id: APPROVE})["messages"]
    assert run.ran == [("t", 1)]
    assert "asked about another call" in said[-2].content


def test_an_answer_that_ran_a_call_does_not_answer_the_question_of_a_fork(start):
    run = start().agent_of(turn(("t", {"x": 1})), middleware=True)
    run.go()
    before = run.agent.get_state(run.config).config
    run.resume(APPROVE)
    *_, first = (each for each in run.agent.get_state_history(run.config) if each.next == ("model",))
    run.agent.invoke(None, first.config)
    (fork,) = run.pending()
    run.agent.invoke(Command(resume=APPROVE), before)  # hears the first answer once more
    assert run.ran == [("t", 1)]
    assert "used its answer already" in run.answers()["call_0"]
    assert fork.value["name"] == "t"
