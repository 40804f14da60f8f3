"""Calls an approver and waits for it, from sync code and from asyncio, no longer than the request allows.

Whatever the approver is (a function, a coroutine function, an object with either as ``__call__``), sync code may wait
for it while an event loop runs in its thread, and async code may wait for it without holding up the loop: a sync
approver runs in a thread of its own, with the caller's context variables.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import inspect
import threading
from collections.abc import Awaitable, Callable
from typing import Any

from guarded_tools.values import ApprovalRequest, Approver

_given_up: list[tuple[threading.Thread, Approver]] = []
_given_up_lock = threading.Lock()


class Unanswered(Exception):  # noqa: N818 - not a failure of this package: it says that no answer came
    """No answer came in time."""


def call(approver: Approver, request: ApprovalRequest) -> Any:
    """Return what the approver answers within ``request.timeout`` seconds; its exceptions come through.

    Raises:
        Unanswered: time ran out, or the approver is still busy with a question that was given up.
    """
    answered = threading.Event()
    thread, outcome = _start(approver, request, lambda: _settle(approver(request)), answered.set)
    try:
        in_time = answered.wait(request.timeout)
    except BaseException:  # Ctrl-C while waiting: the question must not stay behind
        _give_up(approver, request, thread)
        raise
    if not in_time:
        _give_up(approver, request, thread)
        raise Unanswered(_late(request))
    return outcome()


async def acall(approver: Approver, request: ApprovalRequest) -> Any:
    """Do what :func:`call` does, leaving the event loop free; cancellation takes the question back."""
    deadline = asyncio.get_running_loop().time() + request.timeout
    answer = approver(request) if _is_async(approver) else await _from_thread(approver, request)
    return await _from_task(approver, request, answer, deadline) if inspect.isawaitable(answer) else answer


async def _from_thread(approver: Approver, request: ApprovalRequest) -> Any:
    loop = asyncio.get_running_loop()
    answered = loop.create_future()

    def arrive() -> None:
        if not answered.done():
            answered.set_result(None)

    def wake() -> None:
        with contextlib.suppress(RuntimeError):  # the loop may be gone by the time a given-up thread ends
            loop.call_soon_threadsafe(arrive)

    thread, outcome = _start(approver, request, lambda: approver(request), wake)
    try:
        await asyncio.wait({answered}, timeout=request.timeout)
    except BaseException:
        _give_up(approver, request, thread)
        raise
    if not answered.done():
        _give_up(approver, request, thread)
        raise Unanswered(_late(request))
    return outcome()


async def _from_task(approver: Approver, request: ApprovalRequest, answer: Awaitable[Any], deadline: float) -> Any:
    task = asyncio.ensure_future(answer)
    task.add_done_callback(_retrieve)
    try:
        # Not wait_for: an approver that swallows its cancellation would be waited for without end.
        await asyncio.wait({task}, timeout=max(deadline - asyncio.get_running_loop().time(), 0))
    except BaseException:
        task.cancel()
        _withdraw(approver, request)
        raise
    if not task.done():
        task.cancel()
        _withdraw(approver, request)
        raise Unanswered(_late(request))
    if task.cancelled():
        raise Unanswered("the approver cancelled itself")
    return task.result()


def _start(
    approver: Approver, request: ApprovalRequest, body: Callable[[], Any], wake: Callable[[], object]
) -> tuple[threading.Thread, Callable[[], Any]]:
    """Run ``body`` in a thread of its own. The second value returns or raises what it did, once ``wake`` was called."""
    if _is_stuck(approver):
        raise Unanswered("the approver is still busy with an earlier question that nobody waits for any more")
    ended: list[tuple[bool, Any]] = []

    def run() -> None:
        try:
            ended.append((True, body()))
        except BaseException as error:  # noqa: BLE001 - belongs to the one who waits
            ended.append((False, error))
        finally:
            wake()

    def outcome() -> Any:
        returned, value = ended[0]
        if returned:
            return value
        raise value

    context = contextvars.copy_context()
    name = f"approver for {request.tool}"
    thread = threading.Thread(target=context.run, args=(run,), name=name, daemon=True)
    thread.start()
    return thread, outcome


def _settle(answer: Any) -> Any:
    if not inspect.isawaitable(answer):
        return answer

    async def wait(awaitable: Awaitable[Any]) -> Any:
        return await awaitable

    return asyncio.run(wait(answer))


def _is_async(approver: Approver) -> bool:
    return inspect.iscoroutinefunction(approver) or inspect.iscoroutinefunction(getattr(approver, "__call__", None))  # noqa: B004


def _retrieve(task: asyncio.Future[Any]) -> None:
    if not task.cancelled():
        task.exception()


def _late(request: ApprovalRequest) -> str:
    return f"nobody answered within {request.timeout:g} seconds"


def _withdraw(approver: Approver, request: ApprovalRequest) -> bool:
    withdraw = getattr(approver, "withdraw", None)
    if withdraw is None:
        return False
    withdraw(request)
    return True


def _give_up(approver: Approver, request: ApprovalRequest, thread: threading.Thread) -> None:
    """Take the question back. An approver that cannot is noted: it may still read an answer meant for another."""
    if not _withdraw(approver, request):
        with _given_up_lock:
            _given_up.append((thread, approver))


def _is_stuck(approver: Approver) -> bool:
    with _given_up_lock:
        _given_up[:] = [(thread, owner) for thread, owner in _given_up if thread.is_alive()]
        return any(owner == approver for _, owner in _given_up)
