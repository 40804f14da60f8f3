"""What an approver may answer, and what becomes of everything that is no answer."""

import asyncio
import dataclasses
import threading
import time

import pytest

from guarded_tools.approval import workflow
from guarded_tools.approvers import deny_all, withdrawn
from guarded_tools.errors import CannotAsk, StoreError
from guarded_tools.flow import Await, arun, run
from guarded_tools.values import Verdict


def answers(value):
    return lambda request: value


def ended(answer):
    return (answer.verdict.kind, answer.cause, answer.outcome)


# Answers


def test_true_approves_and_false_rejects(approvals):
    assert ended(approvals.ask(approvals.request(), answers(True))) == ("approve", "human", None)
    assert ended(approvals.ask(approvals.request(), answers(False))) == ("reject", "human", "rejected")


def test_a_rejection_tells_the_model_why(approvals):
    answer = approvals.ask(approvals.request(), answers(Verdict.reject("wrong customer")))
    assert "human rejected" in answer.text
    assert "wrong customer" in answer.text


def test_a_response_is_the_text_the_model_gets(approvals):
    answer = approvals.ask(approvals.request(), answers(Verdict.respond("use the blue one")))
    assert (answer.outcome, answer.text) == ("responded", "use the blue one")


def test_an_edit_carries_its_own_copy_of_the_arguments(approvals):
    args = {"x": {"deep": [1]}}
    answer = approvals.ask(approvals.request(), answers(Verdict.edit(args)))
    args["x"]["deep"].append(2)
    assert answer.verdict.args == {"x": {"deep": [1]}}
    assert answer.outcome is None


async def coroutine(request):
    await asyncio.sleep(0)
    return Verdict.reject(request.tool)


class Sync:
    def __call__(self, request):
        return Verdict.reject(request.tool)


class Async:
    async def __call__(self, request):
        return await coroutine(request)


class Method:
    def decide(self, request):
        return Verdict.reject(request.tool)

    async def adecide(self, request):
        return await coroutine(request)


@pytest.mark.parametrize(
    "approver",
    [coroutine, Sync(), Async(), Method().decide, Method().adecide, lambda request: coroutine(request)],  # noqa: PLW0108
    ids=["coroutine function", "object", "async object", "method", "async method", "function of a coroutine"],
)
def test_every_kind_of_callable_is_an_approver(approvals, approver):
    assert approvals.ask(approvals.request(), approver).verdict.message == "t"


async def test_an_async_approver_answers_sync_code_inside_a_running_loop(sync_approvals):
    assert sync_approvals.ask(sync_approvals.request(), coroutine).verdict.message == "t"


async def test_a_sync_approver_leaves_the_event_loop_free(store, clock, sync_approvals):
    beats = []
    asked, go_on = threading.Event(), threading.Event()

    def slow(request):
        asked.set()
        return go_on.wait(5)

    async def beat():
        assert await asyncio.to_thread(asked.wait, 5)
        for _ in range(20):
            beats.append(time.monotonic())
            await asyncio.sleep(0.001)
        go_on.set()

    answer, _ = await asyncio.gather(arun(sync_approvals.flow(sync_approvals.request(), slow)), beat())
    assert ended(answer)[0] == "approve"
    assert len(beats) == 20


def test_context_variables_reach_the_approver(approvals):
    import contextvars

    var = contextvars.ContextVar("var", default="unset")
    token = var.set("caller's")
    try:
        answer = approvals.ask(approvals.request(), lambda request: Verdict.reject(var.get()))
    finally:
        var.reset(token)
    assert answer.verdict.message == "caller's"


# No answers


@pytest.mark.parametrize(
    "value",
    [
        None,
        1,
        "yes",
        "approve",
        {"type": "approve"},
        [True],
        pytest.param(object(), id="object"),
        Verdict("maybe"),
        Verdict("approve", remember="forever"),
        Verdict("reject", message=7),
        Verdict("edit"),
        Verdict("edit", args="x=1"),
        Verdict("edit", args=[1]),
        Verdict("edit", args={1: 2}),
        Verdict("edit", args={"x": {1: 2}}),
        Verdict("edit", args={"x": (1, 2)}),
        Verdict("edit", args={"x": float("nan")}),
        Verdict("edit", args={"x": {1, 2}}),
    ],
    ids=repr,
)
def test_what_is_no_answer_denies(approvals, value):
    assert ended(approvals.ask(approvals.request(), answers(value))) == ("reject", "invalid", "unanswered")


def raises(error):
    def approver(request):
        raise error

    return approver


def test_an_approver_that_raises_denies(approvals):
    answer = approvals.ask(approvals.request(), raises(ValueError("boom")))
    assert ended(answer) == ("reject", "failed", "unanswered")
    assert "boom" in answer.detail


@pytest.mark.parametrize("error", [SystemExit(0), asyncio.CancelledError()])
def test_an_approver_that_ends_itself_ends_only_itself(approvals, error):
    assert ended(approvals.ask(approvals.request(), raises(error))) == ("reject", "failed", "unanswered")


def test_ctrl_c_in_an_approver_stops_the_program(approvals):
    with pytest.raises(KeyboardInterrupt):
        approvals.ask(approvals.request(), raises(KeyboardInterrupt()))


def test_an_approver_with_nobody_to_ask_denies_and_says_what_to_do(approvals):
    answer = approvals.ask(approvals.request(), deny_all)
    assert ended(answer) == ("reject", "unavailable", "unanswered")
    assert "approver=" in answer.text


def test_a_call_that_nobody_can_be_asked_about_counts_as_no_question(approvals):
    for _ in range(30):
        approvals.ask(approvals.request(), deny_all)
    assert ended(approvals.ask(approvals.request(), answers(True))) == ("approve", "human", None)
    assert approvals.ask(approvals.request(), raises(CannotAsk("closed meanwhile"))).cause == "unavailable"


def test_nobody_answering_in_time_denies(approvals):
    let_go = threading.Event()
    answer = approvals.ask(approvals.request(timeout=0.05), lambda request: let_go.wait(5))
    let_go.set()
    assert ended(answer) == ("reject", "timeout", "unanswered")
    assert "0.05 seconds" in answer.text


def test_an_async_approver_that_refuses_to_be_cancelled_is_not_waited_for(store, clock, sync_approvals):
    async def stubborn(request):
        while True:
            try:
                await asyncio.sleep(0.3)
            except asyncio.CancelledError:
                continue
            return True

    async def go():
        return await arun(sync_approvals.flow(sync_approvals.request(timeout=0.02), stubborn))

    assert ended(asyncio.run(go())) == ("reject", "timeout", "unanswered")


def test_an_answer_after_the_question_expired_does_not_count(approvals):
    def late(request):
        approvals.clock.now = request.expires_at
        return True

    assert ended(approvals.ask(approvals.request(), late)) == ("reject", "expired", "unanswered")


def test_a_late_rejection_is_a_rejection(approvals):
    def late(request):
        approvals.clock.now = request.expires_at + 5
        return False

    assert ended(approvals.ask(approvals.request(), late)) == ("reject", "human", "rejected")


def test_an_approver_that_is_busy_with_a_question_given_up_is_asked_nothing_else(approvals, monkeypatch):
    monkeypatch.setattr("guarded_tools.approval.calling._GRACE", 0.05)
    let_go = threading.Event()
    asked = []

    def reads_stdin(request):
        asked.append(request.args)
        let_go.wait(5)
        return True

    assert approvals.ask(approvals.request({"x": 1}, timeout=0.05), reads_stdin).cause == "timeout"
    second = approvals.ask(approvals.request({"x": 2}), reads_stdin)
    assert ended(second) == ("reject", "timeout", "unanswered")
    assert "busy" in second.text
    assert asked == [{"x": 1}]
    let_go.set()
    assert approvals.ask(approvals.request({"x": 2}), reads_stdin).outcome is None


def test_an_approver_that_notices_it_was_withdrawn_is_asked_again_at_once(approvals):
    left = []

    def polite(request):
        while not withdrawn():
            time.sleep(0.005)
            if request.args == {"x": 2}:
                return True
        left.append(request.args)
        return True

    assert approvals.ask(approvals.request({"x": 1}, timeout=0.05), polite).cause == "timeout"
    assert approvals.ask(approvals.request({"x": 2}), polite).outcome is None
    assert left == [{"x": 1}]


# What runs is what was shown


def test_changing_what_the_human_was_shown_denies(approvals):
    def sly(request):
        request.args["x"] = 9_999
        return True

    assert ended(approvals.ask(approvals.request(), sly)) == ("reject", "changed", "unanswered")


def test_changing_the_dictionary_after_the_request_changes_nothing_that_is_shown(approvals):
    args = {"x": {"deep": 1}}
    request = approvals.request(args)
    seen = []

    def approver(shown):
        args["x"]["deep"] = 2
        seen.append(shown.args)
        return True

    approvals.ask(request, approver)
    assert seen == [{"x": {"deep": 1}}]


# One execution


def test_one_approval_is_for_one_call(approvals):
    asked = []
    for _ in range(3):
        approvals.ask(approvals.request(), lambda request: asked.append(1) or True)
    assert len(asked) == 3


# Around the question


def test_the_announcement_comes_right_before_the_question_and_only_then(approvals):
    log = []

    async def announce():
        log.append("asked")

    step = Await(lambda: log.append("asked"), announce)
    approvals.ask(approvals.request(), lambda r: log.append("shown") or True, announce=step)
    approvals.ask(approvals.request(), deny_all, announce=step)
    assert log == ["asked", "shown"]


def test_an_announcement_that_fails_ends_the_ask_and_frees_its_place(approvals):
    def broken():
        raise StoreError("disk full")

    async def abroken():
        broken()

    for _ in range(7):
        with pytest.raises(StoreError):
            approvals.ask(approvals.request(), answers(True), announce=Await(broken, abroken))
    assert list(approvals.store.scan("approvals/open/")) == []


async def test_cancellation_passes_takes_the_question_back_and_frees_its_place(sync_approvals):
    gone = threading.Event()
    asked = threading.Event()

    def polite(request):
        asked.set()
        while not withdrawn():
            time.sleep(0.005)
        gone.set()

    task = asyncio.create_task(arun(sync_approvals.flow(sync_approvals.request(), polite)))
    assert await asyncio.to_thread(asked.wait, 5)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await asyncio.to_thread(gone.wait, 2)
    assert list(sync_approvals.store.scan("approvals/open/")) == []


async def test_cancelling_an_async_approver_cancels_it(sync_approvals):
    seen, asked = [], asyncio.Event()

    async def waits(request):
        asked.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise

    task = asyncio.create_task(arun(sync_approvals.flow(sync_approvals.request(), waits)))
    await asked.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.sleep(0)
    assert seen == ["cancelled"]


def test_a_suspension_raised_by_an_approver_passes_untouched_and_frees_its_place(approvals):
    from langgraph.errors import GraphInterrupt

    error = GraphInterrupt()
    with pytest.raises(GraphInterrupt) as raised:
        approvals.ask(approvals.request(), raises(error))
    assert raised.value is error
    assert list(approvals.store.scan("approvals/open/")) == []


def test_a_store_that_fails_while_a_place_is_freed_hides_nothing(approvals, monkeypatch):
    def broken(*_):
        raise StoreError("gone")

    async def abroken(*_):
        broken()

    def approver(request):
        monkeypatch.setattr(approvals.store, "get", broken, raising=False)
        monkeypatch.setattr(approvals.store, "aget", abroken, raising=False)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        approvals.ask(approvals.request(), approver)


def test_a_store_that_fails_before_a_human_is_asked_refuses(approvals, monkeypatch):
    def broken(*_, **__):
        raise StoreError("gone")

    async def abroken(*_, **__):
        broken()

    monkeypatch.setattr(approvals.store, "add", broken, raising=False)
    monkeypatch.setattr(approvals.store, "aadd", abroken, raising=False)
    asked = []
    with pytest.raises(StoreError):
        approvals.ask(approvals.request(), lambda r: asked.append(1) or True)
    assert asked == []


def test_without_a_clock_of_its_own_the_answer_is_timed_by_the_wall(sync_approvals):
    request = dataclasses.replace(sync_approvals.request(), expires_at=time.time() + 5)
    line = workflow.ask(request, store=sync_approvals.store, approver=answers(True), limits=sync_approvals.limits)
    assert run(line).outcome is None
