"""Counters of one machine, on disk: exact across threads, tasks, processes, crashes and restarts."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from guarded_tools.files import user_path
from guarded_tools.flow import together
from guarded_tools.marks import Bound, Carried, Mark, SessionRules
from guarded_tools.stores.base import BlockingStore
from guarded_tools.stores.carried import in_order
from guarded_tools.stores.clock import ReadClock, system_clock
from guarded_tools.stores.common import busiest, busiest_first, check_scope
from guarded_tools.stores.disk.address import Durability
from guarded_tools.stores.disk.change import key_of
from guarded_tools.stores.disk.database import Database
from guarded_tools.stores.disk.directory import StateDirectory, in_use
from guarded_tools.stores.disk.locking import SerializedAccess
from guarded_tools.stores.disk.operations import Operations
from guarded_tools.values import Charge, Full, Halted, Reservation, Usage

T = TypeVar("T")


class DiskStore(BlockingStore):
    """A store in a directory on a local file system.

    ``timeout`` is how long, in seconds, a call waits for other writers before it is refused. ``durability`` says what a
    limit survives: ``process`` a killed process, ``power`` also a power cut, at the price of one disk flush a call.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        timeout: float = 5.0,
        durability: Durability = "process",
        clock: ReadClock = system_clock,
    ) -> None:
        self.path = _counters(path)
        self._button = DiskStopButton(path)
        database = Database(self.path, timeout, durability)
        self._operations = Operations(database, clock)
        self._access = SerializedAccess(database, timeout)
        self._access.run(database.directory.check)

    @together("reserve_together")
    def reserve(
        self,
        charges: Sequence[Charge],
        now: float | None = None,
        scopes: Sequence[str] = (),
        rules: SessionRules | None = None,
    ) -> Reservation | Full | Halted | Bound:
        """Take all charges and leave all marks, or neither."""
        return self._access.run(self._operations.reserve, charges, now, scopes, rules)

    def reserve_together(
        self, calls: Sequence[tuple[Any, ...]]
    ) -> Sequence[Reservation | Full | Halted | Bound | Exception]:
        """:meth:`reserve` for many callers, each given what it would have been given alone; in few transactions."""
        return self._access.run_together(self._operations.reserve, [_whole(*call) for call in calls], kept=Reservation)

    def refund(self, reservation: Reservation, now: float | None = None) -> int:
        """Give back the refundable charges of a reservation, once, each in the slot it was taken from."""
        return 0 if next(reservation.refunds, 1) else self._access.run(self._operations.refund, reservation, now)

    def settle(self, reservation: Reservation, amounts: Sequence[int], now: float | None = None) -> None:
        """Put what a call has really taken in the place of what was reserved, once."""
        if not next(reservation.refunds, 1):
            self._access.run(self._operations.settle, reservation, amounts, now)

    def peek(
        self,
        charges: Sequence[Charge],
        now: float | None = None,
        scopes: Sequence[str] = (),
        rules: SessionRules | None = None,
    ) -> Full | Halted | Bound | None:
        """Say what :meth:`reserve` would refuse, and change nothing."""
        return self._access.run(self._operations.peek, charges, now, scopes, rules)

    def usage(self, scope: str | None = None, now: float | None = None, most: int | None = None) -> list[Usage]:
        """List the counters of one scope, or of all (the ``most`` busiest that hold something), busiest first."""
        if scope is not None:
            return busiest_first(self._access.run(self._operations.usage, scope, now))
        if most is not None:
            held = partial(self._operations.usage, now=now, idle_too=False)
            return busiest(self._all(self._operations.glances, now), lambda name: self._access.run(held, name), most)
        return busiest_first(self._all(self._operations.usages, now))

    def note(self, marks: Sequence[Mark], now: float | None = None) -> None:
        """Keep marks, all or none."""
        self._access.run(self._operations.note, marks, now)

    def carried(self, scope: str | None = None, now: float | None = None) -> list[Carried]:
        """List the marks of one scope, or of all: labels first, then by when they were brought."""
        if scope is not None:
            return self._access.run(self._operations.carried, scope, now)
        return in_order(self._all(self._operations.all_carried, now))

    def clear(self, scope: str, label: str) -> bool:
        """Take a label away from a scope."""
        return self._access.run(self._operations.clear, scope, label)

    def _all(self, page: Callable[[bytes, float | None], tuple[bytes | None, list[T]]], now: float | None) -> list[T]:
        """Collect all pages, each in a turn of its own."""
        found: list[T] = []
        after: bytes | None = b""
        while after is not None:
            after, some = self._access.run(page, after, now)
            found.extend(some)
        return found

    def reset(self, scope: str | None = None) -> int:
        """Forget the counters and marks of one scope, or of all."""
        if scope is not None:
            return self._access.run(self._operations.forget, [key_of(scope)], None, idle_only=False)
        return self._forget(None, idle_only=False)

    def prune(self, now: float | None = None) -> int:
        """Forget scopes that hold nothing and values that have expired. Returns how many."""
        return self._forget(now, idle_only=True) + self._access.run(self._operations.sweep)

    def _forget(self, now: float | None, *, idle_only: bool) -> int:
        gone, after = 0, b""
        while keys := self._access.run(self._operations.keys, after):
            gone += self._access.run(self._operations.forget, keys, now, idle_only=idle_only)
            after = keys[-1]
        return gone

    def halt(self, scope: str, reason: str) -> None:
        """Admit no call of ``scope`` any more, whatever state the counters are in."""
        self._button.halt(scope, reason)

    def resume(self, scope: str) -> bool:
        """Admit calls of ``scope`` again."""
        return self._button.resume(scope)

    def halts(self) -> list[Halted]:
        """List what is halted, oldest first."""
        return self._button.halts()

    def put(self, key: str, value: bytes, ttl: float | None = None) -> None:
        """Keep ``value`` for ``ttl`` seconds, replacing what was there."""
        self._access.run(self._operations.put, key, value, ttl)

    def add(self, key: str, value: bytes, ttl: float | None = None) -> bool:
        """Keep ``value`` unless the key is held; of many adders exactly one is told ``True``."""
        return self._access.run(self._operations.add, key, value, ttl)

    def get(self, key: str) -> bytes | None:
        """Read what :meth:`put` kept, or ``None``."""
        return self._access.run(self._operations.get, key)

    def take(self, key: str) -> bytes | None:
        """Read and remove; of many takers exactly one gets the value."""
        return self._access.run(self._operations.take, key)

    def scan(self, prefix: str) -> list[tuple[str, bytes]]:
        """List the live entries whose key begins with ``prefix``, in the order of their keys."""
        found: list[tuple[str, bytes]] = []
        after: str | None = ""
        while after is not None:
            after, page = self._access.run(self._operations.page, prefix, after)
            found.extend(page)
        return found

    def close(self) -> None:
        """Let go of files and connections. The store may be used again afterwards."""
        self._access.close()


class DiskStopButton:
    """What is halted in a state directory. It needs no database: it has to work where that is locked, or lost."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._directory = StateDirectory(_counters(path), 0.0)

    def halt(self, scope: str, reason: str) -> None:
        """Admit no call of ``scope`` any more.

        Raises:
            StoreError: it could not be written down, or ``scope`` is not one.
        """
        self._directory.prepare()
        self._directory.halt(check_scope(scope), reason)

    def resume(self, scope: str) -> bool:
        """Admit calls of ``scope`` again; returns whether it was halted."""
        return self._directory.resume(check_scope(scope))

    def halts(self) -> list[Halted]:
        """List what is halted, oldest first."""
        return sorted(self._directory.read_halts().values(), key=lambda halted: halted.since)


def start_over(path: str | os.PathLike[str], *, timeout: float = 5.0) -> None:
    """Begin with new counters at zero, whatever became of the old ones; asks and remembered approvals go with them.

    Raises:
        StoreError: the directory cannot be used.
    """
    directory = StateDirectory(_counters(path), timeout)
    directory.prepare()
    directory.clear()


def was_used(path: str | os.PathLike[str]) -> bool:
    """Whether any store was ever opened there; a halt alone opens none.

    Raises:
        StoreError: that cannot be seen.
    """
    return in_use(_counters(path))


def _counters(path: str | os.PathLike[str]) -> Path:
    return user_path(path).absolute() / "counters"


def _whole(
    charges: Sequence[Charge],
    now: float | None = None,
    scopes: Sequence[str] = (),
    rules: SessionRules | None = None,
) -> tuple[Sequence[Charge], float | None, Sequence[str], SessionRules | None]:
    """Fill in what a caller of ``reserve`` left out."""
    return charges, now, scopes, rules
