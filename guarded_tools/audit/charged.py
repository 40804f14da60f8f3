"""What calls took of limits and of money: told in one pass, from the lines that say what was counted.

Memory does not grow with the log: what a limit held before its last window is one number, and of limits that nobody
uses any more only the fullest are remembered.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple, TypeAlias

from guarded_tools.audit.bounded import thinned
from guarded_tools.audit.read import Record, when
from guarded_tools.text.quantities import by_unit
from guarded_tools.text.tones import share
from guarded_tools.text.units import utc

_COUNTED: Final = frozenset({"admitted", "settled"})
_PATIENCE: Final = 10_000
_REMEMBERED: Final = 1_000
_SWEEP_EVERY: Final = 10_000
_STEPS: Final = 4_096
_Limit: TypeAlias = tuple[str, str, int, int]


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


class TakenCharges:
    """Tells what calls took, as records come: in the order of admission, once the truth is known.

    What was given back is left out. Where only a result told what a call took, it is that, and its estimate where it
    never ended: a call that has not settled by the time 10,000 others wait for it counts with its estimate.
    """

    def __init__(self) -> None:
        self._admitted: dict[str, Record | None] = {}  # without those that took nothing in the end
        self._settled: dict[str, Record] = {}

    def add(self, record: Record) -> Sequence[ChargedCall]:
        """Take the next record; returns the calls of which it is known by now what they took."""
        kind = record.get("kind")
        if kind not in _COUNTED:
            return ()
        key = str(record.get("key"))
        if kind == "admitted":
            self._admitted[key] = record
        elif self._admitted.get(key) is not None:
            self._settled[key] = record
            if record.get("refunded"):
                self._admitted[key] = None
        ready = []
        while self._admitted:
            first = next(iter(self._admitted))
            if first not in self._settled and len(self._admitted) <= _PATIENCE:
                break
            done = self._admitted.pop(first)
            settled = self._settled.pop(first, None)
            if done is not None:
                ready.append(_charged(done, settled))
        return ready

    def rest(self) -> Iterator[ChargedCall]:
        """Yield what has not settled, and what was admitted after it, as it stands."""
        for key, record in self._admitted.items():
            if record is not None:
                yield _charged(record, self._settled.get(key))


def _charged(admitted: Record, settled: Record | None) -> ChargedCall:
    charges = (_charges(settled) if settled is not None else ()) or _charges(admitted)
    return ChargedCall(when(admitted), str(admitted.get("session", "")), str(admitted.get("tool", "")), charges)


def taken(records: Iterable[Record]) -> Iterator[ChargedCall]:
    """Tell what calls took, as :class:`TakenCharges` says."""
    charges = TakenCharges()
    for record in records:
        yield from charges.add(record)
    yield from charges.rest()


class _Rolling:
    """One counter in its rolling window."""

    __slots__ = ("_used", "_within", "last", "most")

    def __init__(self) -> None:
        self._within: deque[tuple[float, int]] = deque()
        self._used = self.most = 0
        self.last = 0.0

    def add(self, moment: float, amount: int, window: int) -> None:
        within = self._within
        # What comes together ages together, so that a window of a month is no longer than its steps are many.
        if within and moment - within[-1][0] < window / _STEPS:
            within[-1] = (within[-1][0], within[-1][1] + amount)
        else:
            within.append((moment, amount))
        self._used += amount
        while within[0][0] <= moment - window:
            self._used -= within.popleft()[1]
        self.last, self.most = moment, max(self.most, self._used)


class FullestLimits:
    """Follows each counter through its rolling window, as records come; what was given back does not count."""

    def __init__(self) -> None:
        self._taken = TakenCharges()
        self._present: dict[_Limit, _Rolling] = {}
        self._past: dict[_Limit, int] = {}
        self._floor = 0.0
        self._calls = 0

    def add(self, record: Record) -> None:
        """Take the next record."""
        for call in self._taken.add(record):
            self._count(call)

    def _count(self, call: ChargedCall) -> None:
        for scope, counter, amount, most, window in call.charges:
            limit = scope, counter, most, window
            rolling = self._present.get(limit)
            if rolling is None:
                rolling = self._present[limit] = _Rolling()
            rolling.add(call.time, amount, window)
        self._calls += 1
        if self._calls % _SWEEP_EVERY == 0:
            self._sweep(call.time)

    def _sweep(self, now: float) -> None:
        """Keep one number of each counter that holds nothing any more."""
        for limit, rolling in list(self._present.items()):
            if rolling.last <= now - limit[3]:
                del self._present[limit]
                if share(rolling.most, limit[2]) > self._floor:
                    self._past[limit] = max(rolling.most, self._past.get(limit, 0))
        if len(self._past) > _REMEMBERED:
            self._past = thinned(self._past, _REMEMBERED, lambda limit, used: share(used, limit[2]))
            self._floor = min(share(used, limit[2]) for limit, used in self._past.items())

    def found(self) -> list[Fullest]:
        """List the counters at their fullest, the fullest first; of very many, those. No record is taken after it."""
        for call in self._taken.rest():
            self._count(call)
        self._taken = TakenCharges()
        used = self._past | {
            limit: max(rolling.most, self._past.get(limit, 0)) for limit, rolling in self._present.items()
        }
        order = sorted(used, key=lambda limit: -share(used[limit], limit[2]))
        return [Fullest(limit[0], limit[1], used[limit], limit[2], limit[3]) for limit in order]


def fullest(records: Iterable[Record]) -> list[Fullest]:
    """List the limits of some records at their fullest, as :class:`FullestLimits` does."""
    limits = FullestLimits()
    for record in records:
        limits.add(record)
    return limits.found()


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


def _charges(record: Record) -> tuple[tuple[str, str, int, int, int], ...]:
    found = record.get("charges", ())
    return tuple([(str(charge[0]), str(charge[1]), *charge[2:]) for charge in found if _is_charge(charge)])


def _is_charge(charge: object) -> bool:
    return (
        isinstance(charge, list)
        and len(charge) == 5  # noqa: PLR2004 - as ChargedCall says
        and type(charge[2]) is type(charge[3]) is type(charge[4]) is int
        and charge[3] > 0
        and charge[4] > 0
    )
