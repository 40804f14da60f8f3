"""Files that only their owner touches: how they are opened, locked, written and numbered."""

from __future__ import annotations

import errno
import fcntl
import glob
import os
import stat
import time
from pathlib import Path

_LOCK_PATIENCE = 5.0
_LOCK_POLL = 0.0002


def open_own(path: str, flags: int) -> int:
    """Open a regular file of this user, created with mode 0600, and return its descriptor.

    Raises:
        OSError: it cannot be opened, or is a link, a pipe, or somebody else's.
    """
    # Without O_NONBLOCK a planted pipe would hold us for ever.
    descriptor = os.open(path, flags | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, 0o600)
    try:
        found = os.fstat(descriptor)
        _check(found)
        if found.st_mode & 0o077:
            os.fchmod(descriptor, 0o600)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _check(found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise OSError(errno.EINVAL, "it is not a regular file")
    if found.st_uid != os.geteuid():
        raise OSError(errno.EPERM, "it belongs to another user")


def same_file(descriptor: int, path: str) -> bool:
    """Say whether a name still stands for the file behind a descriptor."""
    try:
        found = os.stat(path, follow_symlinks=False)  # noqa: PTH116 - as os.fstat below
    except FileNotFoundError:
        return False
    return os.path.samestat(found, os.fstat(descriptor))


def lock(descriptor: int, kind: int = fcntl.LOCK_EX) -> None:
    """Take a lock, an exclusive one unless ``kind`` is another, waiting at most five seconds for another process.

    Raises:
        OSError: it was held all that time.
    """
    deadline = 0.0
    while True:
        try:
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            now = time.monotonic()
            deadline = deadline or now + _LOCK_PATIENCE
            if now >= deadline:
                raise OSError(errno.EAGAIN, f"another process has held its lock for {_LOCK_PATIENCE:.0f} s") from None
            time.sleep(_LOCK_POLL)
        else:
            return


def write_all(descriptor: int, data: bytes) -> None:
    """Write in one piece.

    Raises:
        OSError: not all of it could be written; some of it may be in the file.
    """
    if os.write(descriptor, data) != len(data):
        raise OSError(errno.ENOSPC, "no space left for the whole line")


def flush(path: str) -> None:
    """Force a file or a directory to the disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def rotated(path: Path) -> list[tuple[int, Path]]:
    """List the full files of the log at ``path`` with their numbers, oldest first."""
    found = []
    for entry in path.parent.glob(glob.escape(path.name) + ".*"):
        number = entry.name[len(path.name) + 1 :]
        if number.isascii() and number.isdigit():
            found.append((int(number), entry))
    return sorted(found)
