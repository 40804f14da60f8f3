"""The store's copy of the head: what a log is held against whose own head may have been changed with it.

**Under which key.** A log is known by its first record: under that record's hash its copy is found again wherever the
log is, so also by the next container on one volume, whose host has another name. It is known by the first record of its
current file as well, which stays when older files are archived, or put back. The further copy counts: what a key was
told before others took over is older. And a log is known by its *place*, host and path, where one that is gone, or
whose first record is another one, still meets the copy that it has to answer for. The own keys come first: of two
machines with one host name, one path and one Redis, each finds its own log.

**Invariant.** The copy names a record that was in the log, and only moves on while the log still holds it, letter for
letter (:func:`~guarded_tools.audit.head.holds`). A history that was written anew contradicts the copy, which then stays
as it is.

**States** of a copy: *none* (nothing was written yet, or elsewhere), *number 0* (a log begins here), *a record*.
What the store was told last lags at most :data:`EVERY` seconds behind the head's file, while the store can be reached.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import socket
import threading
from pathlib import Path
from typing import Protocol

from guarded_tools.audit.head import Head, head_path, holds, peek
from guarded_tools.audit.record import parse_line
from guarded_tools.audit.rotation import rotated
from guarded_tools.files import flush

log = logging.getLogger("guarded_tools.audit")

EVERY = 1.0
"""Seconds between two looks of :class:`HeadSync`: how far the store's head may lag behind the file's."""


class HeadStore(Protocol):
    """The part of a store that the audit needs."""

    def get(self, key: str) -> bytes | None:
        """Read what :meth:`put` kept, or ``None``; raises :class:`~guarded_tools.errors.StoreError`."""
        ...

    def put(self, key: str, value: bytes, ttl: float | None = None) -> None:
        """Keep ``value`` for ``ttl`` seconds, or for good; raises :class:`~guarded_tools.errors.StoreError`."""
        ...


def place_key(path: Path) -> str:
    """Name the store's key for the log at ``path`` of this machine."""
    place = f"{socket.gethostname()}\0{os.path.realpath(path.parent)}/{path.name}"
    return "audit-head:" + hashlib.sha256(place.encode("utf-8", "surrogateescape")).hexdigest()[:32]


def log_keys(path: Path) -> list[str]:
    """Name the store's keys for the log at ``path``, by the first records of its oldest file and of its current one."""
    keys: list[str] = []
    for file in (*[full for _, full in rotated(path)][:1], path):
        with contextlib.suppress(FileNotFoundError), file.open("rb") as lines:  # nothing yet, or its turn just came
            first = parse_line(lines.readline())
            if first is not None:
                keys.append(f"audit-head:log:{first.hash[:32]}")
    return list(dict.fromkeys(keys))


def is_kept(store: HeadStore, path: Path) -> bool:
    """Whether the store keeps anything for the log at ``path``."""
    return bool(_copies(store, path))


def kept_head(store: HeadStore, path: Path) -> Head | None:
    """Read the store's head of the log at ``path``; ``None`` where there is none, or something else in its place."""
    found = []
    for copy in _copies(store, path):
        try:
            kept = json.loads(copy)
            found.append(Head(int(kept["seq"]), str(kept["hash"])))
        except (ValueError, TypeError, KeyError):
            log.warning("the store's audit head is not readable and is passed over")
    return max(found, default=None, key=lambda head: head.seq)


def _copies(store: HeadStore, path: Path) -> list[bytes]:
    """What the store keeps under the log's own keys, else under its place's."""
    own = [copy for key in log_keys(path) if (copy := store.get(key)) is not None]
    if own:
        return own
    copy = store.get(place_key(path))
    return [] if copy is None else [copy]


class HeadSync:
    """A thread that brings the store's head up to the file's, off the path of every call.

    It starts with the first line, rests while nothing is written, takes a last look when told to finish, and does not
    keep the log alive. With ``fsync`` it also brings the lines to the disk at each look.
    """

    def __init__(self, path: Path, store: HeadStore | None, *, fsync: bool) -> None:
        self._path = path
        self._store = store
        self._fsync = fsync
        self._thread: threading.Thread | None = None
        self._awake = False
        self._wake = threading.Event()
        self._finish = threading.Event()
        self._complained = False
        self._known = Head()  # the head that was put last, with the place where its line ends
        self._begun: Head | None = None  # what the store kept when this process began to write

    def begin(self) -> Head | None:
        """Return the store's head for a log whose own is not there, or leave a first one so that it is known to be."""
        if self._store is None:
            return None
        try:
            kept = self._begun = kept_head(self._store, self._path)
            if kept is None:
                self._put(self._store, Head())
        except Exception:  # noqa: BLE001 - a store fails in its own ways
            self._complain()
            return None
        return kept

    def touched(self) -> None:
        """Say that the head has moved. The log's lock is held."""
        if self._awake:
            return
        self._awake = True
        self._wake.set()
        if self._thread is None:
            thread = threading.Thread(target=self._run, name="guarded-tools-audit", daemon=True)
            with contextlib.suppress(RuntimeError):  # a program that is ending starts no threads, and its line is out
                thread.start()
                self._thread = thread

    def finish(self) -> None:
        """Ask for the last look. Does not wait, so that a garbage collector may call it anywhere."""
        self._finish.set()
        self._wake.set()

    def join(self, timeout: float) -> None:
        """Wait until the last look was taken, at most ``timeout`` seconds."""
        if self._thread is not None:
            self._thread.join(timeout)

    def _run(self) -> None:
        while not self._finish.is_set():
            self._wake.wait()
            self._wake.clear()
            # Before the look, so that a line written during it wakes the thread again.
            self._awake = False
            if not self._look():
                self._awake = True
                self._wake.set()
            self._finish.wait(EVERY)
        self._look()

    def _look(self) -> bool:
        """Bring the store up to date; true where it already was."""
        try:
            if self._fsync:
                flush(self._path)
            if self._store is None:
                return True
            head = peek(head_path(self._path))
            kept = self._kept(self._store)
            # Another process may have overtaken us; an older head is never written over a newer one for long, because
            # the one that wrote looks again.
            if head is None or (kept is not None and kept.seq >= head.seq):
                return True
            if kept is not None and not self._is_in_the_log(kept, head):
                # The store's copy stays, so that `verify` names the record that was rewritten, for ever.
                self._accuse(kept)
                return True
            self._put(self._store, head)
            self._known = head
        except Exception:  # noqa: BLE001 - a store fails in its own ways
            self._complain()
        else:
            self._complained = False
        return False

    def _kept(self, store: HeadStore) -> Head | None:
        own = log_keys(self._path)
        if own and self._begun is not None and not self._known.seq and not any(map(store.get, own)):
            # A log that has just begun follows what stood at its place then. By now that may be another machine's.
            return self._begun
        return kept_head(store, self._path)

    def _is_in_the_log(self, kept: Head, head: Head) -> bool:
        known = self._known
        same = (known.seq, known.hash) == (kept.seq, kept.hash)
        return holds(self._path, known if same else kept, head.turn)

    def _accuse(self, kept: Head) -> None:
        text = (
            "the audit %s was rewritten: record %d is not the one that the store names (see guarded-tools audit verify)"
        )
        log.log(logging.DEBUG if self._complained else logging.ERROR, text, self._path, kept.seq)
        self._complained = True

    def _put(self, store: HeadStore, head: Head) -> None:
        value = json.dumps({"seq": head.seq, "hash": head.hash}).encode()
        for key in (*log_keys(self._path), place_key(self._path)):
            store.put(key, value)

    def _complain(self) -> None:
        # A store that is down refuses the calls itself; the line that says so must not be refused for it.
        level = logging.DEBUG if self._complained else logging.ERROR
        log.log(level, "the head of the audit %s could not be kept in the store", self._path, exc_info=True)
        self._complained = True
