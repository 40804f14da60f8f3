"""The one directory that holds all state of this user: counters, asks, the audit."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import platformdirs

from guarded_tools.errors import StoreError

HOME = "GUARDED_TOOLS_HOME"


def state_path(explicit: str | os.PathLike[str] | None = None) -> Path:
    """Say where the state directory is, without making it."""
    return Path(explicit or os.environ.get(HOME) or platformdirs.user_state_path("guarded-tools")).expanduser()


def state_dir(explicit: str | os.PathLike[str] | None = None) -> Path:
    """Return the state directory, created with mode 0700 if need be.

    It is ``explicit``, else what the environment variable ``GUARDED_TOOLS_HOME`` names, else the platform's place for
    the state of a user's programs.

    Raises:
        StoreError: it cannot be made, or others may write into it.
    """
    path = state_path(explicit)
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = path.stat()
    except OSError as error:
        raise StoreError(f"the state directory {path} cannot be used: {error.strerror}") from error
    if not stat.S_ISDIR(found.st_mode):
        raise StoreError(f"the state directory {path} is not a directory")
    if found.st_mode & 0o022:
        raise StoreError(f"others may write into the state directory {path}: chmod 700 it, or name another")
    return path.absolute()
