"""How the audit looks at a terminal.

Names and messages come from models and servers. Nothing of them may move the cursor, so they are made visible first.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Console
from rich.text import Text

from guarded_tools.audit import Filter, Finding, Record, follow, newest_first, when
from guarded_tools.audit.backwards import bytes_in
from guarded_tools.audit.head import head_path, peek
from guarded_tools.audit.read import files, matching
from guarded_tools.audit.refusals import REFUSED, Summary, summarise
from guarded_tools.audit.shown import call_cells, calls_table, outcome_cell, refusals_table
from guarded_tools.audit.summary import CallRow, calls
from guarded_tools.audit.tail import latest_calls
from guarded_tools.cli.console import out, print_folded, progress
from guarded_tools.stores import Store
from guarded_tools.text.tables import Table, to_rich, to_text
from guarded_tools.text.tones import TERMINAL
from guarded_tools.text.units import clock
from guarded_tools.text.visible import plain

_WIDE = 110
_LATEST_CONTROL = 5
_A_WHILE = 2.0


def print_latest(path: Path, wanted: Filter, outcome: str | None, lines: int) -> int:
    """Print the latest calls, read from the log's end; return the last record's number."""
    console = out()
    last = last_number(path)
    found = latest_calls(path, replace(wanted, outcome=outcome), count=lines)
    console.print(to_rich(_latest(found, console.width), framed=False) if found else "No call matches.")
    return last


def print_summary(
    path: Path, wanted: Filter, outcome: str | None, lines: int, most: int, *, by_session: bool = False
) -> int:
    """Print what became of the calls, who was refused what and why, and the latest; return the last record's number.

    Of the refusals the ``most`` frequent kinds are listed, those of each session ``by_session``.
    """
    console = out()
    last = last_number(path)
    control: deque[Record] = deque(maxlen=_LATEST_CONTROL)

    def records() -> Iterator[Record]:
        nonlocal last
        for record in read_along(path, wanted):
            last = max(last, record["seq"])
            if record.get("kind") == "control":
                control.append(record)
            yield record

    rows = calls(records(), shadow=bool(wanted.shadow))
    wanted_rows = (row for row in rows if outcome in {None, row.outcome})
    found = summarise(wanted_rows, latest=lines, by_session=by_session)
    if found.outcomes:
        _print_summary(console, found, "would have been" if wanted.shadow else "was", most)
    else:
        console.print("No call matches.")
    if wanted.session is None and wanted.tool is None and not wanted.shadow:
        _print_control(console, control)
    return last


def last_number(path: Path) -> int:
    """Return the number of the last record, 0 if there is none."""
    return next((record["seq"] for record in newest_first(path)), 0)


def read_along(path: Path, wanted: Filter) -> Iterator[Record]:
    """Read as :func:`~guarded_tools.audit.read` does; a bar says how far it is where that takes a while."""
    with progress("Reading the audit", bytes_in(files(path)), after=_A_WHILE) as advance:
        yield from matching(path, wanted, advance)


def _print_summary(console: Console, found: Summary, verb: str, most: int) -> None:
    names = [Text.assemble(f"{number} ", to_text(outcome_cell(name))) for name, number in found.outcomes.most_common()]
    console.print(Text(_count(found.outcomes.total(), "call"), style="bold"), Text(", ").join(names))
    if found.refusals:
        title = f"Who {verb} refused what, and why"
        shown, more = found.refusals[:most], len(found.refusals) - most
        console.print(to_rich(refusals_table(title, shown, _clock, narrow=True), framed=False))
        if more > 0:
            console.print(Text(f"{_count(more, 'more row')}, each as frequent or less: --most says how many to list."))
    else:
        console.print(f"Nobody {verb} refused anything.")
    if found.latest:
        console.print(to_rich(_latest(found.latest, console.width), framed=False))


def _latest(rows: Sequence[CallRow], width: int) -> Table:
    table = calls_table(rows, _clock)
    shown = len(table.columns) if width >= _WIDE else len(table.columns) - 2
    return table._replace(columns=table.columns[:shown], rows=[row[:shown] for row in table.rows])


def print_as_they_come(path: Path, wanted: Filter, outcome: str | None, last: int) -> None:
    """Print a line for every call that ends after record ``last``, for ever."""
    console = out()
    for row in calls(follow(path, wanted, after=last), shadow=bool(wanted.shadow)):
        if outcome in {None, row.outcome}:
            why = f"  {plain(row.rule, 200)} {plain(row.message, 300)}" if row.outcome in REFUSED else ""
            line = Text("  ").join(filter(None, map(to_text, call_cells(row, _clock))))
            print_folded(console, Text.assemble(line, Text(why, style="dim")))


def _print_control(console: Console, records: Iterable[Record]) -> None:
    for record in records:
        what = plain(f"{record.get('rule', '')} {record.get('message', '')}", 300)
        console.print(Text(f"{_clock(when(record))}  {what}"), style="cyan")


def print_findings(path: Path, findings: list[Finding], store: Store | None) -> None:
    """Print what is wrong with a log, what its end was compared with, and its last record, to be noted elsewhere."""
    console = out()
    for finding in findings:
        console.print(Text(plain(str(finding))), style=TERMINAL["warn" if finding.tolerated else "bad"], soft_wrap=True)
    head = peek(head_path(path))
    if head is not None:
        print_folded(console, Text(f"The last record is {head.seq}, with hash {head.hash}."))
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


def _clock(moment: float) -> str:
    return clock(moment, time.time())
