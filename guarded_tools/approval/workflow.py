"""What stands between a call that needs a human and the human.

:func:`resume` and :func:`ask` are flows (see :mod:`guarded_tools.flow`) that end with an :class:`ApprovalResult`. For
a call that may need a human, the pipeline

1. calls :func:`resume` if the approver suspends, whatever the policy says by now: a run that was suspended for this
   call has to hand its answer to this question. ``None``: this call is not waiting for one;
2. peeks whether the limits would let the call through;
3. calls :func:`ask`, and decides anew with what the human answered;
4. calls :func:`reopen` if the body was itself suspended by an interrupt: its one execution is still to come.

Suspensions and cancellations pass through untouched. A failing store raises
:class:`~guarded_tools.errors.StoreError`: the call is refused.
"""

from __future__ import annotations

import dataclasses
import json
import secrets
import time
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from guarded_tools.approval.calling import acall, acall_in_place, call, call_in_place
from guarded_tools.approval.quota import (
    claim_slot,
    count_ask,
    count_rejection,
    rejected_before,
    release_slot,
)
from guarded_tools.approval.remembered import LONGEST, Remembered, find, keep, of_session, remembered, revoke
from guarded_tools.approval.result import ApprovalResult, Cause, judge, refusal
from guarded_tools.approval.suspension import is_suspension
from guarded_tools.approvers.protocol import Approver, SuspendingApprover, checks, deny_all, suspends
from guarded_tools.errors import CannotAsk, StoreError
from guarded_tools.flow import Await, Flow
from guarded_tools.policy.document import ApprovalLimits
from guarded_tools.stores import Store
from guarded_tools.values import ApprovalRequest, Verdict, canonical, digest

__all__ = [
    "ApprovalLimits",
    "ApprovalResult",
    "Cause",
    "Remembered",
    "ask",
    "deny_all",
    "remembered",
    "reopen",
    "resume",
    "revoke",
]

Clock: TypeAlias = Callable[[], float]

_SPENT = b"spent:"
LATE = 86_400.0
"""For how many seconds after its end a question is remembered, so that a late answer is called late and not unknown."""


def resume(
    request: ApprovalRequest,
    *,
    store: Store,
    approver: Approver,
    limits: ApprovalLimits,
    clock: Clock | None = None,
    announce: Await | None = None,
) -> Flow[ApprovalResult | None]:
    """Pick up the answer for which a suspended call waits; ``None`` where it does not wait.

    An answer counts for exactly the call that was shown, once, until the question expires. ``announce`` is as in
    :func:`ask`, for a question that comes by again as another one.
    """
    found = yield from _waits(request, approver, store)
    if found is None or isinstance(found, ApprovalResult):
        return found
    key, task, record = found
    same = record["digest"] == request.digest and record.get("definition") in (None, request.definition)
    if record.get("task") == task and not same:
        # Calls without ids, or with the same one, go by one name: answer and question of another must stay its own.
        return refusal("changed", "a human was asked about another call here, or about this one before it was changed")
    known = record.get("task") == task and same
    shown = dataclasses.replace(request, expires_at=record["expires"]) if known else request
    said: object
    try:
        said = yield Await(call_in_place, acall_in_place, (approver, shown), foreign=True)
    except Exception as error:
        if not is_suspension(error):
            said = error
        else:
            if not known:  # shown anew, in a fork or as what it has become: the answer will be to that
                if announce is not None:
                    yield announce
                yield from _put(store, key, _record(request, record["id"], record["slot"], task, clock))
            raise
    answer = judge(said, _now(clock) - record["asked"])
    if (yield Await(store.take, store.atake, (key,))) is None:
        return refusal("stray", "the answer to this question was used before")
    # Resumed once more, the run goes by here again and hears this answer first: it must not answer another question.
    yield Await(store.put, store.aput, (task, _SPENT + key.encode(), request.timeout + LATE))
    yield from release_slot(record["slot"], record["id"], store=store)
    if not same:
        return refusal("changed", "the call or its tool was changed after a human was asked about it", answer.waited)
    answer = yield from _conclude(request, answer, record, store=store, limits=limits, clock=clock)
    return answer._replace(reuse=(key, _dump(record | {"begun": True})))


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
    known = yield from _without_asking(request, store=store, limits=limits, clock=clock)
    if known is not None:
        return known
    place = yield from _reach(request, approver, store)
    if isinstance(place, ApprovalResult):
        return place
    key, task = place
    ask_id = secrets.token_hex(8)
    slot = yield from claim_slot(request, limits, ask_id, store=store)
    if slot is None:
        asked = "1 question" if limits.max_pending == 1 else f"{limits.max_pending} questions"
        # By then those that wait now are answered, or over.
        crowd = refusal("pending", f"{asked} of this session must be answered before another is asked")
        return crowd._replace(retry_after=request.timeout)
    record = _record(request, ask_id, slot, task, clock)
    try:
        full = yield from count_ask(request, limits, store=store, at=clock and clock())
        if full is not None:
            answer = refusal("asks", f"this session asked a human {full.used} times in {limits.window} seconds")
            answer = answer._replace(retry_after=full.retry_after)
        else:
            if announce is not None:
                yield announce
            if suspends(approver):
                answer = yield from _suspend(request, approver, key, record, store)
            else:
                answer = yield from _wait(request, approver, clock)
    except GeneratorExit:
        raise  # nobody drives this line any more; the slot frees itself when the question expires
    except BaseException as error:
        if not (suspends(approver) and is_suspension(error)):
            yield from release_slot(slot, ask_id, store=store)
        raise
    yield from release_slot(slot, ask_id, store=store)
    answer = yield from _conclude(request, answer, record, store=store, limits=limits, clock=clock)
    return answer._replace(reuse=(_once(request), _dump(dataclasses.asdict(answer.verdict))))


def reopen(answer: ApprovalResult, *, store: Store) -> Flow[None]:
    """Let an answer count once more, because the execution it permitted was suspended before it happened.

    It has to happen within a day.
    """
    if answer.reuse is not None and answer.outcome is None:
        yield Await(store.put, store.aput, (*answer.reuse, LONGEST))


def _waits(
    request: ApprovalRequest, approver: Approver, store: Store
) -> Flow[tuple[str, str, dict[str, Any]] | ApprovalResult | None]:
    """Find the question that waits under this call's name: where it is kept, in which task this is, its record."""
    if not suspends(approver):
        return None
    place = _place(request, approver)
    if isinstance(place, ApprovalResult):
        return None if place.cause == "unavailable" else place  # that is said when the call is asked about
    key, task = place
    kept = yield Await(store.get, store.aget, (key,))
    return None if kept is None else (key, task, _read(kept))


def _without_asking(
    request: ApprovalRequest, *, store: Store, limits: ApprovalLimits, clock: Clock | None
) -> Flow[ApprovalResult | None]:
    """Answer from what humans answered before."""
    reopened = yield Await(store.take, store.atake, (_once(request),))
    if reopened is not None:
        verdict = Verdict(**_read(reopened))
        return ApprovalResult(
            verdict, "remembered", "approved before its run was suspended", reuse=(_once(request), reopened)
        )
    entry = yield from find(request, store=store, now=_now(clock))
    if entry is not None:
        what = "these arguments" if entry.covers == "same" else "ANY arguments of this tool"
        return ApprovalResult(Verdict.approve(by=entry.by), "remembered", f"approved earlier for {what} ({entry.id})")
    why = yield from rejected_before(request, limits, store=store, at=clock and clock())
    if why == "repeated":
        return refusal("repeated", "humans rejected this very call twice")
    if why == "closed":
        return refusal("closed", f"humans rejected {request.tool} {limits.max_rejections} times in this session")
    return None


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
    request: ApprovalRequest, approver: SuspendingApprover, key: str, record: Mapping[str, Any], store: Store
) -> Flow[ApprovalResult]:
    """Ask an approver that leaves the call. It must not come back with an answer: nobody was asked yet."""
    yield from _put(store, key, record)
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
    record: Mapping[str, Any],
    *,
    store: Store,
    limits: ApprovalLimits,
    clock: Clock | None,
) -> Flow[ApprovalResult]:
    """Let time, memory and the count of rejections have their say about a human's answer."""
    now = _now(clock)
    if answer.cause != "human":
        return answer
    if answer.verdict.kind == "reject":
        yield from count_rejection(request, limits, store=store, at=clock and now)
    elif "begun" in record:
        return answer  # it was heard before; only its execution is still to come
    elif now >= record["expires"]:
        return refusal("expired", "the answer came after the question had expired", answer.waited)
    elif answer.verdict.kind == "approve":
        yield from keep(request, answer.verdict, store=store, now=now)
    return answer


def _record(request: ApprovalRequest, ask_id: str, slot: str, task: str, clock: Clock | None) -> dict[str, Any]:
    now = _now(clock)
    expires = request.expires_at or now + request.timeout
    return {
        "id": ask_id,
        "slot": slot,
        "task": task,
        "digest": request.digest,
        "definition": request.definition,
        "asked": now,
        "expires": expires,
    }


def _put(store: Store, key: str, record: Mapping[str, Any]) -> Flow[None]:
    seconds = record["expires"] - record["asked"] + LATE
    yield Await(store.put, store.aput, (key, _dump(record), seconds))


def _reach(request: ApprovalRequest, approver: Approver, store: Store) -> Flow[tuple[str, str] | ApprovalResult]:
    """Make sure that the approver can ask here, and say where a suspended call looks for its answer, in which task."""
    if checks(approver):
        try:
            call_in_place(approver.check, request)
        except Exception as error:
            if is_suspension(error):
                raise
            return judge(error, 0.0)
    if not suspends(approver):
        return "", ""
    place = _place(request, approver)
    if isinstance(place, ApprovalResult):
        return place
    key, task = place
    # The answers that come to a task have no name on them: it is claimed for the questions about one call.
    claim = f"{key} {request.digest}".encode()
    if not (yield Await(store.add, store.aadd, (task, claim, request.timeout + LATE))):
        holder = yield Await(store.get, store.aget, (task,))
        if holder == _SPENT + key.encode():
            return _said_by(approver.spent, request)
        if holder not in (None, claim):
            return _said_by(approver.crowded, request)
    return key, task


def _place(request: ApprovalRequest, approver: SuspendingApprover) -> tuple[str, str] | ApprovalResult:
    """Say under which keys the question about a call and the claim on its task are kept."""
    try:
        call_, task = call_in_place(approver.address, request)
        return f"approvals/asked/{digest(request.session, call_)}", f"approvals/task/{digest(request.session, task)}"
    except Exception as error:
        if is_suspension(error):
            raise
        return judge(error, 0.0)


def _said_by(method: Callable[[ApprovalRequest], CannotAsk], request: ApprovalRequest) -> ApprovalResult:
    """Refuse with what an approver says for itself."""
    said: object
    try:
        said = call_in_place(method, request)
    except Exception as error:
        if is_suspension(error):
            raise
        said = error
    if isinstance(said, Exception):
        return judge(said, 0.0)
    return refusal("failed", f"the approver said {type(said).__name__}, where CannotAsk belongs")


def _once(request: ApprovalRequest) -> str:
    bound = (of_session(request.session), request.call_id, request.digest, request.definition)
    return f"approvals/once/{digest(*bound)}"


def _dump(record: Mapping[str, Any]) -> bytes:
    return json.dumps(record).encode()


def _read(kept: bytes) -> dict[str, Any]:
    try:
        record: dict[str, Any] = json.loads(kept)
    except ValueError as error:
        raise StoreError(f"the record of a question cannot be read: {error}") from None
    return record


def _now(clock: Clock | None) -> float:
    return time.time() if clock is None else clock()
