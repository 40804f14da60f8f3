"""Counters of one process: for tests, and for agents that live and die in one."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Sequence

from guarded_tools.marks import Bound, Carried, Mark, SessionRules
from guarded_tools.stores.attempt import Attempt
from guarded_tools.stores.base import BlockingStore
from guarded_tools.stores.carried import in_order
from guarded_tools.stores.clock import SECOND, Clock, ReadClock, at, system_clock
from guarded_tools.stores.common import (
    busiest_first,
    by_scope,
    check_scope,
    halt_of,
    if_alive,
    pick,
    reserved,
    settled,
    with_expiry,
)
from guarded_tools.stores.row import Row
from guarded_tools.values import Charge, Full, Halted, Reservation, Usage


class MemoryStore(BlockingStore):
    """A store that is gone with its process. Exact across threads and tasks; a forked child counts for itself."""

    def __init__(self, *, clock: ReadClock = system_clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._rows: dict[str, Row] = {}
        self._kept: dict[str, bytes] = {}
        self._halts: dict[str, Halted] = {}
        _alive.add(self)

    def reserve(
        self,
        charges: Sequence[Charge],
        now: float | None = None,
        scopes: Sequence[str] = (),
        rules: SessionRules | None = None,
    ) -> Reservation | Full | Halted | Bound:
        """Take all charges and leave all marks, or neither."""
        with self._lock:
            attempt = Attempt(charges, rules)
            refused = self._halted(charges, scopes) or self._try(attempt, now, keep=True)
            return refused or reserved(charges, attempt.slots)

    def peek(
        self,
        charges: Sequence[Charge],
        now: float | None = None,
        scopes: Sequence[str] = (),
        rules: SessionRules | None = None,
    ) -> Full | Halted | Bound | None:
        """Say what :meth:`reserve` would refuse, and change nothing."""
        with self._lock:
            return self._halted(charges, scopes) or self._try(Attempt(charges, rules), now, keep=False)

    def refund(self, reservation: Reservation, now: float | None = None) -> int:
        """Give back the refundable charges of a reservation, once, each in the slot it was taken from."""
        if next(reservation.refunds, 1):
            return 0
        with self._lock:
            clock = self._read(now)
            return sum(
                self._rows[scope].give_back(
                    pick(reservation.charges, positions), pick(reservation.slots, positions), clock
                )
                for scope, positions in by_scope(reservation.charges).items()
                if scope in self._rows
            )

    def settle(self, reservation: Reservation, amounts: Sequence[int], now: float | None = None) -> None:
        """Put what a call has really taken in the place of what was reserved, once."""
        if next(reservation.refunds, 1):
            return
        with self._lock:
            clock = self._read(now)
            changed = {}
            for scope, positions in by_scope(reservation.charges).items():
                row = changed[scope] = self._row(scope)
                row.settle(*settled(reservation, amounts, positions), clock)
            self._rows |= changed

    def usage(self, scope: str | None = None, now: float | None = None, most: int | None = None) -> list[Usage]:
        """List the counters of one scope, or of all (the ``most`` busiest that hold something), busiest first."""
        with self._lock:
            clock = self._read(now)
            rows = [(name, row.copy()) for name, row in self._rows.items() if scope in {None, name}]
        return busiest_first(
            (usage for name, row in rows if scope or not row.idle(clock) for usage in row.usage(name, clock)), most
        )

    def note(self, marks: Sequence[Mark], now: float | None = None) -> None:
        """Keep marks, all or none."""
        with self._lock:
            self._try(Attempt((), SessionRules(marks=tuple(marks))), now, keep=True)

    def carried(self, scope: str | None = None, now: float | None = None) -> list[Carried]:
        """List the marks of one scope, or of all: labels first, then by when they were brought."""
        with self._lock:
            clock = self._read(now)
            rows = [(name, row.copy()) for name, row in self._rows.items() if scope in {None, name}]
        return in_order(mark for name, row in rows for mark in row.carried(name, clock))

    def clear(self, scope: str, label: str) -> bool:
        """Take a label away from a scope."""
        with self._lock:
            return scope in self._rows and self._rows[scope].clear(label)

    def reset(self, scope: str | None = None) -> int:
        """Forget the counters and marks of one scope, or of all."""
        with self._lock:
            gone = [name for name in self._rows if scope in {None, name}]
            for name in gone:
                del self._rows[name]
            return len(gone)

    def prune(self, now: float | None = None) -> int:
        """Forget scopes that hold nothing and values that have expired. Returns how many."""
        with self._lock:
            clock = self._read(now)
            idle = [name for name, row in self._rows.items() if row.copy().forgettable(clock)]
            expired = [key for key, data in self._kept.items() if if_alive(data, clock) is None]
            for name in idle:
                del self._rows[name]
            for key in expired:
                del self._kept[key]
            return len(idle) + len(expired)

    def scopes(self) -> int:
        """Say how many scopes are held."""
        return len(self._rows)

    def halt(self, scope: str, reason: str) -> None:
        """Admit no call of ``scope`` any more."""
        with self._lock:
            known = self._halts.get(check_scope(scope))
            self._halts[scope] = Halted(scope, reason, known.since if known else self._clock().wall / SECOND)

    def resume(self, scope: str) -> bool:
        """Admit calls of ``scope`` again."""
        with self._lock:
            return self._halts.pop(check_scope(scope), None) is not None

    def halts(self) -> list[Halted]:
        """List what is halted, oldest first."""
        with self._lock:
            return sorted(self._halts.values(), key=lambda halted: halted.since)

    def put(self, key: str, value: bytes, ttl: float | None = None) -> None:
        """Keep ``value`` for ``ttl`` seconds, replacing what was there."""
        with self._lock:
            self._kept[key] = with_expiry(value, ttl, self._clock())

    def add(self, key: str, value: bytes, ttl: float | None = None) -> bool:
        """Keep ``value`` unless the key is held; of many adders exactly one is told ``True``."""
        with self._lock:
            clock = self._clock()
            if key in self._kept and if_alive(self._kept[key], clock) is not None:
                return False
            self._kept[key] = with_expiry(value, ttl, clock)
            return True

    def get(self, key: str) -> bytes | None:
        """Read what :meth:`put` kept, or ``None``."""
        with self._lock:
            return if_alive(self._kept[key], self._clock()) if key in self._kept else None

    def take(self, key: str) -> bytes | None:
        """Read and remove; of many takers exactly one gets the value."""
        with self._lock:
            return if_alive(self._kept.pop(key), self._clock()) if key in self._kept else None

    def scan(self, prefix: str) -> list[tuple[str, bytes]]:
        """List the live entries whose key begins with ``prefix``, in the order of their keys."""
        with self._lock:
            clock = self._clock()
            found = [(key, if_alive(data, clock)) for key, data in sorted(self._kept.items()) if key.startswith(prefix)]
        return [(key, value) for key, value in found if value is not None]

    def close(self) -> None:
        """Do nothing: there is nothing to let go of."""

    def _read(self, now: float | None) -> Clock:
        return self._clock() if now is None else at(now)

    def _row(self, scope: str) -> Row:
        row = self._rows.get(scope)
        return row.copy() if row else Row()

    def _try(self, attempt: Attempt, now: float | None, *, keep: bool) -> Bound | Full | None:
        clock = self._read(now)
        rows: dict[str, Row] = {}
        for scope in attempt.scopes:
            row = rows[scope] = self._row(scope)
            attempt.take(scope, row, clock)
        answer = attempt.answer()
        if keep and answer is None:
            for scope, row in rows.items():
                if attempt.changes(scope):
                    self._rows[scope] = row
        for scope in attempt.stepped:
            self._rows[scope].advance(clock)
        return answer

    def _halted(self, charges: Sequence[Charge], scopes: Sequence[str]) -> Halted | None:
        return halt_of(self._halts, (*scopes, *(charge.scope for charge in charges))) if self._halts else None


# A child inherits a lock as it is, but not the thread that would release it.

_alive: weakref.WeakSet[MemoryStore] = weakref.WeakSet()
_held: list[MemoryStore] = []


def _before_fork() -> None:
    for store in list(_alive):
        store._lock.acquire()  # noqa: SLF001
        _held.append(store)


def _after_fork() -> None:
    while _held:
        _held.pop()._lock.release()  # noqa: SLF001


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork)
