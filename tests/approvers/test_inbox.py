"""Questions in a store: what others can read of them, and which answers count."""

import asyncio
import contextlib
import dataclasses
import json
import os
import subprocess
import sys
import threading
import time

import pytest

from guarded_tools import Guard, Policy, ToolCall, open_store
from guarded_tools.approvers import inbox
from guarded_tools.approvers.inbox import InboxApprover, Question, answer, is_open, questions
from guarded_tools.approvers.protocol import Unanswered
from guarded_tools.errors import StoreError
from guarded_tools.flow import arun
from guarded_tools.values import Usage, Verdict


class Waiting:
    """A call that waits in a thread for its answer."""

    def __init__(self, approvals, request):
        self.approvals = approvals
        self.answers = []
        self.thread = threading.Thread(
            target=lambda: self.answers.append(approvals.ask(request, InboxApprover(approvals.store)))
        )
        self.thread.start()
        until = time.monotonic() + 5
        while not questions(approvals.store) and time.monotonic() < until:
            time.sleep(0.01)
        (self.question,) = questions(approvals.store)

    def ended(self):
        self.thread.join(10)
        return self.answers[0]


@pytest.fixture
def waiting(approvals):
    started = []

    def start(args=None, **fields):
        started.append(Waiting(approvals, approvals.request(args, **fields)))
        return started[-1]

    yield start
    for each in started:
        answer(approvals.store, each.question, Verdict.reject(), wait=0)
        each.thread.join(10)


@pytest.mark.serial
@pytest.mark.parametrize(
    "verdict",
    [
        Verdict.approve(by="ann@approvals"),
        Verdict.approve("same", by="ann@approvals"),
        Verdict.edit({"x": [1.0, "\ud800"]}, by="ann@approvals"),
        Verdict.reject("no", by="ann@approvals"),
        Verdict.respond("blue", by="ann@approvals"),
    ],
    ids=lambda verdict: verdict.kind,
)
def test_an_answer_arrives_as_it_was_given_and_says_by_whom(approvals, waiting, verdict):
    call = waiting(remember="same")
    began = time.monotonic()
    assert answer(approvals.store, call.question, verdict).kind == "taken"
    got = call.ended()
    assert time.monotonic() - began < 0.5
    assert got.verdict == verdict
    assert got.verdict.by == "ann@approvals"
    assert questions(approvals.store) == []


def test_what_others_read_is_all_that_was_asked(approvals, waiting):
    args = {"x": 1.0, "s": "\u202e\ud800", "n": 10**30}
    usage = (Usage("session:one", "s/t/c", 1, 3, 60, 0.5),)
    call = waiting(args, usage=usage, grant="acme", reason="why", call_id="c")
    request = call.question.request
    assert (request.args, request.usage, request.grant, request.reason, request.call_id) == (
        args,
        usage,
        "acme",
        "why",
        "c",
    )
    assert isinstance(request.args["x"], float)
    assert call.question.asker
    assert call.question.closes_at == pytest.approx(time.time() + 5, abs=3)


def test_of_many_answers_the_first_counts_and_the_others_are_told(approvals, waiting):
    call = waiting()
    receipts = []
    names = [f"p{n}@host" for n in range(8)]
    threads = [
        threading.Thread(
            target=lambda by=by: receipts.append((by, answer(approvals.store, call.question, Verdict.approve(by=by))))
        )
        for by in names
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    first = call.ended().verdict.by
    kinds = {by: receipt.kind for by, receipt in receipts}
    assert kinds.pop(first) == "taken"
    assert set(kinds.values()) == {"second"}
    assert {receipt.detail for by, receipt in receipts if by != first} == {f"approve by {first}"}


def altered(store, question, **changes):
    """What somebody who can write to the store makes of a question."""
    key = f"approvals/inbox/{question.id}"
    record = json.loads(store.get(key))
    for name, value in changes.items():
        where = record["request"] if name in record["request"] else record
        where[name] = value
    store.put(key, json.dumps(record).encode(), 60)
    return questions(store)


@pytest.mark.parametrize(
    "change",
    [
        {"args": {"x": 9_999}},
        {"args": {"x": 1.0}},
        {"tool": "harmless"},
        {"description": "Reads nothing."},
        {"risk": "read"},
        {"reason": "routine"},
        {"session": "another"},
        {"digest": "0" * 64},
        {"asker": "root@host"},
        {"closes_at": 1e12},
        {"usage": []},
    ],
    ids=str,
)
def test_an_entry_that_was_altered_answers_nothing(approvals, waiting, change):
    call = waiting(usage=(Usage("a", "b", 1, 2, 3, 0.0),))
    (shown,) = altered(approvals.store, call.question, **change)
    receipt = answer(approvals.store, shown, Verdict.approve(by="ann@approvals"))
    assert receipt.kind == "refused"
    assert "altered" in receipt.detail
    got = call.ended()
    assert (got.verdict.kind, got.cause, got.outcome) == ("reject", "changed", "unanswered")


def test_an_entry_altered_after_it_was_shown_changes_nothing_that_runs(approvals, waiting):
    call = waiting()
    altered(approvals.store, call.question, args={"x": 9_999})
    assert answer(approvals.store, call.question, Verdict.approve()).kind == "taken"
    assert call.ended().verdict.kind == "approve"


@pytest.mark.parametrize(
    "kept",
    [b"", b"{", b"[]", b"{}", b"\xff", json.dumps({"kind": "approve"}).encode(), json.dumps(["approve"]).encode()],
)
def test_an_answer_that_cannot_be_read_denies(approvals, waiting, kept):
    call = waiting()
    approvals.store.put(f"approvals/answer/{call.question.id}", kept, 60)
    got = call.ended()
    assert (got.verdict.kind, got.outcome) == ("reject", "unanswered")


def test_an_answer_of_another_question_does_not_count(approvals, waiting):
    call = waiting()
    forged = {
        "kind": "approve",
        "args": None,
        "message": "",
        "remember": "once",
        "by": "x",
        "nonce": "n",
        "seal": "0" * 64,
    }
    approvals.store.put(f"approvals/answer/{call.question.id}", json.dumps(forged).encode(), 60)
    assert call.ended().cause == "changed"


@pytest.mark.parametrize(
    "change",
    [
        {"args": [1]},
        {"tool": 7},
        {"timeout": "long"},
        {"usage": [["a"]]},
        {"usage": [[1, 2, 3, 4, 5, 6]]},
        {"grant": {}},
    ],
    ids=str,
)
def test_an_entry_that_makes_no_sense_is_not_shown(approvals, waiting, change):
    call = waiting()
    assert altered(approvals.store, call.question, **change) == []


def test_unknown_fields_make_an_entry_unreadable(approvals, waiting):
    call = waiting()
    kept = json.loads(approvals.store.get(f"approvals/inbox/{call.question.id}"))
    with pytest.raises(StoreError, match="altered"):
        Question.load(f"approvals/inbox/{call.question.id}", json.dumps(kept | {"extra": 1}).encode())


def planted(store, request, key=None, **changes):
    """What somebody who can write to the store puts there as a question, in the very form of one."""
    record = json.loads(Question.ask(request).dump())
    for name, value in changes.items():
        where = record["request"] if name in record["request"] else record
        where[name] = value
    store.put(f"approvals/inbox/{record['id'] if key is None else key}", json.dumps(record).encode(), 60)
    return questions(store)


EVIL = "\x1b[2J\x1b[H tool: list_files (read)"


@pytest.mark.parametrize("id_", [EVIL, "", "ABCDEF01", "0123456", "012345678", "01234567\n", "\u0660" * 8, 12345678])
def test_an_id_that_draws_or_is_none_of_ours_is_not_shown(store, sync_approvals, id_):
    assert planted(store, sync_approvals.request(), key=id_, id=id_) == []


def test_a_question_under_the_key_of_another_is_not_shown(store, sync_approvals):
    assert planted(store, sync_approvals.request(), key="01234567") == []
    assert planted(store, sync_approvals.request(), key="01234567", id="01234567") != []


NUMBERS = ["pid", "asked_at", "closes_at", "timeout", "expires_at", "remember_for"]


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize(
    "number", [float("inf"), float("-inf"), float("nan"), 10**400, 1e300, True, None, "1"], ids=str
)
def test_a_number_that_nothing_can_be_counted_with_is_not_shown(store, sync_approvals, name, number):
    assert planted(store, sync_approvals.request(), **{name: number}) == []


@pytest.mark.parametrize("at", range(2, 6))
@pytest.mark.parametrize("number", [float("inf"), 10**400])
def test_nor_is_a_limit_of_which_no_row_can_be_drawn(store, sync_approvals, at, number):
    usage = ["a", "b", 1, 2, 3, 0.0]
    assert planted(store, sync_approvals.request(), usage=[usage]) != []
    usage[at] = number
    assert len(planted(store, sync_approvals.request(), usage=[usage])) == 1


@pytest.mark.parametrize("change", [{"risk": "none"}, {"remember": "ever"}, {"definition": None}, {"rule": 1}], ids=str)
def test_a_word_that_is_none_of_ours_is_not_shown(store, sync_approvals, change):
    assert planted(store, sync_approvals.request(), **change) == []


@pytest.mark.parametrize("depth", [900, 100_000])
def test_what_is_nested_beyond_measure_is_left_out_and_the_others_are_listed(store, sync_approvals, depth):
    nested = b"[" * depth + b"]" * depth
    store.put("approvals/inbox/01234567", nested, 60)
    question = Question.ask(sync_approvals.request({"x": 1}))
    store.put("approvals/inbox/" + question.id, question.dump().replace(b'"x": 1', b'"x": ' + nested), 60)
    store.put("approvals/answer/01234567", nested, 60)
    assert len(planted(store, sync_approvals.request())) == 1
    inbox.first_answer(store, "01234567")


@pytest.mark.parametrize("closes_at", [1e12, 9.2e18, -9.2e18])
def test_a_question_that_is_open_for_ever_can_be_answered(store, sync_approvals, closes_at):
    (question,) = planted(store, sync_approvals.request(), closes_at=closes_at)
    assert answer(store, question, Verdict.reject(), wait=0).kind == "unclaimed"


def test_a_receipt_that_is_no_text_is_shown_all_the_same(store, sync_approvals):
    (question,) = planted(store, sync_approvals.request())

    class Meddled:
        def __getattr__(self, name):
            return getattr(store, name)

        def take(self, key):
            return b"\xff"

    receipt = answer(Meddled(), question, Verdict.approve())
    assert (receipt.kind, receipt.detail) == ("refused", "\ufffd")


def test_an_edit_that_the_policy_would_refuse_leaves_the_question_open(approvals, waiting):
    call = waiting(check_edit=lambda args: "too much" if args["x"] > 100 else "")
    first = answer(approvals.store, call.question, Verdict.edit({"x": 101}))
    assert (first.kind, first.detail) == ("refused", "the policy refuses this edit: too much")
    assert is_open(approvals.store, call.question)
    assert answer(approvals.store, call.question, Verdict.edit({"x": 100})).kind == "taken"
    assert call.ended().verdict.args == {"x": 100}


def gone(store):
    """Wait until nothing of a question is left: the thread that waited for an answer may still be on its way out."""
    until = time.monotonic() + 10
    while list(store.scan("approvals/")) and time.monotonic() < until:
        time.sleep(0.01)
    assert list(store.scan("approvals/")) == []


def test_nobody_answering_denies_and_leaves_nothing(approvals):
    got = approvals.ask(approvals.request(timeout=0.3), InboxApprover(approvals.store))
    assert (got.cause, got.outcome) == ("timeout", "unanswered")
    gone(approvals.store)


def test_an_answer_that_comes_too_late_is_told_so(approvals, waiting):
    call = waiting(timeout=0.3)
    call.ended()
    gone(approvals.store)
    assert answer(approvals.store, call.question, Verdict.approve()).kind == "late"


def test_an_answer_that_nobody_picks_up_is_told_so(store, sync_approvals):
    question = Question.ask(sync_approvals.request())
    store.put(f"approvals/inbox/{question.id}", question.dump(), 5)  # as an agent leaves it that was killed
    assert answer(store, question, Verdict.approve(), wait=0.2).kind == "unclaimed"
    assert questions(store) == [], "it would be asked again, and could not be answered"


@pytest.fixture
def dead():
    """The id of a process that is no more."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def left_behind(store, request, pid, **fields):
    question = Question.ask(request)._replace(pid=pid, **fields)
    store.put(f"approvals/inbox/{question.id}", question.dump(), 60)
    return question


def test_only_the_same_call_takes_up_what_a_dead_process_asked(store, sync_approvals, dead):
    request = sync_approvals.request()
    question = left_behind(store, request, dead)
    approver = InboxApprover(store)
    for other in (
        dataclasses.replace(request, session="another"),
        dataclasses.replace(request, args={"x": 1.0}),
        dataclasses.replace(request, digest="another"),
        dataclasses.replace(request, reason="another"),
        dataclasses.replace(request, grant="another"),
    ):
        assert approver._left_behind(other) is None
    again = dataclasses.replace(request, call_id="9", expires_at=5.0, check_edit=lambda args: "")
    taken = approver._left_behind(again)
    assert (taken.id, taken.seal) == (question.id, question.seal)
    assert taken.request.check_edit is not None
    assert approver._left_behind(again) is None, "it is waited for here by now"


def test_what_a_living_process_or_one_elsewhere_asked_stays_its_own(store, sync_approvals, dead):
    request = sync_approvals.request()
    for pid, fields in ((os.getpid(), {}), (os.getppid(), {}), (dead, {"asker": "ann@elsewhere"}), (2**62, {})):
        left_behind(store, request, pid, **fields)
        assert InboxApprover(store)._left_behind(request) is None


def test_an_answer_lets_one_call_run_whoever_waits_for_it(store, sync_approvals, dead):
    question = left_behind(store, sync_approvals.request(), dead)
    answer(store, question, Verdict.approve(), wait=0)
    kept = store.get(f"approvals/answer/{question.id}")
    assert InboxApprover(store)._read(question, kept).kind == "approve"
    with pytest.raises(Unanswered, match="elsewhere"):
        InboxApprover(store)._read(question, kept)


async def test_cancelling_the_call_withdraws_the_question(sync_approvals):
    approver = InboxApprover(sync_approvals.store)
    task = asyncio.create_task(arun(sync_approvals.flow(sync_approvals.request(), approver)))
    while not questions(sync_approvals.store):  # noqa: ASYNC110 - another thread puts it there
        await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.sleep(inbox.POLL * 2)
    assert questions(sync_approvals.store) == []


async def test_a_closed_guard_has_taken_back_what_nobody_waits_for(tmp_path):
    """As a service that is stopped cancels its requests, closes its guard, and ends."""
    url, policy = (
        f"disk://{tmp_path / 'state'}",
        {"version": "1", "default": "deny", "tools": {"t": {"approval": True}}},
    )
    with contextlib.closing(open_store(url)) as elsewhere:
        store = open_store(url)
        guard = Guard(Policy.model_validate(policy), store=store, approver=InboxApprover(store), state=tmp_path)
        task = asyncio.create_task(guard.acall(ToolCall("t", {}), None))
        while not questions(elsewhere):  # noqa: ASYNC110 - another thread puts it there
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await guard.aclose()
        assert questions(elsewhere) == []


async def test_waiting_leaves_the_event_loop_free(sync_approvals):
    approver = InboxApprover(sync_approvals.store)
    task = asyncio.create_task(arun(sync_approvals.flow(sync_approvals.request(), approver)))
    longest = last = 0.0
    began = last = time.monotonic()
    while time.monotonic() - began < 0.6:
        await asyncio.sleep(0.005)
        longest, last = max(longest, time.monotonic() - last), time.monotonic()
    (question,) = questions(sync_approvals.store)
    await asyncio.to_thread(answer, sync_approvals.store, question, Verdict.approve())
    assert (await task).outcome is None
    assert longest < 1.0  # an approver on the loop would have held it until it was answered
