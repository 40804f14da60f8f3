"""Counters of one process: for tests, and for agents that live and die in one."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Mapping, Sequence

from guarded_tools.stores.base import BlockingStore
from guarded_tools.stores.clock import SECOND, Clock, ReadClock, at, system_clock
from guarded_tools.stores.common import (
    busiest_first,
    by_scope,
    check_scope,
    full,
    halt_of,
    if_alive,
    pick,
    reserved,
    take,
    with_expiry,
)
from guarded_tools.stores.window import Row
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
        self, charges: Sequence[Charge], now: float | None = None, scopes: Sequence[str] = ()
    ) -> Reservation | Full | Halted:
        """Take all charges or none."""
        with self._lock:
            halted = self._halted(charges, scopes)
            if halted:
                return halted
            clock = self._read(now)
            refusal, rows, slots = take(self._row, charges, clock)
            if refusal:
                self._record_clock_step(rows, clock)
                return full(refusal)
            self._rows.update(rows)
            return reserved(charges, slots)

    def peek(
        self, charges: Sequence[Charge], now: float | None = None, scopes: Sequence[str] = ()
    ) -> Full | Halted | None:
        """Say what :meth:`reserve` would refuse, and change nothing."""
        with self._lock:
            halted = self._halted(charges, scopes)
            if halted:
                return halted
            clock = self._read(now)
            refusal, rows, _ = take(self._row, charges, clock)
            self._record_clock_step(rows, clock)
            return full(refusal) if refusal else None

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

    def usage(self, scope: str | None = None, now: float | None = None) -> list[Usage]:
        """List the counters of one scope, or of all scopes that hold something, busiest first."""
        with self._lock:
            clock = self._read(now)
            rows = [(name, row.copy()) for name, row in self._rows.items() if scope in {None, name}]
        return busiest_first(
            usage for name, row in rows if scope or not row.idle(clock) for usage in row.usage(name, clock)
        )

    def reset(self, scope: str | None = None) -> int:
        """Forget the counters of one scope, or of all."""
        with self._lock:
            gone = [name for name in self._rows if scope in {None, name}]
            for name in gone:
                del self._rows[name]
            return len(gone)

    def prune(self, now: float | None = None) -> int:
        """Forget scopes that hold nothing and values that have expired. Returns how many."""
        with self._lock:
            clock = self._read(now)
            idle = [name for name, row in self._rows.items() if row.copy().idle(clock)]
            expired = [key for key, data in self._kept.items() if if_alive(data, clock) is None]
            for name in idle:
                del self._rows[name]
            for key in expired:
                del self._kept[key]
            return len(idle) + len(expired)

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

    def _record_clock_step(self, rows: Mapping[str, Row], clock: Clock) -> None:
        for scope, row in rows.items():
            if row.stepped:
                self._rows[scope].advance(clock)

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
