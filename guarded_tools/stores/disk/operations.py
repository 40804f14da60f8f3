"""The books of a disk store: each method is one turn at the open database.

**One transaction.** A reservation reads every row it charges, sees that all charges fit, and writes them, in one
transaction that began with SQLite's write lock. So no two callers can both see the last free slot, in whatever
processes they are, and a process that is killed in between has taken nothing.

**Why diskcache.** It is SQLite with settings that were thought about, a table that others can look into, and a
transaction in one public call. What it adds and we must not have (eviction, pickles, files) is closed off in
:mod:`~guarded_tools.stores.disk.database`.

**What rolls back.** A refusal is an exception (:class:`_Refused`), because a call that is refused may write nothing; it
is caught around the transaction and becomes the answer. With one scope it is raised at once; with several only after
all rows were looked at, because what refuses first depends on all of them.

**What survives a refusal.** That the clock has stepped. A row that never heard of it would wait, without a time since
boot, until the wall clock caught up; so the step alone is written, in a transaction of its own.

**Refused again.** Scopes that refused a moment ago are peeked at first: reading takes no lock, and an agent that runs
into its limit does so many times. It only saves time: whatever peek says, it is the transaction that admits.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeAlias

from guarded_tools.marks import Bound, Carried, Mark, SessionRules
from guarded_tools.stores.attempt import Attempt
from guarded_tools.stores.blocks import glance
from guarded_tools.stores.clock import Clock, ReadClock, at
from guarded_tools.stores.common import by_scope, halt_of, if_alive, pick, reserved, settled, with_expiry
from guarded_tools.stores.disk.change import Change, beyond, key_of, scope_of, value_of
from guarded_tools.stores.disk.database import Database
from guarded_tools.stores.row import Row
from guarded_tools.values import Charge, Full, Halted, Reservation, Usage

# diskcache's own expiry follows the wall clock: it only collects garbage.
_GARBAGE_AFTER = 86_400.0
# Rows of one turn: a millisecond or two of holding others up.
_PAGE = 100
_ROWS_AFTER = "FROM Cache WHERE raw = 1 AND typeof(key) = 'blob' AND key > ? ORDER BY key LIMIT ?"
# Scopes that are remembered to be at a limit, or bound by a rule: forgetting them costs only time.
_RECENTLY_REFUSED = 10_000


_Answer: TypeAlias = Full | Halted | Bound


class _Refused(Exception):  # noqa: N818 - carries an answer out of a transaction, which it rolls back
    def __init__(self, answer: _Answer) -> None:
        super().__init__()
        self.answer = answer


class Operations:
    """Counters and kept values in one database. ``clock`` is read inside the transaction that it is for."""

    def __init__(self, database: Database, clock: ReadClock) -> None:
        self._database = database
        self._clock = clock
        self._recently_refused: set[str] = set()

    def reserve(
        self, charges: Sequence[Charge], now: float | None, scopes: Sequence[str], rules: SessionRules | None
    ) -> Reservation | Full | Halted | Bound:
        """Take all charges and leave all marks, or neither."""
        attempt = Attempt(charges, rules)
        self._database.cache()
        changes = any(map(attempt.changes, attempt.scopes))
        if not changes or not self._recently_refused.isdisjoint(attempt.scopes):
            answer = self.peek(charges, now, scopes, rules)
            if answer:
                return answer
            if not changes and len(attempt.scopes) <= 1:
                # Nothing is written, and what was read of one row was of one moment.
                return reserved(charges, attempt.slots)
        refused = self._take(attempt, now, lambda: self._halted(charges, scopes))
        if refused:
            self._note_refused(refused)
            return refused
        self._recently_refused.difference_update(attempt.scopes)
        return reserved(charges, attempt.slots)

    def note(self, marks: Sequence[Mark], now: float | None) -> None:
        """Keep marks, all or none."""
        self._take(Attempt((), SessionRules(marks=tuple(marks))), now, self._unhalted)

    def _take(self, attempt: Attempt, now: float | None, halted: Callable[[], Halted | None]) -> _Answer | None:
        """Try it on all of its rows in one transaction, which leaves nothing behind if there is an answer."""
        alone = len(attempt.scopes) == 1
        clock: Clock | None = None

        def change(scope: str, old: bytes) -> bytes:
            nonlocal clock
            if clock is None:
                # In the transaction, once for all of its rows.
                stopped = halted()
                if stopped:
                    raise _Refused(stopped)
                clock = self._read(now)
            row = Row.decode(old) if old else Row()
            attempt.take(scope, row, clock)
            # Raised in here, it rolls the transaction of a single incr back.
            if alone and (answer := attempt.answer()):
                raise _Refused(answer)
            return row.encode()

        cache = self._database.cache()
        try:
            # A single incr is a transaction already.
            with contextlib.nullcontext() if alone else cache.transact():
                for scope in attempt.scopes:
                    if attempt.changes(scope):
                        cache.incr(key_of(scope), Change(partial(change, scope)))
                    else:
                        change(scope, value_of(cache.get(key_of(scope), b"")))
                if not alone and (answer := attempt.answer()):
                    raise _Refused(answer)  # noqa: TRY301 - rolls the transaction back
        except _Refused as refused:
            self._record_clock_step(attempt.stepped, now)
            return refused.answer
        self._record_clock_step([scope for scope in attempt.stepped if not attempt.changes(scope)], now)
        return None

    def _note_refused(self, answer: _Answer) -> None:
        """Have the next one look first: it is likely to be refused as well, and reading that takes no lock."""
        if isinstance(answer, Full):
            scope = answer.charge.scope
        elif isinstance(answer, Bound) and not answer.asks:
            scope = answer.rules[0].condition.scope
        else:
            return
        if len(self._recently_refused) >= _RECENTLY_REFUSED:
            self._recently_refused.clear()
        self._recently_refused.add(scope)

    def peek(
        self, charges: Sequence[Charge], now: float | None, scopes: Sequence[str], rules: SessionRules | None
    ) -> _Answer | None:
        """Say what :meth:`reserve` would refuse, and change nothing."""
        halted = self._halted(charges, scopes)
        if halted:
            return halted
        attempt = Attempt(charges, rules)
        clock = self._read(now)
        for scope in attempt.scopes:
            attempt.take(scope, self._row(scope), clock)
        self._record_clock_step(attempt.stepped, now)
        return attempt.answer()

    def refund(self, reservation: Reservation, now: float | None) -> int:
        """Give back the refundable charges, each in the slot it was taken from."""
        given = 0

        def change(positions: Sequence[int], old: bytes) -> bytes:
            nonlocal given
            row = Row.decode(old)
            given += row.give_back(
                pick(reservation.charges, positions), pick(reservation.slots, positions), self._read(now)
            )
            return row.encode()

        self._database.directory.check()
        cache = self._database.cache()
        with cache.transact():
            for scope, positions in by_scope(reservation.charges).items():
                if key_of(scope) in cache:
                    cache.incr(key_of(scope), Change(partial(change, positions)))
        return given

    def settle(self, reservation: Reservation, amounts: Sequence[int], now: float | None) -> None:
        """Put true amounts in the place of reserved ones, in the slots that these were taken from."""

        def change(positions: Sequence[int], old: bytes) -> bytes:
            row = Row.decode(old) if old else Row()
            row.settle(*settled(reservation, amounts, positions), self._read(now))
            return row.encode()

        self._database.directory.check()
        scopes = by_scope(reservation.charges)
        cache = self._database.cache()
        with contextlib.nullcontext() if len(scopes) == 1 else cache.transact():
            for scope, positions in scopes.items():
                cache.incr(key_of(scope), Change(partial(change, positions)))

    def usage(self, scope: str, now: float | None, *, idle_too: bool = True) -> list[Usage]:
        """List the counters of one scope; unless ``idle_too``, only where it holds something."""
        self._database.directory.check()
        row, clock = self._row(scope), self._read(now)
        return row.usage(scope, clock) if idle_too or not row.idle(clock) else []

    def glances(self, after: bytes, now: float | None) -> tuple[bytes | None, list[tuple[str, float]]]:
        """Say of a page of scopes that come after a key how full each is at most; and where it ends."""
        clock = self._read(now)
        after_it, rows = self._values(after)
        return after_it, [(name, share) for name, value in rows if (share := glance(value, clock)) is not None]

    def usages(self, after: bytes, now: float | None) -> tuple[bytes | None, list[Usage]]:
        """List a page of the counters that hold something, of scopes that come after a key; and where it ends."""
        clock = self._read(now)
        after_it, rows = self._rows(after)
        return after_it, [usage for scope, row in rows if not row.idle(clock) for usage in row.usage(scope, clock)]

    def carried(self, scope: str, now: float | None) -> list[Carried]:
        """List the marks of one scope."""
        self._database.directory.check()
        return self._row(scope).carried(scope, self._read(now))

    def all_carried(self, after: bytes, now: float | None) -> tuple[bytes | None, list[Carried]]:
        """List a page of the marks of scopes that come after a key; and where it ends."""
        clock = self._read(now)
        after_it, rows = self._rows(after)
        return after_it, [mark for scope, row in rows for mark in row.carried(scope, clock)]

    def _rows(self, after: bytes) -> tuple[bytes | None, list[tuple[str, Row]]]:
        """Read a page of the rows that come after a key; and where it ends."""
        after_it, values = self._values(after)
        return after_it, [(scope, Row.decode(value)) for scope, value in values]

    def _values(self, after: bytes) -> tuple[bytes | None, list[tuple[str, bytes]]]:
        self._database.directory.check()
        rows = self._database.read(f"SELECT key, value {_ROWS_AFTER}", after, _PAGE)
        found = [(scope_of(key), value_of(value)) for key, value in rows]
        return (bytes(rows[-1][0]) if len(rows) == _PAGE else None), found

    def clear(self, scope: str, label: str) -> bool:
        """Take a label away from a scope."""
        self._database.directory.check()
        cache = self._database.cache()
        with cache.transact():
            old = self._value(key_of(scope))
            row = Row.decode(old) if old else Row()
            cleared = row.clear(label)
            if cleared:
                cache.set(key_of(scope), row.encode())
        return cleared

    def forget(self, keys: Sequence[bytes], now: float | None, *, idle_only: bool) -> int:
        """Forget scopes, by key; with ``idle_only`` those that hold nothing, and of which that loosens nothing."""
        self._database.directory.check()
        clock = self._read(now)
        cache = self._database.cache()
        gone = 0
        with cache.transact():
            for key in keys:
                old = self._value(key)
                if old and not (idle_only and not Row.decode(old).forgettable(clock)):
                    # The database lets nobody delete a row that is not empty.
                    cache.set(key, b"")
                    gone += bool(cache.delete(key))
        return gone

    def keys(self, after: bytes) -> list[bytes]:
        """List a page of the scopes' keys that come after one."""
        rows = self._database.read(f"SELECT key {_ROWS_AFTER}", after, _PAGE)
        return [bytes(key) for (key,) in rows]

    def put(self, key: str, value: bytes, ttl: float | None) -> None:
        """Keep a value, replacing what was there."""
        self._database.directory.check()
        self._keep(key, value, ttl)

    def add(self, key: str, value: bytes, ttl: float | None) -> bool:
        """Keep a value unless the key is held."""
        self._database.directory.check()
        with self._database.cache().transact():
            held = self._value(key)
            if held is not None and if_alive(held, self._clock()) is not None:
                return False
            self._keep(key, value, ttl)
            return True

    def get(self, key: str) -> bytes | None:
        """Return a value that has not expired, or ``None``.

        Raises:
            StoreError: the directory cannot be relied on, or the value is damaged.
        """
        self._database.directory.check()
        data = self._value(key)
        return None if data is None else if_alive(data, self._clock())

    def take(self, key: str) -> bytes | None:
        """Read and remove a value."""
        self._database.directory.check()
        cache = self._database.cache()
        with cache.transact():
            data = self._value(key)
            if data is None:
                return None
            cache.delete(key)
        return if_alive(data, self._clock())

    def page(self, prefix: str, after: str) -> tuple[str | None, list[tuple[str, bytes]]]:
        """List a page of the live values whose key begins with a prefix; and where it ends."""
        self._database.directory.check()
        rows = self._database.read(
            "SELECT key, value FROM Cache WHERE raw = 1 AND typeof(key) = 'text' AND key > ? AND key >= ? AND key < ? "
            "AND substr(key, 1, ?) = ? ORDER BY key LIMIT ?",
            after,
            prefix,
            beyond(prefix),
            len(prefix),
            prefix,
            _PAGE,
        )
        clock = self._clock()
        live = [(key, value) for key, kept in rows if (value := if_alive(value_of(kept), clock)) is not None]
        return (rows[-1][0] if len(rows) == _PAGE else None), live

    def sweep(self) -> int:
        """Remove values that have expired for good."""
        self._database.directory.check()
        return int(self._database.cache().expire())

    def _keep(self, key: str, value: bytes, ttl: float | None) -> None:
        expire = None if ttl is None else ttl + _GARBAGE_AFTER
        self._database.cache().set(key, with_expiry(value, ttl, self._clock()), expire=expire)

    def _value(self, key: str | bytes) -> bytes | None:
        found = self._database.row(key)
        return None if found is None else value_of(found[0])

    def _record_clock_step(self, scopes: Sequence[str], now: float | None) -> None:
        for scope in scopes:
            self._database.cache().incr(key_of(scope), Change(partial(_advanced, self._read(now))))

    def _row(self, scope: str) -> Row:
        found = self._database.row(key_of(scope))
        return Row.decode(value_of(found[0])) if found else Row()

    def _read(self, now: float | None) -> Clock:
        return self._clock() if now is None else at(now)

    def _unhalted(self) -> None:
        """See that the directory can be relied on, whatever is halted there."""
        self._database.directory.check()

    def _halted(self, charges: Sequence[Charge], scopes: Sequence[str]) -> Halted | None:
        halts = self._database.directory.check()
        return halt_of(halts, (*scopes, *(charge.scope for charge in charges))) if halts else None


def _advanced(clock: Clock, old: bytes) -> bytes:
    row = Row.decode(old) if old else Row()
    row.advance(clock)
    return row.encode()
