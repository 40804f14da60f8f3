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


def test_true_approves_and_false_rejects(desk):
    assert ended(desk.ask(desk.request(), answers(True))) == ("approve", "human", None)
    assert ended(desk.ask(desk.request(), answers(False))) == ("reject", "human", "rejected")


def test_a_rejection_tells_the_model_why(desk):
    answer = desk.ask(desk.request(), answers(Verdict.reject("wrong customer")))
    assert "human rejected" in answer.text
    assert "wrong customer" in answer.text


def test_a_response_is_the_text_the_model_gets(desk):
    answer = desk.ask(desk.request(), answers(Verdict.respond("use the blue one")))
    assert (answer.outcome, answer.text) == ("responded", "use the blue one")


def test_an_edit_carries_its_own_copy_of_the_arguments(desk):
    args = {"x": {"deep": [1]}}
    answer = desk.ask(desk.request(), answers(Verdict.edit(args)))
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
def test_every_kind_of_callable_is_an_approver(desk, approver):
    assert desk.ask(desk.request(), approver).verdict.message == "t"


async def test_an_async_approver_answers_sync_code_inside_a_running_loop(sync_desk):
    assert sync_desk.ask(sync_desk.request(), coroutine).verdict.message == "t"


async def test_a_sync_approver_leaves_the_event_loop_free(store, clock, sync_desk):
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

    answer, _ = await asyncio.gather(arun(sync_desk.line(sync_desk.request(), slow)), beat())
    assert ended(answer)[0] == "approve"
    assert len(beats) == 20


def test_context_variables_reach_the_approver(desk):
    import contextvars

    var = contextvars.ContextVar("var", default="unset")
    token = var.set("caller's")
    try:
        answer = desk.ask(desk.request(), lambda request: Verdict.reject(var.get()))
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
        object(),
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
def test_what_is_no_answer_denies(desk, value):
    assert ended(desk.ask(desk.request(), answers(value))) == ("reject", "invalid", "unanswered")


def raises(error):
    def approver(request):
        raise error

    return approver


def test_an_approver_that_raises_denies(desk):
    answer = desk.ask(desk.request(), raises(ValueError("boom")))
    assert ended(answer) == ("reject", "failed", "unanswered")
    assert "boom" in answer.detail


@pytest.mark.parametrize("error", [SystemExit(0), asyncio.CancelledError()])
def test_an_approver_that_ends_itself_ends_only_itself(desk, error):
    assert ended(desk.ask(desk.request(), raises(error))) == ("reject", "failed", "unanswered")


def test_ctrl_c_in_an_approver_stops_the_program(desk):
    with pytest.raises(KeyboardInterrupt):
        desk.ask(desk.request(), raises(KeyboardInterrupt()))


def test_an_approver_with_nobody_to_ask_denies_and_says_what_to_do(desk):
    answer = desk.ask(desk.request(), deny_all)
    assert ended(answer) == ("reject", "unavailable", "unanswered")
    assert "approver=" in answer.text


def test_a_call_that_nobody_can_be_asked_about_counts_as_no_question(desk):
    for _ in range(30):
        desk.ask(desk.request(), deny_all)
    assert ended(desk.ask(desk.request(), answers(True))) == ("approve", "human", None)
    assert desk.ask(desk.request(), raises(CannotAsk("closed meanwhile"))).cause == "unavailable"


def test_nobody_answering_in_time_denies(desk):
    let_go = threading.Event()
    answer = desk.ask(desk.request(timeout=0.05), lambda request: let_go.wait(5))
    let_go.set()
    assert ended(answer) == ("reject", "timeout", "unanswered")
    assert "0.05 seconds" in answer.text


def test_an_async_approver_that_refuses_to_be_cancelled_is_not_waited_for(store, clock, sync_desk):
    async def stubborn(request):
        while True:
            try:
                await asyncio.sleep(0.3)
            except asyncio.CancelledError:
                continue
            return True

    async def go():
        return await arun(sync_desk.line(sync_desk.request(timeout=0.02), stubborn))

    assert ended(asyncio.run(go())) == ("reject", "timeout", "unanswered")


def test_an_answer_after_the_question_expired_does_not_count(desk):
    def late(request):
        desk.clock.now = request.expires_at
        return True

    assert ended(desk.ask(desk.request(), late)) == ("reject", "expired", "unanswered")


def test_a_late_rejection_is_a_rejection(desk):
    def late(request):
        desk.clock.now = request.expires_at + 5
        return False

    assert ended(desk.ask(desk.request(), late)) == ("reject", "human", "rejected")


def test_an_approver_that_is_busy_with_a_question_given_up_is_asked_nothing_else(desk, monkeypatch):
    monkeypatch.setattr("guarded_tools.approval.calling._GRACE", 0.05)
    let_go = threading.Event()
    asked = []

    def reads_stdin(request):
        asked.append(request.args)
        let_go.wait(5)
        return True

    assert desk.ask(desk.request({"x": 1}, timeout=0.05), reads_stdin).cause == "timeout"
    second = desk.ask(desk.request({"x": 2}), reads_stdin)
    assert ended(second) == ("reject", "timeout", "unanswered")
    assert "busy" in second.text
    assert asked == [{"x": 1}]
    let_go.set()
    assert desk.ask(desk.request({"x": 2}), reads_stdin).outcome is None


def test_an_approver_that_notices_it_was_withdrawn_is_asked_again_at_once(desk):
    left = []

    def polite(request):
        while not withdrawn():
            time.sleep(0.005)
            if request.args == {"x": 2}:
                return True
        left.append(request.args)
        return True

    assert desk.ask(desk.request({"x": 1}, timeout=0.05), polite).cause == "timeout"
    assert desk.ask(desk.request({"x": 2}), polite).outcome is None
    assert left == [{"x": 1}]


# What runs is what was shown


def test_changing_what_the_human_was_shown_denies(desk):
    def sly(request):
        request.args["x"] = 9_999
        return True

    assert ended(desk.ask(desk.request(), sly)) == ("reject", "changed", "unanswered")


def test_changing_the_dictionary_after_the_request_changes_nothing_that_is_shown(desk):
    args = {"x": {"deep": 1}}
    request = desk.request(args)
    seen = []

    def approver(shown):
        args["x"]["deep"] = 2
        seen.append(shown.args)
        return True

    desk.ask(request, approver)
    assert seen == [{"x": {"deep": 1}}]


# One execution


def test_one_approval_is_for_one_call(desk):
    asked = []
    for _ in range(3):
        desk.ask(desk.request(), lambda request: asked.append(1) or True)
    assert len(asked) == 3


def test_an_answer_whose_execution_was_suspended_counts_once_more_and_once_only(desk):
    asked = []
    request = desk.request(call_id="call_1")
    first = desk.ask(request, lambda r: asked.append(1) or Verdict.edit({"x": 2}, by="ann"))
    desk.drive(workflow.reopen(first, store=desk.store))
    again = desk.ask(request, lambda r: asked.append(2) or True)
    assert (again.verdict.kind, again.verdict.args, again.verdict.by) == ("edit", {"x": 2}, "ann")
    assert asked == [1]
    desk.ask(request, lambda r: asked.append(3) or True)
    assert asked == [1, 3]


@pytest.mark.parametrize("other", [{"call_id": "call_2"}, {"session": "two"}, {"args": {"x": 1.0}}])
def test_a_reopened_answer_is_for_that_call_only(desk, other):
    first = desk.ask(desk.request(call_id="call_1"), answers(True))
    desk.drive(workflow.reopen(first, store=desk.store))
    asked = []
    desk.ask(desk.request(**{"call_id": "call_1"} | other), lambda r: asked.append(1) or True)
    assert asked == [1]


def test_a_rejection_is_never_reopened(desk):
    first = desk.ask(desk.request(call_id="c"), answers(False))
    desk.drive(workflow.reopen(first, store=desk.store))
    assert list(desk.store.scan("approvals/once/")) == []


# Around the question


def test_the_announcement_comes_right_before_the_question_and_only_then(desk):
    log = []

    async def announce():
        log.append("asked")

    step = Await(lambda: log.append("asked"), announce)
    desk.ask(desk.request(), lambda r: log.append("shown") or True, announce=step)
    desk.ask(desk.request(), deny_all, announce=step)
    assert log == ["asked", "shown"]


def test_an_announcement_that_fails_ends_the_ask_and_frees_its_place(desk):
    def broken():
        raise StoreError("disk full")

    async def abroken():
        broken()

    for _ in range(7):
        with pytest.raises(StoreError):
            desk.ask(desk.request(), answers(True), announce=Await(broken, abroken))
    assert list(desk.store.scan("approvals/open/")) == []


async def test_cancellation_passes_takes_the_question_back_and_frees_its_place(sync_desk):
    gone = threading.Event()
    asked = threading.Event()

    def polite(request):
        asked.set()
        while not withdrawn():
            time.sleep(0.005)
        gone.set()

    task = asyncio.create_task(arun(sync_desk.line(sync_desk.request(), polite)))
    assert await asyncio.to_thread(asked.wait, 5)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await asyncio.to_thread(gone.wait, 2)
    assert list(sync_desk.store.scan("approvals/open/")) == []


async def test_cancelling_an_async_approver_cancels_it(sync_desk):
    seen = []

    async def waits(request):
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise

    task = asyncio.create_task(arun(sync_desk.line(sync_desk.request(), waits)))
    await asyncio.sleep(0.02)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.sleep(0)
    assert seen == ["cancelled"]


def test_a_suspension_raised_by_an_approver_passes_untouched_and_frees_its_place(desk):
    from langgraph.errors import GraphInterrupt

    error = GraphInterrupt()
    with pytest.raises(GraphInterrupt) as raised:
        desk.ask(desk.request(), raises(error))
    assert raised.value is error
    assert list(desk.store.scan("approvals/open/")) == []


def test_a_store_that_fails_while_a_place_is_freed_hides_nothing(desk, monkeypatch):
    def broken(*_):
        raise StoreError("gone")

    async def abroken(*_):
        broken()

    def approver(request):
        monkeypatch.setattr(desk.store, "get", broken, raising=False)
        monkeypatch.setattr(desk.store, "aget", abroken, raising=False)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        desk.ask(desk.request(), approver)


def test_a_store_that_fails_before_a_human_is_asked_refuses(desk, monkeypatch):
    def broken(*_, **__):
        raise StoreError("gone")

    async def abroken(*_, **__):
        broken()

    monkeypatch.setattr(desk.store, "add", broken, raising=False)
    monkeypatch.setattr(desk.store, "aadd", abroken, raising=False)
    asked = []
    with pytest.raises(StoreError):
        desk.ask(desk.request(), lambda r: asked.append(1) or True)
    assert asked == []


def test_without_a_clock_of_its_own_the_answer_is_timed_by_the_wall(sync_desk):
    request = dataclasses.replace(sync_desk.request(), expires_at=time.time() + 5)
    line = workflow.ask(request, store=sync_desk.store, approver=answers(True), limits=sync_desk.limits)
    assert run(line).outcome is None
