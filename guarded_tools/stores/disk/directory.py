"""The directory a disk store lives in: who is in it, whether it is still the one that was entered, and what is halted.

Everything a call has to know about it shows in the directory's own modification time: files that appear, vanish or are
replaced. Asking for that costs one `stat`, so a halt and a lost database are noticed by the very next call for free.

A database cannot say that it is gone, or older than it was. The marker beside it, ``store.json``, can::

    (no marker) ──enter──▶ open ──the last one leaves, the log is written back──▶ closed ──enter──▶ open
         ▲                  │ │                                                     │
         │                  │ └──killed: stays open, and so the log has to be there─┤
         │                  ▼                                                       ▼
         └──reset──────── lost ◀──database or log gone, emptied, older, another's, damaged

- *Who is in it* is told by shared locks on the directory itself, which the kernel drops with a process. Whoever gets it
  alone is the first to enter, or the last to leave.
- *Entry numbers* grow when an empty directory is entered and when the last one leaves it: first in the database,
  flushed, then in the marker. So the database is never behind its marker, unless it is a copy that was made before.
- *The log* may only be missing where the marker says closed: SQLite removes it when the last connection closes, and a
  crash never does.
- *A reset* begins another store and notes which ones were there before. A running guard that finds its own among these
  goes on with the new one. Where it finds a stranger, somebody moved another directory into this place: it refuses.
- *lost* stays until a reset. Entering, leaving and resetting exclude each other by the lock on the file ``lock``.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from guarded_tools.errors import StateLost, StoreError
from guarded_tools.files import flush, lock, make_private, open_private, reason, replace, try_lock
from guarded_tools.stores.disk.marker import Marker, read_marker
from guarded_tools.values import GLOBAL, Halted

DATABASE = "cache.db"
LOG = "cache.db-wal"
_MARKER = "store.json"
_HALT = "halt-"

# File systems stamp changes to within two seconds at worst: a younger stamp does not rule out a second change.
_SETTLED_NS = 2_000_000_000
# Stores that a directory remembers to have been reset: whoever still runs on an older one has to be restarted.
_REMEMBERED = 32
# Stands for the store that was reset where nothing was left to say which.
_WHICHEVER = "*"
# Seconds between two tries to enter: it takes a while, for who is first.
_PAUSE = 0.002


class Replaced(Exception):  # noqa: N818 - not an error: somebody reset the state on purpose
    """The directory holds another store than the one that was entered."""


class Known(NamedTuple):
    """What is known of a directory before its database is opened: of a new one, nothing.

    ``first`` is true where nobody else is in it.
    """

    store: str
    entry: int
    first: bool


class StateDirectory:
    """One store's directory. Not thread-safe: its owner holds a lock."""

    def __init__(self, path: Path, timeout: float) -> None:
        self.path = path
        self._name = str(path)
        self.halts: Mapping[str, Halted] = {}
        self._timeout = timeout
        self._presence: int | None = None
        self._store = ""
        self._entry = 0
        self._before: tuple[str, ...] = ()
        self._stranger = ""
        self._files: tuple[int, ...] = ()
        self._settled = -1

    def prepare(self) -> None:
        """Make the directory, for its owner alone.

        Raises:
            StoreError: it cannot be made; or it, or the one it is in, is another user's or may be written by others.
        """
        # The one that it is in as well: whoever may write there can put another in its place.
        for path in (self.path.parent, self.path):
            try:
                make_private(path)
                if path is self.path and path.stat().st_mode & 0o055:
                    path.chmod(0o700)
            except OSError as error:
                raise StoreError(f"no counters in {path}: {reason(error, path)}") from error

    @contextlib.contextmanager
    def exclusive(self) -> Iterator[None]:
        """Keep others from entering, leaving or resetting meanwhile.

        Raises:
            StoreError: somebody else did for longer than the timeout, or there can be no lock.
        """
        try:
            handle = open_private(self.path / "lock", os.O_RDWR)
        except OSError as error:
            raise StoreError(f"no counters in {self.path}: its lock cannot be opened: {error.strerror}") from error
        try:
            try:
                lock(handle, timeout=self._timeout, pause=_PAUSE)
            except TimeoutError:
                raise StoreError(f"{self.path} stayed locked for {self._timeout:g} s by another process") from None
            yield
        finally:
            os.close(handle)

    def acquire(self) -> Known:
        """Say which store this is. Call it under :meth:`exclusive`, and :meth:`acquired` after.

        Raises:
            StateLost: counters that were here are gone.
        """
        self._presence = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        nobody_else = try_lock(self._presence)
        try_lock(self._presence, shared=True)
        marker = self._marker()
        if marker and marker.state == "lost":
            raise StateLost(_lost(self.path, marker.reason))
        self._before = marker.before if marker else ()
        if marker is None or not marker.store:
            return Known("", 0, nobody_else)
        if not _size(self.path / DATABASE):
            self.mark_lost(marker.store, "the database is gone")
        if marker.state == "open" and nobody_else and not (self.path / LOG).exists():
            self.mark_lost(marker.store, "the database's write-ahead log is gone")
        self._store, self._entry = marker.store, marker.entry
        return Known(marker.store, marker.entry, nobody_else)

    def acquired(self, store: str, entry: int) -> None:
        """Remember what was entered, and that it is in use."""
        self._store, self._entry = store, entry
        if self._marker() != self._in_use():
            self._mark(self._in_use())
        self._files = self._identities()
        self._settled = -1

    def release(self) -> None:
        """Note, if this was the last one, that everything is in the database now. Call it under :meth:`exclusive`."""
        if self.is_last() and not (self.path / LOG).exists():
            self.mark_clean()
        self.drop()

    def is_last(self) -> bool:
        """Whether nobody else is in it. Call it under :meth:`exclusive`."""
        return self._presence is not None and try_lock(self._presence)

    @property
    def next_entry(self) -> int:
        """The number that the database has to have before :meth:`mark_clean` is told of it."""
        return self._entry + 1

    def mark_clean(self, entry: int | None = None) -> None:
        """Note that the log may go, for all is in the database, and which number that has now.

        Call it under :meth:`exclusive`, as the last one.
        """
        if self._store and self._marker() == self._in_use():
            self._mark(self._in_use()._replace(state="closed", entry=self._entry if entry is None else entry))

    def drop(self) -> None:
        """Leave without a word."""
        if self._presence is not None:
            os.close(self._presence)
        self._presence = None
        self._store = ""

    def check(self) -> Mapping[str, Halted]:
        """Say what is halted, after making sure that this is still the store that was entered.

        Raises:
            StateLost: the database or its log was deleted or replaced underneath, or the directory by another store's.
            Replaced: somebody reset the store; it has to be entered anew.
        """
        try:
            changed = os.stat(self._name).st_mtime_ns  # noqa: PTH116 - on every call's path
        except OSError:
            raise StateLost(_lost(self.path, "the directory is gone")) from None
        if changed != self._settled:
            self._inspect(changed)
        return self.halts

    def mark_lost(self, store: str, reason: str) -> None:
        """Make everyone refuse until an explicit reset."""
        self._mark(Marker(store, "lost", reason=reason, before=self._before))
        raise StateLost(_lost(self.path, reason))

    def damaged(self, reason: str) -> None:
        """Make everyone refuse until an explicit reset, unless that came already. Call it under :meth:`exclusive`."""
        marker = self._marker()
        if marker and marker.state != "lost" and self._store in {"", marker.store}:
            self.mark_lost(marker.store, f"the database is damaged ({reason})")
        if marker is None:
            self.mark_lost(self._store, f"the database is damaged ({reason})")

    def clear(self) -> None:
        """Remove the database, so that whoever enters next, or is in it now, makes a new one.

        Raises:
            StoreError: it cannot be removed.
        """
        with self.exclusive():
            marker = self._marker()
            before = (*marker.before, marker.store)[-_REMEMBERED:] if marker else (_WHICHEVER,)
            for name in (DATABASE, LOG, f"{DATABASE}-shm"):
                try:
                    (self.path / name).unlink(missing_ok=True)
                except OSError as error:
                    raise StoreError(f"cannot remove {self.path / name}: {error.strerror}") from error
            self._mark(Marker("", "closed", before=before))

    def halt(self, scope: str, reason: str) -> None:
        """Write down that ``scope`` is halted."""
        known = self.read_halts().get(scope)
        since = known.since if known else time.time()
        self._replace(_halt_file(scope), {"scope": scope, "reason": reason, "since": since})

    def resume(self, scope: str) -> bool:
        """Strike out that ``scope`` is halted; returns whether it was."""
        try:
            (self.path / _halt_file(scope)).unlink()
            flush(self.path)
        except FileNotFoundError:
            return False
        except OSError as error:
            raise StoreError(f"cannot resume {scope}: {error.strerror}") from error
        return True

    def read_halts(self) -> dict[str, Halted]:
        """Read what is halted. A halt that cannot be read is one of everything.

        Raises:
            StoreError: it cannot be seen whether there is any.
        """
        try:
            # Not by a pattern: in a directory that may not be listed, pathlib finds nothing that matches.
            found = sorted(path for path in self.path.iterdir() if path.name.startswith(_HALT))
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise StoreError(f"what is halted in {self.path} cannot be listed: {error.strerror}") from error
        halts = {}
        for path in found:
            try:
                read = json.loads(path.read_bytes())
                halted = Halted(str(read["scope"]), str(read["reason"]), float(read["since"]))
            except FileNotFoundError:
                continue
            except (OSError, ValueError, KeyError, TypeError):
                halted = Halted(GLOBAL, f"{path.name} cannot be read", 0.0)
            halts[halted.scope] = halted
        return halts

    def _inspect(self, changed: int) -> None:
        if self._identities() != self._files:
            self._account_for_change()
        self.halts = self.read_halts()
        self._settled = changed if time.time_ns() - changed > _SETTLED_NS else -1

    def _account_for_change(self) -> None:
        with self.exclusive():
            marker = self._marker()
            if marker and marker.store != self._store:
                if marker.store and not {self._store, self._stranger, _WHICHEVER} & set(marker.before):
                    self._stranger = marker.store
                    raise StateLost(_lost(self.path, "another store stands in their place"))
                raise Replaced
            if marker and marker.state == "lost":
                raise Replaced
            files = self._identities()
            if files[:2] != self._files[:2]:
                self.mark_lost(self._store, "the database or its write-ahead log was deleted or replaced while in use")
            if marker is None:
                self._mark(self._in_use())
            self._files = self._identities()

    def _identities(self) -> tuple[int, ...]:
        return tuple(_inode(self.path / name) for name in (DATABASE, LOG, _MARKER))

    def _in_use(self) -> Marker:
        return Marker(self._store, "open", self._entry, before=self._before)

    def _marker(self) -> Marker | None:
        return read_marker(self.path / _MARKER)

    def _mark(self, marker: Marker) -> None:
        self._replace(_MARKER, marker._asdict())

    def _replace(self, name: str, content: Mapping[str, object]) -> None:
        try:
            replace(self.path / name, json.dumps(content).encode())
        except OSError as error:
            raise StoreError(f"cannot write {self.path / name}: {reason(error, self.path)}") from error


def in_use(path: Path) -> bool:
    """Whether a store was ever entered in a directory, or its database is there.

    Raises:
        StoreError: that cannot be seen.
    """
    try:
        return any(found.name in {_MARKER, DATABASE} for found in path.iterdir())
    except FileNotFoundError:
        return False
    except OSError as error:
        raise StoreError(f"no counters in {path}: {error.strerror}") from error


def _lost(path: Path, reason: str) -> str:
    return (
        f"counters in {path} were lost: {reason}. Every call is refused until `guarded-tools reset --confirm` starts "
        "them at zero"
    )


def _halt_file(scope: str) -> str:
    return f"{_HALT}{hashlib.sha256(scope.encode('utf-8', 'surrogatepass')).hexdigest()[:32]}.json"


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _inode(path: Path) -> int:
    try:
        return path.stat().st_ino
    except OSError:
        return 0
