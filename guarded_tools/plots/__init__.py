"""Pictures of an audit, as matplotlib figures (extra ``notebook``).

Each function takes an :class:`~guarded_tools.audit.AuditLog`, the path of one, or records, and returns a figure that a
notebook shows and ``savefig`` writes. :func:`overview` is all of them on one page. Times are UTC.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, TypeAlias

from guarded_tools.audit import AuditLog, Record, read
from guarded_tools.audit.summary import CallRow
from guarded_tools.audit.summary import calls as join_calls
from guarded_tools.plots.drawings import (
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

_NOT_SHOWN = frozenset({"args", "values", "policy", "server", "result", "trace", "prev", "hash"})

Source: TypeAlias = AuditLog | str | os.PathLike[str] | Iterable[Record]


def overview(source: Source) -> Figure:
    """Draw everything on one page: who was refused what and why, then when, how full, who asked, and who was busy."""
    records = _records(source)
    figure = Picture(figsize=(13, 12), layout="constrained")
    rows: Any = [["why", "why"], ["when", "when"], ["full", "who"], ["asked", "asked"]]
    axes = figure.subplot_mosaic(rows, height_ratios=[4, 3, 4, 2])
    called = list(join_calls(records))
    draw_refusals(axes["why"], called)
    draw_calls(axes["when"], called)
    draw_limits(axes["full"], records)
    draw_sessions(axes["who"], called)
    draw_approvals(axes["asked"], records)
    return figure


def refusals(source: Source) -> Figure:
    """Draw who was refused what, and why: a bar for each kind of refusal, as long as it was frequent."""
    return _alone(_of_calls(draw_refusals), source)


def calls(source: Source) -> Figure:
    """Draw the calls over time, by outcome."""
    return _alone(_of_calls(draw_calls), source, height=3.5)


def limits(source: Source) -> Figure:
    """Draw how full each limit was at its fullest, of each session, grant, or all."""
    return _alone(draw_limits, source)


def approvals(source: Source) -> Figure:
    """Draw how long each question waited for a human, and what the answer was."""
    return _alone(draw_approvals, source)


def sessions(source: Source) -> Figure:
    """Draw the busiest sessions and what became of their calls."""
    return _alone(_of_calls(draw_sessions), source)


def spending(source: Source, unit: str = "USD") -> Figure:
    """Draw what was spent in a unit on each day (UTC), by session: by tools whose limits have it, and by the model."""
    return _alone(partial(draw_spending, unit=unit), source)


def labels(source: Source, session: str | None = None) -> Figure:
    """Draw what a session came to carry over its calls, and what became of these; the last session without a name."""
    return _alone(lambda axes, records: draw_labels(axes, records, session), source)


def _alone(draw: Callable[[Axes, list[Record]], None], source: Source, height: float = 4.5) -> Figure:
    figure = Picture(figsize=(10, height), layout="constrained")
    draw(figure.add_subplot(), _records(source))
    return figure


def _of_calls(draw: Callable[[Axes, list[CallRow]], None]) -> Callable[[Axes, list[Record]], None]:
    return lambda axes, records: draw(axes, list(join_calls(records)))


def _records(source: Source) -> list[Record]:
    if isinstance(source, AuditLog):
        source = source.path
    records = read(source) if isinstance(source, str | os.PathLike) else source
    # A million lines fit into memory without what no picture shows: it is more than half of each.
    return [{field: value for field, value in record.items() if field not in _NOT_SHOWN} for record in records]
