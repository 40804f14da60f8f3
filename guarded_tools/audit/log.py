"""The writing side: one file of lines, appended under one lock by all threads and processes."""

from __future__ import annotations

import atexit
import fcntl
import logging
import os
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, Self, TypeAlias

from guarded_tools.audit.files import lock, look, open_own, rotated, write_all
from guarded_tools.audit.head import Head, HeadStore, Keeper, head_path, load, save
from guarded_tools.audit.record import encode, seal, unseal
from guarded_tools.errors import AuditError
from guarded_tools.values import AuditEvent

Fsync: TypeAlias = Literal["never", "second", "always"]

log = logging.getLogger("guarded_tools.audit")

_CLOSE_PATIENCE = 5.0


def audit_path(state_dir: str | os.PathLike[str]) -> Path:
    """Name the audit of a state directory."""
    return Path(state_dir) / "audit.jsonl"


class AuditLog:
    """Appends events to a file of JSON lines, each chained to the one before by hash.

    Any number of threads, processes and forks may write to one path. The file is created with mode 0600, a missing
    directory with 0700. Nothing is opened before the first line.

    Args:
        path: The current file. Full ones are renamed to ``<path>.1``, ``<path>.2`` and so on; the chain runs through
            them all. ``<path>.head`` beside it holds the last line's number and hash.
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
        self._begin()
        _live.add(self)

    def _begin(self) -> None:
        """Take up the state before the first line: no descriptors, and a lock and a keeper of this process."""
        self._file = -1
        self._head = -1
        self._file_id = self._head_id = (0, 0)
        self._lock = threading.Lock()
        self._keeper: Keeper | None = None
        if self._store is not None or self.fsync == "second":
            self._keeper = Keeper(self.path, self._store, fsync=self.fsync == "second")
            # A log that is dropped without close() leaves its keeper to take a last look and end.
            weakref.finalize(self, self._keeper.finish).atexit = False

    def write(self, event: AuditEvent) -> None:
        """Append one event. When this returns the line is in the file, and in order.

        Raises:
            AuditError: it could not be written; nothing of it is in the file.
        """
        try:
            body = encode(event)
            with self._lock, self._exclusive():
                self._append(body)
                if self._keeper is not None:
                    self._keeper.touched()
        except OSError as error:
            reason = error.strerror or str(error)
            raise AuditError(f"the audit {self.path} cannot be written ({reason}); the call is refused") from error
        except (TypeError, ValueError) as error:
            raise AuditError(f"this event cannot be put into a line of the audit: {error}") from error

    def close(self) -> None:
        """Let go of the files, the store's head brought up to date. The log may be used again afterwards."""
        with self._lock:
            keeper = self._keeper
            if self._file >= 0 and self.fsync != "never":
                os.fsync(self._file)
            self._let_go()
        if keeper is not None:
            keeper.finish()
            keeper.join(_CLOSE_PATIENCE)
        self._begin()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"AuditLog({str(self.path)!r}, fsync={self.fsync!r})"

    def _append(self, body: str) -> None:
        head, size, torn = self._stand()
        line, own = seal(body, head.seq + 1, self._clock(), head.hash)
        if size and size + len(line) > self.max_bytes:
            self._rotate()
            size, torn = 0, False
        if torn:
            line = b"\n" + line
        self._put(line, size)
        save(self._head, Head(head.seq + 1, own, size + len(line)))

    def _stand(self) -> tuple[Head, int, bool]:
        """Find the last line and the file's size, and say whether the file ends within a line."""
        size = self._size()
        head = load(self._head)
        if head is not None and head.size == size:
            return head, size, False
        if head is None:
            head = self._lost_head()
        # The file grew by what a killed process wrote before it could note it: that is taken over. It shrank because
        # lines were cut off: the chain goes on from the line that is gone, so that the gap stays visible for ever.
        if size > head.size:
            head = _adopt(self._file, head)
        return head, size, size > 0 and os.pread(self._file, 1, size - 1) != b"\n"

    def _lost_head(self) -> Head:
        kept = self._keeper.begin() if self._keeper is not None else None
        last = _last(self._file)
        if last is not None or kept is not None:
            log.warning("%s was gone or damaged; the chain is taken up from the last line known", self._head_path)
        return max((head for head in (last, kept) if head is not None), key=lambda head: head.seq, default=Head())

    def _put(self, line: bytes, size: int) -> None:
        try:
            write_all(self._file, line)
            if self.fsync == "always":
                os.fsync(self._file)
        except OSError:
            os.ftruncate(self._file, size)
            raise

    # Files

    @contextmanager
    def _exclusive(self) -> Iterator[None]:
        """Hold the lock of all writers: the head's file, as it now stands under its name."""
        while True:
            if self._head < 0:
                self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                self._head = open_own(self._head_path, os.O_RDWR)
                self._head_id = os.fstat(self._head)[1:3]
            lock(self._head)
            # Whoever deleted or moved it has split the writers in two, unless each looks again.
            found = look(self._head_path)
            if found is not None and found[1:3] == self._head_id:
                break
            self._let_go()
        try:
            yield
        finally:
            if self._head >= 0:
                fcntl.flock(self._head, fcntl.LOCK_UN)

    def _size(self) -> int:
        """The size of the current file, opened anew where another process rotated it or somebody moved it."""
        found = look(self._file_path)
        if found is None or self._file < 0 or found[1:3] != self._file_id:
            self._let_go_of_file()
            self._file = open_own(self._file_path, os.O_RDWR | os.O_APPEND)
            found = os.fstat(self._file)
            self._file_id = found[1:3]
        return found.st_size

    def _rotate(self) -> None:
        if self.fsync != "never":
            os.fsync(self._file)
        number = max((number for number, _ in rotated(self.path)), default=0) + 1
        self.path.rename(f"{self.path}.{number}")
        head = load(self._head)
        if head is not None:
            save(self._head, head._replace(size=0))
        self._size()

    def _let_go(self) -> None:
        self._let_go_of_file()
        if self._head >= 0:
            os.close(self._head)
            self._head = -1

    def _let_go_of_file(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


def _adopt(descriptor: int, head: Head) -> Head:
    """Follow the chain from ``head`` through the lines that were written after it."""
    with os.fdopen(os.dup(descriptor), "rb") as file:
        file.seek(head.size)
        for line in file:
            record = unseal(line)
            if record is not None and record.intact and record.prev == head.hash and record.seq == head.seq + 1:
                head = Head(record.seq, record.hash)
    return head


def _last(descriptor: int) -> Head | None:
    """Find the last intact line of a file of which nothing else is known."""
    last = None
    with os.fdopen(os.dup(descriptor), "rb") as file:
        for line in file:
            record = unseal(line)
            if record is not None and record.intact:
                last = Head(record.seq, record.hash, file.tell())
    return last


_live: weakref.WeakSet[AuditLog] = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
    for one in list(_live):
        one.close()


def _after_fork() -> None:
    # The parent's descriptors carry the parent's lock, and its keeper's thread is not here.
    for one in list(_live):
        one._let_go()  # noqa: SLF001
        one._begin()  # noqa: SLF001


os.register_at_fork(after_in_child=_after_fork)
