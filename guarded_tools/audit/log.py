"""The writing side: one file of lines, appended under one lock by all threads and processes.

**Invariant.** Whoever writes holds the lock on the head's file, and has just read that head. A line takes the next
number, names the hash of the line before it, and is in the file when :meth:`AuditLog.write` returns; one that could not
be written whole is cut off again, and its call is refused. A chain is never mended: over a gap it goes on from the line
that is gone, so that :mod:`~guarded_tools.audit.verify` finds the place for ever.

**What the head says**, and what a writer does about it:

- *what this writer left there*: it goes on from memory, and parses nothing;
- *another number*: others wrote. It goes on behind them, if its own last line stands before theirs, and refuses if not;
- *nothing, or damage*: it reads the lines for the last one (:func:`~guarded_tools.audit.head.rebuilt`), and logs that;
- *less than this writer, or the store, knows*: it was put back, and the further one counts;
- *less than the file holds*: somebody was killed between line and head, and the lines are taken over;
- *more than the file holds*: lines were cut off, and the gap stays.
"""

from __future__ import annotations

import atexit
import errno
import logging
import os
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal, Self, TypeAlias

from guarded_tools.audit.head import WIDTH, Head, Seen, adopt, head_path, parse, rebuilt
from guarded_tools.audit.kept_head import HeadStore, HeadSync
from guarded_tools.audit.record import chain, encode
from guarded_tools.audit.rotation import rotated
from guarded_tools.errors import AuditError
from guarded_tools.files import PATIENCE, flush, lock, open_private, reason, same_file, unlock, write_all
from guarded_tools.flow import together
from guarded_tools.values import AuditEvent

Fsync: TypeAlias = Literal["never", "second", "always"]

log = logging.getLogger("guarded_tools.audit")

_CLOSE_PATIENCE = 5.0
_LOOK_EVERY = 0.1


class AuditLog:
    """Appends events to a file of JSON lines, each chained to the one before by hash.

    Any number of threads, processes and forks may write to one path. The file is created with mode 0600, a missing
    directory with 0700. Nothing is opened before the first line.

    Args:
        path: The current file. Full ones are renamed to ``<path>.1``, ``<path>.2`` and so on; the chain runs through
            them all. ``audit.head`` beside ``audit.jsonl`` holds the last line's number and hash.
        fsync: When lines are forced to the disk. ``"never"`` leaves it to the system: the crash of a process loses
            nothing, a power cut may lose the last half minute. ``"second"``: a background thread forces them once a
            second. ``"always"``: before :meth:`write` returns, at the price of a disk's latency a line.
        store: Where a second copy of the head is kept, at most about a second behind, so that a cut tail is found even
            where the head's file was cut as well.
        clock: Seconds since the epoch, for the lines' times.
        max_bytes: The size past which a file is full.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        fsync: Fsync = "never",
        store: HeadStore | None = None,
        clock: Callable[[], float] = time.time,
        max_bytes: int = 64 * 1024 * 1024,
    ) -> None:
        if fsync not in {"never", "second", "always"}:
            raise ValueError(f'fsync must be "never", "second" or "always", not {fsync!r}')
        if max_bytes <= 0:
            raise ValueError(f"max_bytes must be positive, not {max_bytes}")
        # Absolute now: a later chdir must not start a second log.
        self.path = Path(path).absolute()
        self.fsync = fsync
        self.max_bytes = max_bytes
        self._file_path = str(self.path)
        self._head_path = str(head_path(self.path))
        self._store = store
        self._clock = clock
        self._seen = Seen(self.path)  # kept across a fork: a child knows what its parent wrote
        self._begin()
        _live.add(self)
        # What is registered last runs first: the store takes the head only as long as it is open itself.
        atexit.unregister(_close_all)
        atexit.register(_close_all)

    def _begin(self) -> None:
        """Take up the state before the first line: no descriptors, and a lock and a head sync of this process."""
        self._file = self._head = -1
        self._lock = threading.Lock()
        self._noted = b""
        self._last = Head()
        self._look_again = 0.0
        self._sync = self._start_sync()

    def _start_sync(self) -> HeadSync | None:
        if self._store is None and self.fsync != "second":
            return None
        sync = HeadSync(self.path, self._store, fsync=self.fsync == "second")
        # A log that is dropped without close() leaves its thread to take a last look and end.
        weakref.finalize(self, sync.finish).atexit = False
        return sync

    @together("write_together")
    def write(self, event: AuditEvent) -> None:
        """Append one event. When this returns the line is in the file, and in order.

        Raises:
            AuditError: it could not be written; nothing of it is in the file.
        """
        try:
            self._write([encode(event)])
        except (OSError, TypeError, ValueError) as error:
            raise self._failed(error) from error

    def write_together(self, calls: Sequence[tuple[AuditEvent]]) -> list[AuditError | None]:
        """Append the events of many callers, in one write where one file holds them; says for each whether it failed.

        The lines are chained one by one, as :meth:`write` would have done. Where the file takes no more, none of those
        that were to come after is in it.
        """
        answers: list[AuditError | None] = [None] * len(calls)
        bodies: list[str] = []
        places: list[int] = []
        for place, (event,) in enumerate(calls):
            try:
                bodies.append(encode(event))
                places.append(place)
            except (TypeError, ValueError) as error:
                answers[place] = self._failed(error)
        written: list[None] = []
        try:
            self._write(bodies, written)
        except OSError as error:
            for place in places[len(written) :]:
                answers[place] = self._failed(error)
        return answers

    def _write(self, bodies: Sequence[str], written: list[None] | None = None) -> None:
        """Append lines under the lock of all writers. What is in the file for good adds as much to ``written``."""
        with self._lock:
            try:
                self._enter()
                while bodies:
                    count = self._append(bodies)
                    bodies = bodies[count:]
                    if written is not None:
                        written += [None] * count
            finally:
                if self._head >= 0:
                    unlock(self._head)
            if self._sync is not None:
                self._sync.touched()

    def _failed(self, error: Exception) -> AuditError:
        if isinstance(error, OSError):
            why = reason(error, self.path)
            return AuditError(f"the audit {self.path} cannot be written ({why}); the call is refused")
        return AuditError(f"this event cannot be put into a line of the audit: {error}")

    def close(self) -> None:
        """Let go of the files, the store's head brought up to date. The log may be used again afterwards.

        Raises:
            OSError: the lines could not be forced to the disk; all else is done.
        """
        sync = self._sync
        try:
            with self._lock:
                try:
                    if self._file >= 0 and self.fsync != "never":
                        os.fsync(self._file)
                finally:
                    self._close_files()
                    sync, self._sync = self._sync, self._start_sync()
        finally:
            if sync is not None:
                sync.finish()
                sync.join(_CLOSE_PATIENCE)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        # A notebook makes guards by the hundred and closes none.
        if getattr(self, "_lock", None) is not None:
            self._close_files()

    def __repr__(self) -> str:
        return f"AuditLog({str(self.path)!r}, fsync={self.fsync!r})"

    def _repr_html_(self) -> str:
        from guarded_tools.audit.shown import to_html

        return to_html(self.path)

    def _append(self, bodies: Sequence[str]) -> int:
        """Append as many lines as go into one file, at least one, in one piece; returns how many."""
        head, size, torn = self._locate_end()
        lines = b"\n" if torn else b""
        seq, last = head.seq, head.hash
        for body in bodies:
            line, own = chain(body, seq + 1, self._clock(), last)
            if (size or lines) and size + len(lines) + len(line) > self.max_bytes:
                if seq > head.seq:
                    break
                head, size, lines = self._rotate(head), 0, b""
            lines += line
            seq, last = seq + 1, own
        try:
            write_all(self._file, lines)
            if self.fsync == "always":
                os.fsync(self._file)
            self._note(Head(seq, last, size + len(lines), head.turn))
        except OSError:
            os.ftruncate(self._file, size)
            raise
        return seq - head.seq

    def _locate_end(self) -> tuple[Head, int, bool]:
        """Find the last line and the current file's size, and say whether that file ends within a line."""
        self._seen.check()
        noted = os.pread(self._head, WIDTH + 1, 0)
        if noted != self._noted or self._file < 0:
            self._recover_head(noted)
        head = self._last
        size = os.lseek(self._file, 0, os.SEEK_END)
        if size == head.size:
            return head, size, False
        # It grew by what a killed process wrote before it could note it: that is taken over. It shrank because lines
        # were cut off: the chain goes on from the one that is gone, so that the gap stays visible.
        if size > head.size:
            head = adopt(self._file, head)
        return head, size, size > 0 and os.pread(self._file, 1, size - 1) != b"\n"

    def _note(self, head: Head) -> None:
        noted = bytes(head)
        # One write of one fixed size: a killed process cannot leave it half done. A disk that takes half of it can, and
        # that would name a line that never was.
        if os.pwrite(self._head, noted, 0) != len(noted):
            os.ftruncate(self._head, 0)
            raise OSError(errno.ENOSPC, "no space left for the head")
        self._noted, self._last = noted, head
        self._seen.wrote(head)

    def _recover_head(self, noted: bytes) -> None:
        """Go on from the head that another process left, or from the furthest that is known where it was damaged."""
        head = parse(noted)
        if head is None:
            os.ftruncate(self._head, 0)
            head = rebuilt(self.path)
        # Numbers only grow. A head that went back was put back, and the chain must not close over the gap.
        furthest = self._last
        if not self._noted and self._sync is not None:
            furthest = self._sync.begin() or furthest
        if furthest.seq > head.seq:
            log.error("the audit %s ends at record %d, but had reached %d", self.path, head.seq, furthest.seq)
            head = head._replace(seq=furthest.seq, hash=furthest.hash)
        elif noted != self._noted:
            head = self._seen.move_on(head)
        if head.turn != self._last.turn:
            self._close_file()
        if self._file < 0:
            self._file = self._open_file()
        self._noted, self._last = noted, head

    def _enter(self) -> None:
        """Take the lock of all writers: the head's file, as it now stands under its name."""
        while True:
            if self._head < 0:
                self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                self._head = open_private(self._head_path, os.O_RDWR)
                self._look_again = 0.0
            lock(self._head, timeout=PATIENCE)
            now = time.monotonic()
            if now < self._look_again:
                return
            # Whoever deleted or moved a file has us write into nothing, or past each other.
            if self._file >= 0 and not same_file(self._file, self._file_path):
                self._close_file()
            if same_file(self._head, self._head_path):
                self._look_again = now + _LOOK_EVERY
                return
            self._close_files()

    def _rotate(self, head: Head) -> Head:
        if self.fsync != "never":
            os.fsync(self._file)
        # Archived files keep their numbers: none is used twice.
        turn = max((head.turn, *(number for number, _ in rotated(self.path)))) + 1
        # Noted and let go of first: whoever dies before the end has every writer open the current file anew, not go on
        # in one that has left its place.
        begun = head._replace(size=0, turn=turn)
        self._note(begun)
        self._close_file()
        try:
            self.path.rename(f"{self.path}.{turn}")
        except OSError:
            self._note(head)
            raise
        self._file = self._open_file()
        return begun

    def _open_file(self) -> int:
        descriptor = open_private(self._file_path, os.O_RDWR | os.O_APPEND)
        if self.fsync != "never":
            flush(self.path.parent)  # a name that is not on the disk takes its lines with it
        return descriptor

    def _close_files(self) -> None:
        self._close_file()
        if self._head >= 0:
            os.close(self._head)
            self._head = -1

    def _close_file(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


_live: weakref.WeakSet[AuditLog] = weakref.WeakSet()


def _close_all() -> None:
    for one in list(_live):
        try:
            one.close()
        except OSError:
            log.exception("The last lines of the audit %s may not be on the disk", one.path)


def _after_fork() -> None:
    # The parent's descriptors carry the parent's lock, and its head sync's thread is not here.
    for one in list(_live):
        one._close_files()  # noqa: SLF001
        one._begin()  # noqa: SLF001


os.register_at_fork(after_in_child=_after_fork)
