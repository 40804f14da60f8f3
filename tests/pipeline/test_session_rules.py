"""Rules across calls where calls meet them: asked, refused, shown, resumed, told, ended by a human."""

from __future__ import annotations

import asyncio
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode
from langgraph.types import Command, Send, interrupt

from guarded_tools import Guard, Policy, ToolCall, ToolDenied, Verdict, open_store
from guarded_tools.approvers.interrupt import InterruptApprover
from guarded_tools.approvers.protocol import who
from guarded_tools.stores.memory import MemoryStore
from tests.fakes import T0, FrozenClock

TRIFECTA = {
    "inbox": {"risk": "read", "labels": ["untrusted"]},
    "crm": {"risk": "read", "labels": ["private"]},
    "mail": {"risk": "write", "labels": ["outward"]},
}


class Session:
    """A guard with one session, whose human answers from a list and whose bodies say that they ran."""

    def __init__(self, folder, tools, driver="sync", answers=(), **options):
        flow = options.pop("flow", None)
        policy = {"version": "1", "default": "deny", "tools": tools} | ({"flow": flow} if flow else {})
        self.driver, self.answers, self.asked = driver, list(answers), []
        self.clock = FrozenClock(T0)
        self.path = folder / "audit.jsonl"
        options = {"store": open_store("memory://"), "clock": self.clock, "approver": self._answer} | options
        self.guard = Guard(Policy.model_validate(policy), audit=self.path, session="s", **options)

    def _answer(self, request):
        self.asked.append(request)
        answer = self.answers.pop(0) if self.answers else True
        return answer(request) if callable(answer) else answer

    def __call__(self, name, raises=None, session="s", **args):
        def body(given):
            if raises is not None:
                raise raises
            return f"{name} ran"

        async def abody(given):
            return body(given)

        call = ToolCall(name, args, session)
        if self.driver == "sync":
            return self.guard.call(call, body)
        return asyncio.run(self.guard.acall(call, abody))

    def denied(self, name, **args):
        with pytest.raises(ToolDenied) as denied:
            self(name, **args)
        return denied.value

    def lines(self, *kinds):
        lines = [json.loads(line) for line in self.path.read_text().splitlines()]
        return [line for line in lines if line["kind"] in kinds]


@pytest.fixture(params=["sync", "async"])
def session(tmp_path, request):
    return lambda tools, *answers, **options: Session(tmp_path, tools, request.param, answers, **options)


def test_the_third_of_three_is_asked_about_and_told_why(session):
    s = session(TRIFECTA, flow="trifecta")
    for name in ("mail", "inbox", "mail", "crm"):
        assert s(name) == f"{name} ran"
    assert s.asked == []
    assert s("mail") == "mail ran"
    (question,) = s.asked
    assert (question.rule, question.remember, question.across) == ("/flow", "never", ("/flow",))
    assert question.reason == (
        "this session read untrusted content (inbox, 2027-01-15 08:00 UTC)"
        " and read private data (crm, 2027-01-15 08:00 UTC)"
    )
    (asked,) = s.lines("asked")
    assert (asked["rule"], asked["message"]) == ("/flow", question.reason)
    assert [line.get("labels") for line in s.lines("admitted")] == [
        ["outward"],
        ["untrusted"],
        ["outward"],
        ["private"],
        ["outward"],
    ]


def test_another_session_is_another_session(session):
    s = session(TRIFECTA, flow="trifecta")
    s("inbox")
    s("crm", session="t")
    s("mail")
    s("mail", session="t")
    assert s.asked == []


def test_without_an_approver_what_is_asked_is_refused(session):
    s = session(TRIFECTA, flow="trifecta", approver=None)
    s("inbox"), s("crm")
    denied = s.denied("mail")
    assert denied.outcome == "unanswered"
    assert denied.decision.rule == "/flow"


def test_a_rule_that_denies_says_what_ends_it_and_asks_nobody(session):
    after = [{"labels": ["untrusted"], "then": "deny", "message": "not after strangers"}]
    s = session({**TRIFECTA, "drop": {"after": after, "approval": True}})
    assert s("drop") == "drop ran"
    s("inbox")
    denied = s.denied("drop")
    assert (denied.outcome, denied.decision.rule) == ("denied", "/tools/drop/after/0")
    assert "not after strangers: this session read untrusted content (inbox, 2027-01-15 08:00 UTC)" in str(denied)
    assert "until a human clears the label" in str(denied)
    assert len(s.asked) == 1
    (refused,) = s.lines("refused")
    assert refused["rule"] == "/tools/drop/after/0"
    assert "read untrusted content (inbox" in refused["message"]


def test_a_label_comes_with_being_admitted_whatever_becomes_of_the_call(session):
    s = session({**TRIFECTA, "drop": {"after": [{"labels": ["untrusted"], "then": "deny"}]}})
    with pytest.raises(TimeoutError):
        s("inbox", raises=TimeoutError())
    assert s.denied("drop").outcome == "denied"


def test_a_refused_call_brings_nothing(session):
    tools = {**TRIFECTA, "drop": {"after": [{"labels": ["untrusted"], "then": "deny"}]}}
    tools["inbox"] = {**tools["inbox"], "limits": [{"counter": "n", "window": "hour", "max": 1, "count": "args.n"}]}
    s = session(tools)
    assert s.denied("inbox", n=2).outcome == "limited"
    assert s("drop") == "drop ran"
    assert s("inbox", n=1) == "inbox ran"
    assert s.denied("drop").outcome == "denied"


def test_what_is_told_pairs_a_call_with_its_own_time_and_hides_nothing(session):
    odd = "fetch\x1b[2J\n\u202ex"
    drop = {"after": [{"labels": ["untrusted"], "then": "approve"}, {"tools": ["fetch*"], "then": "approve"}]}
    s = session({"fetch*": {"labels": ["untrusted"]}, "drop": drop})
    s(odd)
    s.clock.advance(600)
    s("fetch_b")
    s("drop")
    shown = r"fetch\x1b[2J\n\u202ex"
    assert s.asked[0].reason == (
        f"this session read untrusted content ({shown}, 2027-01-15 08:00 UTC; most recently 2027-01-15 08:10 UTC);"
        f" this session called {shown} (2027-01-15 08:00 UTC; fetch* most recently 2027-01-15 08:10 UTC)"
    )


def test_within_lets_go_in_time(session):
    s = session({**TRIFECTA, "drop": {"after": [{"labels": ["untrusted"], "within": "1h", "then": "deny"}]}})
    s("inbox")
    s.clock.advance(3_599)
    assert "tell the user" in str(s.denied("drop"))
    s.clock.advance(2)
    assert s("drop") == "drop ran"


def test_an_after_with_when_asks_about_the_calls_that_it_speaks_of(session):
    when = [{"path": "args.to", "op": "not_in", "value": ["ann"]}]
    after = [{"labels": ["untrusted"], "when": when, "then": "approve"}]
    s = session({"inbox": {"labels": ["untrusted"]}, "mail": {"after": after}}, True, False)
    assert s("mail", to="eve") == "mail ran"  # nothing was read yet
    s("inbox")
    assert s("mail", to="ann") == "mail ran"
    assert s.asked == []
    assert s("mail", to="eve") == "mail ran"
    with pytest.raises(ToolDenied):
        s("mail", to="bob")
    assert [(request.rule, dict(request.args)) for request in s.asked] == [
        ("/tools/mail/after/0", {"to": "eve"}),
        ("/tools/mail/after/0", {"to": "bob"}),
    ]


def test_an_edit_of_which_an_after_speaks_is_not_covered_by_its_answer(session):
    """A human who was asked about one recipient has not been told what speaks against another."""
    when = [{"path": "args.to", "op": "not_in", "value": ["ann"]}]
    after = [{"labels": ["untrusted"], "when": when, "then": "approve"}]
    tools = {"inbox": {"labels": ["untrusted"]}, "mail": {"approval": True, "after": after}}
    s = session(tools, Verdict.edit({"to": "eve"}), True)
    s("inbox")
    denied = s.denied("mail", to="ann")
    assert "the human who was asked was not shown" in str(denied)
    assert "this session did more" not in str(denied)
    assert "Call it once more" in str(denied)
    assert s("mail", to="ann") == "mail ran"


NEEDS = {
    "create": {},
    "start": {"needs": [{"tool": "create", "same": {"args.id": "args.of"}, "within": "1h"}]},
}


def test_a_need_is_met_by_a_success_with_the_same_value(session):
    s = session(NEEDS)
    denied = s.denied("start", of="a")
    assert (denied.outcome, denied.decision.rule) == ("denied", "/tools/start/needs/0")
    assert "create has not succeeded with the same values in this session in the last 1 hour" in str(denied)
    assert "Call create first" in str(denied)
    s("create", id="a")
    assert s("start", of="a") == "start ran"
    assert s.denied("start", of="b").outcome == "denied"
    s.clock.advance(3_601)
    assert s.denied("start", of="a").outcome == "denied"


def test_a_call_whose_end_is_unknown_satisfies_no_need(session):
    s = session(NEEDS)
    with pytest.raises(TimeoutError):
        s("create", id="a", raises=TimeoutError())
    assert s.denied("start", of="a").outcome == "denied"


def test_what_a_human_answered_in_place_of_a_tool_satisfies_no_need(session):
    s = session({**NEEDS, "create": {"approval": True}}, Verdict.respond("there it is"))
    assert s.denied("create", id="a").outcome == "responded"
    assert s.denied("start", of="a").outcome == "denied"


def test_an_edit_brings_and_finds_what_was_run(session):
    tools = {
        "read": {"approval": True, "labels": [{"label": "x", "when": [{"path": "args.n", "op": "gt", "value": 5}]}]},
        "drop": {"after": [{"labels": ["x"], "then": "deny"}]},
    }
    s = session(tools, Verdict.edit({"n": 1}), Verdict.edit({"n": 9}))
    s("read", n=9)
    assert s("drop") == "drop ran"
    s("read", n=1)
    assert s.denied("drop").outcome == "denied"


def test_no_remembered_approval_answers_what_the_session_did_since(session):
    tools = {**TRIFECTA, "mail": {"risk": "write", "labels": [], "approval": {"remember": "tool"}}}
    s = session(tools, Verdict.approve("tool"), Verdict.approve("tool"), Verdict.reject("no"), flow="trifecta")
    s("mail"), s("mail")
    assert len(s.asked) == 1
    s("inbox"), s("crm")
    s("mail")  # approved "for the tool", and not remembered
    assert s.asked[1].remember == "never"
    assert s.denied("mail").outcome == "rejected"


def test_an_approval_covers_the_rules_that_were_shown(session):
    """While a human looks at a question, a call beside it brings in what another rule asks about."""
    s = session({**TRIFECTA, "mail": {"risk": "write", "labels": [], "approval": True}}, flow="trifecta")

    def meanwhile(request):
        beside = Session.__new__(Session)
        beside.__dict__ = {**s.__dict__, "driver": "sync"}
        with ThreadPoolExecutor(1) as pool:
            for name in ("inbox", "crm"):
                pool.submit(beside, name).result()
        return True

    s.answers.append(meanwhile)
    denied = s.denied("mail")
    assert (denied.outcome, denied.decision.rule) == ("denied", "/tools/mail/approval")
    assert "call it once more" in str(denied).lower()
    assert s("mail") == "mail ran"
    assert "read untrusted content" in s.asked[1].reason


def test_calls_of_one_turn_see_each_other_in_the_order_of_their_admission(tmp_path):
    """Each brings a label that stops the other: whichever is admitted first, the other is refused."""
    tools = {
        "a": {"labels": ["a"], "after": [{"labels": ["b"], "then": "deny"}]},
        "b": {"labels": ["b"], "after": [{"labels": ["a"], "then": "deny"}]},
    }
    s = Session(tmp_path, tools)
    for turn in range(50):
        ready = threading.Barrier(8)
        ran = []

        def one(name, turn=turn, ready=ready, ran=ran):
            ready.wait()
            try:
                s(name, session=f"s{turn}")
            except ToolDenied:
                return
            ran.append(name)

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(one, "abababab"))
        assert len(set(ran)) == 1
        assert len(ran) == 4


def test_a_rule_on_trial_looks_and_counts_apart(session):
    shadow = {**TRIFECTA["mail"], "shadow": True, "after": [{"labels": ["untrusted"], "then": "approve"}]}
    s = session({**TRIFECTA, "mail": shadow, "drop": {"shadow": True, "needs": [{"tool": "crm"}]}})
    s("mail"), s("inbox"), s("mail"), s("drop"), s("crm"), s("drop")
    assert s.asked == []
    tried = [(line["tool"], line["outcome"], line["rule"]) for line in s.lines("shadow")]
    assert tried == [
        ("mail", "ok", "/tools/mail"),
        ("mail", "suspended", "/tools/mail/after/0"),
        ("drop", "denied", "/tools/drop/needs/0"),
        ("drop", "ok", "/tools/drop"),
    ]


def test_a_human_ends_a_label_and_the_audit_says_who_and_why(session):
    s = session(TRIFECTA, flow="trifecta")
    s("inbox"), s("crm")
    assert [(c.name, c.tool, c.first) for c in s.guard.labels("s")] == [
        ("private", "crm", T0),
        ("untrusted", "inbox", T0),
    ]
    assert s.guard.clear_label("untrusted", session="s", by="ann", why="it was ours")
    assert s("mail") == "mail ran"
    assert s.asked == []
    (line,) = s.lines("control")
    assert line["message"] == "clears the label 'untrusted' of session:s by ann: it was ours"
    assert s.guard.clear_label("untrusted", session="s") is False
    assert len(s.lines("control")) == 1, "nothing was taken away, so nothing is told"
    assert s.guard.clear_label("private", session="s")
    assert f"by {who()}" in s.lines("control")[-1]["message"]
    with pytest.raises(TypeError, match="one of the two"):
        s.guard.clear_label("untrusted")


def test_a_store_that_knows_nothing_of_such_rules_serves_policies_without_them(tmp_path):
    class Earlier(MemoryStore):
        def reserve(self, charges, now=None, scopes=()):  # type: ignore[override]
            return super().reserve(charges, now, scopes)

        def peek(self, charges, now=None, scopes=()):  # type: ignore[override]
            return super().peek(charges, now, scopes)

    s = Session(tmp_path, {"a": {"approval": True}, "b": {"labels": ["x"]}}, store=Earlier())
    assert s("a") == "a ran"
    assert s.denied("b").outcome == "failed_closed"


def one_task_a_call(guard: Guard, *tools: Any) -> Any:
    """Make a graph whose turns are given to it, and whose calls run each in a task of its own, as an agent's do."""

    def one_each(state: MessagesState) -> list[Send]:
        calls = state["messages"][-1].tool_calls
        return [Send("tools", {"__type": "tool_call_with_context", "tool_call": c, "state": state}) for c in calls]

    graph = StateGraph(MessagesState)
    graph.add_node("tools", ToolNode(guard.wrap(list(tools))))
    graph.add_conditional_edges(START, one_each, ["tools"])
    graph.add_edge("tools", END)
    return graph.compile(checkpointer=InMemorySaver())


def test_a_run_that_was_suspended_by_a_rule_across_calls_goes_on_with_the_answer(tmp_path):
    """LangGraph runs the node again; the question is found again though nothing but the session asked it."""
    ran: list[str] = []

    def make(name: str) -> Any:
        def body() -> str:
            """Do it."""
            ran.append(name)
            return name

        return tool(name)(body)

    policy = Policy.model_validate({"version": "1", "default": "deny", "flow": "trifecta", "tools": TRIFECTA})
    guard = Guard(policy, store="memory://", audit=tmp_path / "audit.jsonl", approver=InterruptApprover())
    app = one_task_a_call(guard, *(make(name) for name in TRIFECTA))
    config = {"configurable": {"thread_id": "t"}}

    def send(*names: str) -> Any:
        calls = [{"name": name, "args": {}, "id": f"{name}-{len(ran)}", "type": "tool_call"} for name in names]
        return app.invoke({"messages": [{"role": "assistant", "content": "", "tool_calls": calls}]}, config)

    send("inbox")
    send("crm")
    asked = send("mail")
    (question,) = asked["__interrupt__"]
    assert "read untrusted content (inbox" in str(question.value)
    assert ran == ["inbox", "crm"]
    answered = app.invoke(Command(resume={question.id: {"decisions": [{"type": "approve"}]}}), config)
    assert answered["messages"][-1].content == "mail"
    assert ran == ["inbox", "crm", "mail"]


def test_a_question_that_is_shown_again_says_what_the_session_did(tmp_path):
    """Whoever answers one of two questions is shown the other once more; and so is whoever goes back to a checkpoint."""
    tools = {**TRIFECTA, "inbox": {"risk": "read", "labels": ["untrusted", "private"]}}
    policy = Policy.model_validate({"version": "1", "default": "deny", "flow": "trifecta", "tools": tools})
    guard = Guard(policy, store="memory://", audit=tmp_path / "audit.jsonl", approver=InterruptApprover())

    @tool
    def mail(to: str) -> str:
        """Send it."""
        return f"to {to}"

    app = one_task_a_call(guard, mail)
    config: Any = {"configurable": {"thread_id": "t"}}
    guard.call(ToolCall("inbox", {}, "t"), lambda args: "words")
    calls = [{"name": "mail", "args": {"to": to}, "id": to, "type": "tool_call"} for to in ("ann", "bob")]
    asked = app.invoke({"messages": [{"role": "assistant", "content": "", "tool_calls": calls}]}, config)
    # The older LangGraph hands questions over in the order in which their threads came to them.
    ann, bob = sorted(asked["__interrupt__"], key=lambda question: question.value["args"]["to"])
    reason = "read untrusted content (inbox"
    assert reason in str(ann.value)
    assert reason in str(bob.value)

    def answer(question: Any, where: Any) -> Any:
        return app.invoke(Command(resume={question.id: {"decisions": [{"type": "approve"}]}}), where)

    (again,) = answer(ann, config)["__interrupt__"]
    assert again.value == bob.value
    waiting = next(state for state in app.get_state_history(config) if len(state.tasks) > 1)
    forked = app.invoke(None, waiting.config)["__interrupt__"]
    assert all(reason in str(question.value) for question in forked)
    shown = {str(question.value): question for question in forked}
    (bob,) = (question for text, question in shown.items() if "bob" in text)
    assert "to bob" in [message.content for message in answer(bob, config)["messages"]]


def test_a_body_that_paused_brings_its_labels_when_it_goes_on(tmp_path):
    """It reads when it runs, and that may be long after the call was admitted, or after a human took the label away."""

    @tool
    def inbox() -> str:
        """Read what somebody chooses."""
        return f"words of {interrupt('whose?')}"

    tools = {"inbox": {"labels": ["untrusted"]}, "drop": {"after": [{"labels": ["untrusted"], "then": "deny"}]}}
    policy = Policy.model_validate({"version": "1", "default": "deny", "tools": tools})
    clock = FrozenClock(T0)
    guard = Guard(policy, store="memory://", audit=tmp_path / "audit.jsonl", clock=clock)
    (wrapped,) = guard.wrap([inbox])
    graph = StateGraph(MessagesState)
    graph.add_node("read", lambda state: {"messages": [wrapped.invoke({})]})
    graph.add_edge(START, "read")
    graph.add_edge("read", END)
    app = graph.compile(checkpointer=InMemorySaver())
    config: Any = {"configurable": {"thread_id": "t"}}
    assert app.invoke({"messages": []}, config)["__interrupt__"]
    (label,) = guard.labels("t")
    assert label.last == T0
    assert guard.clear_label("untrusted", session="t", by="ann", why="nothing was read yet")
    clock.advance(7_200)
    assert app.invoke(Command(resume="eve"), config)["messages"][-1].content == "words of eve"
    (label,) = guard.labels("t")
    assert (label.name, label.last) == ("untrusted", T0 + 7_200)
    with pytest.raises(ToolDenied):
        guard.call(ToolCall("drop", {}, "t"), lambda args: "dropped")
