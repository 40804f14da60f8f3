"""Turns at the lock: how threads, tasks, processes and forks share one database.

**Invariant.** One thread of a process at a time is inside SQLite, for one try at one piece of work; it comes out with
the work done and committed, or with nothing of it done. Between two tries nobody of this process holds anything.

**A turn** is: take the process's lock, open the database if it is not, try the work, let go. A try ends in one of four
ways:

- *done*: the answer goes to the caller;
- *busy*: another process writes, or the store was just replaced by a reset. The lock is let go of, and after a random
  pause of a millisecond there is another try, until the timeout. With SQLite's own waiting, which holds the lock,
  eight busy processes starve each other for over a second;
- *failed*: :class:`~guarded_tools.errors.StoreError`. What had begun is rolled back by closing its connection, which is
  the one way that also works where SQLite itself is confused;
- *lost*: the database makes no sense. Everyone refuses from now on, until a reset.

**Together.** :meth:`SerializedAccess.run_together` does one kind of work for many callers in one transaction, each
behind a savepoint: beginning and committing cost more than the work. Only what was taken as asked is kept from there;
whoever was refused, or failed, gets a turn alone, so that its answer and its error are exactly those of one that never
met the others.

**Tasks** do not come here: their lines walk in a thread that may block (:mod:`guarded_tools.flow.worker`). A timeout
counts from when a line began to wait there.

**Dropped stores.** A garbage collector runs anywhere: in the middle of opening another store on the same directory, or
on an event loop's thread. So it only puts the database into a queue, and a thread of its own closes it.

**Forks and exit.** SQLite does not survive a fork, and a child that tries takes over locks that it does not have. So
nobody is inside, and all is closed, at the moment of a fork. The last one to leave a directory says there that all is
in the database; so at exit all are closed, and nobody may open one again.
"""

from __future__ import annotations

import atexit
import os
import random
import sqlite3
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue
from typing import Any, ParamSpec, TypeVar

from diskcache import Timeout

from guarded_tools.errors import StoreError
from guarded_tools.files import no_room
from guarded_tools.flow.job import waiting_since
from guarded_tools.stores.disk.cache import is_busy, is_full
from guarded_tools.stores.disk.database import Database, is_damaged
from guarded_tools.stores.disk.directory import Replaced

P = ParamSpec("P")
R = TypeVar("R")

_PAUSE = (0.0002, 0.002)
# Callers of one transaction: a millisecond or two of holding other processes up.
_TOGETHER = 64


class _Busy(Exception):  # noqa: N818 - a reason to try again, not an error
    """Somebody else is writing."""


class SerializedAccess:
    """Runs work on a database, one turn at a time; opens the database when it is not."""

    def __init__(self, database: Database, timeout: float) -> None:
        self._database = database
        self._timeout = timeout
        self._lock = threading.Lock()
        self._over = False
        # Nobody can be inside when this is dropped; at exit somebody can, see below.
        weakref.finalize(self, _dropped.put, database).atexit = False
        _alive.add(self)
        _start_closing()

    def run(self, work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Do ``work`` in a turn of its own.

        Raises:
            StoreError: it could not be done, or no turn came within the timeout.
        """
        deadline = waiting_since() + self._timeout
        while True:
            # Only `with` lets go whatever Ctrl-C interrupts. It knows no timeout, but nobody stays inside for long.
            with self._lock:
                self._check(deadline)
                try:
                    return self._try(deadline, work, *args, **kwargs)
                except _Busy:
                    pass
            time.sleep(random.uniform(*_PAUSE))  # noqa: S311 - keeps waiters out of step, hides nothing

    def run_together(
        self, work: Callable[..., R], calls: Sequence[tuple[Any, ...]], *, kept: type[R]
    ) -> list[R | Exception]:
        """Do ``work`` for many callers in few transactions; answers that are not ``kept`` come from a turn alone.

        Returns an answer a call, or the error that it met.
        """
        answers: list[R | Exception | None] = []
        for first in range(0, len(calls), _TOGETHER):
            some = calls[first : first + _TOGETHER]
            try:
                answers += self.run(self._in_one, work, some, kept)
            except StoreError as error:
                answers += [error] * len(some)
        return [
            self._alone(work, call) if answer is None else answer for call, answer in zip(calls, answers, strict=True)
        ]

    def _in_one(self, work: Callable[..., R], calls: Sequence[tuple[Any, ...]], kept: type[R]) -> list[R | None]:
        """Do ``work`` for each in one transaction; ``None`` where nothing of it was kept."""
        cache = self._database.cache()
        answers: list[R | None] = []
        with cache.transact():
            for call in calls:
                cache.statement("SAVEPOINT one")
                try:
                    answer = work(*call)
                except (StoreError, ValueError, TypeError, OverflowError, IndexError):
                    answers.append(None)
                else:
                    answers.append(answer if isinstance(answer, kept) else None)
                if answers[-1] is None:
                    cache.statement("ROLLBACK TO one")
                cache.statement("RELEASE one")
        return answers

    def _alone(self, work: Callable[..., R], call: tuple[Any, ...]) -> R | Exception:
        try:
            return self.run(work, *call)
        except Exception as error:  # noqa: BLE001 - belongs to the one who called
            return error

    def close(self) -> None:
        """Close the database; the next turn opens it again."""
        with self._lock:
            self._database.close()

    def _check(self, deadline: float) -> None:
        if time.monotonic() > deadline:
            raise StoreError(f"the counters in {self._database.path} stayed locked for {self._timeout:g} s")

    def _try(self, deadline: float, work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Do ``work`` if nobody is in the way."""
        database = self._database
        if self._over:
            raise StoreError(f"the counters in {database.path} are closed: this program is ending")
        try:
            if not database.is_open:
                database.open(deadline)
            return work(*args, **kwargs)
        except StoreError:
            raise
        except Replaced:
            database.close()
            raise _Busy from None
        except (Timeout, sqlite3.Error) as error:
            raise self._account_for(error) from error
        except (OSError, ValueError, TypeError, OverflowError, IndexError) as error:
            database.drop_cache()
            raise StoreError(f"the counters in {database.path} cannot be used: {error}") from error
        except BaseException:
            # Interrupted anywhere: whatever was begun must neither stay open nor be taken for done.
            database.drop_cache()
            raise

    def _account_for(self, error: Exception) -> Exception:
        # diskcache says Timeout for whatever keeps a transaction from beginning.
        database, cause = self._database, error.__context__ if isinstance(error, Timeout) else error
        if is_damaged(cause):
            database.mark_lost(str(cause))
            return _Busy()  # somebody reset it meanwhile
        if not isinstance(error, Timeout) or not is_busy(cause):
            database.drop_cache()
        if is_busy(cause):
            return _Busy()
        full = no_room(database.path) if is_full(cause) else ""
        return StoreError(f"the counters in {database.path} cannot be used: {cause}{full}")


_dropped: SimpleQueue[Database] = SimpleQueue()
_closing = threading.Lock()
_closer: list[threading.Thread] = []


def _start_closing() -> None:
    """Have a thread that closes what was dropped: one a process, from its first store on."""
    if not _closer:
        thread = threading.Thread(target=_close_dropped, name="guarded-tools-closing", daemon=True)
        _closer.append(thread)
        thread.start()


def _close_dropped() -> None:
    while True:
        database = _dropped.get()
        with _closing:
            database.close()
        del database


def _close_all_dropped() -> None:
    """Close what was dropped and is still open. The caller holds the lock of those who close."""
    while True:
        try:
            _dropped.get_nowait().close()
        except Empty:
            return


@atexit.register
def _at_exit() -> None:
    # The last one to leave has to say that all is in the database, so nobody may open it again after that.
    if _closing.acquire(timeout=1.0):
        _close_all_dropped()
        _closing.release()
    for access in list(_alive):
        if access._lock.acquire(timeout=1.0):  # noqa: SLF001
            access._over = True  # noqa: SLF001
            access._database.close()  # noqa: SLF001
            access._lock.release()  # noqa: SLF001


# SQLite does not survive a fork, and a child that tries takes over locks that it does not have. So: nobody is inside,
# and all is closed, at the moment of the fork.

_alive: weakref.WeakSet[SerializedAccess] = weakref.WeakSet()
_held: list[SerializedAccess] = []


def _before_fork() -> None:
    _closing.acquire()
    _close_all_dropped()
    for access in list(_alive):
        access._lock.acquire()  # noqa: SLF001
        _held.append(access)
        access._database.close()  # noqa: SLF001


def _after_fork_in_parent() -> None:
    while _held:
        _held.pop()._lock.release()  # noqa: SLF001
    _closing.release()


def _after_fork_in_child() -> None:
    while _held:
        # Threads that waited for the old lock are not in this process.
        _held.pop()._lock = threading.Lock()  # noqa: SLF001
    _closer.clear()
    _closing.release()
    if _alive:
        _start_closing()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)
