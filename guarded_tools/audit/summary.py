"""Records brought together: one row a call."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from guarded_tools.audit.read import Record, when

OPEN = "open"
"""Stands for the outcome of a call that was asked about or admitted, and of which nothing more is known."""

EXPIRED = "expired"
"""Stands for the outcome of a call that was asked about, where nobody answered until the question expired."""


ENDED = frozenset({"settled", "refused", "shadow"})
"""The kinds of a call's last line."""

_NOTHING: Record = {}


class CallRow(NamedTuple):
    """All that the records say of one call. Times are in seconds since the epoch, latencies in milliseconds.

    ``key`` is what its records have in common; of a call that was resumed in another run, that of the last.
    ``expires`` is when a question ends that nobody answered so far.
    """

    time: float
    ended: float
    tool: str
    session: str
    grant: str
    outcome: str
    rule: str
    message: str
    retry_after: float | None
    asked: bool
    answer: str
    answered_by: str
    guard_ms: float
    human_ms: float
    tool_ms: float
    key: str = ""
    expires: float | None = None


def calls(records: Iterable[Record], *, shadow: bool = False, now: float | None = None) -> Iterator[CallRow]:
    """Join the records of each call by their ``key``, in the order in which the calls ended; open ones come last.

    With ``shadow`` the calls are those of rules under trial, with the outcome these would have had. ``now`` says which
    questions have expired, in seconds since the epoch. Default: the present.
    """
    joined = JoinedCalls(shadow=shadow)
    for record in records:
        row = joined.add(record)
        if row is not None:
            yield row
    yield from joined.open(now)


class JoinedCalls:
    """Joins records into calls as they come, one after the other; see :func:`calls`."""

    def __init__(self, *, shadow: bool = False) -> None:
        self._shadow = shadow
        self._numbers = itertools.count()
        self._begun: dict[str, list[Record]] = {}
        self._waiting: dict[tuple[str, str, str], str] = {}
        self._rows: dict[str, CallRow] = {}  # of calls that are open, where they were asked for

    def add(self, record: Record) -> CallRow | None:
        """Take the next record; returns the call that it ends."""
        number, kind = next(self._numbers), record.get("kind")
        if kind == "control" or (kind == "shadow") != self._shadow:
            return None
        key = str(record.get("key") or number)
        self._rows.pop(key, None)
        # A run that waited in a checkpoint comes back as a call of its own, with the model's id for it.
        resumed = same_call(record)
        if kind == "asked" and resumed[2]:
            self._begun[key] = self._take(self._waiting.get(resumed, key))
            self._waiting[resumed] = key
        if kind not in ENDED:
            self._begun.setdefault(key, []).append(record)
            return None
        asked = self._waiting.pop(resumed, key)
        before = self._take(asked) if asked != key else []
        return _row([*before, *self._take(key), record], str(record.get("outcome", OPEN)))

    def _take(self, key: str) -> list[Record]:
        self._rows.pop(key, None)
        return self._begun.pop(key, [])

    def open(self, now: float | None = None) -> list[CallRow]:
        """List the calls that have not ended, in the order in which they began; as of ``now``, as in :func:`calls`."""
        present = time.time() if now is None else now
        for key, records in self._begun.items():
            outcome = open_as(records[-1], present)
            if key not in self._rows or self._rows[key].outcome != outcome:
                self._rows[key] = _row(records, outcome)
        return [self._rows[key] for key in self._begun]

    def forget(self, seq: int) -> None:
        """Forget what has not ended, and of which no record came since number ``seq``."""
        for key in [key for key, records in self._begun.items() if not records or records[-1]["seq"] < seq]:
            self._take(key)
        self._waiting = {call: key for call, key in self._waiting.items() if key in self._begun}


def open_as(last: Record, now: float) -> str:
    """Say of a call that has not ended, by its last record, whether it is open or is a question that has expired."""
    expires = _expires(last)
    return OPEN if expires is None or expires > now else EXPIRED


def _expires(last: Record) -> float | None:
    timeout = _number(last, "timeout") if last.get("kind") == "asked" else None
    return None if timeout is None else when(last) + timeout


def same_call(record: Record) -> tuple[str, str, str]:
    """Name what the lines of one call have in common where its run was resumed, and it has a key of each stretch."""
    return str(record.get("session", "")), str(record.get("tool", "")), str(record.get("call_id", ""))


def _row(records: list[Record], outcome: str) -> CallRow:
    last = records[-1]
    ended = when(last)
    asked, approval = False, _NOTHING
    for record in records:
        asked = asked or record.get("kind") == "asked"
        found = record.get("approval")
        if isinstance(found, dict):
            approval = found
    return CallRow(
        time=ended if len(records) == 1 else when(records[0]),
        ended=ended,
        tool=str(last.get("tool", "")),
        session=str(last.get("session", "")),
        grant=str(last.get("grant", "")),
        outcome=outcome,
        rule=str(last.get("rule", "")),
        message=str(last.get("message", "")),
        retry_after=_number(last, "retry_after"),
        asked=asked,
        answer=answer(approval) if approval else "",
        answered_by=str(approval.get("by", "")),
        guard_ms=_number(last, "guard_ms") or 0.0,
        human_ms=_number(last, "human_ms") or 0.0,
        tool_ms=_number(last, "tool_ms") or 0.0,
        key=str(last.get("key", "")),
        expires=_expires(last),
    )


def answer(approval: Record) -> str:
    """Say what a human answered, or why there is no answer: timeout, remembered, failed and so on."""
    cause = str(approval.get("cause", "human"))
    return str(approval.get("verdict", "")) if cause == "human" else cause


def _number(record: Record, name: str) -> float | None:
    value = record.get(name)  # whatever stands there: a log may have been edited
    return float(value) if isinstance(value, int | float) else None
