"""What stands between a call that needs a human and the human.

:func:`resume` and :func:`ask` are flows (see :mod:`guarded_tools.flow`) that end with an :class:`ApprovalResult`. For
a call that may need a human, the pipeline

1. calls :func:`resume` if the approver suspends, whatever the policy says by now: a run that was suspended for this
   call has to hand its answer to this question. ``None``: this call is not waiting for one;
2. peeks whether the limits would let the call through;
3. calls :func:`ask`, and decides anew with what the human answered;
4. tells :mod:`~guarded_tools.approval.execution` when the body begins, pauses and ends.

The invariant: an answer permits at most one execution, of exactly what was shown, while the question is open. An
approver that answers by returning needs nothing kept for that but its slot. One that suspends leaves the process, and
comes back in another one: LangGraph then runs the call again from its beginning, and hands out the answers of a task
by order of arrival, without a name on them. So the store says which answer belongs to which question:

==============================  =============================================================================
``approvals/asked/<call>``      the question that waits under a call's name: its id and slot, its task, the
                                digest it was asked about, when it was asked and when it expires
``approvals/task/<task>``       whose answers a task's are: claimed for one call before it is asked about; then
                                ``spent``, ``begun``, ``ended`` (see :mod:`~guarded_tools.approval.execution`)
``approvals/open/…``, ``live``  that the question is open (see :mod:`~guarded_tools.approval.pending`)
``approvals/remembered/…``      approvals that outlast the question (:mod:`~guarded_tools.approval.remembered`)
==============================  =============================================================================

and a question of theirs goes through these states::

    asked ── the run is suspended ──→ waiting ──→ answered ──→ spent ──→ begun ──→ ended
                                       │    ↑        │                    │  ↑
                 the same call in a fork    │        │  the body pauses ──┘  └── its run comes back: reopened
                 or changed: shown anew ────┘        └── too late, withdrawn, changed: refused

*Spent* is an answer once it was taken from ``asked``, atomically: of two runs resumed with it one goes on. The task
keeps that mark, because a run that is resumed once more hears the same answer again, and must not take it for one to
another question. *Reopened* means that ``asked`` is written anew for a body that paused: its run hears first the
approval, which permits the same execution still, and then the answer to the body's own question. *Remembered* is an
approval that was given for more than this call; the next such call asks nobody.

Suspensions and cancellations pass through untouched. A failing store raises
:class:`~guarded_tools.errors.StoreError`: the call is refused.
"""

from __future__ import annotations

import dataclasses
import json
import secrets
import time
from collections.abc import Callable
from typing import NamedTuple, TypeAlias

from guarded_tools.approval import execution, handed, pending
from guarded_tools.approval.calling import acall, acall_in_place, call, call_in_place
from guarded_tools.approval.pending import LATE, Asked
from guarded_tools.approval.quota import count_ask, count_rejection, rejected_before
from guarded_tools.approval.reach import claim, claim_of, keys_of, place_of, reach
from guarded_tools.approval.remembered import find, keep
from guarded_tools.approval.result import ApprovalResult, Spent, judge, refusal
from guarded_tools.approval.suspension import is_suspension
from guarded_tools.approvers.protocol import Approver, CallAddress, SuspendingApprover, asks_beforehand, suspends
from guarded_tools.flow import Await, Flow
from guarded_tools.policy.document import ApprovalLimits
from guarded_tools.stores import Store
from guarded_tools.values import ApprovalRequest, Verdict, canonical

Clock: TypeAlias = Callable[[], float]
WITHDRAWN = "the question was withdrawn before it was answered"


class _Waiting(NamedTuple):
    """A question that waits under a call's name, and the place at which the call comes by now."""

    key: str
    task: str
    place: CallAddress
    question: Asked


def resume(
    request: ApprovalRequest,
    *,
    store: Store,
    approver: SuspendingApprover,
    limits: ApprovalLimits,
    clock: Clock | None = None,
    announce: Await | None = None,
    goes_on: bool = False,
) -> Flow[ApprovalResult | None]:
    """Pick up the answer for which a suspended call waits; ``None`` where it does not wait.

    An answer counts for exactly the call that was shown, once, until the question expires. ``announce`` is as in
    :func:`ask`, for a question that comes by again as another one. ``goes_on``: its execution had begun, and paused.
    """
    found = yield from _waits(request, approver, store)
    if found is None or isinstance(found, ApprovalResult):
        return found
    same = found.question.is_about(request)
    if found.question.task == found.task and not same:
        # Calls without ids, or with the same one, go by one name: answer and question of another must stay its own.
        return refusal("changed", "a human was asked about another call here, or about this one before it was changed")
    known = found.question.task == found.task and same
    shown = dataclasses.replace(request, expires_at=found.question.expires) if known else request
    if asks_beforehand(approver):
        given = yield from handed.answer_to(found.question.id, _now(clock) - found.question.asked, store)
        if given is not None:
            return (yield from _heard(request, found, given, True, store=store, limits=limits, clock=clock))
    said: object
    try:
        said = yield Await(call_in_place, acall_in_place, (approver, shown), foreign=True)
    except Exception as error:
        said = error
        if is_suspension(error):
            refused = yield from (
                _left(found, store)
                if known
                else _show_anew(request, found, store=store, limits=limits, clock=clock, announce=announce)
            )
            if refused is None:
                raise
            return refused
    if found.question.task != found.task and not goes_on:
        # Asked elsewhere, answered here. A fork may be; a task whose answer was used hears that one once more.
        refused = yield from claim(request, approver, found.key, found.task, store)
        if refused is not None:
            return refused
    answer = judge(said, _now(clock) - found.question.asked)
    return (yield from _heard(request, found, answer, False, store=store, limits=limits, clock=clock))


def ask(
    request: ApprovalRequest,
    *,
    store: Store,
    approver: Approver,
    limits: ApprovalLimits,
    clock: Clock | None = None,
    announce: Await | None = None,
) -> Flow[ApprovalResult]:
    """Ask a human, unless an earlier answer covers the call or the session has asked too much.

    ``request.remember`` has to be what the policy permits now. ``announce`` is waited for right before a human is
    asked; what it raises ends the ask. ``clock`` is given only where one was injected.
    """
    known = yield from _without_asking(request, approver, store=store, limits=limits, clock=clock)
    if known is not None:
        return known
    reached = yield from reach(request, approver, store)
    if isinstance(reached, ApprovalResult):
        return reached
    key, task, place = reached
    question = yield from _open(request, task, place, store=store, limits=limits, clock=clock)
    if isinstance(question, ApprovalResult):
        return question
    try:
        full = yield from count_ask(request, limits, store=store, at=clock and clock())
        if full is not None:
            answer = refusal("asks", f"this session asked a human {full.used} times in {limits.window} seconds")
            answer = answer._replace(retry_after=full.retry_after)
        else:
            if announce is not None:
                yield announce
            if suspends(approver):
                answer = yield from _suspend(request, approver, key, question, store)
            else:
                answer = yield from _wait(request, approver, clock)
    except GeneratorExit:
        raise  # nobody drives this line any more; the slot frees itself when the question expires
    except BaseException as error:
        if not (suspends(approver) and is_suspension(error)):
            yield from pending.drop(question.slot, question.id, store=store)
        raise
    return (yield from _conclude(request, answer, question, store=store, limits=limits, clock=clock))


def _waits(
    request: ApprovalRequest, approver: SuspendingApprover, store: Store
) -> Flow[_Waiting | ApprovalResult | None]:
    """Find the question that waits under this call's name."""
    place = place_of(request, approver)
    if isinstance(place, ApprovalResult):
        return None if place.cause == "unavailable" else place  # that is said when the call is asked about
    key, task = keys_of(request, place)
    kept = yield Await(store.get, store.aget, (key,))
    return None if kept is None else _Waiting(key, task, place, Asked.load(kept))


def _heard(
    request: ApprovalRequest,
    found: _Waiting,
    answer: ApprovalResult,
    handed: bool,
    *,
    store: Store,
    limits: ApprovalLimits,
    clock: Clock | None,
) -> Flow[ApprovalResult]:
    """Use up the answer with which a run was resumed, or which was ``handed`` over."""
    question = found.question
    if (yield Await(store.take, store.atake, (found.key,))) is None:
        return refusal("stray", "the answer to this question was used before")
    spent = Spent(found.key, question._replace(begun=True).dump(), found.task, claim_of(request, found.key), handed)
    # Resumed once more, the run goes by here again and hears this answer first: it must not answer another question.
    if question.begun:
        yield from execution.begin(spent, store=store)  # it did, before it paused
    else:
        yield from execution.spend(spent, store=store)
    if not question.is_about(request):
        yield from pending.drop(question.slot, question.id, store=store)
        return refusal("changed", "the call or its tool was changed after a human was asked about it", answer.waited)
    if not question.begun:  # else it was heard before; only the rest of its execution is still to come
        answer = yield from _conclude(request, answer, question, store=store, limits=limits, clock=clock)
    return answer._replace(spent=spent, across=question.across)


def _left(found: _Waiting, store: Store) -> Flow[ApprovalResult | None]:
    """Let a run that is suspended for a question wait on, unless that was withdrawn meanwhile."""
    if not (yield from pending.is_withdrawn(found.question.id, store=store)):
        return None
    yield Await(store.take, store.atake, (found.key,))
    return refusal("stray", WITHDRAWN)


def _show_anew(
    request: ApprovalRequest,
    found: _Waiting,
    *,
    store: Store,
    limits: ApprovalLimits,
    clock: Clock | None,
    announce: Await | None,
) -> Flow[ApprovalResult | None]:
    """Make a question that is shown anew, in a fork or as what it has become, the one that is answered."""
    yield from pending.drop(found.question.slot, found.question.id, store=store)
    question = yield from _open(request, found.task, found.place, store=store, limits=limits, clock=clock)
    if isinstance(question, ApprovalResult):
        return question
    if announce is not None:
        yield announce
    yield from _keep(found.key, question, store)
    return None


def _open(
    request: ApprovalRequest,
    task: str,
    place: CallAddress,
    *,
    store: Store,
    limits: ApprovalLimits,
    clock: Clock | None,
) -> Flow[Asked | ApprovalResult]:
    """Open a question in one of the session's slots; those of an earlier turn of its thread end with that."""
    yield from pending.leave_behind(request.session, place, store=store)
    asked, question = _now(clock), secrets.token_hex(8)
    expires = request.expires_at or asked + request.timeout
    slot = yield from pending.claim(request.session, question, expires - asked, limits, place, store=store)
    if slot is not None:
        return Asked(question, slot, task, request.digest, asked, expires, request.definition, across=request.across)
    questions = "1 question" if limits.max_pending == 1 else f"{limits.max_pending} questions"
    crowd = refusal("pending", f"{questions} of this session must be answered before another is asked")
    return crowd._replace(retry_after=request.timeout)  # by then those that wait now are answered, or over


def _without_asking(
    request: ApprovalRequest, approver: Approver, *, store: Store, limits: ApprovalLimits, clock: Clock | None
) -> Flow[ApprovalResult | None]:
    """Answer from what humans answered before, or from why they were not asked."""
    entry = yield from find(request, store=store, now=_now(clock))
    if entry is not None:
        what = "these arguments" if entry.covers == "same" else "ANY arguments of this tool"
        return ApprovalResult(Verdict.approve(by=entry.by), "remembered", f"approved earlier for {what} ({entry.id})")
    why = yield from rejected_before(request, limits, store=store, at=clock and clock())
    if why == "repeated":
        return refusal("repeated", "humans rejected this very call twice")
    if why == "closed":
        return refusal("closed", f"humans rejected {request.tool} {limits.max_rejections} times in this session")
    return (yield from handed.refused(request, approver, store)) if asks_beforehand(approver) else None


def _wait(request: ApprovalRequest, approver: Approver, clock: Clock | None) -> Flow[ApprovalResult]:
    """Ask an approver that answers by returning."""
    asked = _now(clock)
    text = canonical(request.args)
    shown = dataclasses.replace(request, args=json.loads(text))
    said: object
    try:
        said = yield Await(call, acall, (approver, shown), foreign=True)
        if canonical(shown.args) != text:
            return refusal("changed", "the arguments were changed while a human looked at them", _now(clock) - asked)
    except Exception as error:
        if is_suspension(error):
            raise
        said = error
    return judge(said, _now(clock) - asked)


def _suspend(
    request: ApprovalRequest, approver: SuspendingApprover, key: str, question: Asked, store: Store
) -> Flow[ApprovalResult]:
    """Ask an approver that leaves the call. It must not come back with an answer: nobody was asked yet."""
    yield from _keep(key, question, store)
    try:
        yield Await(call_in_place, acall_in_place, (approver, request), foreign=True)
    except Exception as error:
        if is_suspension(error):
            raise
        answer = judge(error, 0.0)
    else:
        answer = refusal("stray", "an answer came that is not to this question: used before, or another call's")
    yield Await(store.take, store.atake, (key,))
    return answer


def _conclude(
    request: ApprovalRequest,
    answer: ApprovalResult,
    question: Asked,
    *,
    store: Store,
    limits: ApprovalLimits,
    clock: Clock | None,
) -> Flow[ApprovalResult]:
    """End a question, and let time, memory and the count of rejections have their say about its answer."""
    standing = yield from pending.close(question.slot, question.id, store=store)
    now = _now(clock)
    if standing == "withdrawn":
        return refusal("stray", WITHDRAWN, answer.waited)
    if answer.cause != "human":
        return answer
    answer = answer._replace(across=question.across)
    if answer.verdict.kind == "reject":
        yield from count_rejection(request, limits, store=store, at=clock and now)
    # The store's clock tells apart time that passed from a step of the wall clock; it knows nothing of an injected one.
    elif now >= question.expires or (standing == "over" and clock is None):
        return refusal("expired", "the answer came after the question had expired", answer.waited)
    elif answer.verdict.kind == "approve":
        yield from keep(request, answer.verdict, store=store, now=now)
    return answer


def _keep(key: str, question: Asked, store: Store) -> Flow[None]:
    yield Await(store.put, store.aput, (key, question.dump(), question.expires - question.asked + LATE))


def _now(clock: Clock | None) -> float:
    return time.time() if clock is None else clock()
