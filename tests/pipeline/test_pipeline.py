"""Every branch of the line, driven in both ways, against real stores and a real audit file."""

import asyncio
import json

import pytest

from guarded_tools import Guard, Policy, ToolCall, ToolDenied, ToolInfo, Verdict, open_store
from guarded_tools.audit import AuditLog
from guarded_tools.errors import AuditError, PolicyError, StoreError
from tests.fakes import FrozenClock

SCHEMA = {"type": "object", "properties": {"n": {"type": "number", "maximum": 100}}, "additionalProperties": False}


class GuardHarness:
    """A guard with everything handed in, and a body that notes what it ran with."""

    def __init__(self, folder, tools, **options):
        self.clock = FrozenClock()
        self.ran = []
        policy = {"version": "1", "default": "deny", "server": "s", "tools": tools} | options.pop("policy", {})
        self.path = folder / "audit.jsonl"
        options.setdefault("store", open_store("memory://"))
        options.setdefault("audit", AuditLog(self.path))
        options.setdefault("clock", self.clock)
        options.setdefault("session", "one")
        self.guard = Guard(Policy.model_validate(policy), **options)
        self.guard.register(ToolInfo("t", "s", "a tool", SCHEMA, "write"))

    def lines(self, *kinds):
        lines = [json.loads(line) for line in self.path.read_text().splitlines()]
        return [line for line in lines if not kinds or line["kind"] in kinds]


@pytest.fixture
def harness(tmp_path):
    return lambda tools, **options: GuardHarness(tmp_path, tools, **options)


@pytest.fixture(params=["sync", "async"])
def drive(request):
    """Run one call through the guard, by either driver."""

    def go(harness, args=None, tool="t", *, raises=None, result="done", **call_options):
        call = ToolCall(tool, {} if args is None else args, session=call_options.pop("session", "one"), **call_options)

        def body(given):
            harness.ran.append(given)
            if raises is not None:
                raise raises
            return result

        async def abody(given):
            return body(given)

        if request.param == "sync":
            return harness.guard.call(call, body)
        return asyncio.run(harness.guard.acall(call, abody))

    return go


def test_allowed_call_runs_and_is_written_down_before_and_after(harness, drive):
    b = harness({"t": {"limits": [{"counter": "c", "window": "minute", "max": 3}]}})
    assert drive(b, {"n": 1}) == "done"
    assert b.ran == [{"n": 1}]
    admitted, settled = b.lines()
    assert (admitted["kind"], settled["kind"], settled["outcome"]) == ("admitted", "settled", "ok")
    assert admitted["key"] == settled["key"]
    assert admitted["args"] == ["n"]
    assert admitted["charges"] == [["session:one", "s/t/c", 1, 3, 60]]


def test_default_deny(harness, drive):
    b = harness({})
    with pytest.raises(ToolDenied, match=r"DENIED: t did not run\. Rule: \(default deny\)"):
        drive(b)
    assert b.ran == []
    assert [line["rule"] for line in b.lines("refused")] == ["(default deny)"]


def test_out_of_schema_call_is_refused_and_takes_nothing(harness, drive):
    b = harness({"t": {"limits": [{"counter": "c", "window": "minute", "max": 1}]}})
    with pytest.raises(ToolDenied) as caught:
        drive(b, {"n": 101})
    assert "101" not in str(caught.value)
    assert drive(b, {"n": 100}) == "done"


def test_limit_refuses_with_rule_and_exact_wait(harness, drive):
    b = harness({"t": {"limits": [{"counter": "c", "window": 60, "max": 2, "on_deny": "slow down"}]}})
    drive(b)
    b.clock.now += 10
    drive(b)
    with pytest.raises(ToolDenied) as caught:
        drive(b)
    assert caught.value.outcome == "limited"
    assert caught.value.decision.rule == "/tools/t/limits/c"
    assert "slow down" in str(caught.value)
    b.clock.now += caught.value.retry_after - 0.01
    with pytest.raises(ToolDenied):
        drive(b)
    b.clock.now += 0.02
    assert drive(b) == "done"
    assert len(b.ran) == 3


@pytest.mark.parametrize(
    ("n", "told"),
    [(60_000, "60000"), (2**62 - 1, str(2**62 - 1)), (10**400, f"{2**62} or more")],
    ids=["some", "most", "endless"],
)
def test_a_call_that_no_window_could_hold_is_told_what_it_would_take(harness, drive, n, told):
    b = harness(
        {"t": {"limits": [{"counter": "c", "window": "hour", "max": 50, "count": "args.n"}]}}, policy={"schema": "off"}
    )
    for _ in range(2):
        with pytest.raises(ToolDenied) as caught:
            drive(b, {"n": n})
        assert caught.value.outcome == "limited"
        assert f"Reason: a limit allows 50 in an hour, and this call would take {told}. This call can" in str(
            caught.value
        )
        drive(b, {"n": 3})


def test_limits_are_per_session(harness, drive):
    b = harness({"t": {"limits": [{"counter": "c", "window": 60, "max": 1}]}})
    drive(b, session="one")
    drive(b, session="two")
    with pytest.raises(ToolDenied):
        drive(b, session="one")


def test_what_is_asked_is_refused_without_an_approver(harness, drive):
    b = harness({"t": {"approval": True}})
    with pytest.raises(ToolDenied, match="DENIED") as caught:
        drive(b)
    assert b.ran == []
    assert caught.value.outcome == "unanswered"


def test_approval_runs_what_was_shown(harness, drive):
    shown = []

    def approve(request):
        shown.append(request)
        return True

    b = harness({"t": {"approval": True}}, approver=approve)
    assert drive(b, {"n": 1}) == "done"
    (request,) = shown
    assert (request.tool, dict(request.args), request.session, request.risk) == ("t", {"n": 1}, "one", "write")
    assert [line["kind"] for line in b.lines()] == ["asked", "answered", "admitted", "settled"]
    assert b.lines("answered")[0]["approval"]["verdict"] == "approve"


def test_nobody_is_asked_about_what_the_limits_refuse(harness, drive):
    asked = []
    b = harness(
        {"t": {"approval": True, "limits": [{"counter": "c", "window": 60, "max": 1}]}},
        approver=lambda request: asked.append(request) or True,
    )
    drive(b)
    with pytest.raises(ToolDenied) as caught:
        drive(b)
    assert caught.value.outcome == "limited"
    assert len(asked) == 1


@pytest.mark.parametrize("answer", [False, None, "yes", 1, object()])
def test_whatever_is_not_a_yes_is_a_no(harness, drive, answer):
    b = harness({"t": {"approval": True}}, approver=lambda _: answer)
    with pytest.raises(ToolDenied):
        drive(b)
    assert b.ran == []


def test_an_approver_that_fails_refuses(harness, drive):
    def fail(_):
        raise RuntimeError("boom")

    b = harness({"t": {"approval": True}}, approver=fail)
    with pytest.raises(ToolDenied) as caught:
        drive(b)
    assert caught.value.outcome == "unanswered"
    assert b.ran == []


def test_edited_arguments_run_and_are_judged_anew(harness, drive):
    b = harness({"t": {"approval": True}}, approver=lambda _: Verdict.edit({"n": 7}))
    assert drive(b, {"n": 1}) == "done"
    assert b.ran == [{"n": 7}]
    assert b.lines("answered")[0]["approval"]["edited"] == ["args.n"]

    b = harness({"t": {"approval": True}}, approver=lambda _: Verdict.edit({"n": 700}))
    with pytest.raises(ToolDenied) as caught:
        drive(b, {"n": 1})
    assert caught.value.outcome == "denied"
    assert b.ran == []


def test_a_human_can_answer_in_place_of_the_tool(harness, drive):
    b = harness(
        {"t": {"approval": True, "limits": [{"counter": "c", "window": 60, "max": 1}]}},
        approver=lambda _: Verdict.respond("use B"),
    )
    for _ in range(2):
        with pytest.raises(ToolDenied) as caught:
            drive(b)
        assert caught.value.outcome == "responded"
        assert str(caught.value) == "use B"
    assert b.ran == []


def test_arguments_changed_by_the_caller_while_a_human_looks_do_not_run(harness, drive):
    args = {"n": 1}

    def approve(_request):
        args["n"] = 99
        return True

    b = harness({"t": {"approval": True}}, approver=approve)
    drive(b, args)
    assert b.ran == [{"n": 1}]


def test_a_policy_that_changed_while_a_human_looked_wins(harness, drive, tmp_path):
    path = tmp_path / "policy.json"
    path.write_text(json.dumps({"version": "1", "default": "deny", "tools": {"t": {"approval": True}}}))

    def approve(_request):
        path.write_text(json.dumps({"version": "1", "default": "deny", "tools": {}}))
        b.guard.reload()
        return True

    b = harness({}, approver=approve)
    b.guard = Guard(path, store=open_store("memory://"), audit=tmp_path / "a.jsonl", approver=approve, clock=b.clock)
    with pytest.raises(ToolDenied) as caught:
        drive(b)
    assert caught.value.decision.rule == "(default deny)"
    assert b.ran == []


def test_reload_refuses_a_broken_file_and_keeps_the_old_policy(harness, drive, tmp_path):
    path = tmp_path / "policy.json"
    path.write_text(json.dumps({"version": "1", "default": "deny", "tools": {"t": {}}}))
    b = harness({})
    b.guard = Guard(path, store=open_store("memory://"), audit=b.path, clock=b.clock)
    path.write_text('{"version": "1", "defualt": "allow"}')
    with pytest.raises(PolicyError, match="defualt"):
        b.guard.reload()
    assert drive(b) == "done"
    assert b.lines("control")[0]["outcome"] == "failed_closed"


def test_an_exception_of_the_body_comes_out_as_it_is_and_keeps_the_charge(harness, drive):
    b = harness({"t": {"limits": [{"counter": "c", "window": 60, "max": 1}]}})
    error = KeyError("mine")
    with pytest.raises(KeyError) as caught:
        drive(b, raises=error)
    assert caught.value is error
    assert b.lines("settled")[0]["outcome"] == "unknown"
    with pytest.raises(ToolDenied):
        drive(b)


@pytest.mark.parametrize("error", [StopIteration(3), KeyboardInterrupt(), SystemExit(2), GeneratorExit()])
def test_even_odd_exceptions_pass_untouched(harness, error):
    b = harness({"t": {}})

    def body(_):
        raise error

    with pytest.raises(type(error)) as caught:
        b.guard.call(ToolCall("t", {}), body)
    assert caught.value is error
    assert b.lines("settled")[0]["outcome"] == "unknown"


def test_a_judge_that_stumbles_over_a_result_does_not_cost_it(harness):
    b = harness({"t": {"limits": [{"counter": "c", "window": 60, "max": 1}]}})

    def judge(_):
        raise RuntimeError("cannot tell")

    assert b.guard.call(ToolCall("t", {}, "one"), lambda _: "done", judge=judge) == "done"
    assert b.lines("settled")[0]["outcome"] == "unknown"
    assert b.guard.usage("one")[0].used == 1


def test_cancellation_keeps_the_charge(harness):
    b = harness({"t": {"limits": [{"counter": "c", "window": 60, "max": 1}]}})

    async def main():
        started = asyncio.Event()

        async def body(_):
            started.set()
            await asyncio.Event().wait()

        task = asyncio.create_task(b.guard.acall(ToolCall("t", {}, "one"), body))
        await started.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert b.lines("settled")[0]["outcome"] == "unknown"
    assert b.guard.usage("one")[0].used == 1


def test_what_certainly_never_ran_is_given_back_within_the_bound(harness):
    b = harness({"t": {"limits": [{"counter": "c", "window": 60, "max": 2}]}})
    calls = 0

    def body(_):
        nonlocal calls
        calls += 1
        raise ConnectionError

    for _ in range(10):
        with pytest.raises((ConnectionError, ToolDenied)):
            b.guard.call(ToolCall("t", {}, "one"), body, judge=lambda _: "never_ran")
    assert calls == 4  # two that count and two refunds: a failing loop ends
    assert sum(line.get("refunded", 0) for line in b.lines("settled")) == 2


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), {1: "a"}, (1, 2), {"a", "b"}, object(), b"x"])
def test_arguments_that_cannot_be_judged_are_refused(harness, drive, bad):
    b = harness({"t": {}})
    with pytest.raises(ToolDenied) as caught:
        drive(b, {"n": bad})
    assert caught.value.outcome == "failed_closed"
    assert b.ran == []


def test_a_store_that_fails_refuses(harness, drive):
    class Broken:
        def __getattr__(self, name):
            def fail(*_, **__):
                raise StoreError("the disk is gone")

            return fail

    b = harness({"t": {}}, store=Broken(), audit=None or AuditLog.__new__(AuditLog))
    b.guard.audit = type("Sink", (), {"write": lambda self, event: None})()
    with pytest.raises(ToolDenied, match="the disk is gone") as caught:
        drive(b)
    assert caught.value.outcome == "failed_closed"
    assert b.ran == []


def test_an_audit_that_cannot_be_written_refuses_and_gives_back(harness, drive):
    b = harness({"t": {"limits": [{"counter": "c", "window": 60, "max": 1}]}})
    whole = b.guard.audit

    class Full:
        def write(self, event):
            raise AuditError("no space left")

    b.guard.audit = Full()
    with pytest.raises(ToolDenied, match="no space left"):
        drive(b)
    assert b.ran == []
    b.guard.audit = whole
    assert drive(b) == "done"


@pytest.mark.parametrize("broken", ["refused", "settled"])
def test_what_cannot_be_recorded_is_logged_without_secrets(harness, drive, caplog, broken):
    name = "ghp_" + "aB3dE5fG7hJ9kL1mN3pQ5r"
    b = harness({name: {}} if broken == "settled" else {})
    write = b.guard.audit.write

    def fail(event):
        if event.kind == broken:
            raise AuditError("no space left")
        write(event)

    b.guard.audit = type("Full", (), {"write": staticmethod(fail)})()
    if broken == "settled":
        assert drive(b, tool=name) == "done"
    else:
        with pytest.raises(ToolDenied):
            drive(b, tool=name)
    assert "'ghp_***'" in caplog.text
    assert name not in caplog.text


def test_the_stop_button(harness, drive):
    b = harness({"t": {}})
    b.guard.store.halt("session:one", "smoke")
    with pytest.raises(ToolDenied, match="smoke") as caught:
        drive(b)
    assert caught.value.decision.rule == "(halted)"
    assert drive(b, session="two") == "done"
    b.guard.store.resume("session:one")
    assert drive(b) == "done"


def test_a_policy_per_grant(tmp_path):
    policy = Policy.model_validate({"version": "1", "default": "deny", "tools": {"t": {}}})
    guard = Guard({"alice": policy}, store=open_store("memory://"), audit=tmp_path / "a.jsonl")
    assert guard.call(ToolCall("t", {}, grant="alice"), lambda _: 1) == 1
    for grant in ("bob", None, ""):
        with pytest.raises(ToolDenied) as caught:
            guard.call(ToolCall("t", {}, grant=grant), lambda _: 1)
        assert caught.value.decision.rule == "(no policy)"


def test_explain_changes_nothing(harness):
    b = harness({"t": {"limits": [{"counter": "c", "window": 60, "max": 1}]}})
    for _ in range(3):
        assert b.guard.explain(ToolCall("t", {})).effect == "allow"
    assert b.guard.usage() == []


def test_observers_see_what_was_written_and_cannot_change_it(harness, drive):
    seen = []

    def broken(_):
        raise RuntimeError("no")

    b = harness({"t": {}}, observers=[broken, seen.append])
    assert drive(b) == "done"
    assert [event.kind for event in seen] == ["admitted", "settled"]


def test_for_session_is_a_view(harness):
    b = harness({"t": {}})
    view = b.guard.for_session("two")
    assert view.session_for({"configurable": {"thread_id": "x"}}) == "two"
    assert b.guard.session_for(None) == "one"
    assert view.store is b.guard.store


def test_argument_values_stay_out_of_the_audit_unless_the_policy_names_their_paths(harness, drive):
    b = harness({"t": {}}, policy={"log_values": ["args.n", "args.gone", "args.n.of.nothing"], "schema": "off"})
    drive(b, {"n": 7, "secret": "hunter2"})
    assert b.lines("admitted")[0]["values"] == {"args.n": 7}
    assert "hunter2" not in b.path.read_text()


def test_a_plain_dictionary_is_not_mistaken_for_policies_by_grant():
    with pytest.raises(TypeError, match=r"Policy\.model_validate"):
        Guard({"version": "1", "default": "allow"})
