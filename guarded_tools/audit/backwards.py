"""A log from its end: its files and lines, newest first, and where in it a moment stands.

What is older than what is asked for is not read. That rests on lines being in the order of their times, as one clock
under one lock writes them. A clock that was set back breaks the order, so reading ends only behind a stretch of
:data:`STRETCH` bytes in which every line is older than the moment by :data:`SLACK` seconds.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from guarded_tools.audit.record import timestamp
from guarded_tools.audit.rotation import rotated

SLACK = 300.0
"""By how many seconds the writers' clock may have been set back, without a line being missed."""

STRETCH = 256 * 1024
"""How many bytes are read at once, and how many of nothing but older lines end the reading."""

_HEADER = re.compile(rb'\{"seq":[0-9]{1,18},"time":"([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:]{8}\.[0-9]{6}Z)",')
# Behind a newline, which no text of an event can hold: a value may look like the beginning of a line.
_BEGINNING = re.compile(rb"\n" + _HEADER.pattern)
_LONGEST_HEADER = 64
_LAST_SECOND = 253_402_300_799.0  # of the year 9999


class Beginning(NamedTuple):
    """Where to begin in a log: at ``offset`` of the file with this ``inode``, the first behind full file ``behind``.

    ``skipped`` is how many bytes of the log stand before it.
    """

    behind: int = 0
    inode: tuple[int, int] = (0, 0)
    offset: int = 0
    skipped: int = 0


OLDEST = Beginning()
"""Where all that there is begins."""


def opened_newest_first(path: Path) -> Iterator[tuple[int, BinaryIO]]:
    """Open the files of the log at ``path``, each with the number of the full one before it, 0 if there is none.

    One that is rotated meanwhile is neither lost nor seen twice; one that is archived is passed over.
    """
    # Opened before the list is read: what is full in between would be neither the current file nor in the list.
    newest = None
    with contextlib.suppress(FileNotFoundError):
        newest = path.open("rb")
    full = rotated(path)
    if newest is not None:
        with newest:
            full = full[: _place_in(full, identity(newest))]
            yield full[-1][0] if full else 0, newest
    while full:
        _, file = full.pop()
        with contextlib.suppress(FileNotFoundError), file.open("rb") as older:
            yield full[-1][0] if full else 0, older


def _place_in(full: list[tuple[int, Path]], inode: tuple[int, int]) -> int:
    """Where in the list of full files the one with this inode stands by now; the list's length if it is not full."""
    for place, (_, file) in enumerate(full):
        with contextlib.suppress(FileNotFoundError):
            found = file.stat()
            if (found.st_dev, found.st_ino) == inode:
                return place
    return len(full)


def identity(file: BinaryIO) -> tuple[int, int]:
    """Name a file by what stays when it is renamed."""
    found = os.fstat(file.fileno())
    return found.st_dev, found.st_ino


def lines_backwards(file: BinaryIO, block: int = STRETCH) -> Iterator[bytes]:
    """Yield the lines of a file as it is now, the last one first, without their newlines.

    What stands behind the last newline is a line, also where it is empty.
    """
    end = os.fstat(file.fileno()).st_size
    ending: list[bytes] = []  # of a line that begins further ahead, its last piece first
    while end > 0:
        start = max(end - block, 0)
        piece, end = os.pread(file.fileno(), end - start, start), start
        first, *rest = piece.split(b"\n")
        if rest:
            ending.append(rest[-1])
            yield b"".join(reversed(ending))
            yield from rest[-2::-1]
            ending = []
        ending.append(first)
    yield b"".join(reversed(ending))


class Reach:
    """Says of lines that come newest first whether they are older than ``since``, and when no newer one will come."""

    def __init__(self, since: float, stretch: int = STRETCH) -> None:
        # A millisecond less: a float and a line's microseconds need not round alike. What is near is read in full.
        self._older, self._over = stamp(since - 0.001), stamp(since - SLACK)
        self._left = self._stretch = stretch

    def passes(self, line: bytes) -> bool:
        """Whether a line may be as new as asked for."""
        match = _HEADER.match(line)
        if match is None:
            return True
        if match[1] < self._over:
            self._left -= len(line)
            return False
        self._left = self._stretch
        return match[1] >= self._older

    @property
    def ended(self) -> bool:
        """Whether a whole stretch was older."""
        return self._left <= 0


def stamp(moment: float) -> bytes:
    """Write a moment as a line does; one that no line can have becomes the nearest that one can."""
    return timestamp(min(max(0.0, moment), _LAST_SECOND)).encode("ascii")


def begins(path: Path, since: float, block: int = STRETCH) -> Beginning:
    """Find where to begin reading a log for all that is as new as ``since``: with a stretch of older lines."""
    over = stamp(since - SLACK)
    for behind, file in opened_newest_first(path):
        header = _HEADER.match(os.pread(file.fileno(), _LONGEST_HEADER, 0))
        if header is not None and header[1] >= over:
            continue  # its lines, and more before it
        offset = _last_stretch(file, over, block)
        if offset is not None:
            older = bytes_in([full for number, full in rotated(path) if number <= behind])
            return Beginning(behind, identity(file), offset, older + offset)
    return OLDEST


def bytes_in(files: Iterable[Path]) -> int:
    """Return how many bytes there are in the files that there are."""
    size = 0
    for file in files:
        with contextlib.suppress(FileNotFoundError):
            size += file.stat().st_size
    return size


def _last_stretch(file: BinaryIO, over: bytes, block: int) -> int | None:
    """Where the last block of a file in which all lines are older than ``over`` has its first line."""
    end = os.fstat(file.fileno()).st_size
    while end > 0:
        start = max(end - block, 0)
        piece = os.pread(file.fileno(), end - start + 1 + _LONGEST_HEADER, max(start - 1, 0))
        if start == 0:
            piece = b"\n" + piece
        times = _BEGINNING.findall(piece)
        if times and max(times) < over:
            return start + piece.index(b"\n")
        end = start
    return None
