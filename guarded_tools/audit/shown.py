"""Calls and refusals as tables: the same rows for whoever looks at an audit in a terminal or in a notebook.

A terminal is narrow and a notebook is not: there what was called, its outcome and the reason share one column, and
names and messages are cut where they are long. All else is said once, here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from guarded_tools.audit.read import read
from guarded_tools.audit.refusals import MOST_SESSIONS, RefusalRow, summarise
from guarded_tools.audit.summary import CallRow, calls
from guarded_tools.text.tables import BREAK, Cell, Content, Table
from guarded_tools.text.tables import to_html as laid_out
from guarded_tools.text.tones import look
from guarded_tools.text.units import date_and_time, latency, whose

_LATEST = 10


def outcome_cell(outcome: str, said: str = "") -> Cell:
    """Name an outcome in its colour; ``said`` is what stands there instead of its bare name."""
    return Cell(said or outcome, look(outcome).tone, limit=40)


def refusals_table(title: str, rows: Iterable[RefusalRow], clock: Callable[[float], str], *, narrow: bool) -> Table:
    """Say who was refused what, and why. ``clock`` writes a moment; ``narrow`` is for a terminal."""
    wide = ("who", "what", "times", "outcome", "why", "last (UTC)")
    columns = ("who", "times", "what, and why", "last (UTC)") if narrow else wide
    return Table(columns, [_refusal(row, clock, narrow=narrow) for row in rows], title, numbers=("times",))


def calls_table(rows: Iterable[CallRow], clock: Callable[[float], str]) -> Table:
    """List calls with what became of each, and how long the human, the guard and the tool took."""
    columns = ("time (UTC)", "who", "tool", "outcome", "human", "guard", "tool took")
    return Table(columns, [call_cells(row, clock) for row in rows], "Latest calls", numbers=("guard", "tool took"))


def _refusal(row: RefusalRow, clock: Callable[[float], str], *, narrow: bool) -> list[Content]:
    who = [Cell(name, limit=60) for name in refused(row)]
    what, outcome = Cell(row.tool, limit=80), outcome_cell(row.outcome, row.ended)
    reason = [Cell(why(row), limit=300), BREAK] if row.message else []
    reason.append(Cell(row.rule, "quiet", limit=200))
    if narrow:
        return [who, f"{row.times:,}", [what, Cell("  "), outcome, BREAK, *reason], clock(row.last)]
    return [who, what, f"{row.times:,}", outcome, reason, clock(row.last)]


def refused(row: RefusalRow) -> tuple[str, ...]:
    """Say who was refused, in pieces to be joined: one session by its name, several by their number."""
    if row.sessions == 1:
        return whose(row.session, row.grant)
    return (f"{row.sessions:,} sessions{' or more' if row.sessions >= MOST_SESSIONS else ''}",)


def why(row: RefusalRow) -> str:
    """Say why: the reason that was given last, and whether others were given."""
    return f"{row.message} (and for other reasons)" if row.message and row.messages > 1 else row.message


def call_cells(row: CallRow, clock: Callable[[float], str]) -> list[Content]:
    """Return the contents of a call's row, for :func:`calls_table` or for a line of its own."""
    human = [row.answer, f"by {row.answered_by}" if row.answered_by else ""]
    human.append(f"after {row.human_ms / 1000:.1f} s" if row.human_ms else "")
    said = " ".join(filter(None, human)) or ("asked" if row.asked else "")
    took = [latency(row.guard_ms), latency(row.tool_ms)]
    return [
        clock(row.ended),
        _who(row),
        Cell(row.tool, limit=80),
        outcome_cell(row.outcome),
        Cell(said, limit=80),
        *took,
    ]


def _who(row: RefusalRow | CallRow) -> list[Cell]:
    return [Cell(name, limit=60) for name in whose(row.session, row.grant)]


def to_html(path: Path) -> str:
    """Lay out who was refused what, and why, and the latest calls, as a notebook shows it."""
    found = summarise(calls(read(path)), latest=_LATEST)
    total = found.outcomes.total()
    counts = ", ".join(f"{number} {outcome}" for outcome, number in found.outcomes.most_common())
    note = f"{total} calls: {counts}" if total else "no call yet"
    refused = Table((), (), "Nobody was refused anything")
    if found.refusals:
        refused = refusals_table("Who was refused what, and why", found.refusals, date_and_time, narrow=False)
    latest = laid_out(calls_table(found.latest, date_and_time)) if found.latest else ""
    return laid_out(refused._replace(note=note)) + latest
