"""What is so at one moment, as tables: the same for whoever looks in a terminal or at a report."""

from __future__ import annotations

from collections.abc import Sequence

from guarded_tools.approvers.inbox import Question
from guarded_tools.audit.shown import outcome_cell
from guarded_tools.audit.summary import CallRow
from guarded_tools.control.present import Present
from guarded_tools.text.quantities import of_most, spoken
from guarded_tools.text.tables import BREAK, Cell, Content, Table
from guarded_tools.text.tones import share
from guarded_tools.text.units import clock, date_and_time, remaining, whose, window
from guarded_tools.values import Halted, Usage

_MOST_QUESTIONS = 20


def tables(present: Present) -> list[Table]:
    """Describe all of it, what stops agents first; what there is none of is a title that says so."""
    return [
        halts_table(present.halts),
        questions_table(present.questions, present.at),
        limits_table(present.limits),
        refusals_table(present.refusals, present.at),
    ]


def halts_table(halts: Sequence[Halted]) -> Table:
    """List what is halted, since when and why."""
    if not halts:
        return Table((), (), "Nothing is halted")
    rows: list[list[Content]] = [
        [Cell(halted.scope, "bad", limit=80), date_and_time(halted.since), Cell(halted.reason, limit=200)]
        for halted in halts
    ]
    return Table(("halted", "since (UTC)", "why"), rows, "Halted: no call is admitted")


def questions_table(waiting: Sequence[Question], now: float) -> Table:
    """List the questions that wait for an answer, the oldest first."""
    if not waiting:
        return Table((), (), "Nobody is asked")
    rows: list[list[Content]] = [
        [
            question.id,
            Cell(question.request.tool, limit=80),
            question.request.risk,
            _who(question.request.session, question.request.grant),
            remaining(question.closes_at - now),
        ]
        for question in waiting[:_MOST_QUESTIONS]
    ]
    more = len(waiting) - len(rows)
    note = f"and {more} more" if more > 0 else ""
    columns = ("question", "tool", "risk", "who", "expires in")
    return Table(columns, rows, f"Open questions: {len(waiting)}", note, numbers=("expires in",))


def limits_table(limits: Sequence[Usage]) -> Table:
    """List counters with how full each is, as they come."""
    if not limits:
        return Table((), (), "No limit is in use")
    rows: list[list[Content]] = []
    before = ""
    for one in limits:
        frees = f"frees in {remaining(one.frees_in)}" if one.used else ""
        used = Cell(of_most(one.counter, one.used, one.max, grouped=True), share=share(one.used, one.max), limit=60)
        scope = "" if one.scope == before else one.scope
        rows.append(
            [Cell(scope, limit=60), used, Cell(f"{spoken(one.counter)} in {window(one.window)}", limit=100), frees]
        )
        before = one.scope
    return Table(("who", "used", "limit", ""), rows, "The fullest limits")


def refusals_table(rows: Sequence[CallRow], now: float) -> Table:
    """List calls that were refused, with the reason of each."""
    if not rows:
        return Table((), (), "No call was refused lately")
    told: list[list[Content]] = [
        [
            clock(row.ended, now),
            _who(row.session, row.grant),
            Cell(row.tool, limit=80),
            outcome_cell(row.outcome),
            [*([Cell(row.message, limit=200), BREAK] if row.message else []), Cell(row.rule, "quiet", limit=200)],
        ]
        for row in rows
    ]
    return Table(("time (UTC)", "who", "tool", "outcome", "why"), told, "Latest refusals")


def _who(session: str, grant: str | None) -> list[Cell]:
    return [Cell(name, limit=60) for name in whose(session, grant)]
