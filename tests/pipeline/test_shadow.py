"""Rules on trial: they decide, count apart and are written down, and change nothing."""

from __future__ import annotations

import asyncio
import json

import pytest

from guarded_tools.errors import StoreError, ToolDenied
from guarded_tools.guard import Guard
from guarded_tools.policy import Policy
from guarded_tools.stores.memory import MemoryStore
from guarded_tools.values import ToolCall, ToolInfo

LIMIT = {"counter": "calls", "window": "hour", "max": 2, "on_deny": "Two are enough."}
STRICT = {
    "version": "1",
    "default": "deny",
    "server": "s",
    "hide": ["hidden"],
    "tools": {
        "limited": {"limits": [LIMIT]},
        "asked": {"approval": True},
        "forbidden": {"action": "deny"},
        "checked": {"deny_if": [{"path": "args.n", "op": "gt", "value": 5, "on_deny": "Too many."}]},
    },
}


class GuardHarness:
    def __init__(self, folder, policy, **options):
        self.path = folder / "audit.jsonl"
        self.asked = []
        self.store = options.pop("store", None) or MemoryStore()
        self.guard = Guard(
            Policy.model_validate(policy), store=self.store, audit=self.path, approver=self.asked.append, **options
        )

    def call(self, tool, session="s", **args):
        return self.guard.call(ToolCall(tool, args, session), lambda judged: "ran")

    def shadows(self):
        lines = [json.loads(line) for line in self.path.read_text().splitlines()]
        return [(line["tool"], line["outcome"], line["rule"]) for line in lines if line["kind"] == "shadow"]


@pytest.fixture
def harness(tmp_path):
    return lambda policy, **options: GuardHarness(tmp_path, policy, **options)


def whole(**more):
    return {**STRICT, "shadow": True, **more}


def test_a_policy_on_trial_stops_nothing_and_says_what_it_would_have_done(harness):
    b = harness(whole())
    for _ in range(3):
        assert b.call("limited") == "ran"
    assert b.call("asked") == "ran"
    assert b.call("forbidden") == "ran"
    assert b.call("checked", n=6) == "ran"
    assert b.call("never_listed") == "ran"
    assert b.asked == []
    assert b.shadows() == [
        ("limited", "ok", "/tools/limited"),
        ("limited", "ok", "/tools/limited"),
        ("limited", "limited", "/tools/limited/limits/calls"),
        ("asked", "suspended", "/tools/asked/approval"),
        ("forbidden", "denied", "/tools/forbidden/action"),
        ("checked", "denied", "/tools/checked/deny_if/args.n-gt"),
        ("never_listed", "denied", "(default deny)"),
    ]


def test_hide_still_hides(harness):
    b = harness(whole())
    with pytest.raises(ToolDenied) as denied:
        b.call("hidden")
    assert denied.value.decision.rule == "(hidden)"
    assert not b.guard.visible("hidden")


def test_the_schema_is_on_trial_with_the_rest(harness):
    b = harness(whole())
    b.guard.register(ToolInfo("limited", schema={"type": "object", "required": ["uid"]}))
    assert b.call("limited") == "ran"
    assert b.shadows() == [("limited", "denied", "/schema")]


def test_a_tool_on_trial_is_held_by_the_rules_for_all_tools_only(harness):
    tools = {**STRICT["tools"], "limited": {"limits": [LIMIT], "shadow": True}}
    b = harness({**STRICT, "tools": tools, "all_tools": {"limits": [{**LIMIT, "counter": "all", "max": 4}]}})
    for _ in range(4):
        assert b.call("limited") == "ran"
    with pytest.raises(ToolDenied) as denied:
        b.call("limited")
    assert denied.value.decision.rule == "/all_tools/limits/all"
    with pytest.raises(ToolDenied):
        b.call("forbidden")
    assert [outcome for _, outcome, _ in b.shadows()][:4] == ["ok", "ok", "limited", "limited"]


def test_what_a_trial_counts_is_nobody_elses(harness):
    store = MemoryStore()
    b = harness(whole(), store=store)
    for _ in range(5):
        b.call("limited")
    # The trial is over: the same policy, now in force, begins with empty counters …
    b = harness(STRICT, store=store)
    b.call("limited")
    b.call("limited")
    with pytest.raises(ToolDenied):
        b.call("limited")
    # … and what is in force takes nothing from a trial of it either.
    store = MemoryStore()
    b = harness(STRICT, store=store)
    b.call("limited")
    b.call("limited")
    b = harness(whole(), store=store)
    b.path.unlink()
    b.call("limited")
    assert b.shadows() == [("limited", "ok", "/tools/limited")]


def test_a_trial_counts_for_each_session_apart(harness):
    b = harness(whole())
    for session in ("a", "b"):
        b.call("limited", session)
        b.call("limited", session)
    assert {outcome for _, outcome, _ in b.shadows()} == {"ok"}


class Broken(MemoryStore):
    """A store that cannot count what is on trial."""

    def reserve(self, charges, *more, **options):
        if any(charge.scope.startswith("shadow:") for charge in charges):
            raise StoreError("the disk is full")
        return super().reserve(charges, *more, **options)

    async def areserve(self, charges, *more, **options):
        return self.reserve(charges, *more, **options)


def test_a_trial_that_cannot_be_counted_stops_nothing(harness):
    b = harness(whole(), store=Broken())
    assert b.call("limited") == "ran"
    assert b.shadows() == [("limited", "failed_closed", "/tools/limited")]


def test_async_callers_are_on_trial_too(harness):
    b = harness(whole())

    async def body(judged):
        return "ran"

    async def work():
        return [await b.guard.acall(ToolCall("limited", {}, "s"), body) for _ in range(3)]

    assert asyncio.run(work()) == ["ran"] * 3
    assert [outcome for _, outcome, _ in b.shadows()] == ["ok", "ok", "limited"]


def test_a_call_that_is_resumed_is_on_trial_once(harness):
    """Whatever stands before a question runs again when a run is resumed; a trial must not count it twice."""
    policy = {
        "version": "1",
        "default": "deny",
        "all_tools": {"approval": True},
        "tools": {"limited": {"limits": [LIMIT], "shadow": True}},
    }
    b = harness(policy)
    with pytest.raises(ToolDenied):
        b.call("limited")  # the harness's approver answers nothing that counts as a yes
    assert b.shadows() == []
    b.guard.approver = lambda request: True
    b.call("limited")
    assert [outcome for _, outcome, _ in b.shadows()] == ["ok"]


def test_the_audit_says_what_would_have_been_refused(harness, cli, tmp_path):
    b = harness(whole())
    for _ in range(3):
        b.call("limited")
    b.call("forbidden")
    ran = cli("audit", "--shadow", "--file", b.path, "--since", "7d")
    assert ran.code == 0
    assert "/tools/limited/limits/calls" in ran.out
    assert "/tools/forbidden/action" in ran.out
    as_json = cli("audit", "--shadow", "--json", "--outcome", "limited", "--file", b.path)
    (only,) = [json.loads(line) for line in as_json.out.splitlines()]
    assert (only["tool"], only["rule"]) == ("limited", "/tools/limited/limits/calls")
    assert "/tools/forbidden/action" not in cli("audit", "--file", b.path).out
