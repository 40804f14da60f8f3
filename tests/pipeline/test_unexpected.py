"""Whatever breaks inside the guard, in a way that nobody foresaw: refused, recorded, nothing left counted."""

import asyncio
import json

import pytest
from langgraph.errors import GraphInterrupt

from guarded_tools import Guard, Policy, ToolCall, ToolDenied
from guarded_tools.audit import AuditLog
from guarded_tools.stores.memory import MemoryStore

POLICY = {
    "version": "1",
    "default": "deny",
    "tools": {
        "t": {"limits": [{"counter": "c", "window": 60, "max": 5}]},
        "asked": {"approval": True, "limits": [{"counter": "c", "window": 60, "max": 5}]},
    },
}


class SurpriseError(Exception):
    """No error that the guard knows of: what a broken part of somebody else's raises."""


class UnreadableError(Exception):
    def __str__(self):
        raise RuntimeError("not even its words can be had")


def fails(error):
    def fail(*_, **__):
        raise error

    return fail


class Parts:
    """A guard of real parts, of which a test breaks one."""

    def __init__(self, folder, approver=lambda _: True, **options):
        self.path = folder / "audit.jsonl"
        self.store = MemoryStore()
        self.audit = AuditLog(self.path)
        self.guard = Guard(
            Policy.model_validate(POLICY),
            store=self.store,
            audit=self.audit,
            approver=approver,
            session="one",
            **options,
        )
        self.ran = []
        self._usage = self.store.usage

    def lines(self, *kinds):
        read = self.path.read_text().splitlines() if self.path.exists() else []
        lines = [json.loads(line) for line in read]
        return [line for line in lines if not kinds or line["kind"] in kinds]

    def used(self):
        return [usage.used for usage in self._usage("session:one") if not usage.counter.startswith("*")]


@pytest.fixture(params=["sync", "async"])
def drive(request):
    def go(parts, tool="t", *, raises=None):
        def body(_):
            parts.ran.append(tool)
            if raises is not None:
                raise raises
            return "done"

        async def abody(given):
            return body(given)

        if request.param == "sync":
            return parts.guard.call(ToolCall(tool, {}, "one"), body)
        return asyncio.run(parts.guard.acall(ToolCall(tool, {}, "one"), abody))

    return go


def refused(parts, drive, tool="t", says="SurpriseError"):
    with pytest.raises(ToolDenied) as caught:
        drive(parts, tool)
    assert caught.value.outcome == "failed_closed"
    assert says in str(caught.value)
    assert parts.ran == []
    return caught.value


BREAKS = {
    "the registry that knows the tools": lambda p, e: setattr(p.guard._registry, "info", fails(e)),
    "the registry that knows the policies": lambda p, e: setattr(p.guard._registry, "policy", fails(e)),
    "the judgement": lambda p, e: setattr(p.guard._registry, "judge", fails(e)),
    "the counters": lambda p, e: setattr(p.store, "reserve", fails(e)),
    "the clock": lambda p, e: setattr(p.guard, "_clock", fails(e)),
}


@pytest.mark.parametrize("part", BREAKS)
@pytest.mark.parametrize(
    "error", [SurpriseError("boom"), KeyError("boom"), UnreadableError()], ids=lambda e: type(e).__name__
)
def test_a_part_that_breaks_refuses_the_call_and_says_so_in_the_audit(tmp_path, drive, part, error):
    parts = Parts(tmp_path)
    BREAKS[part](parts, error)
    denied = refused(parts, drive, says=type(error).__name__)
    assert denied.__cause__ is error
    (line,) = parts.lines()
    assert (line["kind"], line["outcome"]) == ("refused", "failed_closed")
    assert parts.used() in ([], [0])


ASKING_BREAKS = {
    "what was asked before": lambda p, e: setattr(p.store, "get", fails(e)),
    "how full the limits are": lambda p, e: setattr(p.store, "usage", fails(e)),
    "whether the limits would let it through": lambda p, e: setattr(p.store, "peek", fails(e)),
    "whose turn it is to be asked": lambda p, e: setattr(p.store, "add", fails(e)),
}


@pytest.mark.parametrize("part", ASKING_BREAKS)
def test_a_part_that_breaks_around_a_question_refuses_the_call(tmp_path, drive, part):
    parts = Parts(tmp_path)
    ASKING_BREAKS[part](parts, SurpriseError("boom"))
    refused(parts, drive, "asked")
    assert parts.lines()[-1]["outcome"] == "failed_closed"
    assert parts.used() in ([], [0])


def test_an_approver_of_which_nothing_can_be_told_refuses_the_call(tmp_path, drive):
    class Broken:
        suspends = property(fails(SurpriseError("boom")))

        def __call__(self, _):
            return True

    parts = Parts(tmp_path)
    parts.guard.approver = Broken()  # where a guard is made, it would be turned away
    refused(parts, drive, "asked")
    assert [line["outcome"] for line in parts.lines()] == ["failed_closed"]


@pytest.mark.parametrize("kind", ["asked", "answered", "admitted"])
def test_a_line_that_cannot_be_written_refuses_the_call_and_gives_its_charge_back(tmp_path, drive, kind):
    parts = Parts(tmp_path)
    write = parts.audit.write
    parts.audit.write = lambda event: fails(SurpriseError("boom"))() if event.kind == kind else write(event)
    refused(parts, drive, "asked")
    assert parts.used() in ([], [0])
    assert parts.lines()[-1]["outcome"] == "failed_closed"


def test_an_audit_that_takes_nothing_at_all_still_leaves_a_refusal_and_not_an_error(tmp_path, drive, caplog):
    parts = Parts(tmp_path)
    parts.audit.write = fails(SurpriseError("boom"))
    refused(parts, drive)
    assert parts.used() in ([], [0])
    assert "could not be recorded" in caplog.text


def test_a_charge_that_cannot_be_given_back_does_not_hide_why_the_call_was_refused(tmp_path, drive, caplog):
    parts = Parts(tmp_path)
    write = parts.audit.write
    parts.audit.write = lambda event: fails(SurpriseError("boom"))() if event.kind == "admitted" else write(event)
    parts.store.refund = fails(RuntimeError("nor this"))
    refused(parts, drive)
    assert "could not be given back" in caplog.text


@pytest.mark.parametrize("raises", [None, ValueError("the body's own")])
def test_the_answer_of_a_body_that_ran_is_never_lost(tmp_path, drive, raises):
    parts = Parts(tmp_path)
    write = parts.audit.write
    parts.audit.write = lambda event: fails(SurpriseError("boom"))() if event.kind == "settled" else write(event)
    if raises is None:
        assert drive(parts) == "done"
    else:
        with pytest.raises(ValueError, match="own") as caught:
            drive(parts, raises=raises)
        assert caught.value is raises
    assert parts.used() == [1]
    assert [line["kind"] for line in parts.lines()] == ["admitted"]


def test_a_rule_on_trial_that_breaks_is_no_business_of_the_call(tmp_path, drive):
    parts = Parts(tmp_path)
    parts.guard._registry.policies = Policy.model_validate(POLICY | {"shadow": True})
    reserve, taken = parts.store.reserve, []

    def first_fails(*args, **options):
        taken.append(args)
        return fails(SurpriseError("boom"))() if len(taken) == 1 else reserve(*args, **options)

    parts.store.reserve = first_fails
    assert drive(parts) == "done"
    assert parts.lines("shadow")[0]["outcome"] == "failed_closed"


def test_what_langgraph_raises_to_steer_a_run_passes_as_it_is(tmp_path, drive):
    class Suspending:
        suspends = True

        def address(self, _):
            raise interrupt

        def crowded(self, _):
            raise AssertionError("it is not reached")

        spent = crowded

        def __call__(self, _):
            raise AssertionError("it is not reached")

    interrupt = GraphInterrupt()
    parts = Parts(tmp_path, Suspending())
    with pytest.raises(GraphInterrupt) as caught:
        drive(parts, "asked")
    assert caught.value is interrupt
    assert parts.lines() == []


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(3)])
def test_what_ends_the_program_passes_as_it_is(tmp_path, error):
    parts = Parts(tmp_path)
    parts.store.reserve = fails(error)
    with pytest.raises(type(error)):
        parts.guard.call(ToolCall("t", {}, "one"), lambda _: "done")


@pytest.mark.parametrize("part", ["reserve", "write"])
def test_a_policy_of_tools_is_left_alone_by_what_breaks_once(tmp_path, drive, part):
    """The next call goes its way: nothing of the failure stays."""
    parts = Parts(tmp_path)
    holder = parts.store if part == "reserve" else parts.audit
    whole = getattr(holder, part)
    setattr(holder, part, fails(SurpriseError("boom")))
    refused(parts, drive)
    setattr(holder, part, whole)
    assert drive(parts) == "done"
    assert parts.used() == [1]
