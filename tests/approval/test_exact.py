"""What runs is what was shown: every road on which arguments could change between the ask and the execution."""

import asyncio
import json
import threading

import pytest

from guarded_tools import Guard, Policy, ToolCall, ToolDenied, ToolInfo, Verdict, open_store

ASK = {"action": "approve", "risk": "write", "approval": {"remember": "tool"}}


class GuardHarness:
    def __init__(self, folder, approver, rule=None, **options):
        self.ran = []
        self.store = open_store("memory://")
        policy = {"version": "1", "default": "deny", "server": "s", "tools": {"t": ASK | (rule or {}), "u": ASK}}
        self.audit = folder / "audit.jsonl"
        self.guard = Guard(
            Policy.model_validate(policy),
            store=self.store,
            approver=approver,
            audit=self.audit,
            session="one",
            **options,
        )
        for name in ("t", "u"):
            self.guard.register(
                ToolInfo(name, "s", "a tool", {"type": "object", "properties": {"x": {"type": "integer"}}})
            )

    def call(self, args, tool="t", **fields):
        return self.guard.call(
            ToolCall(tool, args, session="one", **fields), lambda given: self.ran.append(given) or "ran"
        )

    def causes(self):
        lines = [json.loads(line) for line in self.audit.read_text().splitlines()]
        return [line["approval"]["cause"] for line in lines if line["kind"] == "answered"]


@pytest.fixture
def harness(tmp_path):
    return lambda approver, **options: GuardHarness(tmp_path, approver, **options)


def test_the_callers_dictionary_changed_while_a_human_looks(harness):
    args = {"x": 1, "deep": {"list": [1]}}

    def approver(request):
        args["x"] = 9_999
        args["deep"]["list"].append("more")
        args["new"] = True
        return True

    b = harness(approver)
    b.call(args)
    assert b.ran == [{"x": 1, "deep": {"list": [1]}}]


def test_the_callers_dictionary_changed_by_another_thread_all_the_while(harness):
    args = {"x": 0}
    stop = threading.Event()

    def churn():
        while not stop.is_set():
            args["x"] += 1

    shown = []
    b = harness(lambda request: shown.append(dict(request.args)) or True)
    thread = threading.Thread(target=churn)
    thread.start()
    for _ in range(15):
        b.call(args)
    stop.set()
    thread.join()
    assert b.ran == shown


def test_what_was_shown_changed_by_the_approver(harness):
    def sly(request):
        request.args["x"] = 9_999
        return True

    b = harness(sly)
    with pytest.raises(ToolDenied):
        b.call({"x": 1})
    assert b.ran == []
    assert b.causes() == ["changed"]


def test_the_edit_changed_while_it_runs(harness):
    edit = {"x": 2, "deep": [1]}
    b = harness(lambda request: Verdict.edit(edit))

    def body(given):
        edit["x"] = 9_999
        edit["deep"].append(9_999)
        b.ran.append(given)

    b.guard.call(ToolCall("u", {"x": 1}, session="one"), body)
    assert b.ran == [{"x": 2, "deep": [1]}]


def test_an_edit_goes_through_policy_schema_and_limits_and_is_not_asked_about_again(harness):
    rule = {
        "deny_if": [{"path": "args.x", "op": "gt", "value": 100, "on_deny": "too much"}],
        "limits": [{"counter": "spend", "window": "hour", "max": 50, "count": "args.x"}],
    }
    edits = iter([{"x": 101}, {"x": "ten"}, {"x": 60}, {"x": 40}])
    asked = []
    b = harness(lambda request: asked.append(1) or Verdict.edit(next(edits)), rule=rule)
    whys = []
    for _ in range(3):
        with pytest.raises(ToolDenied) as denied:
            b.call({"x": 1})
        whys.append((denied.value.outcome, str(denied.value)))
    b.call({"x": 1})
    assert b.ran == [{"x": 40}]
    assert len(asked) == 4
    assert "too much" in whys[0][1]
    assert whys[2][0] == "limited"


def test_check_edit_says_what_the_guard_would_say(harness):
    rule = {"deny_if": [{"path": "args.x", "op": "gt", "value": 100, "on_deny": "too much"}]}
    said = []

    def approver(request):
        said.extend(request.check_edit(args) for args in ({"x": 101}, {"x": 5}, {"x": "ten"}))
        return False

    with pytest.raises(ToolDenied):
        harness(approver, rule=rule).call({"x": 1})
    assert said[0] == "too much"
    assert said[1] == ""
    assert said[2]


def test_one_approval_is_one_execution_also_for_calls_at_the_same_time(harness):
    asked = []
    b = harness(lambda request: asked.append(1) or True)
    threads = [threading.Thread(target=b.call, args=({"x": 1},)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(b.ran) == len(asked) == 4


def test_an_approval_given_in_one_session_is_none_in_another(harness):
    asked = []
    b = harness(lambda request: asked.append(request.session) or Verdict.approve("tool"))
    b.call({"x": 1})
    b.guard.for_session("two").call(ToolCall("t", {"x": 1}, session="two"), b.ran.append)
    assert asked == ["one", "two"]


@pytest.mark.parametrize(
    ("one", "other", "asked_again"),
    [
        ('{"x": 1, "y": "a"}', '{"y": "a", "x": 1}', False),
        ('{"x": 1}', '{"x": 1.0}', True),
        ('{"y": 1}', '{"y": "1"}', True),
        ('{"y": "\\u00e9"}', '{"y": "e\\u0301"}', True),
        ('{"y": "\\u00e9"}', '{"y": "é"}', False),
        ('{"x": 1, "x": 2}', '{"x": 2}', False),
        ('{"x": 1, "x": 2}', '{"x": 1}', True),
    ],
)
def test_remembering_these_arguments_remembers_what_the_tool_receives_of_them(harness, one, other, asked_again):
    asked = []
    b = harness(lambda request: asked.append(1) or Verdict.approve("same"))
    b.call(json.loads(one))
    b.call(json.loads(other))
    assert len(asked) == (2 if asked_again else 1)


async def test_cancelling_an_agent_while_a_human_is_asked_runs_nothing_and_counts_nothing(harness):
    waits = asyncio.Event()

    async def approver(request):
        waits.set()
        await asyncio.Event().wait()

    b = harness(approver, rule={"rate_limit": "1/hour"})

    async def body(given):
        b.ran.append(given)

    task = asyncio.create_task(b.guard.acall(ToolCall("t", {"x": 1}, session="one"), body))
    await waits.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert b.ran == []
    assert not any(usage.used for usage in b.guard.usage() if "rate" in usage.counter)


def test_nobody_is_asked_what_a_limit_refuses_and_all_approved_at_once_still_pass_at_the_limit(harness):
    asked = []
    b = harness(lambda request: asked.append(1) or True, rule={"rate_limit": "3/hour"})
    outcomes = []
    for x in range(8):
        try:
            outcomes.append(b.call({"x": x}))
        except ToolDenied as denied:
            outcomes.append(denied.outcome)
    assert outcomes == ["ran"] * 3 + ["limited"] * 5
    assert len(asked) == 3
