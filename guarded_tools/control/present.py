"""What is so at one moment: what is halted, who is asked, how full the fullest limits are, who was refused last."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Final, NamedTuple

from guarded_tools.approvers.inbox import Question, questions
from guarded_tools.audit import Filter, Record, newest_first
from guarded_tools.audit.activity import CallTimes, Timeline
from guarded_tools.audit.refusals import RefusalKinds, RefusalRow
from guarded_tools.audit.summary import CallRow, calls
from guarded_tools.stores import StopButton, Store
from guarded_tools.values import Halted, Usage

_LOOKED_AT: Final = 4 * 1024 * 1024


class Present(NamedTuple):
    """What a store and an audit say at ``at``, in seconds since the epoch.

    ``limits`` are the counters of the busiest sessions and grants; ``refusals`` the latest, newest first.
    """

    at: float
    halts: list[Halted]
    questions: list[Question]
    limits: list[Usage]
    refusals: list[CallRow]


def look(store: Store | None, button: StopButton, audit: Path, now: float, *, most: int = 10) -> Present:
    """Look at a store that is open, if there is one, at its stop button, and at the end of an audit.

    No more is read than is shown: the counters of ``most`` scopes, and the last 4 MiB of the audit.

    Raises:
        StoreError: the store cannot be relied on.
        OSError: the audit cannot be read.
    """
    lines: list[Record] = []
    for record in newest_first(audit, Filter(kind="refused"), most_bytes=_LOOKED_AT):
        lines.append(record)
        if len(lines) >= most:
            break
    waiting = [] if store is None else questions(store)
    limits = [] if store is None else store.usage(None, None, most)
    return Present(now, button.halts(), waiting, limits, list(calls(lines, now=now)))


class Past(NamedTuple):
    """What became of calls: how many ended how, when, and which kinds of refusal were how frequent."""

    outcomes: Counter[str]
    timeline: Timeline | None
    refusals: list[RefusalRow]


def look_back(records: Iterable[Record], now: float) -> Past:
    """Bring records together in one pass, as of ``now``."""
    outcomes: Counter[str] = Counter()
    times, kinds = CallTimes(60), RefusalKinds()
    for row in calls(records, now=now):
        outcomes[row.outcome] += 1
        times.add(row)
        kinds.add(row)
    return Past(outcomes, times.found(), kinds.found())
