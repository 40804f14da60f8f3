"""An agent cannot bury a human in questions."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

from guarded_tools.approval import remembered, workflow
from guarded_tools.flow import arun, run
from guarded_tools.values import Verdict


def no(request):
    return False


def yes(request):
    return True


def test_of_a_hundred_questions_in_a_row_twenty_are_asked(approvals):
    asked = []
    answers = [approvals.ask(approvals.request({"x": x}), lambda r: asked.append(r.args) or True) for x in range(100)]
    assert len(asked) == 20
    refused = answers[20:]
    assert {(a.verdict.kind, a.cause, a.outcome) for a in refused} == {("reject", "asks", "limited")}
    assert 0 < refused[0].retry_after <= 610


def test_the_count_of_questions_rolls_and_says_exactly_when(approvals):
    for x in range(20):
        approvals.ask(approvals.request({"x": x}), yes)
        approvals.clock.now += 20
    refused = approvals.ask(approvals.request(), yes)
    assert refused.cause == "asks"
    approvals.clock.now += refused.retry_after - 0.01
    assert approvals.ask(approvals.request(), yes).cause == "asks"
    approvals.clock.now += 0.02
    assert approvals.ask(approvals.request(), yes).outcome is None


def test_each_session_has_its_own_questions(approvals):
    for x in range(25):
        approvals.ask(approvals.request({"x": x}), yes)
    assert approvals.ask(approvals.request(session="two"), yes).outcome is None


def test_of_fifty_parallel_questions_five_are_asked_from_threads(sync_approvals):
    asked, all_refused = [], threading.Event()

    def approver(request):
        asked.append(request.args["x"])
        return all_refused.wait(10)

    refused = []

    def one(x):
        answer = sync_approvals.ask(sync_approvals.request({"x": x}), approver)
        if answer.cause == "pending":
            refused.append(x)
            if len(refused) == 45:
                all_refused.set()
        return answer

    with ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(one, range(50)))
    assert len(asked) == 5
    assert sum(a.outcome is None for a in answers) == 5
    assert sum((a.cause, a.outcome) == ("pending", "limited") for a in answers) == 45


async def test_of_fifty_parallel_questions_five_are_asked_from_tasks(sync_approvals):
    asked = []
    release = asyncio.Event()

    async def approver(request):
        asked.append(request.args["x"])
        await release.wait()
        return True

    tasks = [
        asyncio.create_task(arun(sync_approvals.flow(sync_approvals.request({"x": x}), approver))) for x in range(50)
    ]
    done = set()
    while len(done) < 45:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED, timeout=5)
    release.set()
    answers = await asyncio.gather(*tasks)
    assert len(asked) == 5
    crowded = [a for a in answers if a.cause == "pending"]
    assert len(crowded) == 45
    assert {(a.text, a.retry_after) for a in crowded} == {
        ("5 questions of this session must be answered before another is asked", crowded[0].retry_after)
    }
    assert crowded[0].retry_after is not None, "it would be told that it can never run"


def test_a_question_that_ended_makes_room(approvals):
    for x in range(12):
        assert approvals.ask(approvals.request({"x": x}), yes).outcome is None


def test_three_rejections_close_a_tool_for_the_session(approvals):
    for x in range(3):
        assert approvals.ask(approvals.request({"x": x}), no).cause == "human"
    asked = []
    closed = approvals.ask(approvals.request({"x": 9}), lambda r: asked.append(1) or True)
    assert (closed.cause, closed.outcome) == ("closed", "rejected")
    assert asked == []
    assert "3 times" in closed.text
    assert approvals.ask(approvals.request({"x": 9}, tool="other"), yes).outcome is None
    assert approvals.ask(approvals.request({"x": 9}, session="two"), yes).outcome is None
    approvals.clock.now += 7 * 86_400
    assert approvals.ask(approvals.request({"x": 9}), yes).cause == "closed"


def test_the_same_call_rejected_twice_is_refused_unasked(approvals):
    approvals.ask(approvals.request({"x": 1}), no)
    approvals.ask(approvals.request({"x": 1}), no)
    again = approvals.ask(approvals.request({"x": 1}), yes)
    assert (again.cause, again.outcome) == ("repeated", "rejected")
    assert approvals.ask(approvals.request({"x": 2}), yes).outcome is None


def test_what_is_no_rejection_by_a_human_closes_nothing(approvals):
    for _ in range(8):
        approvals.ask(approvals.request(), lambda r: None)
        approvals.ask(approvals.request(), lambda r: Verdict.respond("here"))
    assert approvals.ask(approvals.request(), yes).outcome is None


def test_the_policy_can_change_every_bound(approvals):
    approvals.limits = workflow.ApprovalLimits(max_pending=1, max_asks=2, window=60, max_rejections=1)
    nested = []

    def asks_again(request):
        line = approvals.flow(approvals.request({"x": 2}), yes)
        nested.append(run(line).cause)
        return False

    approvals.ask(approvals.request({"x": 1}), asks_again)
    assert nested == ["pending"]
    assert approvals.ask(approvals.request({"x": 3}), yes).cause == "closed"
    approvals.ask(approvals.request({"x": 4}, tool="u"), yes)
    assert approvals.ask(approvals.request({"x": 5}, tool="u"), yes).cause == "asks"
    approvals.clock.now += 62
    assert approvals.ask(approvals.request({"x": 5}, tool="u"), yes).outcome is None


def test_in_the_unnamed_session_rejections_end_with_the_process(approvals, monkeypatch):
    for x in range(3):
        approvals.ask(approvals.request({"x": x}, session="default"), no)
    assert approvals.ask(approvals.request({"x": 9}, session="default"), yes).cause == "closed"
    monkeypatch.setattr(remembered, "_PROCESS", "another process")
    assert approvals.ask(approvals.request({"x": 9}, session="default"), yes).outcome is None


def test_a_reset_of_the_session_reopens_its_tools(approvals):
    for x in range(3):
        approvals.ask(approvals.request({"x": x}), no)
    approvals.store.reset("session:one")
    assert approvals.ask(approvals.request({"x": 9}), yes).outcome is None
