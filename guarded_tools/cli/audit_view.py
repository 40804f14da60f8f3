"""How the audit looks at a terminal.

Names and messages come from models and servers. Nothing of them may move the cursor, so they are made visible first.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from guarded_tools.audit import Filter, Finding, Record, follow, read, when
from guarded_tools.audit.head import head_path, peek
from guarded_tools.audit.summary import OPEN, REFUSED, CallRow, RefusalRow, Summary, calls, summarise
from guarded_tools.cli.console import out
from guarded_tools.stores import Store
from guarded_tools.text.units import clock, latency, whose
from guarded_tools.text.visible import plain

_COLOURS = {"ok": "green", "error": "yellow", "never_ran": "yellow", "unknown": "yellow", OPEN: "yellow"}
_WIDE = 110


def print_summary(path: Path, wanted: Filter, outcome: str | None, lines: int) -> int:
    """Print what became of the calls, who was refused what and why, and the latest; return the last record's number."""
    console = out()
    last = 0

    def records() -> Iterator[Record]:
        nonlocal last
        for record in read(path):
            last = record["seq"]
            if wanted.wants(record):
                yield record

    rows = calls(records(), shadow=bool(wanted.shadow))
    found = summarise((row for row in rows if outcome in {None, row.outcome}), latest=lines)
    if found.outcomes:
        _print_summary(console, found, "would have been" if wanted.shadow else "was")
    else:
        console.print("No call matches.")
    if wanted.session is None and wanted.tool is None and not wanted.shadow:
        _print_control(console, path, wanted.since)
    return last


def _print_summary(console: Console, found: Summary, verb: str) -> None:
    names = [Text.assemble(f"{number} ", _styled(name)) for name, number in found.outcomes.most_common()]
    console.print(Text(_count(found.outcomes.total(), "call"), style="bold"), Text(", ").join(names))
    if found.refusals:
        console.print(_refusals_table(f"Who {verb} refused what, and why", found.refusals))
    else:
        console.print(f"Nobody {verb} refused anything.")
    if found.latest:
        console.print(_calls_table(found.latest, console.width))


def _refusals_table(title: str, groups: Iterable[RefusalRow]) -> Table:
    table = _table(title, "who", "times", "what, and why", "last (UTC)")
    for group in groups:
        what = Text.assemble(plain(group.tool, 80), "  ", _styled(group.outcome, group.ended))
        if group.message:
            what.append(f"\n{plain(group.message, 300)}")
        what.append(f"\n{plain(group.rule, 200)}", style="dim")
        table.add_row(Text(_who(group.session, group.grant)), str(group.times), what, _clock(group.last))
    return table


def _calls_table(rows: Iterable[CallRow], width: int) -> Table:
    columns = ("time (UTC)", "who", "tool", "outcome", "human", "guard", "tool took")
    shown = len(columns) if width >= _WIDE else len(columns) - 2
    table = _table("Latest calls", *columns[:shown])
    for row in rows:
        table.add_row(*_cells(row)[:shown])
    return table


def _table(title: str, *columns: str) -> Table:
    table = Table(
        title=title,
        title_justify="left",
        title_style="bold",
        header_style="bold",
        box=None,
        pad_edge=False,
        padding=(0, 2, 0, 0),
    )
    for column in columns:
        numeric = column in {"times", "guard", "tool took"}
        table.add_column(column, justify="right" if numeric else "left", overflow="fold")
    return table


def _cells(row: CallRow) -> list[Text | str]:
    human = " ".join(part for part in (row.answer, f"by {row.answered_by}" if row.answered_by else "") if part)
    if row.human_ms:
        human += f" after {row.human_ms / 1000:.1f} s"
    return [
        _clock(row.ended),
        Text(_who(row.session, row.grant)),
        Text(plain(row.tool, 80)),
        _styled(row.outcome),
        Text(plain(human, 80) or ("asked" if row.asked else "")),
        latency(row.guard_ms),
        latency(row.tool_ms),
    ]


def print_as_they_come(path: Path, wanted: Filter, outcome: str | None, last: int) -> None:
    """Print a line for every call that ends after record ``last``, for ever."""
    console = out()
    for row in calls(follow(path, wanted, after=last), shadow=bool(wanted.shadow)):
        if outcome in {None, row.outcome}:
            why = f"  {plain(row.rule, 200)} {plain(row.message, 300)}" if row.outcome in REFUSED else ""
            line = Text("  ").join(
                cell if isinstance(cell, Text) else Text.from_markup(cell) for cell in _cells(row) if cell
            )
            console.print(Text.assemble(line, Text(why, style="dim")), soft_wrap=True)


def _print_control(console: Console, path: Path, since: float | None) -> None:
    for record in deque(read(path, kind="control", since=since), maxlen=5):
        what = plain(f"{record.get('rule', '')} {record.get('message', '')}", 300)
        console.print(Text(f"{_clock(when(record))}  {what}"), style="cyan")


def print_findings(path: Path, findings: list[Finding], store: Store | None) -> None:
    """Print what is wrong with a log, what its end was compared with, and its last record, to be noted elsewhere."""
    console = out()
    for finding in findings:
        console.print(Text(plain(str(finding))), style="yellow" if finding.tolerated else "red", soft_wrap=True)
    head = peek(head_path(path))
    if head is not None:
        console.print(Text(f"The last record is {head.seq}, with hash {head.hash}."), soft_wrap=True)
    with_what = head_path(path).name + (" and the store" if store is not None else "; no store keeps its head")
    if all(finding.tolerated for finding in findings):
        console.print(
            Text(f"The audit is whole: every line is in its place, and the end is the one named by {with_what}.")
        )
    else:
        console.print(
            Text(f"{_count(len(findings), 'finding')}; compared with {with_what}."), style="bold red", soft_wrap=True
        )


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _who(session: str, grant: str) -> str:
    return "".join(plain(part, 60) for part in whose(session, grant))


def _styled(outcome: str, said: str = "") -> Text:
    return Text(plain(said or outcome, 40), style=_COLOURS.get(outcome, "red"))


def _clock(moment: float) -> str:
    return clock(moment, time.time())
