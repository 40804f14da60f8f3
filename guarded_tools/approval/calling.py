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
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from guarded_tools.approvers.protocol import Approver, Unanswered, is_async, waiting
from guarded_tools.values import ApprovalRequest

T = TypeVar("T")

_given_up: list[tuple[threading.Thread, Approver]] = []
_given_up_lock = threading.Lock()
_GRACE = 2.0
_HEARTBEAT = 0.5


def call(approver: Approver, request: ApprovalRequest) -> Any:
    """Return what the approver answers within ``request.timeout`` seconds; its exceptions come through.

    Raises:
        Unanswered: time ran out, or the approver is still busy with a question that was given up.
    """
    answered = threading.Event()
    asking = _Asking(approver, request, lambda: _settle(approver(request)), answered.set)
    try:
        in_time = answered.wait(request.timeout)
    except BaseException:  # Ctrl-C while waiting: the question must not stay behind
        asking.give_up()
        raise
    if not in_time:
        raise asking.give_up()
    return asking.outcome()


async def acall(approver: Approver, request: ApprovalRequest) -> Any:
    """Do what :func:`call` does, leaving the event loop free; cancellation takes the question back."""
    deadline = asyncio.get_running_loop().time() + request.timeout
    answer = approver(request) if is_async(approver) else await _from_thread(approver, request)
    return await _from_task(request, answer, deadline) if inspect.isawaitable(answer) else answer


def call_in_place(method: Callable[[ApprovalRequest], T], request: ApprovalRequest) -> T:
    """Call what belongs to an approver in this very thread; that it ends itself does not end the caller."""
    try:
        return method(request)
    except (SystemExit, asyncio.CancelledError) as error:
        raise RuntimeError(f"it ended with {type(error).__name__}") from error


async def acall_in_place(method: Callable[[ApprovalRequest], T], request: ApprovalRequest) -> T:
    """Do what :func:`call_in_place` does, in this very task."""
    return call_in_place(method, request)


async def _from_thread(approver: Approver, request: ApprovalRequest) -> Any:
    loop = asyncio.get_running_loop()
    answered = loop.create_future()

    def arrive() -> None:
        if not answered.done():
            answered.set_result(None)

    def wake() -> None:
        with contextlib.suppress(RuntimeError):  # the loop may be gone by the time a given-up thread ends
            loop.call_soon_threadsafe(arrive)

    asking = _Asking(approver, request, lambda: approver(request), wake)
    deadline = loop.time() + request.timeout
    try:
        while not answered.done() and (left := deadline - loop.time()) > 0:
            # In pieces, because a notebook's kernel hears an interrupt only when its loop has something to do.
            await asyncio.wait({answered}, timeout=min(left, _HEARTBEAT))
    except BaseException:
        asking.give_up()
        raise
    if not answered.done():
        raise asking.give_up()
    return asking.outcome()


async def _from_task(request: ApprovalRequest, answer: Awaitable[Any], deadline: float) -> Any:
    task = asyncio.ensure_future(answer)
    task.add_done_callback(_retrieve)
    try:
        # Not wait_for: an approver that swallows its cancellation would be waited for without end.
        await asyncio.wait({task}, timeout=max(deadline - asyncio.get_running_loop().time(), 0))
    finally:
        task.cancel()
    if not task.done():
        raise _late(request)
    if task.cancelled():
        raise Unanswered("the approver cancelled itself")
    return task.result()


class _Asking:
    """An approver at work in a thread of its own."""

    def __init__(
        self, approver: Approver, request: ApprovalRequest, body: Callable[[], Any], wake: Callable[[], object]
    ) -> None:
        self._approver = approver
        self._request = request
        self._given_up = threading.Event()
        self._ended: list[tuple[bool, Any]] = []
        context = contextvars.copy_context()
        context.run(waiting.set, self._given_up)
        name = f"approver for {request.tool}"
        self._thread = threading.Thread(target=context.run, args=(self._run, body, wake), name=name, daemon=True)
        self._thread.start()

    def _run(self, body: Callable[[], Any], wake: Callable[[], object]) -> None:
        try:
            if still_asks(self._approver):
                raise Unanswered("the approver is still busy with a question that nobody waits for any more")  # noqa: TRY301
            self._ended.append((True, body()))
        except (SystemExit, asyncio.CancelledError) as error:  # its own end, not that of the one who waits
            self._ended.append((False, RuntimeError(f"it ended with {type(error).__name__}")))
        except BaseException as error:  # noqa: BLE001 - belongs to the one who waits
            self._ended.append((False, error))
        finally:
            wake()

    def outcome(self) -> Any:
        """Return or raise what the approver did, once it has ended."""
        returned, value = self._ended[0]
        if returned:
            return value
        raise value

    def give_up(self) -> Unanswered:
        """Take the question back, and note who asks it: it may still read an answer that is meant for another."""
        self._given_up.set()
        with _given_up_lock:
            _given_up.append((self._thread, self._approver))
        return _late(self._request)


def still_asks(approver: Approver) -> bool:
    """Wait until no question of this approver that was given up is asked any more; whether one is, some grace later."""
    until = time.monotonic() + _GRACE
    while True:
        with _given_up_lock:
            _given_up[:] = [(thread, owner) for thread, owner in _given_up if thread.is_alive()]
            busy = [thread for thread, owner in _given_up if owner == approver]
        left = until - time.monotonic()
        if not busy or left <= 0:
            return bool(busy)
        busy[0].join(left)


def _settle(answer: Any) -> Any:
    if not inspect.isawaitable(answer):
        return answer

    async def wait(awaitable: Awaitable[Any]) -> Any:
        return await awaitable

    return asyncio.run(wait(answer))


def _retrieve(task: asyncio.Future[Any]) -> None:
    if not task.cancelled():
        task.exception()


def _late(request: ApprovalRequest) -> Unanswered:
    return Unanswered(f"nobody answered within {request.timeout:g} seconds")
