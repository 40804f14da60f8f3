"""The database of a disk store: diskcache, opened so that nothing is evicted, unpickled or read from elsewhere.

Two connections to one file: the *reader*, which is ours and never has a transaction open, and the *cache*, diskcache's,
for whoever writes. Reading takes no lock, so a refusal that is repeated, ``peek`` and ``status`` hold nobody up. The
cache may be dropped at any time, with whatever it had begun; the reader goes only when the directory is left, because
while it is open SQLite keeps the write-ahead log that the marker says has to be there.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import sqlite3
import time
from pathlib import Path
from typing import Any

from guarded_tools.errors import StoreError
from guarded_tools.stores.disk.address import Durability
from guarded_tools.stores.disk.cache import OneConnection, is_busy, sqlite_fault, until
from guarded_tools.stores.disk.directory import DATABASE, StateDirectory

_SCHEMA = 1
# How long opening may look for damage, in seconds: enough for a hundred thousand sessions.
_EXAMINED_S = 0.25
_SYNCHRONOUS = {"process": 1, "power": 2}

# Counter rows have keys of bytes; kept values, of text. A row of counters can only be deleted after it was emptied,
# which we do and no eviction does.
_CREATE = """
CREATE TABLE IF NOT EXISTS guarded_tools (store TEXT NOT NULL, entry INTEGER NOT NULL);
CREATE TRIGGER IF NOT EXISTS counters_are_not_evicted BEFORE DELETE ON Cache
WHEN typeof(OLD.key) = 'blob' AND length(OLD.value) > 0
BEGIN SELECT RAISE(ABORT, 'counters are not evicted'); END;
"""


class Database:
    """An open database, or one that will be. Not thread-safe: its owner holds a lock."""

    def __init__(self, path: Path, timeout: float, durability: Durability) -> None:
        self.directory = StateDirectory(path, timeout)
        self._reader: sqlite3.Connection | None = None
        self._settings = {
            "eviction_policy": "none",
            "cull_limit": 0,
            "statistics": 0,
            "tag_index": 0,
            "sqlite_auto_vacuum": 0,
            "sqlite_journal_mode": "wal",
            "sqlite_mmap_size": 0,  # a file that shrinks underneath a mapping kills the process
            "sqlite_synchronous": _SYNCHRONOUS[durability],
        }
        self._cache: Any = None
        self._pid = 0
        self._sound = False

    @property
    def path(self) -> Path:
        """The store's directory; the database is a file in it."""
        return self.directory.path

    @property
    def is_open(self) -> bool:
        """Whether :meth:`cache` and :meth:`read` answer without opening anything."""
        return self._reader is not None and self._cache is not None

    def read(self, query: str, *values: object) -> list[Any]:
        """Return the rows of a query, outside any transaction: each query sees what was committed when it began."""
        assert self._reader is not None
        return self._reader.execute(query, values).fetchall()

    def row(self, key: str | bytes) -> Any:
        """Read one value without a transaction: a row of it alone, ``None`` where there is none."""
        assert self._reader is not None
        return self._reader.execute("SELECT value FROM Cache WHERE key = ? AND raw = 1", (key,)).fetchone()

    def cache(self) -> Any:
        """Hand out the cache, which is for whoever means to write.

        Raises:
            StoreError: it was opened before a fork that Python did not see; SQLite cannot be carried across.
        """
        if self._pid != os.getpid():
            raise StoreError("the process was forked without Python knowing; open the store after the fork")
        return self._cache

    def open(self, deadline: float) -> None:
        """Open what is closed of it; other writers are waited for until ``deadline``.

        Raises:
            StateLost: counters that were there are gone.
            StoreError: it cannot be opened, or is not one of ours.
        """
        if self._reader is None:
            if fault := sqlite_fault(sqlite3.sqlite_version_info):
                raise StoreError(f"no counters in {self.path}: {fault}")
            self.directory.prepare()
            with self.directory.exclusive():
                try:
                    self._enter(deadline)
                except BaseException:
                    self._leave()
                    raise
            if not self._sound:
                # Nobody waits for this: thirty processes that start at once look at the same time.
                try:
                    self._examine()
                except BaseException:
                    self._drop()
                    self.directory.drop()
                    raise
        else:
            try:
                self._open_cache(deadline)
                self._check_cache()
            except sqlite3.Error as error:
                self.drop_cache()
                if is_busy(error):
                    raise
                self._drop()
                self.directory.drop()
                self.open(deadline)
        self._pid = os.getpid()

    def _enter(self, deadline: float) -> None:
        known = self.directory.acquire()
        path = self.directory.path / DATABASE
        self._reader = sqlite3.connect(path, timeout=0, isolation_level=None, check_same_thread=False)
        self._reader.execute("PRAGMA journal_mode = wal")
        until(deadline, self._reader.execute, "BEGIN IMMEDIATE")
        self._reader.execute("ROLLBACK")
        store, entry = self._identify()
        if known.store and store != known.store:
            self.directory.mark_lost(known.store, "the database is empty or another one")
        if entry < known.entry:
            self.directory.mark_lost(
                known.store, "the database is older than its last use, or its write-ahead log is gone"
            )
        self._open_cache(deadline)
        if not store:
            store = secrets.token_hex(16)
            self._reader.executescript(_CREATE)
            self._reader.execute(f"PRAGMA user_version = {_SCHEMA}")
            self._reader.execute("INSERT INTO guarded_tools VALUES (?, 0)", (store,))
        if known.first:
            # First in the database and flushed, then in the marker: a database that is behind the marker lost it.
            entry += 1
            self._reader.execute("PRAGMA synchronous = FULL")
            self._reader.execute("UPDATE guarded_tools SET entry = ?", (entry,))
        self._check_cache()
        self.directory.acquired(store, entry)

    def _identify(self) -> tuple[str, int]:
        assert self._reader is not None
        tables = {name for (name,) in self._reader.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        (version,) = self._reader.execute("PRAGMA user_version").fetchone()
        ours = None
        if "guarded_tools" in tables and version in {0, _SCHEMA}:
            ours = self._reader.execute("SELECT store, entry FROM guarded_tools").fetchone()
        # The row comes last: without one, 0 is a database that is just being made.
        if version != _SCHEMA and (ours or version):
            raise StoreError(
                f"{self.directory.path} has schema {version}; this version of guarded_tools knows {_SCHEMA}"
            )
        if ours:
            return str(ours[0]), int(ours[1])
        if "Cache" in tables and self._reader.execute("SELECT 1 FROM Cache").fetchone():
            raise StoreError(f"{self.directory.path} holds a diskcache that is not ours")
        return "", 0

    def _examine(self) -> None:
        """Look for damage that SQLite would not meet: an index that misses a row makes a counter start at zero."""
        assert self._reader is not None
        deadline = time.monotonic() + _EXAMINED_S
        self._reader.set_progress_handler(lambda: time.monotonic() > deadline, 10_000)
        try:
            (found,) = self._reader.execute("PRAGMA integrity_check(1)").fetchone()
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_INTERRUPT:
                raise
            found = "ok"
        finally:
            self._reader.set_progress_handler(None, 0)
        if found != "ok":
            self.mark_lost(found)
        self._sound = True

    def _open_cache(self, deadline: float) -> None:
        self._cache = OneConnection(self.directory.path, deadline, **self._settings)

    def _check_cache(self) -> None:
        """Make sure that both connections are to one file: diskcache makes a new one where it finds none."""
        assert self._reader is not None
        query = "SELECT store, entry FROM guarded_tools"
        if self._cache._con.execute(query).fetchall() != self._reader.execute(query).fetchall():  # noqa: SLF001
            raise sqlite3.DatabaseError("the database was replaced while it was opened")

    def drop_cache(self) -> None:
        """Close the connection that writes; whatever it had begun is rolled back."""
        if self._cache is not None:
            with contextlib.suppress(sqlite3.Error):
                self._cache.close()
        self._cache = None

    def _drop(self) -> None:
        self.drop_cache()
        if self._reader is not None:
            self._reader.close()
        self._reader = None

    def mark_lost(self, reason: str) -> None:
        """Close everything, and make everyone refuse until an explicit reset, unless that came already."""
        self._drop()
        with self.directory.exclusive():
            self.directory.drop()
            self.directory.damaged(reason)

    def close(self) -> None:
        """Close everything; what was written is in the database file afterwards if nobody else is in it."""
        if self._reader is None:
            return
        try:
            with self.directory.exclusive():
                self._leave()
        except (OSError, StoreError):
            self._drop()
            self.directory.drop()

    def _leave(self) -> None:
        # Whoever closes it last takes the log away, and unless it was noted that nothing is in it, it will be missed.
        # That is noted before, where it can be: who is killed in between notes nothing.
        self.drop_cache()
        with contextlib.suppress(sqlite3.Error, OSError, StoreError):
            if self._reader is not None and self.directory.is_last():
                # A copy that was made meanwhile has the number of before, and is older from now on.
                entry = self.directory.next_entry
                self._reader.execute("UPDATE guarded_tools SET entry = ?", (entry,))
                if self._write_back():
                    self.directory.mark_clean(entry)
        self._drop()
        with contextlib.suppress(OSError, StoreError):
            self.directory.release()
        self.directory.drop()

    def _write_back(self) -> bool:
        """Bring all of the log into the database file; returns whether nobody kept that from being done."""
        assert self._reader is not None
        (held_up, _, _) = self._reader.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        return not held_up


def is_damaged(error: BaseException | None) -> bool:
    """Whether what is on the disk makes no sense, so that trying again does not either."""
    code = getattr(error, "sqlite_errorcode", None)
    return code is not None and code & 0xFF in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
