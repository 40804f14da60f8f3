"""Where the chain stands: the number and the hash of the last line, kept apart from the lines themselves.

A hash chain alone does not notice that its end was cut off. So the head is kept twice: in a small file beside the log,
written with every line, and in the store, at most a second later. The file is also the lock of all who write.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import re
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, Protocol

from guarded_tools.audit.record import GENESIS, parse_line
from guarded_tools.audit.rotation import rotated
from guarded_tools.files import flush, lock, open_private, unlock

log = logging.getLogger("guarded_tools.audit")

EVERY = 1.0
"""Seconds between two looks of :class:`HeadSync`: how far the store's head may lag behind the file's."""

WIDTH = 112
"""Size in bytes of the head's file."""

_SHAPE = re.compile(rb"([0-9]{18}) ([0-9a-f]{64}) ([0-9]{18}) ([0-9]{8})\n")


_NUMBER = re.compile(rb'\{"seq":([0-9]{1,18}),')


class Head(NamedTuple):
    """The last line: its number, its hash, the size in bytes of the current file with it, and how many are full."""

    seq: int = 0
    hash: str = GENESIS
    size: int = 0
    turn: int = 0

    def __bytes__(self) -> bytes:
        return b"%018d %b %018d %08d\n" % (self.seq, self.hash.encode("ascii"), self.size, self.turn)


class HeadStore(Protocol):
    """The part of a store that the audit needs."""

    def get(self, key: str) -> bytes | None: ...  # noqa: D102 - see guarded_tools.stores.Store
    def put(self, key: str, value: bytes, ttl: float | None = None) -> None: ...  # noqa: D102


def head_path(path: Path) -> Path:
    """Name the head's file of the log at ``path``."""
    return path.with_name(path.name + ".head")


def store_key(path: Path) -> str:
    """Name the store's key for the log at ``path`` of this machine."""
    place = f"{socket.gethostname()}\0{os.path.realpath(path.parent)}/{path.name}"
    return "audit-head:" + hashlib.sha256(place.encode("utf-8", "surrogateescape")).hexdigest()[:32]


def parse(raw: bytes) -> Head | None:
    """Read the head's file; ``None`` where it is empty or holds something else."""
    match = _SHAPE.fullmatch(raw)
    return Head(int(match[1]), match[2].decode("ascii"), int(match[3]), int(match[4])) if match else None


def peek(path: Path) -> Head | None:
    """Read the head's file at ``path``; ``None`` where there is none that can be read."""
    # The kernel lets a read see half of a write: the number of one head, the hash of another.
    with nobody_writing(path) as descriptor:
        return None if descriptor is None else parse(os.pread(descriptor, WIDTH + 1, 0))


@contextlib.contextmanager
def nobody_writing(path: Path) -> Iterator[int | None]:
    """Hold the writers off by the lock on the head's file at ``path``, whose descriptor this is, if there is one.

    A process that sits on the lock is not about to write, and is waited for only so long.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        yield None
        return
    try:
        with contextlib.suppress(OSError):
            lock(descriptor, shared=True)
        yield descriptor
    finally:
        with contextlib.suppress(OSError):  # a file system that knows no locks
            unlock(descriptor)
        os.close(descriptor)


def adopt(descriptor: int, head: Head) -> Head:
    """Follow the chain from ``head`` through the lines that were written after it."""
    with os.fdopen(os.dup(descriptor), "rb") as file:
        file.seek(head.size)
        for line in file:
            record = parse_line(line)
            if record is not None and record.intact and record.prev == head.hash and record.seq == head.seq + 1:
                head = head._replace(seq=record.seq, hash=record.hash)
    return head


def last_of(path: str) -> Head:
    """Find the last intact line of a file of which nothing else is known."""
    last = Head()
    with os.fdopen(open_private(path, os.O_RDWR), "rb") as file:
        end = 0
        for line in file:
            end += len(line)
            record = parse_line(line)
            if record is not None and record.intact:
                last = Head(record.seq, record.hash, end)
    return last


def from_store(store: HeadStore, key: str) -> Head | None:
    """Read the store's head; ``None`` where there is none, or something else stands in its place."""
    value = store.get(key)
    if value is None:
        return None
    try:
        kept = json.loads(value)
        return Head(int(kept["seq"]), str(kept["hash"]))
    except (ValueError, TypeError, KeyError):
        log.warning("the store's audit head is not readable and is passed over")
        return None


def still_holds(path: Path, kept: Head) -> bool:
    """Say whether the log at ``path`` holds the record that ``kept`` names, letter for letter, or begins behind it.

    A log whose older files were archived may begin behind it; the first line of it then has to follow that record, if
    it is the next one.
    """
    if kept.seq == 0:
        return True
    own, following = b'{"seq":%d,' % kept.seq, b'{"seq":%d,' % (kept.seq + 1)
    behind = False
    for file in (path, *(full for _, full in reversed(rotated(path)))):
        try:
            lines = file.open("rb")
        except FileNotFoundError:
            continue
        with lines:
            for line in lines:
                if line.startswith(own):
                    return line.endswith(_hash_at_end(kept))
                if line.startswith(following) and b'"prev":"%b"' % kept.hash.encode("ascii") in line:
                    return True
                number = _NUMBER.match(line)
                if number is not None and int(number[1]) > kept.seq:
                    behind = True
                    break
    return behind


def _hash_at_end(head: Head) -> bytes:
    return b',"hash":"%b"}\n' % head.hash.encode("ascii")


def _ends_with(path: Path, head: Head, turn: int) -> bool:
    """Whether the bytes of a log still end, where they ended at ``head``, in the hash of its record."""
    file = path if head.turn == turn else path.with_name(f"{path.name}.{head.turn + 1}")
    ending = _hash_at_end(head)
    try:
        with file.open("rb") as lines:
            lines.seek(max(head.size - len(ending), 0))
            return lines.read(len(ending)) == ending
    except OSError:
        return False


class HeadSync:
    """A thread that brings the store's head up to the file's, off the path of every call.

    It starts with the first line, rests while nothing is written, takes a last look when told to finish, and does not
    keep the log alive. With ``fsync`` it also brings the lines to the disk at each look.
    """

    def __init__(self, path: Path, store: HeadStore | None, *, fsync: bool) -> None:
        self._path = path
        self._store = store
        self._fsync = fsync
        self._key = store_key(path)
        self._thread: threading.Thread | None = None
        self._awake = False
        self._wake = threading.Event()
        self._finish = threading.Event()
        self._complained = False
        self._known = Head()  # the head that was put last, with the place where its line ends

    def begin(self) -> Head | None:
        """Return the store's head for a log whose own is not there, or leave a first one so that it is known to be."""
        if self._store is None:
            return None
        try:
            kept = from_store(self._store, self._key)
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
            kept = from_store(self._store, self._key)
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

    def _is_in_the_log(self, kept: Head, head: Head) -> bool:
        known = self._known
        same = (known.seq, known.hash) == (kept.seq, kept.hash)
        return (same and _ends_with(self._path, known, head.turn)) or still_holds(self._path, kept)

    def _accuse(self, kept: Head) -> None:
        text = (
            "the audit %s was rewritten: record %d is not the one that the store names (see guarded-tools audit verify)"
        )
        log.log(logging.DEBUG if self._complained else logging.ERROR, text, self._path, kept.seq)
        self._complained = True

    def _put(self, store: HeadStore, head: Head) -> None:
        store.put(self._key, json.dumps({"seq": head.seq, "hash": head.hash}).encode())

    def _complain(self) -> None:
        # A store that is down refuses the calls itself; the line that says so must not be refused for it.
        level = logging.DEBUG if self._complained else logging.ERROR
        log.log(level, "the head of the audit %s could not be kept in the store", self._path, exc_info=True)
        self._complained = True
