"""The one directory that holds all state of this user: counters, asks, the audit."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs

from guarded_tools.errors import StoreError
from guarded_tools.files import make_private, user_path

HOME = "GUARDED_TOOLS_HOME"


def state_path(explicit: str | os.PathLike[str] | None = None) -> Path:
    """Say where the state directory is, without making it."""
    return user_path(explicit or os.environ.get(HOME) or platformdirs.user_state_path("guarded-tools"))


def state_dir(explicit: str | os.PathLike[str] | None = None) -> Path:
    """Return the state directory, created with mode 0700 if need be.

    It is ``explicit``, else what the environment variable ``GUARDED_TOOLS_HOME`` names, else the platform's place for
    the state of a user's programs.

    Raises:
        StoreError: it cannot be made, or is another user's, or others may write into it.
    """
    path = state_path(explicit)
    try:
        make_private(path)
    except OSError as error:
        raise StoreError(f"the state directory {path} cannot be used: {error.strerror}") from error
    return path.absolute()
