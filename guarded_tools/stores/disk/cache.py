"""diskcache with one connection, and without eviction, pickles and files.

These private parts of diskcache are used, here and nowhere else. They are the same in 5.6.3 and in every 5.x so far:

- ``Cache._con``, a property: its own opens a connection for each thread, which nobody else can close.
- ``Cache._sql_retry``: its own waits a minute for each of its settings, whatever the caller's patience.
- ``Disk.put``, ``get``, ``store``, ``fetch``, ``remove`` and ``MODE_RAW``: its own unpickle what is in the database and
  read files that the database names.
- the table ``Cache`` with its columns ``key``, ``raw`` and ``value``, which the reader reads.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final

from diskcache import Cache, Disk
from diskcache.core import MODE_RAW

from guarded_tools.errors import StoreError
from guarded_tools.stores.disk.directory import DATABASE

OLDEST_SQLITE: Final = (3, 8, 8)
"""The first that empties its log when it writes it back (``wal_checkpoint(TRUNCATE)``), and knows partial indexes."""


class PlainDisk(Disk):  # type: ignore[misc]
    """Keeps text and bytes as they are, in the database; refuses everything else, so nothing is ever unpickled."""

    def put(self, key: object) -> tuple[object, bool]:
        """Pass a key on to SQLite."""
        if type(key) is not str and type(key) is not bytes:
            raise StoreError(f"not a key: {key!r}")
        return key, True

    def get(self, key: object, raw: object) -> object:
        """Take a key from SQLite."""
        if not raw or not isinstance(key, str | bytes):
            raise StoreError("the database holds a key that was not written by guarded_tools")
        return key

    def store(self, value: object, read: bool, key: object = None) -> tuple[int, int, None, object]:  # noqa: ARG002
        """Pass a value on to SQLite."""
        if type(value) is not bytes:
            raise StoreError(f"not a value: {value!r}")
        return 0, MODE_RAW, None, value

    def fetch(self, mode: int, filename: object, value: object, read: bool) -> object:  # noqa: ARG002
        """Take a value from SQLite."""
        if mode != MODE_RAW or filename is not None or not isinstance(value, bytes):
            raise StoreError("the database holds a value that was not written by guarded_tools")
        return value

    def remove(self, file_path: str) -> None:
        """Touch no file: we have none, so a name in the database is somebody else's."""


class OneConnection(Cache):  # type: ignore[misc]
    """A cache with one connection for all threads, which whoever closes the cache closes.

    diskcache's own connections are a thread's each, and no other thread can close them: one that outlives the cache
    keeps the write-ahead log from being written back. Its callers take turns, so one is enough.

    Opening it writes, and waits for other writers until ``deadline``, a time of :func:`time.monotonic`.
    """

    def __init__(self, directory: Path, deadline: float, **settings: object) -> None:
        self._own: sqlite3.Connection | None = None
        self._deadline = deadline
        self._pragmas = {name[7:]: value for name, value in settings.items() if name.startswith("sqlite_")}
        self._path = directory / DATABASE
        # Not the directory: diskcache would put the environment's values in place of what looks like $NAME in it. All
        # that it does there goes through the connection below, and through PlainDisk, which has no files.
        super().__init__(os.sep, timeout=0, disk=PlainDisk, **settings)

    @property
    def _con(self) -> sqlite3.Connection:
        if self._own is None:
            self._own = sqlite3.connect(self._path, timeout=0, isolation_level=None, check_same_thread=False)
            # Ours, not the database's: there they are whatever was last opened with.
            for name, value in self._pragmas.items():
                self._own.execute(f"PRAGMA {name} = {value}")
        return self._own

    @property
    def _sql_retry(self) -> Callable[..., sqlite3.Cursor]:
        """How diskcache writes its settings; its own would wait a minute for each of them."""
        return partial(until, self._deadline, self._sql)

    def statement(self, words: str) -> None:
        """Execute words that steer the transaction that :meth:`transact` began."""
        self._con.execute(words)

    def close(self) -> None:
        """Close the connection; a transaction that was begun is rolled back."""
        own, self._own = self._own, None
        if own is not None:
            try:
                # A statement that an error still refers to would keep a closed connection's lock.
                own.rollback()
            finally:
                own.close()


def sqlite_fault(version: tuple[int, ...]) -> str:
    """Say why counters cannot be kept with a version of SQLite; empty where they can."""
    if version >= OLDEST_SQLITE:
        return ""
    told, oldest = (".".join(map(str, each)) for each in (version, OLDEST_SQLITE))
    return (
        f"SQLite {told} is too old: {oldest} or newer is needed. It is part of Python here: take a Python with a newer"
        " one, as `uv venv --python 3.12` brings it"
    )


def until(deadline: float, execute: Callable[..., sqlite3.Cursor], *words: object) -> sqlite3.Cursor:
    """Execute a statement as soon as no other process writes."""
    while True:
        try:
            return execute(*words)
        except sqlite3.OperationalError as error:
            if not is_busy(error) or time.monotonic() > deadline:
                raise
        time.sleep(0.001)


def is_busy(error: BaseException | None) -> bool:
    """Whether somebody else held the lock, so that trying again makes sense."""
    code = getattr(error, "sqlite_errorcode", None)
    return code is not None and code & 0xFF in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}


def is_full(error: BaseException | None) -> bool:
    """Whether the disk had no room."""
    code = getattr(error, "sqlite_errorcode", None)
    return code is not None and code & 0xFF == sqlite3.SQLITE_FULL
