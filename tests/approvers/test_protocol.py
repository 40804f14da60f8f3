"""What an approver is: seen where a guard is made, and held to at every call; whatever it raises is a refusal."""

import asyncio
import functools
import json
from unittest.mock import Mock

import pytest

import guarded_tools
from guarded_tools import CannotAsk, Guard, Policy, SuspendingApprover, ToolCall, ToolDenied, Verdict
from guarded_tools.approvers import CheckingApprover, deny_all
from guarded_tools.approvers.inbox import InboxApprover
from guarded_tools.approvers.interrupt import InterruptApprover
from guarded_tools.approvers.notebook import NotebookApprover
from guarded_tools.approvers.terminal import TerminalApprover

POLICY = Policy.model_validate(
    {
        "version": "1",
        "default": "deny",
        "tools": {"t": {"action": "approve", "risk": "write", "rate_limit": "9/hour"}, "free": {}},
    }
)


class Suspends:
    """A suspending approver as the documentation says one is written, here one that always has an answer."""

    suspends = True

    def __call__(self, request):
        return True

    def address(self, request):
        return f"call {request.call_id}", "task"

    def crowded(self, request):
        return CannotAsk("another call of this task is asked about")

    def spent(self, request):
        return CannotAsk("this task had its answer")


class Leaves(Suspends):
    """One that leaves the call at first, and has its answer when it comes by again."""

    def __init__(self):
        self.answered = False

    def __call__(self, request):
        from langgraph.errors import GraphInterrupt

        if not self.answered:
            raise GraphInterrupt
        return True


class Checks:
    def __call__(self, request):
        return True

    def check(self, request):
        """Everybody is here."""


class Desk:
    """A guard with an approver, called from sync code or from asyncio."""

    def __init__(self, folder, approver, how):
        self.path = folder / "audit.jsonl"
        self.guard = Guard(POLICY, store="memory://", approver=approver, audit=self.path)
        self.how = how
        self.ran = []

    def call(self, tool="t", id_="c1"):
        call = ToolCall(tool, {}, session="s", id=id_)
        if self.how == "sync":
            return self.guard.call(call, self.ran.append)

        async def body(args):
            self.ran.append(args)

        return asyncio.run(self.guard.acall(call, body))

    def refused(self, *args):
        with pytest.raises(ToolDenied) as denied:
            self.call(*args)
        return denied.value

    def lines(self):
        return [json.loads(line) for line in self.path.read_text().splitlines()]

    def causes(self):
        return [line["approval"]["cause"] for line in self.lines() if line["kind"] == "answered"]


@pytest.fixture(params=["sync", "async"])
def desk(request, tmp_path):
    return lambda approver: Desk(tmp_path, approver, request.param)


def with_(base, **methods):
    return type("Odd", (base,), methods)()


def without(name):
    class Lacking(Suspends):
        def __getattribute__(self, attribute):
            if attribute == name:
                raise AttributeError(attribute)
            return super().__getattribute__(attribute)

    return Lacking()


async def acoroutine(*_):
    return True


# Where a guard is made


@pytest.mark.parametrize("missing", ["address", "crowded", "spent"])
def test_a_suspending_approver_without_one_of_its_methods_is_refused_by_name(missing):
    with pytest.raises(TypeError, match=missing):
        Guard(POLICY, store="memory://", approver=without(missing))


def test_all_that_is_missing_is_named_at_once():
    bare = type("Bare", (), {"suspends": True, "__call__": lambda self, request: True})()
    with pytest.raises(TypeError, match=r"Bare.*address, crowded, spent"):
        Guard(POLICY, store="memory://", approver=bare)


@pytest.mark.parametrize(
    ("approver", "why"),
    [
        (lambda: True, "one ApprovalRequest"),
        (lambda request, other: True, "one ApprovalRequest"),
        (lambda *, request: True, "one ApprovalRequest"),
        (TerminalApprover, r"write TerminalApprover\(…\)"),
        ("yes", "'yes'"),
        (with_(Checks, check="yes"), "check"),
        (with_(Checks, check=None), "check"),
        (with_(Checks, check=acoroutine), "async"),
        (with_(Checks, check=lambda self: None), "check"),
        (with_(Suspends, suspends=1), "True or False"),
        (with_(Suspends, suspends=lambda self: True), "True or False"),
        (with_(Suspends, address=acoroutine), "async"),
        (with_(Suspends, spent="used"), "spent"),
        (with_(Suspends, __call__=acoroutine), "async"),
        (with_(Suspends, check=acoroutine), "async"),
        (Mock(), "True or False"),
    ],
)
def test_what_is_no_approver_is_refused_where_the_guard_is_made(approver, why):
    with pytest.raises(TypeError, match=why):
        Guard(POLICY, store="memory://", approver=approver)


@pytest.mark.parametrize(
    "approver",
    [
        lambda request: True,
        lambda request, tone="kind": True,
        lambda *requests: True,
        acoroutine,
        functools.partial(lambda tone, request: True, "kind"),
        Mock(suspends=False),
        Checks(),
        Suspends(),
        with_(Suspends, check=lambda self, request: None),
        deny_all,
        TerminalApprover(),
        InterruptApprover(),
        NotebookApprover(),
        InboxApprover(object()),
    ],
)
def test_what_is_an_approver_is_taken(approver):
    Guard(POLICY, store="memory://", approver=approver)


def test_the_protocols_are_public_and_ours_keep_them():
    suspending: SuspendingApprover = InterruptApprover()
    checking: CheckingApprover = TerminalApprover()
    plain: guarded_tools.Approver = lambda request: Verdict.approve()  # noqa: E731
    assert all(map(callable, (suspending, checking, plain)))


# At a call


@pytest.mark.parametrize("error", [ValueError("no line"), SystemExit(3), StopIteration(), asyncio.CancelledError()])
def test_a_check_that_raises_anything_refuses_the_call_and_is_recorded(desk, error):
    def check(self, request):
        raise error

    d = desk(with_(Checks, check=check))
    denied = d.refused()
    assert (denied.outcome, d.ran, d.causes()) == ("unanswered", [], ["failed"])
    assert type(error).__name__ in str(denied)
    assert [line["kind"] for line in d.lines()] == ["answered", "refused"]
    assert not any(usage.used for usage in d.guard.usage() if "rate" in usage.counter)


def test_a_check_with_nobody_to_ask_says_so(desk):
    def check(self, request):
        raise CannotAsk("the office is closed")

    d = desk(with_(Checks, check=check))
    assert "the office is closed" in str(d.refused())
    assert d.causes() == ["unavailable"]


@pytest.mark.parametrize("method", ["check", "address", "__call__"])
@pytest.mark.parametrize("error", [KeyError("odd"), SystemExit(3), asyncio.CancelledError()])
def test_whatever_a_suspending_approver_raises_refuses_the_call_and_is_recorded(desk, method, error):
    def broken(self, request):
        raise error

    d = desk(with_(Suspends, **{method: broken}))
    assert d.refused().outcome == "unanswered"
    assert (d.ran, d.causes()) == ([], ["failed"])
    assert d.lines()[-1]["kind"] == "refused"


@pytest.mark.parametrize("said", [None, "call", ("call",), ("call", "task", "more"), (b"call", "task"), 7])
def test_an_address_that_is_none_refuses_the_call(desk, said):
    d = desk(with_(Suspends, address=lambda self, request: said))
    assert d.refused().outcome == "unanswered"
    assert (d.ran, d.causes()) == ([], ["failed"])


def test_a_broken_address_refuses_also_a_call_that_needs_no_human(desk):
    """Nobody can tell whether an answer waits for it, which its body would take for one of its own."""

    def broken(self, request):
        raise KeyError("odd")

    assert desk(with_(Suspends, address=broken)).refused("free").outcome == "unanswered"


def test_a_suspending_approver_as_documented_answers_its_second_question(desk):
    from langgraph.errors import GraphInterrupt

    approver = Leaves()
    d = desk(approver)
    with pytest.raises(GraphInterrupt):
        d.call()
    assert "another call of this task is asked about" in str(d.refused("t", "c2"))
    approver.answered = True
    d.call()
    assert len(d.ran) == 1
    assert "this task had its answer" in str(d.refused())
    assert len(d.ran) == 1
    assert d.causes() == ["unavailable", "human", "unavailable"]


@pytest.mark.parametrize("method", ["spent", "crowded"])
@pytest.mark.parametrize("how", ["raises", "returns nothing", "ends itself"])
def test_a_spent_or_crowded_that_is_broken_refuses_the_call(desk, method, how):
    from langgraph.errors import GraphInterrupt

    def broken(self, request):
        if how == "raises":
            raise ZeroDivisionError
        if how == "ends itself":
            raise SystemExit

    approver = type("Broken", (Leaves,), {method: broken})()
    d = desk(approver)
    with pytest.raises(GraphInterrupt):
        d.call()
    if method == "crowded":
        d.refused("t", "c2")
    else:
        approver.answered = True
        d.call()
        d.refused()
    assert d.causes()[-1] == "failed"
    assert d.lines()[-1]["kind"] == "refused"
