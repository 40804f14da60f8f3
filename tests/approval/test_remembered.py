"""Approvals that are remembered: how widely, for whom, how long, and how they end."""

import pytest

from guarded_tools.approval import remembered
from guarded_tools.errors import StoreError
from guarded_tools.flow import run
from guarded_tools.values import Verdict


class Human:
    """Answers the same every time, and notes what it was asked."""

    def __init__(self, verdict):
        self.verdict = verdict
        self.asked = []

    def __call__(self, request):
        self.asked.append(request.args)
        return self.verdict


same, tool = Verdict.approve("same", by="ann@approvals"), Verdict.approve("tool", by="ann@approvals")


def test_same_covers_exactly_these_arguments(approvals):
    human = Human(same)
    first = approvals.ask(approvals.request({"x": 1}, remember="same"), human)
    second = approvals.ask(approvals.request({"x": 1}, remember="same"), human)
    assert (first.cause, second.cause, second.verdict.kind, second.verdict.by) == (
        "human",
        "remembered",
        "approve",
        "ann@approvals",
    )
    approvals.ask(approvals.request({"x": 2}, remember="same"), human)
    assert human.asked == [{"x": 1}, {"x": 2}]


def test_tool_covers_any_arguments_of_this_tool(approvals):
    human = Human(tool)
    approvals.ask(approvals.request({"x": 1}, remember="tool"), human)
    assert approvals.ask(approvals.request({"y": "any"}, remember="tool"), human).cause == "remembered"
    assert approvals.ask(approvals.request({"x": 1}, remember="tool", tool="u"), human).cause == "human"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"x": 1}, {"x": 1.0}),
        ({"x": 1}, {"x": "1"}),
        ({"x": 1}, {"x": True}),
        ({"x": None}, {}),
        ({"x": "\u00e9"}, {"x": "e\u0301"}),
        ({"x": 10**20}, {"x": 10**20 + 1}),
        ({"x": [1, 2]}, {"x": [2, 1]}),
        ({"x": {"a": 1}}, {"x": {"a": 1, "b": None}}),
        ({"x": "a"}, {"x": "a "}),
        ({"x": 0.0}, {"x": -0.0}),
    ],
    ids=repr,
)
def test_similar_arguments_are_other_arguments(approvals, one, other):
    human = Human(same)
    approvals.ask(approvals.request(one, remember="same"), human)
    assert approvals.ask(approvals.request(other, remember="same"), human).cause == "human"


def test_the_order_of_keys_says_nothing(approvals):
    human = Human(same)
    approvals.ask(approvals.request({"a": 1, "b": {"c": 2, "d": 3}}, remember="same"), human)
    assert (
        approvals.ask(approvals.request({"b": {"d": 3, "c": 2}, "a": 1}, remember="same"), human).cause == "remembered"
    )


@pytest.mark.parametrize("verdict", [same, tool])
@pytest.mark.parametrize("where", [{"session": "two"}, {"grant": "acme"}, {"server": "elsewhere"}])
def test_memory_is_bound_to_session_grant_and_server(approvals, verdict, where):
    human = Human(verdict)
    approvals.ask(approvals.request(remember="tool"), human)
    if "server" in where:
        where = where | {"digest": "of another server"}
    assert approvals.ask(approvals.request(remember="tool", **where), human).cause == "human"


@pytest.mark.parametrize(
    ("permitted", "verdict", "next_cause"),
    [("never", same, "human"), ("never", tool, "human"), ("same", tool, "human"), ("tool", same, "remembered")],
)
def test_a_human_cannot_remember_more_than_the_policy_permits(approvals, permitted, verdict, next_cause):
    human = Human(verdict)
    assert approvals.ask(approvals.request(remember=permitted), human).outcome is None
    assert approvals.ask(approvals.request(remember="tool"), human).cause == next_cause


@pytest.mark.parametrize("risk", ["destructive", "financial"])
@pytest.mark.parametrize("verdict", [same, tool])
def test_destructive_and_financial_tools_are_asked_about_every_time(approvals, risk, verdict):
    human = Human(verdict)
    for _ in range(2):
        assert approvals.ask(approvals.request(remember="tool", risk=risk), human).cause == "human"
    assert run(remembered.remembered(approvals.store)) == []


@pytest.mark.parametrize(("verdict", "now_permits"), [(same, "never"), (tool, "same"), (tool, "never")])
def test_memory_is_held_to_what_the_policy_permits_now(approvals, verdict, now_permits):
    human = Human(verdict)
    approvals.ask(approvals.request(remember="tool"), human)
    assert approvals.ask(approvals.request(remember=now_permits), human).cause == "human"


def test_a_tool_that_became_destructive_is_asked_about(approvals):
    human = Human(tool)
    approvals.ask(approvals.request(remember="tool"), human)
    assert approvals.ask(approvals.request(remember="tool", risk="destructive"), human).cause == "human"


def test_memory_ends(approvals):
    human = Human(same)
    approvals.ask(approvals.request(remember="same", remember_for=100), human)
    approvals.clock.now += 99.9
    assert approvals.ask(approvals.request(remember="same", remember_for=100), human).cause == "remembered"
    approvals.clock.now += 0.1
    assert approvals.ask(approvals.request(remember="same", remember_for=100), human).cause == "human"


def test_memory_ends_within_a_day_whatever_the_policy_says(approvals):
    human = Human(same)
    forever = {"remember": "same", "remember_for": 1e9}
    approvals.ask(approvals.request(**forever), human)
    approvals.clock.now += 86_400
    assert approvals.ask(approvals.request(**forever), human).cause == "human"


def test_a_policy_that_shortens_memory_shortens_what_is_remembered(approvals):
    human = Human(same)
    approvals.ask(approvals.request(remember="same", remember_for=3600), human)
    approvals.clock.now += 120
    assert approvals.ask(approvals.request(remember="same", remember_for=60), human).cause == "human"


def test_a_clock_that_steps_back_before_the_approval_is_not_trusted(approvals):
    human = Human(same)
    approvals.ask(approvals.request(remember="same"), human)
    approvals.clock.now -= 10
    assert approvals.ask(approvals.request(remember="same", expires_at=approvals.clock() + 600), human).cause == "human"


def test_the_unnamed_session_forgets_with_the_process(approvals, monkeypatch):
    human = Human(tool)
    request = approvals.request(remember="tool", session="default")
    approvals.ask(request, human)
    assert approvals.ask(request, human).cause == "remembered"
    monkeypatch.setattr(remembered, "_PROCESS", "another process")
    assert approvals.ask(request, human).cause == "human"


def test_a_forked_child_is_another_process(approvals, monkeypatch):
    human = Human(tool)
    request = approvals.request(remember="tool", session="default")
    approvals.ask(request, human)
    monkeypatch.setattr("os.getpid", lambda: -1)
    assert approvals.ask(request, human).cause == "human"


def test_what_is_remembered_is_listed_and_revoked(approvals):
    approvals.ask(approvals.request({"x": "\u202ehidden"}, remember="same"), Human(same))
    approvals.ask(approvals.request(remember="tool", session="two", remember_for=60), Human(tool))
    first, second = approvals.drive(remembered.remembered(approvals.store))
    assert (first.covers, first.session, first.tool, first.args, first.by) == ("tool", "two", "t", "", "ann@approvals")
    assert (second.covers, second.args) == ("same", '{"x":"\u202ehidden"}')
    assert (first.granted_at, first.expires_at) == (approvals.clock(), approvals.clock() + 60)
    assert [e.session for e in approvals.drive(remembered.remembered(approvals.store, "one"))] == ["one"]
    assert approvals.drive(remembered.revoke(approvals.store, first.id)) is True
    assert approvals.drive(remembered.revoke(approvals.store, first.id)) is False
    assert [e.session for e in approvals.drive(remembered.remembered(approvals.store))] == ["one"]
    human = Human(True)
    assert approvals.ask(approvals.request(remember="tool", session="two"), human).cause == "human"


def test_an_entry_that_cannot_be_read_refuses_and_names_itself(sync_approvals):
    human = Human(same)
    sync_approvals.ask(sync_approvals.request(remember="same"), human)
    ((key, _),) = sync_approvals.store.scan("approvals/remembered/")
    sync_approvals.store.put(key, b"{}", 60)
    with pytest.raises(StoreError, match="revoke"):
        sync_approvals.ask(sync_approvals.request(remember="same"), human)


def test_remembered_approvals_do_not_count_as_questions(approvals):
    human = Human(same)
    for _ in range(40):
        assert approvals.ask(approvals.request(remember="same"), human).outcome is None
    assert len(human.asked) == 1
