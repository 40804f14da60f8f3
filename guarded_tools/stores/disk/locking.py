"""Taking turns at a database: between threads, tasks and processes, and around forks.

One lock lets one thread of this process at a time into SQLite, for one try. Whoever finds the database locked by
another process lets go of that lock, pauses and tries again: with SQLite's own waiting, eight busy processes starve
each other for over a second, and a task that waits would stop its event loop.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import random
import sqlite3
import threading
import time
import weakref
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from diskcache import Timeout

from guarded_tools.errors import StoreError
from guarded_tools.stores.disk.database import Database, is_busy, is_damaged
from guarded_tools.stores.disk.directory import Replaced

P = ParamSpec("P")
R = TypeVar("R")

_PAUSE = (0.0002, 0.002)


class _Busy(Exception):  # noqa: N818 - a reason to try again, not an error
    """Somebody else is writing."""


class SerializedAccess:
    """Runs work on a database, one turn at a time; opens the database when it is not."""

    def __init__(self, database: Database, timeout: float) -> None:
        self._database = database
        self._timeout = timeout
        self._lock = threading.Lock()
        # Kept by those who wait for it: such a lock holds on to its loop, which would never be freed.
        self._looking: weakref.WeakValueDictionary[asyncio.AbstractEventLoop, asyncio.Lock] = (
            weakref.WeakValueDictionary()
        )
        self._over = False
        # Nobody can be inside when this is dropped; at exit somebody can, see below.
        weakref.finalize(self, database.close).atexit = False
        _alive.add(self)

    def run(self, work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Do ``work`` in a turn of its own.

        Raises:
            StoreError: it could not be done, or no turn came within the timeout.
        """
        deadline = time.monotonic() + self._timeout
        while True:
            # Only `with` lets go whatever Ctrl-C interrupts. It knows no timeout, but nobody stays inside for long.
            with self._lock:
                self._check(deadline)
                try:
                    return self._try(deadline, work, *args, **kwargs)
                except _Busy:
                    pass
            time.sleep(random.uniform(*_PAUSE))  # noqa: S311 - keeps waiters out of step, hides nothing

    async def arun(self, work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Do ``work`` in a turn of its own, without ever waiting inside the event loop."""
        deadline = time.monotonic() + self._timeout
        if self._database.is_open and not self._lock.locked():
            with self._lock:  # as above; who came first between these two lines is out again at once
                try:
                    return self._try(None, work, *args, **kwargs)
                except _Busy:
                    pass
        # One task of a loop looks for its turn. Two hundred that look keep the loop so busy that the thread whose turn
        # it is gets no processor to end it: CPython hands its own lock over only to who waited for 5 ms in peace.
        async with self._looking.setdefault(asyncio.get_running_loop(), asyncio.Lock()):
            while True:
                if not self._database.is_open:
                    await asyncio.to_thread(self.run, _nothing)
                if not self._lock.locked():
                    with self._lock:
                        try:
                            return self._try(None, work, *args, **kwargs)
                        except _Busy:
                            pass
                self._check(deadline)
                await asyncio.sleep(random.uniform(*_PAUSE))  # noqa: S311

    def close(self) -> None:
        """Close the database; the next turn opens it again."""
        with self._lock:
            self._database.close()

    def _check(self, deadline: float) -> None:
        if time.monotonic() > deadline:
            raise StoreError(f"the counters in {self._database.path} stayed locked for {self._timeout:g} s")

    def _try(self, deadline: float | None, work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Do ``work`` if nobody is in the way; without a deadline nothing that waits is done, opening included."""
        database = self._database
        if self._over:
            raise StoreError(f"the counters in {database.path} are closed: this program is ending")
        if deadline is None and not database.is_open:
            raise _Busy
        try:
            if deadline is not None and not database.is_open:
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
        return StoreError(f"the counters in {database.path} cannot be used: {cause}")


def _nothing() -> None:
    pass


@atexit.register
def _at_exit() -> None:
    # The last one to leave has to say that all is in the database, so nobody may open it again after that.
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
    for access in list(_alive):
        access._lock.acquire()  # noqa: SLF001
        _held.append(access)
        access._database.close()  # noqa: SLF001


def _after_fork_in_parent() -> None:
    while _held:
        _held.pop()._lock.release()  # noqa: SLF001


def _after_fork_in_child() -> None:
    while _held:
        # Threads that waited for the old lock are not in this process.
        _held.pop()._lock = threading.Lock()  # noqa: SLF001


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)
