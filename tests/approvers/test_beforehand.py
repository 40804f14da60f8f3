"""Asking about all calls of a message before any runs: one interrupt, each answer for its own call, nothing twice."""

import json
from typing import Annotated, Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain.agents import create_agent
from langchain.agents.middleware import AgentMiddleware
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import HumanMessage
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.prebuilt import InjectedState
from langgraph.types import Command

from guarded_tools import Guard, InterruptApprover, Policy, Verdict, open_store
from guarded_tools.approval import pending
from guarded_tools.approvers.decisions import verdict, verdicts
from guarded_tools.approvers.protocol import CallAddress
from guarded_tools.approvers.questions import Form
from guarded_tools.audit import AuditLog
from guarded_tools.flow import run as walk
from guarded_tools.policy.document import ApprovalLimits
from tests.approvers.test_interrupt import APPROVE, ASK, Run, Scripted, turn

REJECT = {"type": "reject", "message": "no"}
TWO = turn(("t", {"x": 1}), ("u", {"x": 2}))


class Asked(Run):
    """An agent whose guard asks beforehand."""

    def __init__(self, *args, form="batched", approvals=None, **options):
        super().__init__(*args, **options)
        self.form = form
        self.policy |= {"approvals": approvals} if approvals else {}
        self.reopened()

    def reopened(self, store=None):
        """As another process has it: the same store, audit and checkpoints, all else anew."""
        self.guard = Guard(
            Policy.model_validate(self.policy),
            store=store or self.guard.store,
            approver=InterruptApprover(self.form),
            audit=AuditLog(self.audit_path),
            clock=self.clock,
        )
        return self

    def asking(self, *turns, before=(), config=None):
        self.agent = create_agent(
            Scripted(turns=list(turns)),
            self.tools,
            middleware=[*before, self.guard.middleware()],
            checkpointer=self.checkpointer,
        )
        self.config |= config or {}
        return self

    def one(self):
        (waiting,) = self.pending()
        return waiting.value


@pytest.fixture
def start(tmp_path, store, clock):
    return lambda **options: Asked(tmp_path, store, clock, **options)


def named(value):
    return [(action["name"], action["args"]["x"]) for action in value["action_requests"]]


async def test_one_answer_without_an_id_serves_two_approvals_of_one_message_and_each_runs_once(start):
    run = start(tools={"t": ASK | {"rate_limit": "5/minute"}}).asking(TWO)
    await run.agent.ainvoke({"messages": [HumanMessage("go")]}, run.config)
    value = run.one()
    assert named(value) == [("t", 1), ("u", 2)]
    assert sum(run.charges().values()) == 0
    await run.agent.ainvoke(Command(resume={"decisions": [APPROVE, REJECT]}), run.config)
    assert run.ran == [("t", 1)]
    assert "a human rejected it" in run.answers()["call_1"]
    assert sum(run.charges().values()) == 1
    kinds = run.kinds()
    assert kinds[:2] == [("asked", None)] * 2
    assert sorted(kinds[2:], key=str) == [
        ("admitted", None), ("answered", None), ("answered", None), ("refused", "rejected"), ("settled", "ok"),
    ]  # fmt: skip


def test_who_needs_no_human_runs_as_usual_and_what_is_denied_stays_denied(start):
    tools = {"u": {"action": "allow", "rate_limit": "1/hour"}, "asks_itself": {"action": "deny"}}
    run = start(tools=tools).asking(
        turn(("u", {"x": 1}), ("t", {"x": 2}), ("asks_itself", {"x": 3}), ("t", {"x": "no number"}))
    )
    run.go()
    assert named(run.one()) == [("t", 2)]
    assert run.ran == []
    run.resume({"decisions": [APPROVE]})
    assert sorted(run.ran) == [("t", 2), ("u", 1)]
    assert run.answers()["call_2"].startswith("DENIED")
    assert sum(run.charges().values()) == 1
    assert [outcome for kind, outcome in run.kinds("refused")] == ["denied"]


def test_another_process_asks_what_was_asked_and_takes_the_answers(start):
    run = start().asking(TWO)
    run.go()
    value = run.one()
    run.reopened().asking(TWO)
    run.agent.invoke(None, run.config)  # goes by the questions once more
    assert run.one() == value
    run.reopened().asking(TWO)
    run.resume({"decisions": [REJECT, APPROVE]})
    assert run.ran == [("u", 2)]
    assert run.kinds("asked", "answered") == [("asked", None)] * 2 + [("answered", None)] * 2


def test_a_policy_that_changes_while_a_human_thinks_changes_no_order_of_the_answers(start):
    run = start().asking(TWO)
    run.go()
    run.policy["tools"]["t"] = {"action": "allow"}  # nothing to ask about t any more
    run.reopened().asking(TWO)
    run.resume({"decisions": [REJECT, APPROVE]})
    assert run.ran == [("u", 2)]


MISDELIVERED = [
    APPROVE,
    [APPROVE],
    {"decisions": [APPROVE]},
    {"decisions": [APPROVE] * 3},
    {"decisions": []},
    True,
    "approve",
    {"decisions": [APPROVE, {"type": "yes"}]},
    {"decisions": [{"type": "edit", "edited_action": {"name": "u", "args": {"x": 7}}}, APPROVE]},
    {"decisions": [{"type": "accept", "args": {"action": "u", "args": {"x": 2}}}, APPROVE]},
    {"decisions": [APPROVE, APPROVE | {"question": "another"}]},
    {"decisions": [APPROVE, APPROVE | {"edited_action": {"name": "u", "args": {"x": 7}}}]},
]


@pytest.mark.parametrize("answer", MISDELIVERED, ids=repr)
def test_an_answer_that_does_not_fit_the_questions_refuses_all_of_them(start, answer):
    run = start().asking(TWO)
    run.go()
    run.resume(answer)
    assert run.ran == []
    assert run.pending() == []
    assert all("do not fit what was asked" in said for said in run.answers().values())
    assert run.kinds("refused") == [("refused", "unanswered")] * 2


NAMES = ["t", "u", "t"]
decision = st.one_of(
    st.just(APPROVE),
    st.just(REJECT),
    st.builds(
        lambda name, x: {"type": "edit", "edited_action": {"name": name, "args": {"x": x}}},
        st.sampled_from(NAMES), st.integers(100, 103),
    ),
    st.just({"type": "nonsense"}),
)  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("beforehand")


@settings(max_examples=50, deadline=None)
@given(st.lists(decision, max_size=4), st.permutations(range(3)), st.booleans(), st.booleans())
def test_whatever_comes_back_no_decision_runs_a_call_but_its_own(folder, decisions, order, names_them, restarts):
    run = Asked(folder, open_store("memory://"), lambda: 1000.0)
    calls = turn(*((name, {"x": at}) for at, name in enumerate(NAMES)))
    run.asking(calls).go()
    asked = [action["question"] for action in run.one()["action_requests"]]
    if names_them:
        decisions = [one | {"question": asked[at]} for one, at in zip(decisions, order, strict=False)]
    if restarts:
        run.reopened().asking(calls)
    run.resume({"decisions": decisions})
    fits = (
        len(decisions) == 3
        and all(one["type"] != "nonsense" and one.get("question", at) == at for one, at in zip(decisions, asked, strict=True))
        and all(one.get("edited_action", {}).get("name", name) == name for one, name in zip(decisions, NAMES, strict=True))
    )  # fmt: skip
    expected = [
        (name, one["edited_action"]["args"]["x"] if one["type"] == "edit" else at)
        for at, (name, one) in enumerate(zip(NAMES, decisions, strict=False))
        if fits and one["type"] != "reject"
    ]
    assert sorted(run.ran) == sorted(expected)
    assert run.pending() == []
    assert len(run.answers()) == 3


def test_each_of_two_approvals_counts_and_the_second_can_be_too_many(start):
    run = start(tools={"t": ASK | {"rate_limit": "1/hour"}}).asking(turn(("t", {"x": 1}), ("t", {"x": 2})))
    run.go()
    run.resume({"decisions": [APPROVE, APPROVE]})
    assert len(run.ran) == 1
    assert run.kinds("refused") == [("refused", "limited")]


def test_answers_that_come_too_late_run_nothing(start, clock):
    run = start().asking(TWO)
    run.go()
    assert run.one()["expires_at"] == clock.now + 600
    clock.now += 601
    run.resume({"decisions": [APPROVE, APPROVE]})
    assert run.ran == []
    assert all("expired" in said for said in run.answers().values())


def test_questions_that_were_withdrawn_run_nothing(start):
    run = start().asking(TWO)
    run.go()
    assert walk(pending.withdraw("thread", store=run.guard.store)) == 2
    run.resume({"decisions": [APPROVE, APPROVE]})
    assert run.ran == []


def test_a_message_with_more_calls_than_may_be_asked_about_leaves_one_interrupt(start):
    run = start(approvals={"max_pending": 2}).asking(turn(*(("t", {"x": x}) for x in range(4))))
    run.go()
    assert named(run.one()) == [("t", 0), ("t", 1)]
    run.resume({"decisions": [APPROVE, APPROVE]})
    assert sorted(run.ran) == [("t", 0), ("t", 1)]
    assert run.pending() == []
    assert ["must be answered before" in run.answers()[f"call_{at}"] for at in range(4)] == [False, False, True, True]


def test_a_replay_from_before_the_answers_asks_anew_and_takes_no_answer_beforehand(start):
    run = start().asking(TWO)
    run.go()
    before = run.agent.get_state(run.config).config
    run.resume({"decisions": [APPROVE, APPROVE]})
    assert len(run.ran) == 2
    run.agent.invoke(None, before)
    assert named(run.one()) == [("t", 1), ("u", 2)]
    run.resume({"decisions": [REJECT, REJECT]})
    run.agent.invoke(Command(resume={"decisions": [APPROVE, APPROVE]}), before)  # as a page does that was left open
    assert len(run.ran) == 2
    assert all("no answer to it" in said for said in run.answers().values())


def test_a_question_that_is_shown_once_more_takes_no_answer_that_was_given_before(start):
    run = start().asking(TWO)
    run.go()
    for entry, _ in run.guard.store.scan("approvals/asked/"):
        run.guard.store.take(f"approvals/asked/{entry.removeprefix('approvals/asked/')}")
    run.resume({"decisions": [APPROVE, APPROVE]})  # asks anew, and this is no answer to that
    assert run.ran == []
    assert all("no answer to it" in said for said in run.answers().values())


def test_agent_inbox_keeps_no_earlier_answer_for_a_question_that_is_shown_once_more(start):
    run = start(form="agent_inbox").asking(TWO)
    run.go()
    for entry, _ in run.guard.store.scan("approvals/asked/"):
        run.guard.store.take(f"approvals/asked/{entry.removeprefix('approvals/asked/')}")
    run.resume([{"type": "accept"}])
    assert run.one()["action_request"]["action"] == "u"
    run.resume([{"type": "accept"}])  # which goes by the first question, and its answer, once more
    assert run.ran == [("u", 2)]
    assert "no answer to it" in run.answers()["call_0"]


def own_question(start):
    """A run whose tool was approved, and waits for the answer to its own question; and the checkpoint before that."""
    run = start(tools={"asks_itself": ASK}).asking(turn(("asks_itself", {"x": 1})))
    run.go()
    before = run.agent.get_state(run.config).config
    run.resume({"decisions": [APPROVE]})
    assert run.one() == {"own question": 1}
    return run, before


def test_the_answer_to_a_tools_own_question_never_answers_the_guards(start):
    run, _ = own_question(start)
    for entry, _ in run.guard.store.scan("approvals/handed/"):  # as time does that passes
        run.guard.store.take(f"approvals/handed/{entry.removeprefix('approvals/handed/')}")
    edit = {"type": "edit", "edited_action": {"name": "asks_itself", "args": {"x": 99}}}
    run.resume(edit)
    assert run.ran == [("asks_itself", 1, edit)]
    assert [len(run.kinds(kind)) for kind in ("asked", "answered", "admitted", "settled")] == [1, 1, 1, 1]


def test_a_replay_of_an_answer_whose_execution_paused_begins_no_second_one(start):
    run, before = own_question(start)
    paused = run.agent.get_state(run.config).config
    run.agent.invoke(Command(resume={"decisions": [APPROVE]}), before)
    assert run.pending() == []
    assert "no answer to it" in run.answers()["call_0"]
    run.agent.invoke(Command(resume="mine"), paused)
    assert run.ran == [("asks_itself", 1, "mine")]
    assert len(run.kinds("admitted")) == 1


@pytest.fixture(params=["memory", "sqlite"])
def saver(request):
    if request.param == "memory":
        yield InMemorySaver()
        return
    with SqliteSaver.from_conn_string(":memory:") as kept:
        yield kept


def test_a_run_that_goes_on_without_an_answer_gives_none_to_the_next_question(start, saver):
    run = start(form="agent_inbox")
    run.checkpointer = saver
    run.asking(TWO).go()
    run.resume(APPROVE)
    for _ in range(2):
        run.agent.invoke(None, run.config)
        assert run.ran == []
        assert run.one()["action_request"]["action"] == "u"
    run.resume(APPROVE)
    assert sorted(run.ran) == [("t", 1), ("u", 2)]


@pytest.mark.parametrize("form", get_args(Form))
def test_nor_to_the_next_question_of_an_agent_within_a_tool(start, saver, form):
    run = start(form=form, tools={"delegate": {"action": "allow"}})
    run.checkpointer, tools = saver, run.tools[:2]

    @tool
    def delegate(x: int) -> str:
        """Hand work to another agent."""
        turns = [turn(("t", {"x": x})), turn(("u", {"x": 2}))]
        agent = create_agent(Scripted(turns=turns), tools, middleware=[run.guard.middleware()])
        return str(agent.invoke({"messages": [HumanMessage("go")]})["messages"][-1].content)

    run.tools = [delegate]
    run.asking(turn(("delegate", {"x": 1}))).go()
    answer = {"decisions": [APPROVE]}
    run.resume(answer)
    run.agent.invoke(None, run.config)
    assert run.ran == [("t", 1)]
    run.resume(answer)
    assert run.ran == [("t", 1), ("u", 2)]


def test_what_is_asked_is_what_the_tool_would_receive(start):
    seen = []

    @tool
    def note(x: int, who: Annotated[list, InjectedState("messages")], loud: bool = True) -> str:
        """Takes a note."""
        seen.append((x, len(who), loud))
        return "noted"

    run = start(tools={"note": ASK})
    run.tools.append(note)
    run.asking(turn(("note", {"x": "7"}), ("t", {"x": 1}))).go()
    assert run.one()["action_requests"][0]["args"] == {"x": 7, "loud": True}
    run.resume({"decisions": [APPROVE, REJECT]})
    assert seen == [(7, 2, True)]


def test_a_tool_with_a_question_of_its_own_keeps_it(start):
    run = start(tools={"asks_itself": ASK}).asking(turn(("asks_itself", {"x": 1}), ("t", {"x": 2})))
    run.go()
    run.resume({"decisions": [APPROVE, APPROVE]})
    assert run.one() == {"own question": 1}
    run.resume("mine")
    assert sorted(run.ran) == [("asks_itself", 1, "mine"), ("t", 2)]
    assert [len(run.kinds(kind)) for kind in ("asked", "answered", "admitted", "settled")] == [2, 2, 2, 2]


class Doubling(AgentMiddleware):
    """Changes arguments on their way."""

    def wrap_tool_call(self, request, handler):
        args = {"x": request.tool_call["args"]["x"] * 2}
        return handler(request.override(tool_call=request.tool_call | {"args": args}))


def test_arguments_that_change_after_a_human_saw_them_run_nothing(start):
    run = start().asking(TWO, before=[Doubling()])
    run.go()
    run.resume({"decisions": [APPROVE, APPROVE]})
    assert run.ran == []
    assert all("changed after a human was asked" in said for said in run.answers().values())


class Events(BaseCallbackHandler):
    def __init__(self):
        self.began = []

    def on_tool_start(self, serialized, *args, **kwargs):
        self.began.append(serialized["name"])


def test_who_watches_a_run_sees_each_tool_begin_once(start):
    events = Events()
    run = start().asking(TWO, config={"callbacks": [events]})
    run.go()
    assert events.began == []
    run.resume({"decisions": [APPROVE, APPROVE]})
    assert sorted(events.began) == ["t", "u"]


def test_another_guard_around_the_tools_counts_each_call_once(start, tmp_path, store, clock):
    other = Guard(
        Policy.model_validate({"version": "1", "default": "allow", "tools": {"t": {"rate_limit": "5/hour"}}}),
        store=store, audit=AuditLog(tmp_path / "other.jsonl"), clock=clock,
    )  # fmt: skip
    run = start()
    run.tools = other.wrap(run.tools)
    run.asking(TWO).go()
    run.resume({"decisions": [APPROVE, APPROVE]})
    assert len(run.ran) == 2
    assert {usage.counter: usage.used for usage in other.usage() if "rate_limit" in usage.counter} == {
        "/t/rate_limit": 1
    }


def test_an_answer_that_waits_for_its_call_is_not_left_behind_by_a_later_turn(store):
    limits, place = ApprovalLimits(), CallAddress("call", "task", "thread", "1")
    for question in ("answered", "open"):
        walk(pending.claim("s", question, 60.0, limits, place, store=store))
    store.put(pending.handed_key("answered"), b"{}", 60.0)
    assert walk(pending.leave_behind("s", place._replace(turn="2"), store=store)) == 1
    assert walk(pending.is_withdrawn("open", store=store))
    assert not walk(pending.is_withdrawn("answered", store=store))


def test_a_store_that_fails_runs_nothing(start):
    run = start().asking(TWO)
    run.go()
    run.guard.store.put(f"approvals/handed/{run.one()['action_requests'][0]['question']}", b"[", 60)
    for key, _ in run.guard.store.scan("approvals/asked_together/"):
        name = key if key.startswith("approvals/") else f"approvals/asked_together/{key}"
        run.guard.store.put(name, b'[["no", "questions"]]', 60)
    run.resume({"decisions": [APPROVE, APPROVE]})
    assert run.ran == []


@pytest.mark.parametrize("form", ["batched", "agent_inbox"])
def test_an_agent_within_a_tool_that_was_asked_about_asks_in_its_turn(start, form):
    run = start(form=form, tools={"delegate": ASK})
    tools = run.tools[:2]

    @tool
    def delegate(x: int) -> str:
        """Hand work to another agent."""
        agent = create_agent(Scripted(turns=[TWO]), tools, middleware=[run.guard.middleware()])
        return str(
            [m.content for m in agent.invoke({"messages": [HumanMessage("go")]})["messages"] if m.type == "tool"]
        )

    run.tools = [delegate, *tools]
    calls = turn(("delegate", {"x": 0}), ("t", {"x": 5}))
    run.asking(calls).go()
    for _ in range(2 if form == "batched" else 4):
        one = APPROVE if form == "agent_inbox" else {"decisions": [APPROVE, APPROVE]}
        run.one()
        run.reopened().asking(calls)
        run.resume(one)
    assert run.pending() == []
    assert sorted(run.ran) == [("t", 1), ("t", 5), ("u", 2)]
    assert len(run.kinds("admitted")) == 4


# One after the other, as Agent Inbox answers


def test_agent_inbox_gets_one_question_after_the_other_in_its_own_form(start):
    run = start(form="agent_inbox").asking(TWO)
    run.go()
    value = run.one()
    assert value["action_request"] == {"action": "t", "args": {"x": 1}}
    assert value["config"] == {
        "allow_accept": True, "allow_edit": True, "allow_respond": True, "allow_ignore": True,
    }  # fmt: skip
    assert "action_requests" not in value
    assert "to refuse:         Ignore" in value["description"]
    json.dumps(value)
    run.resume([{"type": "accept", "args": {"action": "t", "args": {"x": 1}}}])
    assert run.ran == []  # nothing runs before all are answered
    assert run.one()["action_request"]["action"] == "u"
    run.reopened().asking(TWO)
    run.resume([{"type": "ignore", "args": None}])
    assert run.ran == [("t", 1)]
    assert "a human rejected it" in run.answers()["call_1"]


def test_agent_inbox_is_asked_again_where_its_answer_says_nothing(start):
    run = start(form="agent_inbox").asking(TWO)
    run.go()
    run.resume([{"type": "accept", "args": {"action": "u", "args": {"x": 2}}}])
    assert "cannot switch the tool" in run.one()["error"]
    run.resume([{"type": "edit", "args": {"action": "t", "args": {"x": 7}}}])
    run.resume([{"type": "response", "args": "forty"}])
    assert run.ran == [("t", 7)]
    assert run.answers()["call_1"].endswith("\nforty")


def test_a_second_click_on_one_question_does_not_approve_the_next(start):
    calls = turn(("t", {"x": 1}), ("t", {"x": 500}))
    run = start(form="agent_inbox").asking(calls)
    run.go()
    click = [{"type": "accept", "args": {"action": "t", "args": {"x": 1}}}]
    run.resume(click)
    run.resume(click)
    assert "the answer to another question" in run.one()["error"]
    assert run.one()["action_request"]["args"] == {"x": 500}
    assert run.ran == []
    run.resume([{"type": "ignore", "args": None}])
    assert run.ran == [("t", 1)]


@pytest.mark.parametrize(
    ("shown", "said", "same"),
    [
        ({"a": 5}, {"a": 5.0}, True),
        ({"a": 5, "b": {"c": [1, True, None]}}, {"a": "5", "b": '{"c":[1,true,null]}'}, True),  # edited, and put back
        ({"id": 2**53 + 1}, {"id": 2**53}, True),  # as JavaScript has it
        ({"a": "5"}, {"a": 5}, True),
        ({"a": True}, {"a": 1}, False),
        ({"a": 5}, {"a": 6}, False),
        ({"a": 5}, {}, False),
        ({"a": 5}, {"a": 5, "b": 1}, False),
        ({"a": 5}, {"a": float("nan")}, False),
        ({"a": 10**400}, {"a": 10**400 + 1}, False),
    ],
)
def test_an_approval_that_says_of_which_arguments_it_is_has_to_be_of_those(shown, said, same):
    answer = {"type": "accept", "args": {"action": "t", "args": said}}
    assert verdict("t", shown, {"type": "approve"}).kind == verdict("t", shown, {"type": "accept", "args": None}).kind
    if same:
        assert verdict("t", shown, answer).kind == "approve"
    else:
        with pytest.raises(ValueError, match=r"another question|not JSON compliant"):
            verdict("t", shown, answer)


@pytest.mark.parametrize("form", ["batched", "agent_inbox"])
def test_without_the_middleware_each_call_asks_by_itself(start, form):
    run = start(form=form).agent_of(TWO)
    run.go()
    assert len(run.pending()) == 2
    run.resume({waiting.id: APPROVE for waiting in run.pending()})
    assert len(run.ran) == 2


@pytest.mark.parametrize("form", ["batched", "agent_inbox"])
def test_without_a_checkpointer_each_call_is_refused(start, form):
    run = start(form=form)
    run.checkpointer = None
    run.asking(TWO)
    result = run.go()
    assert run.ran == []
    assert "__interrupt__" not in result
    assert all("checkpointer" in m.content for m in result["messages"] if m.type == "tool")


def test_a_form_that_does_not_exist_is_refused():
    with pytest.raises(ValueError, match="per_call, batched, agent_inbox"):
        InterruptApprover("batch")


def test_the_schema_of_an_answer_names_each_question(start):
    run = start().asking(TWO)
    run.go()
    value = run.one()
    each: list[dict[str, Any]] = value["response_schema"]["properties"]["decisions"]["prefixItems"]
    ids = [action["question"] for action in value["action_requests"]]
    assert [{branch["properties"]["question"]["const"] for branch in one["oneOf"]} for one in each] == [
        {i} for i in ids
    ]
    read = verdicts([("q", "t")], [APPROVE | {"question": "q"}])
    assert read == [Verdict.approve()]


def test_calls_in_two_agents_of_one_middleware_are_shown_with_their_own_tools(start):
    @tool("t")
    def other(x: int, y: int = 5) -> str:
        """Another t."""
        return f"other {x} {y}"

    run = start().asking(turn(("t", {"x": 1})))
    shared = run.guard.middleware()
    agents = [
        create_agent(Scripted(turns=[turn(("t", {"x": 1}))]), tools, middleware=[shared], checkpointer=InMemorySaver())
        for tools in (run.tools, [other])
    ]
    configs = [{"configurable": {"thread_id": name}} for name in ("one", "two")]
    asked = [
        agent.invoke({"messages": [HumanMessage("go")]}, config) for agent, config in zip(agents, configs, strict=True)
    ]
    args = [one["__interrupt__"][0].value["action_requests"][0]["args"] for one in asked]
    assert args == [{"x": 1}, {"x": 1, "y": 5}]
    for agent, config in zip(agents, configs, strict=True):
        done = agent.invoke(Command(resume={"decisions": [APPROVE]}), config)
        assert done["messages"][-2].content in ("t1", "other 1 5")
