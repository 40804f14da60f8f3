"""Private files: how what only its owner may touch is opened, locked, replaced and brought to the disk.

Counters, their marker and the audit are worth as much as the promise that nobody else writes them. So there is one way
to open such a file, and it trusts nothing that it finds under the name:

- A name may have been *planted*: a link that leads elsewhere, a pipe that holds the opener for ever, a file of another
  user who reads along. All three are refused (``O_NOFOLLOW``, ``O_NONBLOCK``, owner and kind by ``fstat`` of what was
  opened, never of the name).
- A name may be *replaced* while its file is open: the lock is then held on a file that nobody else knows. Whoever holds
  one for long asks :func:`same_file` now and then.
- A *directory* of another user is refused even where its mode is 0700: who owns it can rename what is in it.
- A file that is *replaced* is whole or the old one, also after a power cut: written aside, forced to the disk, renamed,
  and the directory forced to the disk, for a name is the directory's.

Locks are ``flock``'s: of the open file, so a fork shares them and a closed descriptor releases them. They are asked for
again and again rather than waited for, since a wait in the kernel knows no end.

None of this is to be had on Windows: no ``flock``, no owner by number, no ``O_NOFOLLOW``, no directory that can be
forced to the disk. A guard without it would promise what it does not keep, so there loading this module is an error
that says what to do. Policies can be read and judged there: they need no files of ours.

All raise :class:`OSError` with a ``strerror`` for people; whose file it is, and what follows from it, says the caller.
"""

from __future__ import annotations

import errno
import os
import secrets
import shlex
import stat
import sys
import time
from pathlib import Path

try:
    import fcntl
except ImportError:
    raise ImportError(
        "guarded_tools keeps its counters and its audit by the file locks of POSIX (the module fcntl), and this"
        f" platform ({sys.platform}) has none: run it on Linux or macOS, and on Windows in WSL",
        name="fcntl",
    ) from None

PATIENCE = 5.0
"""Seconds that a lock is waited for where nobody says otherwise."""

_PAUSE = 0.0002
_DIGITS = 8  # in the names of drafts


def user_path(path: str | os.PathLike[str]) -> Path:
    """Put the home directory in place of a leading ``~``; where there is none for it, the name stays as it is."""
    return Path(os.path.expanduser(path))  # noqa: PTH111 - Path.expanduser raises where a user is not known


def make_private(path: Path) -> None:
    """Make a directory with mode 0700, or see that it is this user's and that nobody else may write into it.

    Parents are made as the umask has it.

    Raises:
        OSError: it cannot be made, or is not that.
    """
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = path.stat()
    if not stat.S_ISDIR(found.st_mode):
        raise NotADirectoryError(errno.ENOTDIR, "it is not a directory")
    if found.st_uid != os.geteuid():
        raise PermissionError(
            errno.EPERM,
            f"it belongs to another user (uid {found.st_uid}; this is {os.geteuid()}), who could put other files in"
            " place of ours: chown it, or name another",
        )
    if found.st_mode & 0o022:
        raise PermissionError(
            errno.EPERM,
            "others may write into it, and so could forge what is kept there: chmod 700 it, or name another",
        )


def open_private(path: str | os.PathLike[str], flags: int) -> int:
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
        raise PermissionError(errno.EPERM, "it belongs to another user")


def same_file(descriptor: int, path: str | os.PathLike[str]) -> bool:
    """Say whether a name still stands for the file behind a descriptor."""
    try:
        found = os.stat(path, follow_symlinks=False)  # noqa: PTH116 - as os.fstat below
    except FileNotFoundError:
        return False
    return os.path.samestat(found, os.fstat(descriptor))


def try_lock(descriptor: int, *, shared: bool = False) -> bool:
    """Take a lock if nobody else holds it, and say whether.

    Raises:
        OSError: the file system knows no locks.
    """
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def lock(descriptor: int, *, shared: bool = False, timeout: float = PATIENCE, pause: float = _PAUSE) -> None:
    """Take a lock, waiting at most ``timeout`` seconds for another process; ``pause`` seconds lie between two tries.

    Raises:
        TimeoutError: it was held all that time.
        OSError: the file system knows no locks.
    """
    deadline = 0.0
    while not try_lock(descriptor, shared=shared):
        now = time.monotonic()
        deadline = deadline or now + timeout
        if now >= deadline:
            raise TimeoutError(errno.ETIMEDOUT, f"another process has held its lock for {timeout:g} s")
        time.sleep(pause)


def unlock(descriptor: int) -> None:
    """Let go of a lock, said aloud: closing is not enough where a fork of that moment holds the same one.

    Raises:
        OSError: the file system knows no locks.
    """
    fcntl.flock(descriptor, fcntl.LOCK_UN)


def write_all(descriptor: int, data: bytes) -> None:
    """Write in one piece.

    Raises:
        OSError: not all of it could be written; some of it may be in the file.
    """
    if os.write(descriptor, data) != len(data):
        raise OSError(errno.ENOSPC, "no space left for all of it")


def flush(path: str | os.PathLike[str]) -> None:
    """Force a file or a directory to the disk.

    Raises:
        OSError: it cannot be opened, or the disk failed.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def replace(path: Path, data: bytes, mode: int = 0o600) -> None:
    """Put ``data`` in place of what a file held, whole or not at all, and on the disk when this returns.

    ``mode`` is that of the file from then on.

    Raises:
        OSError: it could not be done; the file is as it was.
    """
    draft = path.with_name(f".{path.name}.{secrets.token_hex(_DIGITS // 2)}")
    try:
        descriptor = open_private(draft, os.O_WRONLY | os.O_EXCL)
        try:
            write_all(descriptor, data)
            if mode != 0o600:  # noqa: PLR2004 - what it has
                os.fchmod(descriptor, mode)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        draft.replace(path)
        flush(path.parent)
    except OSError:
        draft.unlink(missing_ok=True)
        raise


def reason(error: OSError, path: str | os.PathLike[str]) -> str:
    """Say for people why something could not be done with a file; where a disk is full, what to run next."""
    told = error.strerror or str(error)
    return f"{told}{no_room(path)}" if error.errno in {errno.ENOSPC, errno.EDQUOT} else told


def no_room(path: str | os.PathLike[str]) -> str:
    """Say how to find room on the disk that a file is on; goes behind the words that say that there is none."""
    return f"; free some space: df -h {shlex.quote(os.fspath(path))} says on which disk"


def is_draft(name: str) -> bool:
    """Whether a file's name is one that :func:`replace` gives to what it writes aside; a killed process leaves it."""
    front, _, digits = name.rpartition(".")
    return front.startswith(".") and len(digits) == _DIGITS and set(digits) <= set("0123456789abcdef")
