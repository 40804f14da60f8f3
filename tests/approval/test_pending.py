"""Open questions: how many, until when by which clock, and what ends them before they are answered."""

import asyncio
import os
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from guarded_tools.approval import pending, workflow
from guarded_tools.approvers.protocol import CallAddress, who
from guarded_tools.errors import CannotAsk, StoreError
from guarded_tools.flow import arun, run
from guarded_tools.policy import ApprovalLimits
from guarded_tools.stores.memory import MemoryStore
from guarded_tools.values import ApprovalRequest, digest
from tests.fakes import SteppedClock

LIMITS = ApprovalLimits(max_pending=2)
HERE = CallAddress("call", "task", "thread", "1")


class Run:
    """A run that is suspended for its questions, as LangGraph suspends one; at ``turn`` of its thread."""

    suspends = True

    def __init__(self):
        self.said = {}
        self.turn = "1"
        self.thread = "thread"
        self.branch = ""

    def __call__(self, request):
        from langgraph.errors import GraphInterrupt

        if request.call_id not in self.said:
            raise GraphInterrupt
        return self.said[request.call_id]

    def address(self, request):
        return CallAddress(
            f"{self.thread} {request.call_id}", f"{self.thread} {self.branch}{request.call_id}", self.thread, self.turn
        )

    def crowded(self, request):
        return CannotAsk("crowded")

    def spent(self, request):
        return CannotAsk("spent")


class Bench:
    def __init__(self, driver):
        self.clock = SteppedClock()
        self.store = MemoryStore(clock=self.clock)
        self.run = Run()
        self.limits = LIMITS
        self.driver = driver

    def drive(self, flow):
        return run(flow) if self.driver == "sync" else asyncio.run(arun(flow))

    def request(self, call_id, session="one", timeout=600.0):
        args = {"call": call_id}
        return ApprovalRequest(
            "t", args, session, digest(args), "/tools/t/approval", risk="write", timeout=timeout, call_id=call_id
        )

    def come_by(self, call_id, **fields):
        """Go by a call: resumed if it waits, else asked about. ``None``: the run is suspended."""
        from langgraph.errors import GraphInterrupt

        request = self.request(call_id, **fields)
        options = {"store": self.store, "approver": self.run, "limits": self.limits}
        try:
            return self.drive(workflow.resume(request, **options)) or self.drive(workflow.ask(request, **options))
        except GraphInterrupt:
            return None

    def withdraw(self, session="one"):
        return self.drive(pending.withdraw(session, store=self.store))


@pytest.fixture(params=["sync", "async"])
def bench(request):
    return Bench(request.param)


def ended(answer):
    return answer and (answer.cause, answer.outcome)


REFUSED = ("stray", "unanswered")


def test_a_session_has_so_many_slots_and_another_its_own(bench):
    assert [ended(bench.come_by(each)) for each in "abc"] == [None, None, ("pending", "limited")]
    assert bench.come_by("c", session="two") is None


def test_an_answer_frees_its_slot(bench):
    bench.come_by("a"), bench.come_by("b")
    bench.run.said["a"] = True
    assert ended(bench.come_by("a")) == ("human", None)
    assert bench.come_by("c") is None


@pytest.mark.parametrize("step", [0, -7_200, -600, 3_600])
def test_a_question_is_over_after_its_time_whatever_the_wall_clock_was_set_to(bench, step):
    bench.come_by("a")
    bench.clock.pass_(601)
    bench.clock.step(step)
    bench.run.said["a"] = True
    assert ended(bench.come_by("a")) == ("expired", "unanswered")


@pytest.mark.parametrize("step", [0, -7_200])
def test_within_its_time_a_step_back_changes_nothing(bench, step):
    bench.come_by("a")
    bench.clock.pass_(590)
    bench.clock.step(step)
    bench.run.said["a"] = True
    assert ended(bench.come_by("a")) == ("human", None)


def test_a_slow_approver_that_answers_after_the_time_counts_no_more_than_one_that_suspends(bench):
    def late(request):
        bench.clock.pass_(601)
        bench.clock.step(-601)
        return True

    answer = bench.drive(workflow.ask(bench.request("a"), store=bench.store, approver=late, limits=LIMITS))
    assert ended(answer) == ("expired", "unanswered")


def test_withdrawing_frees_all_slots_of_a_session_and_of_no_other(bench):
    bench.come_by("a"), bench.come_by("b"), bench.come_by("a", session="two")
    assert bench.withdraw() == 2
    assert bench.withdraw() == 0
    assert [ended(bench.come_by(each)) for each in "cde"] == [None, None, ("pending", "limited")]
    bench.run.said["a"] = True
    assert ended(bench.come_by("a", session="two")) == ("human", None)


@pytest.mark.parametrize("said", [True, False])
def test_the_late_answer_to_a_withdrawn_question_is_stray(bench, said):
    bench.come_by("a")
    bench.withdraw()
    bench.run.said["a"] = said
    answer = bench.come_by("a")
    assert ended(answer) == REFUSED
    assert "withdrawn" in answer.text
    assert ended(bench.come_by("a")) == ("unavailable", "unanswered")  # its task had its answer


def test_a_run_that_comes_by_a_withdrawn_question_without_an_answer_goes_on_refused(bench):
    bench.come_by("a")
    bench.withdraw()
    assert ended(bench.come_by("a")) == REFUSED


def test_an_approver_that_waits_here_is_answered_too_late_after_a_withdrawal(bench):
    def approver(request):
        assert bench.withdraw_here() == 1
        return True

    bench.withdraw_here = lambda: run(pending.withdraw("one", store=bench.store))
    answer = bench.drive(workflow.ask(bench.request("a"), store=bench.store, approver=approver, limits=LIMITS))
    assert ended(answer) == REFUSED


def test_a_thread_that_went_on_leaves_its_questions_behind(bench):
    bench.come_by("a"), bench.come_by("b")
    bench.run.turn = "2"
    assert bench.come_by("c") is None
    bench.run.said.update(a=True, b=True)
    bench.run.turn = "1"  # somebody resumes the run as it was
    assert [ended(bench.come_by(each)) for each in "ab"] == [REFUSED, REFUSED]


def test_questions_of_the_same_turn_and_of_other_threads_stay(bench):
    bench.limits = ApprovalLimits(max_pending=5)
    bench.come_by("a")
    bench.run.thread = "another"
    bench.come_by("b")
    bench.run.turn = "2"
    bench.come_by("c"), bench.come_by("d")
    bench.run.said.update(a=True, b=True, c=True, d=True)
    assert ended(bench.come_by("c")) == ended(bench.come_by("d")) == ("human", None)
    assert ended(bench.come_by("b")) == REFUSED
    bench.run.thread, bench.run.turn = "thread", "1"
    assert ended(bench.come_by("a")) == ("human", None)


def test_a_question_that_a_fork_shows_anew_holds_a_slot_again(bench):
    bench.come_by("a")
    bench.clock.pass_(700)
    bench.come_by("b"), bench.come_by("c")
    bench.run.branch = "fork of "
    assert ended(bench.come_by("a")) == ("pending", "limited")
    bench.run.branch = ""
    bench.run.said["b"] = True
    bench.come_by("b")
    bench.run.branch = "fork of "
    assert bench.come_by("a") is None
    assert ended(bench.come_by("d")) == ("pending", "limited")
    bench.run.said["a"] = True
    assert ended(bench.come_by("a")) == ("human", None)


def test_an_entry_that_cannot_be_read_refuses(bench):
    bench.come_by("a")
    ((key, _),) = bench.store.scan("approvals/live/")
    for damaged in (b"", b"7", b"{}"):
        bench.store.put(key, damaged)
        bench.run.turn = "2"
        with pytest.raises(StoreError):
            bench.come_by("b")


@pytest.mark.parametrize("record", [b"", b"7", b"[]", b"{}", b'{"id": 1}'])
def test_a_question_that_cannot_be_read_refuses(bench, record):
    bench.come_by("a")
    ((key, _),) = bench.store.scan("approvals/asked/")
    bench.store.put(key, record)
    with pytest.raises(StoreError):
        bench.come_by("a")


def test_of_an_answer_and_a_withdrawal_at_once_exactly_one_counts():
    store, wins = MemoryStore(), []
    for round_ in range(50):
        slot = run(pending.claim("s", str(round_), 60, LIMITS, HERE, store=store))
        both = threading.Barrier(2)

        def close(slot=slot, round_=round_, both=both):
            both.wait()
            return run(pending.close(slot, str(round_), store=store)) == "open"

        def withdraw(both=both):
            both.wait()
            return run(pending.withdraw("s", store=store)) == 1

        with ThreadPoolExecutor(2) as pool:
            wins.append(sum(future.result() for future in [pool.submit(close), pool.submit(withdraw)]))
    assert wins == [1] * 50


def test_places_of_processes_that_are_no_more_are_given_to_others(monkeypatch):
    store, one = MemoryStore(), ApprovalLimits(max_pending=1)
    waits, suspended = CallAddress(), CallAddress("call", "task")

    def claims(session, question, place):
        return run(pending.claim(session, question, 60.0, one, place, store=store))

    assert claims("a", "first", waits)
    assert claims("b", "first of b", suspended)
    assert claims("a", "second", waits) is None
    monkeypatch.setattr(pending, "is_gone", lambda asker, pid: (asker, pid) == (who(), os.getpid()))
    assert claims("a", "third", waits)
    assert run(pending.close("", "first", store=store)) == "over", "an answer to it runs nothing"
    assert claims("b", "second of b", waits) is None, "a run that was suspended outlives its process"
