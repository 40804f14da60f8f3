"""Reading a policy anew when its file changes, so that a new one reaches every worker of a service.

**Invariant.** A file counts as changed once two looks in a row find it alike, and other than what was read last: while
it is being written, what stands in it may be a policy of its own, and a wider one.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Self, TypeAlias

from guarded_tools.errors import GuardError

_Seen: TypeAlias = tuple[tuple[int, ...] | None, ...]

log = logging.getLogger("guarded_tools")


class PolicyWatch:
    """Looks at files, and calls ``reload`` when one of them changed: by hand with :meth:`look`, or within ``with``.

    A thread looks every ``every`` seconds within ``with``. What ``reload`` raises is its own to record: what was in
    force stays, and the next version of the file is tried.
    """

    def __init__(self, files: Sequence[str | os.PathLike[str]], reload: Callable[[], object], every: float) -> None:
        self._files = tuple(files)
        self._reload = reload
        self._every = every
        # Read at the first looks: it may have changed between the guard's own reading and now.
        self._read: _Seen | None = None
        self._last: _Seen | None = None
        self._ending = threading.Event()
        self._thread: threading.Thread | None = None

    def look(self) -> bool:
        """Look at the files once; returns whether the policy was read anew, or tried to be."""
        seen, before = self._now(), self._last
        self._last = seen
        if seen == self._read or seen != before or None in seen:
            return False
        self._read = seen
        try:
            self._reload()
        except GuardError as error:
            log.warning("The policy in force stays: %s", error)
        return True

    def _now(self) -> _Seen:
        return tuple(map(_signature, self._files))

    def __enter__(self) -> Self:
        self._ending.clear()
        self._thread = threading.Thread(target=self._run, name="guarded-tools-policy", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        while not self._ending.wait(self._every):
            try:
                self.look()
            except Exception:
                log.exception("The policy's file could not be looked at; the policy in force stays")


def _signature(file: str | os.PathLike[str]) -> tuple[int, ...] | None:
    """Return what changes with a file's content; ``None`` where there is none to be seen."""
    try:
        found = Path(file).stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino, found.st_dev
