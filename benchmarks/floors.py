"""The floors: what a guarded call cannot do without, done bare.

Each is made of the very system calls that the guard makes, in the same order, with rows and lines of the same size, so
that a ratio to it says what the guard's own work costs, and not what a system call costs on this machine. On one
where they are three times as dear (:mod:`benchmarks.slow`) the ratios only fall. :mod:`benchmarks.count` counts both.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import random
import sqlite3
import threading
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from guarded_tools.stores.disk.cache import is_busy
from guarded_tools.stores.disk.directory import DATABASE

Body = Callable[[], object]

_PAUSE = (0.0002, 0.002)
_HEAD = b"%018d %b %018d %08d\n"


def rows_of(store: Path) -> dict[bytes, bytes]:
    """The counters' rows of an open disk store, to make a floor's alike."""
    with sqlite3.connect(store / "counters" / DATABASE) as database:
        return dict(database.execute("SELECT key, value FROM Cache WHERE typeof(key) = 'blob'"))


class Database:
    """SQLite without anything in between: a table of rows by key, in the mode that the store's database is in."""

    def __init__(self, path: Path, rows: Mapping[bytes, bytes], *, timeout: float = 0.0) -> None:
        self._folder = str(path.parent)
        self._connection = sqlite3.connect(path, isolation_level=None, timeout=timeout, check_same_thread=False)
        execute = self._connection.execute
        for setting in ("journal_mode = wal", "synchronous = NORMAL", "mmap_size = 0"):
            self._patiently(partial(execute, f"PRAGMA {setting}"))
        table = "CREATE TABLE IF NOT EXISTS c (id INTEGER PRIMARY KEY, key BLOB UNIQUE, value BLOB)"
        self._patiently(partial(execute, table))
        for row in rows.items():
            self._patiently(partial(execute, "INSERT OR IGNORE INTO c (key, value) VALUES (?, ?)", row))

    def transaction(self, *keys: bytes) -> Body:
        """Begin, look at the directory, read and write each row, commit; whoever is in the way is waited for."""
        execute, folder = self._connection.execute, self._folder

        def body() -> None:
            execute("BEGIN IMMEDIATE")
            os.stat(folder)  # noqa: PTH116 - the bare call
            for key in keys:
                ((own, value),) = execute("SELECT id, value FROM c WHERE key = ?", (key,)).fetchall()
                # Another value each time: SQLite does not write what is there already.
                execute("UPDATE c SET value = ? WHERE id = ?", (value[1:] + value[:1], own))
            execute("COMMIT")

        return lambda: self._patiently(body)

    def reading(self, key: bytes) -> Body:
        """Look at the directory and read a row, without a transaction."""
        execute, folder = self._connection.execute, self._folder

        def body() -> object:
            os.stat(folder)  # noqa: PTH116 - the bare call
            return execute("SELECT value FROM c WHERE key = ?", (key,)).fetchone()

        return body

    @staticmethod
    def _patiently(body: Body) -> None:
        """Take turns with other processes as the store does: try again after a random pause."""
        while True:
            try:
                body()
            except sqlite3.OperationalError as error:
                if not is_busy(error):
                    raise
                time.sleep(random.uniform(*_PAUSE))
            else:
                return


def line(folder: Path, event: Mapping[str, Any]) -> Body:
    """Append a chained line: lock, read where the chain stands, find the end, write, say where it stands, unlock.

    The event is encoded beforehand, once. What is left is the number, the time, and the hash of the line over the hash
    of the one before.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lines = os.open(folder / "bare.jsonl", os.O_CREAT | os.O_APPEND | os.O_RDWR, 0o600)
    head = os.open(folder / "bare.head", os.O_CREAT | os.O_RDWR, 0o600)
    members = json.dumps(event, separators=(",", ":"))[1:-1].encode()

    def body() -> None:
        fcntl.flock(head, fcntl.LOCK_EX)
        stands = os.pread(head, 113, 0) or _HEAD % (0, b"0" * 64, 0, 0)
        number = int(stands[:18]) + 1
        size = os.lseek(lines, 0, os.SEEK_END)
        text = b'{"seq":%d,"time":"%f",%b,"prev":"%b"' % (number, time.time(), members, stands[19:83])
        own = hashlib.sha256(text).hexdigest().encode()
        size += os.write(lines, b'%b,"hash":"%b"}\n' % (text, own))
        os.pwrite(head, _HEAD % (number, own, size, 0), 0)
        fcntl.flock(head, fcntl.LOCK_UN)

    return body


def call(folder: Path, store: Path, audit: Path) -> tuple[Body, Body]:
    """What a guarded call does before the tool and after it: one transaction and a line, and a line.

    ``store`` and ``audit`` are those of the guard to compare with, after its first call: rows and lines are copied.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rows = rows_of(store)
    records = [json.loads(text) for text in audit.read_text(encoding="utf-8").splitlines()[:2]]
    chained = ("seq", "time", "prev", "hash")
    before, after = ({name: value for name, value in one.items() if name not in chained} for one in records)
    transaction = Database(folder / "bare.db", rows).transaction(*rows)
    lock, admitted, settled = threading.Lock(), line(folder, before), line(folder, after)

    def begin() -> None:
        with lock:
            transaction()
            admitted()

    def end() -> None:
        with lock:
            settled()

    return begin, end
