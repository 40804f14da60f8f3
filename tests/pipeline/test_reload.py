"""Changing a policy while agents work: in one step, or not at all."""

from __future__ import annotations

import asyncio
import json
import logging
import threading

import pytest

from guarded_tools.errors import GuardError, PolicyError, ToolDenied
from guarded_tools.guard import Guard
from guarded_tools.policy import Policy
from guarded_tools.stores.memory import MemoryStore
from guarded_tools.values import ToolCall, Verdict


class GuardHarness:
    """A guard whose policy is a file that the test rewrites."""

    def __init__(self, folder, policy, **options):
        self.path = folder / "policy.json"
        self.log = folder / "audit.jsonl"
        self.now = 1_800_000_000.0
        self.ran = []
        self.write(policy)
        self.guard = Guard(self.path, store=MemoryStore(), audit=self.log, clock=lambda: self.now, **options)

    def write(self, tools, **policy):
        self.path.write_text(json.dumps({"version": "1", "default": "deny", "server": "s", "tools": tools, **policy}))

    def swap(self, tools, **policy):
        self.write(tools, **policy)
        self.guard.reload()

    def call(self, tool="t", guard=None, invoke=None, **args):
        def body(judged):
            self.ran.append(judged)
            return "done"

        return (guard or self.guard).call(ToolCall(tool, args), invoke or body)

    def lines(self, kind=None):
        found = [json.loads(line) for line in self.log.read_text().splitlines()]
        return [line for line in found if kind in (None, line["kind"])]


@pytest.fixture
def harness(tmp_path):
    return lambda policy, **options: GuardHarness(tmp_path, policy, **options)


def limited(most, counter="calls"):
    return {"t": {"limits": [{"counter": counter, "window": "hour", "max": most}]}}


def rule_of(call):
    with pytest.raises(ToolDenied) as denied:
        call()
    return denied.value.decision.rule


def test_the_new_policy_is_in_force_at_once(harness):
    b = harness({"t": {}})
    b.call()
    b.swap({})
    assert rule_of(b.call) == "(default deny)"
    b.swap({"t": {}})
    assert b.call() == "done"


def test_the_file_alone_changes_nothing(harness):
    b = harness({"t": {}})
    b.write({})
    assert b.call() == "done"


def test_views_of_a_guard_change_with_it(harness):
    b = harness({"t": {}})
    view = b.guard.for_session("other")
    b.swap({})
    assert rule_of(lambda: b.call(guard=view)) == "(default deny)"
    b.write({"t": {}})
    view.reload()
    assert b.call() == "done"


def test_counters_are_kept(harness):
    b = harness(limited(5))
    for _ in range(3):
        b.call()
    b.swap(limited(4))
    b.call()
    assert rule_of(b.call) == "/tools/t/limits/calls"
    b.swap(limited(6))
    b.call()
    b.call()
    assert rule_of(b.call) == "/tools/t/limits/calls"
    b.swap(limited(1, counter="another"))
    b.call()
    assert rule_of(b.call) == "/tools/t/limits/another"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('{"version": "1", "defualt": "allow"}', "defualt"),
        ('{"version": "1", "default": "allow", "tools": {"t": ', "not JSON"),
        ("", "empty"),
        (None, "cannot be read"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_loudly_and_the_old_policy_stays(harness, caplog, text, says):
    b = harness(limited(2))
    b.call()
    if text is None:
        b.path.unlink()
    else:
        b.path.write_text(text)
    with caplog.at_level(logging.ERROR, "guarded_tools"), pytest.raises(PolicyError, match=says):
        b.guard.reload()
    assert any("old one stays" in record.getMessage() for record in caplog.records)
    (control,) = b.lines("control")
    assert control["outcome"] == "failed_closed"
    assert says in control["message"]
    b.call()
    assert rule_of(b.call) == "/tools/t/limits/calls"


def test_every_problem_is_listed(harness):
    b = harness({"t": {}})
    b.path.write_text('{"version": "2", "defualt": "allow", "tools": {"t": {"limts": []}}}')
    with pytest.raises(PolicyError) as refused:
        b.guard.reload()
    assert len(refused.value.problems) >= 3


def test_a_policy_that_names_tools_which_do_not_exist_is_refused_at_reload_as_it_is_at_start(harness):
    b = harness({"t": {}})
    b.guard.check_names(["t", "other"])
    b.write({"t": {}, "othr": {}})
    with pytest.raises(PolicyError, match="othr"):
        b.guard.reload()
    assert b.call() == "done"
    b.swap({"other": {}})
    assert rule_of(b.call) == "(default deny)"


def test_policies_of_all_grants_change_together_or_not_at_all(tmp_path):
    def write(name, tools):
        (tmp_path / name).write_text(json.dumps({"version": "1", "default": "deny", "tools": tools}))

    write("a.json", {"t": {}})
    write("b.json", {"t": {}})
    guard = Guard(
        {"a": tmp_path / "a.json", "b": tmp_path / "b.json"}, store=MemoryStore(), audit=tmp_path / "audit.jsonl"
    )

    def effects():
        return [guard.explain(ToolCall("t", {}, grant=grant)).effect for grant in "ab"]

    write("a.json", {})
    (tmp_path / "b.json").write_text("{")
    with pytest.raises(PolicyError):
        guard.reload()
    assert effects() == ["allow", "allow"]
    write("b.json", {})
    guard.reload()
    assert effects() == ["deny", "deny"]


@pytest.mark.parametrize(
    ("new", "rule"),
    [
        ({}, "(default deny)"),
        ({"t": {"action": "deny"}}, "/tools/t/action"),
        ({"t": {"deny_if": [{"path": "args.n", "op": "eq", "value": 7}]}}, "/tools/t/deny_if/args.n-eq"),
    ],
)
def test_an_ask_in_flight_is_decided_again(harness, new, rule):
    def approve(_request):
        b.swap(new)
        return True

    b = harness({"t": {"approval": True}}, approver=approve)
    assert rule_of(lambda: b.call(n=7)) == rule
    assert b.ran == []


async def test_an_ask_in_flight_is_decided_again_for_async_callers_too(harness):
    async def approve(_request):
        await asyncio.to_thread(b.swap, {})
        return True

    async def body(judged):
        b.ran.append(judged)

    b = harness({"t": {"approval": True}}, approver=approve)
    with pytest.raises(ToolDenied):
        await b.guard.acall(ToolCall("t", {}), body)
    assert b.ran == []


def test_an_ask_in_flight_counts_on_the_limits_of_the_new_policy(harness):
    def approve(_request):
        b.swap({"t": {"approval": True, "limits": [{"counter": "c", "window": "hour", "max": 1}]}})
        return True

    b = harness({"t": {"approval": True}}, approver=approve)
    b.call()
    assert rule_of(b.call) == "/tools/t/limits/c"


def test_edited_arguments_are_judged_by_the_new_policy(harness):
    def edit(_request):
        b.swap({"t": {"approval": True, "deny_if": [{"path": "args.n", "op": "gt", "value": 10}]}})
        return Verdict.edit({"n": 11})

    b = harness({"t": {"approval": True}}, approver=edit)
    assert rule_of(lambda: b.call(n=1)) == "/tools/t/deny_if/args.n-gt"


def test_a_broken_reload_during_an_ask_changes_nothing(harness):
    def approve(_request):
        b.path.write_text("{")
        with pytest.raises(PolicyError):
            b.guard.reload()
        return True

    b = harness({"t": {"approval": True}}, approver=approve)
    assert b.call() == "done"


def test_every_line_of_the_audit_names_the_policy_that_decided(harness):
    b = harness({"t": {}})
    first = b.guard.policy.fingerprint

    def body(_judged):
        b.swap({"t": {}, "other": {}})

    b.call(invoke=body)
    second = b.guard.policy.fingerprint
    b.call()
    assert first != second
    assert [line["policy"] for line in b.lines() if line["kind"] in {"admitted", "settled"}] == [
        first,
        first,
        second,
        second,
    ]


def test_a_call_sees_one_policy_or_the_other_while_both_change_places(harness):
    # Under either policy exactly one of the two tools runs, each by a rule of its own.
    one = {"a": {"limits": [{"counter": "one", "window": "hour", "max": 1_000_000}]}}
    two = {"b": {"limits": [{"counter": "two", "window": "hour", "max": 1_000_000}]}}
    b = harness(one)
    wrong = []

    def work():
        for _ in range(5000):
            decision = b.guard.explain(ToolCall("a", {}))
            said = (decision.effect, decision.rule, [charge.counter for charge in decision.charges])
            if said not in (("allow", "/tools/a", ["s/a/one"]), ("deny", "(default deny)", [])):
                wrong.append(said)

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        b.swap(two)
        b.swap(one)
    assert wrong == []
    assert b.call("a") == "done"


def test_reloads_at_once_leave_the_newest_file_in_force(harness):
    b = harness({"t": {}})
    threads = [threading.Thread(target=b.guard.reload) for _ in range(8)]
    b.write({})
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert rule_of(b.call) == "(default deny)"


@pytest.mark.parametrize("policy", ["object", "objects by grant"])
def test_what_was_given_as_an_object_cannot_be_read_again(tmp_path, policy):
    own = Policy.model_validate({"version": "1", "default": "allow"})
    guard = Guard(own if policy == "object" else {"a": own}, store="memory://", audit=tmp_path / "audit.jsonl")
    with pytest.raises(GuardError, match="nothing to read again"):
        guard.reload()
    assert not (tmp_path / "audit.jsonl").exists(), "it was told as done"
