"""The latest of the audit, kept in memory: one thread follows it, and no page reads a log to its end.

What is kept: the latest :data:`KEPT` records and the calls that they make, and how many calls ended how in each minute
of the last day. The day is counted in the background, newest first, so a page that was just opened is there at once and
says from when on it counts. A page that needs more says so, and names the command that reads all.
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

from guarded_tools.audit import Record, follow, newest_first, when
from guarded_tools.audit.summary import CallRow, JoinedCalls
from guarded_tools.audit.tail import story
from guarded_tools.audit.tally import tally

log = logging.getLogger("guarded_tools.web")

KEPT: Final = 5_000
"""Records that are kept."""
DAY: Final = 1_440
"""Minutes that are counted."""
COUNTED: Final = 1024 * 1024 * 1024
"""Bytes of the audit in which the calls of the last day are counted, as the page starts."""
_POLL: Final = 0.2
_PAUSE: Final = 5.0
_BREATH: Final = 0.005
_STORY: Final = 32 * 1024 * 1024
_LONGEST_STORY: Final = 200
_FORGET_EVERY: Final = 500


class Recent:
    """Follows the audit at ``path`` from :meth:`start` to :meth:`stop`; ``changed`` is told the kinds that came."""

    def __init__(
        self, path: Path, changed: Callable[[str], None] = lambda _: None, clock: Callable[[], float] = time.time
    ) -> None:
        self._path, self.changed, self._clock = path, changed, clock
        self._lock = threading.Lock()
        self._ending = threading.Event()
        self._records: deque[Record] = deque(maxlen=KEPT)
        self._joined = JoinedCalls()
        self._ended: deque[tuple[int, CallRow]] = deque(maxlen=KEPT)
        self._minutes: dict[int, Counter[str]] = {}
        self._counted_from = 0.0
        self._last = 0
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Read the latest, and follow from there in a thread."""
        self._begin(self._follow, "guarded-tools-web-audit")

    def _begin(self, work: Callable[..., None], name: str, *args: object) -> None:
        thread = threading.Thread(target=work, name=name, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def stop(self) -> None:
        """End the threads."""
        self._ending.set()
        for thread in self._threads:
            thread.join(5)

    def load(self) -> int:
        """Read the latest records, without following; returns the number of the oldest of them."""
        found = list(itertools.islice(newest_first(self._path), KEPT))
        self._counted_from = when(found[-1]) if len(found) == KEPT else self._clock() - DAY * 60
        for record in reversed(found):
            if record["seq"] > self._last:
                self._keep(record)
        return int(found[-1]["seq"]) if found else 0

    def count(self, before: int) -> None:
        """Count the calls of the last day that ended in lines before number ``before``."""
        since = self._clock() - DAY * 60
        for reach, minutes in tally(self._path, before=before, since=since, most_bytes=COUNTED):
            if self._ending.wait(_BREATH):
                return
            with self._lock:
                for minute, counted in minutes.items():
                    self._minutes.setdefault(minute, Counter()).update(counted)
                if reach != 0:
                    self._counted_from = since if reach is None else min(self._counted_from, reach * 60.0)
        self.changed("")

    def _follow(self) -> None:
        counted = False
        while not self._ending.is_set():
            try:
                first = self.load()
                self.changed("")
                if not counted:
                    self._begin(self._count, "guarded-tools-web-count", first)
                    counted = True
                for record in follow(self._path, after=self._last, poll=_POLL, stop=self._ending.is_set):
                    self._keep(record)
                    self.changed(str(record.get("kind", "")))
            except OSError as error:
                log.warning("the audit %s cannot be read: %s", self._path, error.strerror)
                self._ending.wait(_PAUSE)

    def _count(self, before: int) -> None:
        try:
            self.count(before)
        except OSError as error:
            log.warning("the audit %s cannot be counted: %s", self._path, error.strerror)

    def _keep(self, record: Record) -> None:
        with self._lock:
            self._records.append(record)
            self._last = record["seq"]
            row = self._joined.add(record)
            if row is not None:
                self._ended.append((self._last, row))
            # What never ends is forgotten with the lines around it: a call of a process that died is not open for ever.
            while self._ended and self._ended[0][0] <= self._last - KEPT:
                self._ended.popleft()
            if self._last % _FORGET_EVERY == 0:
                self._joined.forget(self._last - KEPT + 1)
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
        """Return the calls of what is kept, latest first: one of which no end is known stands at its time."""
        with self._lock:
            rows = [*(row for _, row in reversed(self._ended)), *reversed(self._joined.open(self._clock()))]
        return sorted(rows, key=lambda row: row.ended, reverse=True)

    def story(self, key: str) -> list[Record]:
        """Return the records of one call, oldest first: of the last 32 MiB of the audit."""
        return story(self._path, key, most_bytes=_STORY)[-_LONGEST_STORY:]

    def minutes(self) -> Mapping[int, Counter[str]]:
        """Return how many calls ended how, by the minute since the epoch."""
        with self._lock:
            return {minute: Counter(counted) for minute, counted in self._minutes.items()}

    @property
    def counted_from(self) -> float:
        """Since when :meth:`minutes` counts, in seconds since the epoch."""
        return self._counted_from
