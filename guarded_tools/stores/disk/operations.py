"""The books of a disk store: each method is one turn at the open database.

**One transaction.** A reservation reads every row it charges, sees that all charges fit, and writes them, in one
transaction that began with SQLite's write lock. So no two callers can both see the last free slot, in whatever
processes they are, and a process that is killed in between has taken nothing.

**Why diskcache.** It is SQLite with settings that were thought about, a table that others can look into, and a
transaction in one public call. What it adds and we must not have (eviction, pickles, files) is closed off in
:mod:`~guarded_tools.stores.disk.database`.

**Why "+".** ``Cache.incr(key, delta)`` is the one public call that begins a transaction, reads a value, stores
``value + delta`` and commits, in four statements; ``transact``, ``get`` and ``set`` take half as long again. It adds
with ``+`` whatever it is given, so the delta is an object whose ``__radd__`` is handed the old row and returns the new
one (:class:`_Change`). Rows of several scopes are changed one after the other inside ``transact``, which makes their
``incr`` a part of the same transaction.

**What rolls back.** An exception inside ``__radd__`` leaves ``incr`` and ends the transaction without a trace, and so
does one inside ``transact``. A refusal is such an exception (:class:`_Refused`), because a call that is refused may
write nothing; it is caught around the transaction and becomes the answer. With one scope it is raised at once; with
several only after all rows were looked at, because the answer is the charge that waits longest.

**What survives a refusal.** That the clock has stepped. A row that never heard of it would wait, without a time since
boot, until the wall clock caught up; so the step alone is written, in a transaction of its own.

**Refused again.** Scopes that were full a moment ago are peeked at first: reading takes no lock, and an agent that runs
into its limit does so many times. It only saves time: whatever peek says, it is the transaction that admits.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from functools import partial

from guarded_tools.errors import StoreError
from guarded_tools.stores.clock import Clock, ReadClock, at
from guarded_tools.stores.common import by_scope, full, halt_of, if_alive, pick, reserved, take, with_expiry, worse
from guarded_tools.stores.disk.database import Database
from guarded_tools.stores.slots import Refusal
from guarded_tools.stores.window import Row
from guarded_tools.values import Charge, Full, Halted, Reservation, Usage

# diskcache's own expiry follows the wall clock: it only collects garbage.
_GARBAGE_AFTER = 86_400.0
# Rows of one turn: a millisecond or two of holding others up.
_PAGE = 100
# Scopes that are remembered to be at a limit: forgetting them costs only time.
_RECENTLY_FULL = 10_000


class _Refused(Exception):  # noqa: N818 - carries an answer out of a transaction, which it rolls back
    def __init__(self, answer: Full | Halted) -> None:
        super().__init__()
        self.answer = answer


class _Change:
    """What ``Cache.incr`` adds to a row. incr reads, adds and writes in one transaction; ``apply`` runs inside it."""

    __slots__ = ("_apply",)

    def __init__(self, apply: Callable[[bytes], bytes]) -> None:
        self._apply = apply

    def __radd__(self, old: object) -> bytes:
        # incr starts a missing row at 0.
        return self._apply(_bytes(old) if old != 0 else b"")


class Operations:
    """Counters and kept values in one database. ``clock`` is read inside the transaction that it is for."""

    def __init__(self, database: Database, clock: ReadClock) -> None:
        self._database = database
        self._clock = clock
        self._recently_full: set[str] = set()

    def reserve(  # noqa: C901 - one transaction, told in one place
        self, charges: Sequence[Charge], now: float | None, scopes: Sequence[str]
    ) -> Reservation | Full | Halted:
        """Take all charges or none."""
        if not charges or (self._recently_full and not self._recently_full.isdisjoint([one.scope for one in charges])):
            answer = self.peek(charges, now, scopes)
            if answer:
                return answer
        groups = by_scope(charges)
        alone = len(groups) == 1
        slots = [0] * len(charges)
        stepped: list[str] = []
        refusal: Refusal | None = None
        clock: Clock | None = None

        def change(positions: Sequence[int], old: bytes) -> bytes:
            nonlocal refusal, clock
            if clock is None:
                # In the transaction, once for all of its rows.
                halted = self._halted(charges, scopes)
                if halted:
                    raise _Refused(halted)
                clock = self._read(now)
            row = Row.decode(old) if old else Row()
            refused, taken = row.take(pick(charges, positions), clock)
            if row.stepped:
                stepped.append(charges[positions[0]].scope)
            refusal = worse(refusal, refused)
            if refusal and alone:
                # Raised in here, it rolls the transaction of a single incr back.
                raise _Refused(full(refusal))
            for position, slot in zip(positions, taken, strict=not refusal):
                slots[position] = slot
            return row.encode()

        cache = self._database.cache()
        try:
            # A single incr is a transaction already.
            with contextlib.nullcontext() if alone else cache.transact():
                for scope, positions in groups.items():
                    cache.incr(_key(scope), _Change(partial(change, positions)))
                if refusal:
                    raise _Refused(full(refusal))  # noqa: TRY301 - rolls the transaction back
        except _Refused as refused:
            if isinstance(refused.answer, Full):
                self._note_full(refused.answer.charge.scope)
                self._record_clock_step(stepped, now)
            return refused.answer
        self._recently_full.difference_update(groups)
        return reserved(charges, slots)

    def _note_full(self, scope: str) -> None:
        """Have the next one look first: it is likely to be refused as well, and reading that takes no lock."""
        if len(self._recently_full) >= _RECENTLY_FULL:
            self._recently_full.clear()
        self._recently_full.add(scope)

    def peek(self, charges: Sequence[Charge], now: float | None, scopes: Sequence[str]) -> Full | Halted | None:
        """Say what :meth:`reserve` would refuse, and change nothing."""
        halted = self._halted(charges, scopes)
        if halted:
            return halted
        refusal, rows, _ = take(self._row, charges, self._read(now))
        for scope, row in rows.items():
            if row.stepped:
                self._record_clock_step([scope], now)
        return full(refusal) if refusal else None

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
                if _key(scope) in cache:
                    cache.incr(_key(scope), _Change(partial(change, positions)))
        return given

    def usage(self, scope: str, now: float | None) -> list[Usage]:
        """List the counters of one scope."""
        self._database.directory.check()
        return self._row(scope).usage(scope, self._read(now))

    def usages(self, after: bytes, now: float | None) -> tuple[bytes | None, list[Usage]]:
        """List a page of the counters that hold something, of scopes that come after a key; and where it ends."""
        self._database.directory.check()
        clock = self._read(now)
        rows = self._database.read(
            "SELECT key, value FROM Cache WHERE raw = 1 AND typeof(key) = 'blob' AND key > ? ORDER BY key LIMIT ?",
            after,
            _PAGE,
        )
        found: list[Usage] = []
        for key, value in rows:
            row = Row.decode(_bytes(value))
            if not row.idle(clock):
                found.extend(row.usage(_scope(key), clock))
        return (bytes(rows[-1][0]) if len(rows) == _PAGE else None), found

    def forget(self, keys: Sequence[bytes], now: float | None, *, idle_only: bool) -> int:
        """Forget the counters of scopes, by key; with ``idle_only`` those that hold nothing."""
        self._database.directory.check()
        clock = self._read(now)
        cache = self._database.cache()
        gone = 0
        with cache.transact():
            for key in keys:
                old = self._value(key)
                if old and not (idle_only and not Row.decode(old).idle(clock)):
                    # The database lets nobody delete a row that is not empty.
                    cache.set(key, b"")
                    gone += bool(cache.delete(key))
        return gone

    def keys(self, after: bytes) -> list[bytes]:
        """List a page of the scopes' keys that come after one."""
        rows = self._database.read(
            "SELECT key FROM Cache WHERE raw = 1 AND typeof(key) = 'blob' AND key > ? ORDER BY key LIMIT ?",
            after,
            _PAGE,
        )
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
            "SELECT key, value FROM Cache WHERE raw = 1 AND typeof(key) = 'text' AND key > ? AND key >= ? "
            "AND substr(key, 1, ?) = ? ORDER BY key LIMIT ?",
            after,
            prefix,
            len(prefix),
            prefix,
            _PAGE,
        )
        clock = self._clock()
        live = [(key, value) for key, kept in rows if (value := if_alive(_bytes(kept), clock)) is not None]
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
        return None if found is None else _bytes(found[0])

    def _record_clock_step(self, scopes: Sequence[str], now: float | None) -> None:
        for scope in scopes:
            self._database.cache().incr(_key(scope), _Change(partial(_advanced, self._read(now))))

    def _row(self, scope: str) -> Row:
        found = self._database.row(_key(scope))
        return Row.decode(_bytes(found[0])) if found else Row()

    def _read(self, now: float | None) -> Clock:
        return self._clock() if now is None else at(now)

    def _halted(self, charges: Sequence[Charge], scopes: Sequence[str]) -> Halted | None:
        halts = self._database.directory.check()
        return halt_of(halts, (*scopes, *(charge.scope for charge in charges))) if halts else None


def _advanced(clock: Clock, old: bytes) -> bytes:
    row = Row.decode(old) if old else Row()
    row.advance(clock)
    return row.encode()


def _key(scope: str) -> bytes:
    return scope.encode("utf-8", "surrogatepass")


def _scope(key: bytes) -> str:
    return bytes(key).decode("utf-8", "surrogatepass")


def _bytes(value: object) -> bytes:
    if type(value) is not bytes:
        raise StoreError("the database holds a value that was not written by guarded_tools")
    return value
