"""Answers that are given before the calls run which they are about, and handed to these calls through the store.

A model's message may hold several calls that need a human. An approver that asks beforehand asks about all of them in
one step, before any of them runs; each then runs in a task of its own, where :mod:`~guarded_tools.approval.workflow`
finds its question waiting, as that of any suspended call, and here the answer:

======================================  ===============================================================================
``approvals/asked_together/<step>``     the questions that a step asked, in the order in which they are answered: the
                                        key, the id and what is shown of each. What is asked once more, when the run is
                                        resumed in another process, is this, and nothing that was worked out anew
``approvals/handed/<question>``         the answer to one question, or why it is none
``approvals/handed/<call's key>``       why a call could not be asked about in its step
======================================  ===============================================================================

The invariant: an answer goes by the id of its question, and no other question has that id. What permits a call is
still the question itself, which is taken once, for exactly the call that was shown. So an answer that comes twice,
late, or to a step that asked anew meanwhile runs nothing.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple, TypeVar

from guarded_tools.approval.pending import LATE, Asked, handed_key
from guarded_tools.approval.reach import keys_of, place_of
from guarded_tools.approval.result import ApprovalResult, judge, refusal
from guarded_tools.approvers.protocol import SuspendingApprover
from guarded_tools.errors import StoreError
from guarded_tools.flow import Await, Flow
from guarded_tools.stores import Store
from guarded_tools.values import ApprovalRequest, Verdict, digest

T = TypeVar("T")


class Together(NamedTuple):
    """A question that a step asks: the key and id under which it waits, until when, and what is shown of it."""

    key: str
    id: str
    expires: float
    value: Mapping[str, Any]


def waiting(
    request: ApprovalRequest, approver: SuspendingApprover, value: Mapping[str, Any], store: Store
) -> Flow[Together | None]:
    """Find the question that was asked about a call in this step; ``None`` where it does not wait any more."""
    key = _key(request, approver)
    question = None if key is None else (yield from _asked(key, store))
    return None if key is None or question is None else Together(key, question.id, question.expires, value)


def keep(step: str, asked: Iterable[Together], now: float, store: Store) -> Flow[None]:
    """Keep what a step asks for as long as one of its answers may come."""
    asked = list(asked)
    seconds = max(each.expires for each in asked) - now + LATE
    yield Await(store.put, store.aput, (_step(step), json.dumps(asked).encode(), max(seconds, LATE)))


def kept(step: str, store: Store) -> Flow[list[Together]]:
    """Return what a step asks; nothing where it asked nothing yet, or one of its questions does not wait any more.

    Raises:
        StoreError: what is kept there cannot be read.
    """
    record = yield Await(store.get, store.aget, (_step(step),))
    asked = [] if record is None else _read_step(record)
    for each in asked:
        question = yield from _asked(each.key, store)
        if question is None or question.id != each.id:
            return []
    return asked


def hand(question: Together, answer: Verdict | str, now: float, store: Store) -> Flow[None]:
    """Hand over the answer to a question, or say why what came is none. The first that is handed over stays."""
    said = dataclasses.asdict(answer) if isinstance(answer, Verdict) else answer
    kept = (handed_key(question.id), json.dumps(said).encode(), max(question.expires - now, 0.0) + LATE)
    yield Await(store.add, store.aadd, kept)


def hand_refusal(
    request: ApprovalRequest, approver: SuspendingApprover, why: ApprovalResult, store: Store
) -> Flow[None]:
    """Let a call hear in its task why it could not be asked about before: there it may not be asked about alone."""
    key = _key(request, approver)
    if key is not None:
        said = {"cause": why.cause, "detail": why.detail, "retry_after": why.retry_after}
        yield from _put(handed_key(key), said, request.timeout, store)


def answer_to(question: str, waited: float, store: Store) -> Flow[ApprovalResult | None]:
    """Return the answer that was handed over to a question; ``None`` where none was.

    It stays, and permits no more than its question does, which is taken once.

    Raises:
        StoreError: what is kept there cannot be read.
    """
    record = yield Await(store.get, store.aget, (handed_key(question),))
    if record is None:
        return None
    said = _read(record)
    return refusal("invalid", said, waited) if isinstance(said, str) else judge(_made(_verdict, said), waited)


def refused(request: ApprovalRequest, approver: SuspendingApprover, store: Store) -> Flow[ApprovalResult | None]:
    """Take why a call was not asked about before, once; ``None`` where nothing was handed over.

    Raises:
        StoreError: what is kept there cannot be read.
    """
    key = _key(request, approver)
    record = None if key is None else (yield Await(store.take, store.atake, (handed_key(key),)))
    if record is None:
        return None
    return _made(_refusal, _read(record))


def _verdict(said: Mapping[str, Any]) -> Verdict:
    return Verdict(**said)


def _refusal(said: Mapping[str, Any]) -> ApprovalResult:
    return refusal(said["cause"], said["detail"])._replace(retry_after=said["retry_after"])


def _key(request: ApprovalRequest, approver: SuspendingApprover) -> str | None:
    place = place_of(request, approver)
    return None if isinstance(place, ApprovalResult) else keys_of(request, place)[0]


def _asked(key: str, store: Store) -> Flow[Asked | None]:
    record = yield Await(store.get, store.aget, (key,))
    return None if record is None else Asked.load(record)


def _step(step: str) -> str:
    return f"approvals/asked_together/{digest(step)}"


def _read_step(record: bytes) -> list[Together]:
    return [_made(lambda parts: Together(*parts), each) for each in _read(record)]


def _read(record: bytes) -> Any:
    try:
        return json.loads(record)
    except ValueError as error:
        raise StoreError(f"an answer that was handed over cannot be read: {error}") from None


def _made(make: Callable[[Any], T], kept: Any) -> T:
    try:
        return make(kept)
    except (TypeError, KeyError) as error:
        raise StoreError(f"an answer that was handed over cannot be read: {error!r}") from None


def _put(key: str, said: object, seconds: float, store: Store) -> Flow[None]:
    yield Await(store.put, store.aput, (key, json.dumps(said).encode(), seconds))
