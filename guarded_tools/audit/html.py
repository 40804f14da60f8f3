"""The audit as a person likes to look at it in a notebook."""

from __future__ import annotations

from pathlib import Path

from guarded_tools.audit.read import read
from guarded_tools.audit.summary import OPEN, REFUSED, CallRow, RefusalRow, calls, summarise
from guarded_tools.text.tables import Cell, Tone, table
from guarded_tools.text.units import date_and_time, latency, whose

_LATEST = 10


def to_html(path: Path) -> str:
    """Lay out who was refused what, and why, and the latest calls."""
    found = summarise(calls(read(path)), latest=_LATEST)
    total = found.outcomes.total()
    counts = ", ".join(f"{number} {outcome}" for outcome, number in found.outcomes.most_common())
    refused = table(
        "Who was refused what, and why" if found.refusals else "Nobody was refused anything",
        ("who", "what", "times", "outcome", "why", "last (UTC)") if found.refusals else (),
        (_refusal(row) for row in found.refusals),
        note=f"{total} calls: {counts}" if total else "no call yet",
    )
    if not found.latest:
        return refused
    columns = ("time (UTC)", "who", "tool", "outcome", "human", "guard", "tool took")
    return refused + table("Latest calls", columns, (_call(row) for row in found.latest))


def _refusal(row: RefusalRow) -> list[str | Cell]:
    why = f"{row.message}\n{row.rule}" if row.message else row.rule
    return [
        "".join(whose(row.session, row.grant)),
        row.tool,
        str(row.times),
        Cell(row.ended, _tone(row.outcome)),
        why,
        date_and_time(row.last),
    ]


def _call(row: CallRow) -> list[str | Cell]:
    human = row.answer + (f" by {row.answered_by}" if row.answered_by else "")
    human += f" after {row.human_ms / 1000:.1f} s" if row.human_ms else ""
    return [
        date_and_time(row.ended),
        "".join(whose(row.session, row.grant)),
        row.tool,
        Cell(row.outcome, _tone(row.outcome)),
        human,
        latency(row.guard_ms),
        latency(row.tool_ms),
    ]


def _tone(outcome: str) -> Tone:
    return "bad" if outcome in REFUSED else "good" if outcome == "ok" else "quiet" if outcome == OPEN else "warn"
