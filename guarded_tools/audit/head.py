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
import errno
import logging
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from guarded_tools.audit.backwards import opened_newest_first
from guarded_tools.audit.record import GENESIS, parse_line
from guarded_tools.audit.rotation import rotated
from guarded_tools.files import lock, open_private, unlock

log = logging.getLogger("guarded_tools.audit")

WIDTH = 112
"""Size in bytes of the head's file."""

_NUMBER = re.compile(rb'\{"seq":([0-9]{1,18}),')
_SHAPE = re.compile(rb"([0-9]{18}) ([0-9a-f]{64}) ([0-9]{18}) ([0-9]{8})\n")


class Head(NamedTuple):
    """The last line: its number, its hash, the size in bytes of the current file with it, and how many are full."""

    seq: int = 0
    hash: str = GENESIS
    size: int = 0
    turn: int = 0

    def __bytes__(self) -> bytes:
        return b"%018d %b %018d %08d\n" % (self.seq, self.hash.encode("ascii"), self.size, self.turn)


def audit_path(state_dir: str | os.PathLike[str]) -> Path:
    """Name the audit of a state directory."""
    return Path(state_dir) / "audit.jsonl"


def head_path(path: Path) -> Path:
    """Name the head's file of the log at ``path``: ``audit.head`` of ``audit.jsonl``.

    The pattern ``audit.jsonl*`` is to catch files of JSON lines alone. A log that has ``audit.jsonl.head``, as logs
    once had, goes on with it.
    """
    head, before = path.with_name(path.name.removesuffix(".jsonl") + ".head"), path.with_name(path.name + ".head")
    return before if before.exists() and not head.exists() else head


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


class Seen:
    """The last line that this process wrote or saw in the log at ``path``.

    What others write stands behind it. Where it is another line by now the log was rewritten, with its head. What this
    process is about to write then follows its own last line all the same, so that the log contradicts itself there for
    ever, whoever verifies it and with no store at hand. After that it writes nothing, and calls are refused.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._head = Head()
        self._rewritten: int | None = None
        self._closed = False

    def move_on(self, head: Head) -> Head:
        """See the head that somebody else left, and say where to go on: there, or behind the line that is gone."""
        if holds(self._path, self._head, head.turn):
            self._head = head
            return head
        self._rewritten = self._head.seq
        log.error("the audit %s: %s", self._path, self._why())
        return head._replace(seq=max(head.seq, self._head.seq), hash=self._head.hash)

    def wrote(self, head: Head) -> None:
        """Take note of a line of one's own."""
        self._head = head
        self._closed = self._rewritten is not None

    def check(self) -> None:
        """Refuse to go on in a history that is not one's own.

        Raises:
            OSError: the log was rewritten, and holds the line that shows it.
        """
        if self._closed:
            raise OSError(errno.EBADMSG, f"{self._why()}; see guarded-tools audit verify")

    def _why(self) -> str:
        return f"it was rewritten: record {self._rewritten} is not the one that this process wrote or saw"


def holds(path: Path, known: Head, turn: int) -> bool:
    """Say whether the log at ``path``, of which so many files are full by now, holds the record that ``known`` names.

    Its bytes are looked at where they ended then, and searched for only where they are not there.
    """
    return _ends_with(path, known, turn) or still_holds(path, known)


def still_holds(path: Path, kept: Head) -> bool:
    """Say whether the log at ``path`` holds the record that ``kept`` names, letter for letter, or begins behind it.

    A log whose older files were archived may begin behind it; the first line of it then has to follow that record, if
    it is the next one.
    """
    if kept.seq == 0:
        return True
    own, following = b'{"seq":%d,' % kept.seq, b'{"seq":%d,' % (kept.seq + 1)
    behind = False
    for _, lines in opened_newest_first(path):
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


def _ends_with(path: Path, head: Head, turn: int) -> bool:
    """Whether the bytes of a log still end, where they ended at ``head``, in the hash of its record."""
    file = path if head.turn == turn else path.with_name(f"{path.name}.{head.turn + 1}")
    ending = _hash_at_end(head)
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        return os.pread(descriptor, len(ending), max(head.size - len(ending), 0)) == ending
    finally:
        os.close(descriptor)


def _hash_at_end(head: Head) -> bytes:
    return b',"hash":"%b"}\n' % head.hash.encode("ascii")


def rebuilt(path: Path) -> Head:
    """Make the head of the log at ``path`` anew from its last line, where the head's file is gone or damaged."""
    full = rotated(path)
    turn = full[-1][0] if full else 0
    before = last_of(str(full[-1][1]))._replace(size=0) if full else Head()
    head = max(before, last_of(str(path)), key=lambda head: head.seq)
    if head.seq:
        log.error("%s was gone or damaged; the chain is taken up from record %d", head_path(path), head.seq)
    return head._replace(turn=turn)
