"""Calls that go on while their run is suspended, because their server asks a human something.

MCP's server asks in the middle of a call, on a connection that lives here. LangGraph asks by leaving the call: the
tool's body is unwound by ``GraphInterrupt``, and runs anew from its beginning once somebody answered. So the call
itself is *held*: it runs in its session's task, under the name of the LangGraph task and the tool call that made it,
and whoever comes by under that name attends to the same call instead of making another::

    made ── the server asks ──→ asked ── the run is suspended ──→ (nobody attends)
      │                           ↑                                     │ the run comes back
      │                           └──── it asks once more ──── answered ┘
      └── the server answers ──→ ended: its result goes to whoever attends, once

- **Sent once.** Before a run is suspended here, the store is told that its call was made (``held/<task, call>``, for
  as long as a suspended execution is kept). Whoever comes by under that name and finds no call in this process, since
  it was restarted, or the session was closed, or the call has ended before, is told that what became of it is unknown.
- **One execution.** For the guard this is a body that pauses: charged and recorded once, as any other that does
  (:mod:`guarded_tools.approval.execution`).
- **Answers by order.** LangGraph hands the answers of a task out by order of arrival, from the first one on each time
  its run comes back. So each question that was put is put again, in its order; only the last can still be open.
- **Time.** The call's own stands still while a question is open. The question's ends in the session's loop, whether
  or not the run ever comes back: then the server is declined, and the call goes on to its end.

A question belongs to the session's loop (it waits there) and to the one who attends (it is answered there).
:meth:`OpenQuestion.close` decides between the two: who closes it first has it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from concurrent.futures import Future, InvalidStateError
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from guarded_tools.approval import execution, pending
from guarded_tools.approval.calling import acall_in_place, call_in_place
from guarded_tools.approval.quota import count_ask
from guarded_tools.approval.reach import place_of
from guarded_tools.approval.result import ApprovalResult, judge, refusal
from guarded_tools.approval.suspension import is_suspension
from guarded_tools.approval.workflow import WITHDRAWN
from guarded_tools.approvers.protocol import SuspendingApprover, suspends
from guarded_tools.errors import ConnectionFailed
from guarded_tools.flow import Await, Flow
from guarded_tools.mcp_session.waiting import result_of
from guarded_tools.policy.document import ApprovalLimits
from guarded_tools.values import ApprovalRequest, digest, judged_as

if TYPE_CHECKING:
    from guarded_tools.mcp_session.protocol import Answer
    from guarded_tools.pipeline.gate import Gate

log = logging.getLogger("guarded_tools.mcp")

_MOST = 1000
"""How many calls that have ended are kept for runs that never came back for them."""
_STRAY = "an answer came that is not to this question: used before, or another call's"
_GONE = (
    "this call was made before its run was suspended, and is not under way in this process any more; it was not made"
    " a second time"
)


class OpenQuestion(ABC):
    """A question that a server waits on. ``request`` is how a human is shown it."""

    def __init__(self, request: ApprovalRequest) -> None:
        self.request = request
        self.put = False
        self.refused = False
        self.slot = ""
        self.id = secrets.token_hex(8)
        self.since = time.monotonic()
        self._answer: Future[Mapping[str, Any] | None] = Future()
        self._open = threading.Lock()  # taken by whoever ends the question, and never let go

    @abstractmethod
    def announce(self) -> None:
        """Write down that the question is put to somebody."""

    @abstractmethod
    def conclude(self, answer: ApprovalResult) -> Mapping[str, Any] | None:
        """Return what an answer sends to the server, ``None`` where it declines, and write that down."""

    def close(self) -> bool:
        """End the question; false where it ended before."""
        return self._open.acquire(blocking=False)

    def send(self, content: Mapping[str, Any] | None) -> None:
        """Hand the server its answer, after :meth:`close`."""
        with contextlib.suppress(InvalidStateError):  # its session has ended, and waits no more
            self._answer.set_result(content)

    async def answered(self) -> Mapping[str, Any] | None:
        """Wait for the answer, in the session's loop.

        Raises:
            TimeoutError: there was none in time, and there will be none.
        """
        answer = asyncio.wrap_future(self._answer)
        try:
            await asyncio.wait({answer}, timeout=self.request.timeout)
        except BaseException:
            self.close()
            raise
        if self.close():
            raise TimeoutError
        return await answer


class HeldCall:
    """A call that is under way in its session, whoever attends to it."""

    def __init__(self) -> None:
        self.questions: list[OpenQuestion] = []
        self._call: Future[Answer] | None = None
        self._changing = threading.Lock()
        self._one_by_one = asyncio.Lock()
        self._attending: list[Future[None]] = []

    def begin(self, make: Callable[[], Future[Answer]]) -> None:
        """Make the call; its questions come here."""
        token = attended.set(self)
        try:
            self._call = make()
        finally:
            attended.reset(token)
        self._call.add_done_callback(self._tell)

    @property
    def ended(self) -> bool:
        """Whether the server has answered the call, or never will."""
        return self._call is not None and self._call.done()

    async def ask(self, question: OpenQuestion) -> Mapping[str, Any] | None:
        """Wait, in the session's loop, until whoever attends has an answer; they come one after the other.

        Raises:
            TimeoutError: nobody had one in time.
        """
        async with self._one_by_one:
            with self._changing:
                self.questions.append(question)
            self._tell()
            return await question.answered()

    def _tell(self, _: object = None) -> None:
        with self._changing:
            attending, self._attending = self._attending, []
        for waiting in attending:
            if waiting.set_running_or_notify_cancel():
                waiting.set_result(None)

    def _next(self, at: int) -> Future[None]:
        waiting: Future[None] = Future()
        with self._changing:
            if len(self.questions) <= at and not self.ended:
                self._attending.append(waiting)
                return waiting
        waiting.set_result(None)
        return waiting

    def asks(self, at: int) -> bool:
        """Wait for the question of this number; false where the call ended without one."""
        result_of(self._next(at))
        return len(self.questions) > at

    async def aasks(self, at: int) -> bool:
        """As :meth:`asks`, without blocking the loop."""
        await asyncio.wrap_future(self._next(at))
        return len(self.questions) > at

    def cancel(self) -> None:
        """Give the call up, and have the server told."""
        for question in tuple(self.questions):
            if question.close():
                question.send(None)
        if self._call is not None:
            self._call.cancel()

    def result(self) -> Answer:
        """Return what the server answered.

        Raises:
            ConnectionFailed: it did not.
            Sdk.ProtocolError: it answered with an error of the protocol.
        """
        assert self._call is not None
        if self._call.cancelled():
            raise ConnectionFailed("the session was closed while it was in use")
        return self._call.result()


attended: ContextVar[HeldCall | None] = ContextVar("guarded_tools_held_call", default=None)
"""The call that is made here, where its run can be suspended by a question."""


class HeldCalls:
    """The calls of one guard that are held in this process."""

    def __init__(self, guard: Gate) -> None:
        self._guard = guard
        self._held: dict[str, HeldCall] = {}

    def place(self) -> str:
        """Name the call whose body runs here, if its run can be suspended for a question; else ""."""
        judged = judged_as.get()
        if judged is None or not suspends(self._guard.approver) or not (task := execution.task()):
            return ""
        call = judged.call  # some calls have no id, or one that a model gave to another as well
        return f"held/{digest(task, call.id, call.tool, call.args)}"

    def attend(self, place: str, make: Callable[[], Future[Answer]]) -> Flow[Answer]:
        """Make the call of a place, or go on with the one that is under way there, and put its questions.

        Raises:
            GraphInterrupt: a human has to answer first; the call goes on meanwhile.
            ConnectionFailed: there is no answer, or nobody knows any more what became of the call.
            Sdk.ProtocolError: as :meth:`HeldCall.result`.
        """
        held = self._held.get(place)
        if held is None:
            if (yield Await(self._guard.store.get, self._guard.store.aget, (place,))) is not None:
                raise ConnectionFailed(_GONE)
            held = self._make(place, make)
        at = 0
        try:
            while (yield Await(held.asks, held.aasks, (at,))):
                yield from self._put(held.questions[at], place)
                at += 1
        except BaseException as error:
            if not is_suspension(error):  # else its run comes back to it
                self._held.pop(place, None)
                held.cancel()
            raise
        self._held.pop(place, None)
        return held.result()

    def _make(self, place: str, make: Callable[[], Future[Answer]]) -> HeldCall:
        ended = [name for name, held in tuple(self._held.items()) if held.ended]
        for name in ended[: max(len(ended) - _MOST, 0)]:
            self._held.pop(name, None)
        held = HeldCall()
        held.begin(make)
        self._held[place] = held
        return held

    def _put(self, question: OpenQuestion, place: str) -> Flow[None]:
        """Put a question by suspending the run, or hand its answer to the server. What fails declines it."""
        if question.refused:  # it was put to nobody, so no answer to it ever comes by
            return
        mine = False
        try:
            answer = yield from self._answer(question, place)
            mine = question.close()  # else its time was up, or another one that came by has the answer, and sends it
            if mine:
                yield from self._end(question, answer)
        except Exception as error:
            if is_suspension(error):
                raise
            log.exception("A question of a server was declined: putting it failed")
            mine = mine or question.close()
            question.refused = question.refused or mine
        if mine:
            question.send(None)  # where nothing was sent yet

    def _answer(self, question: OpenQuestion, place: str) -> Flow[ApprovalResult]:
        """Ask the approver, who leaves the call or has the answer with which its run came back."""
        approver = self._guard.approver
        assert suspends(approver)
        first, question.put = not question.put, True
        refused = (yield from self._open(question, approver, place)) if first else None
        if refused is not None:
            question.refused = True
            return refused
        said: object
        try:
            said = yield Await(call_in_place, acall_in_place, (approver, question.request), foreign=True)
        except Exception as error:
            if is_suspension(error):
                raise
            said = error
        waited = time.monotonic() - question.since
        if first and not isinstance(said, Exception):
            return refusal("stray", _STRAY, waited)
        return judge(said, waited)

    def _open(self, question: OpenQuestion, approver: SuspendingApprover, place: str) -> Flow[ApprovalResult | None]:
        """Make sure that a question can and may be put; say why not. From here on the call is known to be made."""
        store, request, limits = self._guard.store, question.request, ApprovalLimits()
        yield Await(question.announce, None)
        where = place_of(request, approver)
        if isinstance(where, ApprovalResult):
            return where
        yield from pending.leave_behind(request.session, where, store=store)
        slot = yield from pending.claim(request.session, question.id, request.timeout, limits, where, store=store)
        if slot is None:
            return refusal("pending", f"{limits.max_pending} questions of this session must be answered first")
        question.slot = slot
        full = yield from count_ask(request, limits, store=store, at=None)
        if full is not None:
            return refusal("asks", f"this session asked a human {full.used} times in {limits.window} seconds")
        yield Await(store.put, store.aput, (place, b"made", execution.KEPT))
        return None

    def _end(self, question: OpenQuestion, answer: ApprovalResult) -> Flow[None]:
        """Let time have its say about an answer, and hand the server what is left of it."""
        standing: pending.Standing = "open"
        if question.slot:
            standing = yield from pending.close(question.slot, question.id, store=self._guard.store)
        if answer.cause == "human" and standing == "withdrawn":
            answer = refusal("stray", WITHDRAWN, answer.waited)
        elif answer.cause == "human" and standing == "over":
            answer = refusal("expired", "the answer came after the question had expired", answer.waited)
        question.send((yield Await(question.conclude, None, (answer,))))
