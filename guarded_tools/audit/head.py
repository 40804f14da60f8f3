"""Where the chain stands: the number and the hash of the last line, kept apart from the lines themselves.

A hash chain alone does not notice that its end was cut off. So the head is kept twice: in a small file beside the log,
written with every line, and in the store, at most a second later (:mod:`guarded_tools.audit.kept_head`).

**Invariant.** Whoever holds the lock on the head's file, and only they, may append to the log and write the head. When
the lock is let go of, the head names the last line, or one of the last: a process that was killed between its line and
its head leaves a head that lags, and :func:`adopt` follows the chain from there. A head that runs *ahead* of the lines
is therefore never an accident: lines were cut off.

**States of the file.** Empty or damaged: the lines are read anew (:func:`last_of`). One record of a fixed width: one
write replaces it, so that a killed process leaves the old one or the new one.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from guarded_tools.audit.record import GENESIS, parse_line
from guarded_tools.files import lock, open_private, unlock

WIDTH = 112
"""Size in bytes of the head's file."""

_SHAPE = re.compile(rb"([0-9]{18}) ([0-9a-f]{64}) ([0-9]{18}) ([0-9]{8})\n")


class Head(NamedTuple):
    """The last line: its number, its hash, the size in bytes of the current file with it, and how many are full."""

    seq: int = 0
    hash: str = GENESIS
    size: int = 0
    turn: int = 0

    def __bytes__(self) -> bytes:
        return b"%018d %b %018d %08d\n" % (self.seq, self.hash.encode("ascii"), self.size, self.turn)


def head_path(path: Path) -> Path:
    """Name the head's file of the log at ``path``."""
    return path.with_name(path.name + ".head")


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
