"""Records brought together: one row a call, one row a kind of refusal."""

from __future__ import annotations

import itertools
import re
from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from guarded_tools.audit.read import Record, when
from guarded_tools.text.quantities import by_unit
from guarded_tools.text.units import utc

OPEN = "open"
"""Stands for the outcome of a call that was asked about or admitted, and of which nothing more is known."""


ENDED = frozenset({"settled", "refused", "shadow"})
"""The kinds of a call's last line."""


class CallRow(NamedTuple):
    """All that the records say of one call. Times are in seconds since the epoch, latencies in milliseconds.

    ``key`` is what its records have in common; of a call that was resumed in another run, that of the last.
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


class RefusalRow(NamedTuple):
    """Refusals that have who, what and why in common; in their ``message`` only the counts of a limit may differ.

    ``cause`` says why no human's answer counted, where that is what refused the call. ``message`` is the last one's.
    """

    session: str
    grant: str
    tool: str
    outcome: str
    rule: str
    cause: str
    message: str
    times: int
    first: float
    last: float

    @property
    def ended(self) -> str:
        """The outcome with its cause: ``unanswered (timeout)``."""
        return f"{self.outcome} ({self.cause})" if self.cause else self.outcome


def calls(records: Iterable[Record], *, shadow: bool = False) -> Iterator[CallRow]:
    """Join the records of each call by their ``key``, in the order in which the calls ended; open ones come last.

    With ``shadow`` the calls are those of rules under trial, with the outcome these would have had.
    """
    joined = JoinedCalls(shadow=shadow)
    for record in records:
        row = joined.add(record)
        if row is not None:
            yield row
    yield from joined.open()


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

    def open(self) -> list[CallRow]:
        """List the calls that have not ended, in the order in which they began."""
        for key, records in self._begun.items():
            if key not in self._rows:
                self._rows[key] = _row(records, OPEN)
        return [self._rows[key] for key in self._begun]

    def forget(self, seq: int) -> None:
        """Forget what has not ended, and of which no record came since number ``seq``."""
        for key in [key for key, records in self._begun.items() if not records or records[-1]["seq"] < seq]:
            self._take(key)
        self._waiting = {call: key for call, key in self._waiting.items() if key in self._begun}


def same_call(record: Record) -> tuple[str, str, str]:
    """Name what the lines of one call have in common where its run was resumed, and it has a key of each stretch."""
    return str(record.get("session", "")), str(record.get("tool", "")), str(record.get("call_id", ""))


def _row(records: list[Record], outcome: str) -> CallRow:
    last = records[-1]
    ended = when(last)
    approval: Record = next((r["approval"] for r in reversed(records) if isinstance(r.get("approval"), dict)), {})
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
        asked=any(record.get("kind") == "asked" for record in records),
        answer=answer(approval) if approval else "",
        answered_by=str(approval.get("by", "")),
        guard_ms=_number(last, "guard_ms") or 0.0,
        human_ms=_number(last, "human_ms") or 0.0,
        tool_ms=_number(last, "tool_ms") or 0.0,
        key=str(last.get("key", "")),
    )


def answer(approval: Record) -> str:
    """Say what a human answered, or why there is no answer: timeout, remembered, failed and so on."""
    cause = str(approval.get("cause", "human"))
    return str(approval.get("verdict", "")) if cause == "human" else cause


def _number(record: Record, name: str) -> float | None:
    value = record.get(name)  # whatever stands there: a log may have been edited
    return float(value) if isinstance(value, int | float) else None


REFUSED = ("denied", "limited", "rejected", "unanswered", "responded", "failed_closed")
"""The outcomes of calls that did not run because somebody or something said no."""


# A full limit's message ends in what differs from call to call.
_AMOUNT = r"(about )?[\d.]+( [\w-]+)?"
_COUNTS = re.compile(rf"(?<=is used up )\({_AMOUNT} used(, this call would take {_AMOUNT})?\)$")
_ANSWERED = ("", "approve", "edit", "reject", "respond", "remembered")


class Summary(NamedTuple):
    """What became of all calls, the refusals grouped by who, what and why (most frequent first), and the last calls."""

    outcomes: Counter[str]
    refusals: list[RefusalRow]
    latest: list[CallRow]


def summarise(rows: Iterable[CallRow], *, latest: int = 15) -> Summary:
    """Bring calls together in one pass; memory grows with the kinds of refusal and their reasons, not with calls."""
    outcomes: Counter[str] = Counter()
    groups: dict[tuple[str, ...], RefusalRow] = {}
    last: deque[CallRow] = deque(maxlen=latest)
    for row in rows:
        outcomes[row.outcome] += 1
        last.append(row)
        if row.outcome in REFUSED:
            who_what = (row.session, row.grant, row.tool, row.outcome, row.rule, _cause(row))
            why = _COUNTS.sub("", row.message) if row.outcome == "limited" else row.message
            known = groups.get((*who_what, why))
            first, times = (known.first, known.times) if known else (row.ended, 0)
            groups[*who_what, why] = RefusalRow(*who_what, row.message, times + 1, first, row.ended)
    return Summary(outcomes, sorted(groups.values(), key=lambda group: -group.times), list(last))


def _cause(row: CallRow) -> str:
    return "" if row.answer in _ANSWERED else row.answer


class Fullest(NamedTuple):
    """A limit's counter at its fullest: the most that ran within one of its windows. ``window`` is in seconds."""

    scope: str
    counter: str
    used: int
    max: int
    window: int


class ChargedCall(NamedTuple):
    """What an admitted call took in the end, of each limit: (scope, counter, amount, max, window in seconds)."""

    time: float
    session: str
    tool: str
    charges: tuple[tuple[str, str, int, int, int], ...]


def taken(records: Iterable[Record]) -> list[ChargedCall]:
    """List what calls took, in the order of their admission; what was given back is left out.

    Where only a result told what a call took, it is that, and its estimate where it never ended.
    """
    found: dict[str, ChargedCall] = {}
    for record in records:
        key, kind = str(record.get("key")), record.get("kind")
        charges = tuple(
            (*map(str, charge[:2]), *charge[2:]) for charge in record.get("charges", ()) if _is_charge(charge)
        )
        if kind == "admitted":
            found[key] = ChargedCall(when(record), str(record.get("session", "")), str(record.get("tool", "")), charges)
        elif kind == "settled" and key in found:
            if record.get("refunded"):
                del found[key]
            elif charges:
                found[key] = found[key]._replace(charges=charges)
    return list(found.values())


def fullest(records: Iterable[Record]) -> Iterator[Fullest]:
    """Follow each counter through its rolling window; what was given back does not count."""
    steps: dict[tuple[str, str, int, int], list[tuple[float, int]]] = defaultdict(list)
    for call in taken(records):
        for scope, counter, amount, most, window in call.charges:
            steps[scope, counter, most, window].append((call.time, amount))
    for (scope, counter, most, window), each in steps.items():
        within: deque[tuple[float, int]] = deque()
        used = most_used = 0
        for moment, amount in each:
            within.append((moment, amount))
            used += amount
            while within[0][0] <= moment - window:
                used -= within.popleft()[1]
            most_used = max(most_used, used)
        yield Fullest(scope, counter, most_used, most, window)


class DaySpent(NamedTuple):
    """What a session spent on a day (UTC, as ``2026-01-31``), in millionths of a unit."""

    day: str
    session: str
    amount: int


def spending(records: Iterable[Record], unit: str = "USD") -> list[DaySpent]:
    """List what each session spent on each day, by day."""
    found: Counter[tuple[str, str]] = Counter()
    for call in taken(records):
        amount = by_unit(call.charges).get(unit)
        if amount is not None:
            found[utc(call.time).date().isoformat(), call.session] += amount
    return [DaySpent(day, session, amount) for (day, session), amount in sorted(found.items())]


class Span(NamedTuple):
    """How long a session carried a label: from the call of ``tool`` that brought it, until it was taken away, if so."""

    label: str
    tool: str
    first: float
    last: float | None = None


def carried_over(records: Iterable[Record], session: str) -> list[Span]:
    """List what a session carried, in the order in which it came: told from admitted calls, clearings and resets."""
    carried: dict[str, Span] = {}
    ended: list[Span] = []
    for record in records:
        kind, moment = record.get("kind"), when(record)
        named = [str(label) for label in record.get("labels") or ()]
        if kind == "admitted" and record.get("session") == session:
            for label in named:
                carried.setdefault(label, Span(label, str(record.get("tool", "")), moment))
        elif kind == "control" and record.get("rule") in ("(clear)", "(reset)"):
            said = str(record.get("message", ""))
            all_of_it = f"session:{session} " in said or "all counters" in said
            mine = record.get("session") == session if record["rule"] == "(clear)" else all_of_it
            gone = named if record["rule"] == "(clear)" else list(carried)
            ended += [carried.pop(label)._replace(last=moment) for label in gone if mine and label in carried]
    return sorted([*ended, *carried.values()], key=lambda span: span.first)


def _is_charge(charge: object) -> bool:
    return (
        isinstance(charge, list)
        and len(charge) == len(Fullest._fields)
        and all(type(number) is int for number in charge[2:])
        and charge[3] > 0
        and charge[4] > 0
    )
