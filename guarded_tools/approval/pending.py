"""The questions of a session that are open, and what ends them before they are answered.

A question goes by an id of its own. While it is open, two entries stand for it:

``approvals/open/<session>/<n>``
    one of the session's slots (the policy's ``max_pending``): the id of the question that holds it;
``approvals/live/<id>``
    that it is open, and in which thread and turn it was asked; or that it was withdrawn.

Both expire with the question, by the store's clock: on Linux a step of the wall clock makes no expired question
answerable again. Whoever ends a question *takes* the second entry, atomically: of an answer and a withdrawal that come
at once exactly one counts. So a question is

- open while its entry says so; :func:`close` ends it and says what it was;
- withdrawn by :func:`withdraw`, or by :func:`leave_behind` once its thread went on without it; its answer runs nothing;
- over when the entry is gone: its time is up.
"""

from __future__ import annotations

import contextlib
import json
import os
from typing import Literal, NamedTuple, TypeAlias

from guarded_tools.approvers.protocol import CallAddress, is_gone, who
from guarded_tools.errors import StoreError
from guarded_tools.flow import Await, Flow
from guarded_tools.policy.document import ApprovalLimits
from guarded_tools.stores import Store
from guarded_tools.values import ApprovalRequest, digest

Standing: TypeAlias = Literal["open", "withdrawn", "over"]

LATE = 86_400.0
"""For how many seconds after its end a question is remembered, so that a late answer is called late and not unknown."""

_WITHDRAWN = b"withdrawn"
_KEPT = 30 * 86_400.0  # after that its answer is late, and runs nothing either


class Asked(NamedTuple):
    """A question as it is kept while a human thinks. Times are in seconds since the epoch.

    ``begun``: it was answered, and the execution that the answer permits has paused. ``across`` names the rules across
    calls that were shown.
    """

    id: str
    slot: str
    task: str
    digest: str
    asked: float
    expires: float
    definition: str | None = None
    begun: bool = False
    across: tuple[str, ...] = ()

    def is_about(self, request: ApprovalRequest) -> bool:
        """Whether this very call was asked about, of the tool as it was described then."""
        return self.digest == request.digest and self.definition in (None, request.definition)

    def dump(self) -> bytes:
        """Write it as JSON, which :meth:`load` reads in another process, and a later version."""
        return json.dumps(self._asdict()).encode()

    @classmethod
    def load(cls, kept: bytes) -> Asked:
        """Read what :meth:`dump` wrote.

        Raises:
            StoreError: it is something else.
        """
        try:
            question = cls(**json.loads(kept))
        except (ValueError, TypeError) as error:
            raise StoreError(f"the record of a question cannot be read: {error}") from None
        texts, numbers = question[:4], question[4:6]
        if not all(isinstance(text, str) for text in texts) or not all(isinstance(n, int | float) for n in numbers):
            raise StoreError("the record of a question cannot be read: it holds something else")
        if not (isinstance(question.across, list | tuple) and all(isinstance(rule, str) for rule in question.across)):
            raise StoreError("the record of a question cannot be read: its rules are none")
        return question._replace(across=tuple(question.across))


def claim(
    session: str, question: str, seconds: float, limits: ApprovalLimits, place: CallAddress, *, store: Store
) -> Flow[str | None]:
    """Open a question for so many seconds, if the session has a slot for it: the slot, or ``None``.

    Where all are taken, those of processes that waited for their answers and are no more are taken from them.
    """
    seconds = max(seconds, 0.0)
    asker = None if place.call else [who(), os.getpid()]  # a run that was suspended outlives its process
    entry = json.dumps({"thread": place.thread, "turn": place.turn, "asker": asker}).encode()
    for is_full in (False, True):
        for number in range(limits.max_pending):
            slot = f"{_slots(session)}{number}"
            if is_full:
                yield from _free_of_dead(slot, store)
            if (yield Await(store.add, store.aadd, (slot, question.encode(), seconds + 1))):
                yield Await(store.put, store.aput, (_live(question), entry, seconds))
                return slot
    return None


def close(slot: str, question: str, *, store: Store) -> Flow[Standing]:
    """End a question, and say what it was until now."""
    entry = yield Await(store.take, store.atake, (_live(question),))
    yield from _free(slot, question, store)
    if entry is None:
        return "over"
    return "withdrawn" if entry == _WITHDRAWN else "open"


def drop(slot: str, question: str, *, store: Store) -> Flow[None]:
    """End a question that nobody waits for any more. That the store fails must not hide why; the slot frees itself."""
    with contextlib.suppress(StoreError):
        yield from close(slot, question, store=store)


def is_withdrawn(question: str, *, store: Store) -> Flow[bool]:
    """Whether a question was withdrawn."""
    entry: bytes | None = yield Await(store.get, store.aget, (_live(question),))
    return entry == _WITHDRAWN


def withdraw(session: str | None, *, store: Store) -> Flow[int]:
    """Take back all questions of a session that wait, or of every session, and free their slots: how many there were.

    An answer that comes to one of them runs nothing.
    """
    gone = 0
    for slot, question in (yield from _open(session, store)):
        gone += yield from _withdraw(slot, question, store)
    return gone


def leave_behind(session: str, place: CallAddress, *, store: Store) -> Flow[int]:
    """Withdraw what this thread asked in an earlier turn: it went on without an answer, with a new message say.

    What was answered beforehand, for a call that is still to run, was not left behind.
    """
    gone = 0
    for slot, question in (yield from _open(session, store)) if place.turn else ():
        entry = yield Await(store.get, store.aget, (_live(question),))
        if entry in (None, _WITHDRAWN):
            continue
        try:
            asked = json.loads(entry)
            earlier = asked["thread"] == place.thread and "" < asked["turn"] < place.turn
        except (ValueError, TypeError, KeyError) as error:
            raise StoreError(f"the entry of an open question cannot be read ({error})") from None
        if earlier and (yield Await(store.get, store.aget, (handed_key(question),))) is None:
            gone += yield from _withdraw(slot, question, store)
    return gone


def _withdraw(slot: str, question: str, store: Store) -> Flow[bool]:
    entry = yield Await(store.take, store.atake, (_live(question),))
    yield Await(store.put, store.aput, (_live(question), _WITHDRAWN, _KEPT))
    yield from _free(slot, question, store)
    return entry not in (None, _WITHDRAWN)


def _open(session: str | None, store: Store) -> Flow[list[tuple[str, str]]]:
    found = yield Await(store.scan, store.ascan, (_slots(session),))
    return [(slot, question.decode("ascii", "replace")) for slot, question in found]


def _free(slot: str, question: str, store: Store) -> Flow[None]:
    if (yield Await(store.get, store.aget, (slot,))) == question.encode():
        yield Await(store.take, store.atake, (slot,))


def _free_of_dead(slot: str, store: Store) -> Flow[None]:
    """End the question that holds a slot, where nobody is left to wait for its answer."""
    question = ((yield Await(store.get, store.aget, (slot,))) or b"").decode("ascii", "replace")
    entry = yield Await(store.get, store.aget, (_live(question),))
    with contextlib.suppress(ValueError, TypeError, AttributeError):  # withdrawn, over, or of an older version
        asker, pid = json.loads(entry).get("asker")
        if is_gone(asker, pid):
            yield from close(slot, question, store=store)


def handed_key(question: str) -> str:
    """Say where the answer is that was handed over to a question (see :mod:`~guarded_tools.approval.handed`)."""
    return f"approvals/handed/{question}"


def _slots(session: str | None) -> str:
    return "approvals/open/" if session is None else f"approvals/open/{digest(session)[:32]}/"


def _live(question: str) -> str:
    return f"approvals/live/{question}"
