"""Pictures of an audit, as matplotlib figures (extra ``notebook``).

Each function takes an :class:`~guarded_tools.audit.AuditLog`, the path of one, or records, and returns a figure that a
notebook shows and ``savefig`` writes. :func:`overview` is all of them on one page. Times are UTC.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import TypeAlias

from guarded_tools.audit import AuditLog, Record, newest_first, read
from guarded_tools.audit import charged as charges
from guarded_tools.audit.activity import BusySessions, CallTimes, HumanWaits, told
from guarded_tools.audit.refusals import RefusalKinds
from guarded_tools.audit.summary import CallRow
from guarded_tools.audit.summary import calls as join_calls
from guarded_tools.plots.drawings import (
    MOST_BARS,
    draw_approvals,
    draw_calls,
    draw_labels,
    draw_limits,
    draw_refusals,
    draw_sessions,
    draw_spending,
)
from guarded_tools.plots.parts import COLOURS, Axes, Figure, Picture

__all__ = [
    "COLOURS", "Picture", "approvals", "calls", "labels", "limits", "overview", "refusals", "sessions", "spending",
]  # fmt: skip

Source: TypeAlias = AuditLog | str | os.PathLike[str] | Iterable[Record]


def overview(source: Source) -> Figure:
    """Draw everything on one page: who was refused what and why, then when, how full, who asked, and who was busy.

    One pass over the records fills all of it; what is kept of them does not grow with their number.
    """
    limits, waits = charges.FullestLimits(), HumanWaits()
    kinds, times, sessions = RefusalKinds(), CallTimes(), BusySessions()
    for row in join_calls(told(_records(source), limits, waits)):
        kinds.add(row)
        times.add(row)
        sessions.add(row)
    figure = Picture(figsize=(13, 12), layout="constrained")
    axes = figure.subplot_mosaic(
        [["why", "why"], ["when", "when"], ["full", "who"], ["asked", "asked"]], height_ratios=[4, 3, 4, 2]
    )
    draw_refusals(axes["why"], kinds.found())
    draw_calls(axes["when"], times.found())
    draw_limits(axes["full"], limits.found())
    draw_sessions(axes["who"], sessions.found(MOST_BARS))
    draw_approvals(axes["asked"], waits.found(MOST_BARS))
    return figure


def refusals(source: Source) -> Figure:
    """Draw who was refused what, and why: a bar for each kind of refusal, as long as it was frequent."""
    kinds = RefusalKinds()
    _each_call(source, kinds.add)
    return _alone(lambda axes: draw_refusals(axes, kinds.found()))


def calls(source: Source) -> Figure:
    """Draw the calls over time, by outcome."""
    times = CallTimes()
    _each_call(source, times.add)
    return _alone(lambda axes: draw_calls(axes, times.found()), height=3.5)


def limits(source: Source) -> Figure:
    """Draw how full each limit was at its fullest, of each session, grant, or all."""
    found = charges.fullest(_records(source))
    return _alone(lambda axes: draw_limits(axes, found))


def approvals(source: Source) -> Figure:
    """Draw how long each question waited for a human, and what the answer was."""
    waits = HumanWaits()
    for record in _records(source):
        waits.add(record)
    return _alone(lambda axes: draw_approvals(axes, waits.found(MOST_BARS)))


def sessions(source: Source) -> Figure:
    """Draw the busiest sessions and what became of their calls."""
    busy = BusySessions()
    _each_call(source, busy.add)
    return _alone(lambda axes: draw_sessions(axes, busy.found(MOST_BARS)))


def spending(source: Source, unit: str = "USD") -> Figure:
    """Draw what was spent in a unit on each day (UTC), by session: by tools whose limits have it, and by the model."""
    found = charges.spending(_records(source), unit)
    return _alone(lambda axes: draw_spending(axes, found, unit))


def labels(source: Source, session: str | None = None) -> Figure:
    """Draw what a session came to carry over its calls, and what became of these; the last session without a name."""
    if isinstance(source, AuditLog):
        source = source.path
    if not isinstance(source, str | os.PathLike):
        source = list(source)
    if session is None:
        backwards = source[::-1] if isinstance(source, list) else newest_first(source)
        session = next(
            (str(record["session"]) for record in backwards if record.get("key") and "session" in record), ""
        )
    found = [
        record for record in _records(source) if record.get("session") == session or record.get("kind") == "control"
    ]
    return _alone(lambda axes: draw_labels(axes, found, session))


def _alone(draw: Callable[[Axes], None], height: float = 4.5) -> Figure:
    figure = Picture(figsize=(10, height), layout="constrained")
    draw(figure.add_subplot())
    return figure


def _each_call(source: Source, add: Callable[[CallRow], None]) -> None:
    for row in join_calls(_records(source)):
        add(row)


def _records(source: Source) -> Iterable[Record]:
    if isinstance(source, AuditLog):
        source = source.path
    return read(source) if isinstance(source, str | os.PathLike) else source
