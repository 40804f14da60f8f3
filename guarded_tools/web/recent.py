"""The latest of the audit, kept in memory: one thread follows it, and no page reads a log to its end.

What is kept: the latest :data:`KEPT` records, and how many calls ended how in each minute of the last day. A page that
needs more says so, and names the command that reads all.
"""

from __future__ import annotations

import itertools
import logging
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from guarded_tools.audit import Filter, Record, follow, newest_first, when
from guarded_tools.audit.summary import CallRow, calls

log = logging.getLogger("guarded_tools.web")

KEPT: Final = 5_000
"""Records that are kept."""
DAY: Final = 1_440
"""Minutes that are counted."""
_LOOKED_AT: Final = 100_000
_POLL: Final = 0.2
_PAUSE: Final = 5.0
_STORY: Final = 64 * 1024 * 1024
_LONGEST_STORY: Final = 200


class Recent:
    """Follows the audit at ``path`` from :meth:`start` to :meth:`stop`; ``changed`` is called as records come."""

    def __init__(
        self, path: Path, changed: Callable[[], None] = lambda: None, clock: Callable[[], float] = time.time
    ) -> None:
        self._path, self.changed, self._clock = path, changed, clock
        self._lock = threading.Lock()
        self._ending = threading.Event()
        self._records: deque[Record] = deque(maxlen=KEPT)
        self._minutes: dict[int, Counter[str]] = {}
        self._counted_from = 0.0
        self._rows: tuple[int, list[CallRow]] = (-1, [])
        self._last = 0
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Read the latest, and follow from there in a thread."""
        self._thread = threading.Thread(target=self._follow, name="guarded-tools-web-audit", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._ending.set()
        if self._thread is not None:
            self._thread.join(5)

    def load(self) -> None:
        """Read the latest records, without following."""
        since = self._clock() - DAY * 60
        found: list[Record] = []
        for record in itertools.islice(newest_first(self._path), _LOOKED_AT):
            if when(record) < since and len(found) >= KEPT:
                break
            found.append(record)
        whole = len(found) < _LOOKED_AT
        self._counted_from = since if whole or not found else when(found[-1])
        for record in reversed(found):
            if record["seq"] > self._last:
                self._keep(record)

    def _follow(self) -> None:
        while not self._ending.is_set():
            try:
                self.load()
                self.changed()
                for record in follow(self._path, after=self._last, poll=_POLL, stop=self._ending.is_set):
                    self._keep(record)
                    self.changed()
            except OSError as error:
                log.warning("the audit %s cannot be read: %s", self._path, error.strerror)
                self._ending.wait(_PAUSE)

    def _keep(self, record: Record) -> None:
        with self._lock:
            self._records.append(record)
            self._last = record["seq"]
            if record.get("kind") in {"settled", "refused"}:
                minute = int(when(record) // 60)
                self._minutes.setdefault(minute, Counter())[str(record.get("outcome", ""))] += 1
                if len(self._minutes) > 2 * DAY:
                    oldest = int(self._clock() // 60) - DAY
                    self._minutes = {at: counted for at, counted in self._minutes.items() if at >= oldest}

    def records(self) -> list[Record]:
        """Return what is kept, oldest first."""
        with self._lock:
            return list(self._records)

    def calls(self) -> list[CallRow]:
        """Join what is kept into calls, latest first; those of which no end is known are the first of all."""
        with self._lock:
            last, records = self._last, list(self._records)
        if self._rows[0] != last:
            self._rows = last, list(calls(records))[::-1]
        return self._rows[1]

    def story(self, key: str) -> list[Record]:
        """Return the records of one call, oldest first: of what is kept, else of the last 64 MiB of the audit."""
        found = [record for record in self.records() if record.get("key") == key]
        if not found:
            older = newest_first(self._path, Filter(key=key), most_bytes=_STORY)
            found = list(itertools.islice(older, _LONGEST_STORY))[::-1]
        return found

    def minutes(self) -> Mapping[int, Counter[str]]:
        """Return how many calls ended how, by the minute since the epoch."""
        with self._lock:
            return {minute: Counter(counted) for minute, counted in self._minutes.items()}

    @property
    def counted_from(self) -> float:
        """Since when :meth:`minutes` counts, in seconds since the epoch."""
        return self._counted_from
