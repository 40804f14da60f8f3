"""How a replay looks at a terminal, and as JSON.

Names and messages come from models and servers. Nothing of them may move the cursor, so they are made visible first.
"""

from __future__ import annotations

from typing import Any, Final

from rich.console import Console
from rich.text import Text

from guarded_tools.authoring.replay.summary import Told, to_json
from guarded_tools.authoring.replay.values import CATEGORIES, WIDER, Category, Compared
from guarded_tools.cli.console import out, print_folded
from guarded_tools.text.tables import Cell, Content, Table, to_rich
from guarded_tools.text.tones import Tone
from guarded_tools.text.units import date_and_time
from guarded_tools.text.visible import plain

_NAMES: Final[dict[Category, str]] = {
    "newly_allowed": "newly allowed",
    "asked_instead": "asked instead of refused",
    "newly_asked": "newly asked",
    "newly_denied": "newly denied",
    "unjudged": "cannot judge",
    "same": "the same",
    "untold": "outcome not recorded",
    "apart": "no policy's decision",
}
_TONES: Final[dict[Category, Tone]] = {
    "newly_allowed": "bad", "asked_instead": "bad", "newly_denied": "warn", "newly_asked": "warn", "unjudged": "quiet",
}  # fmt: skip
_MOST = 20


def as_document(told: Told, remarks: list[str]) -> dict[str, Any]:
    """What came of a replay as plain data."""
    return to_json(told, moment_shown) | {"remarks": remarks}


def print_told(told: Told, remarks: list[str]) -> None:
    """Print what came of a replay: how many of what, by tool and by rule, and the first of each."""
    console = out()
    if not told.calls:
        console.print("No call matches.")
    else:
        calls = "1 call" if told.calls == 1 else f"{told.calls} calls"
        span = f"{moment_shown(told.first)} to {moment_shown(told.last)} UTC" if told.first else "without times"
        parts = [f"{told.counts[each]} {_NAMES[each]}" for each in CATEGORIES if told.counts[each]]
        console.print(
            Text.assemble((calls, "bold"), f" from {span}: " if told.first else f" {span}: ", ", ".join(parts))
        )
        if told.counts["same"] < told.calls:
            console.print(to_rich(_tools(told), framed=False))
        for category in CATEGORIES:
            _print_category(console, category, told)
    for remark in remarks:
        print_folded(console, Text(plain(remark), "dim"))
    if told.widened:
        calls = "1 call is" if told.widened == 1 else f"{told.widened} calls are"
        console.print(Text(f"{calls} held less than before (--allow-widening lets that pass).", "bold red"))


def _tools(told: Told) -> Table:
    shown = [category for category in CATEGORIES if told.counts[category]]
    changed = sorted(
        told.tools.items(), key=lambda one: (one[1]["same"] - one[1].total(), one[0])
    )  # most changed first
    rows: list[list[Content]] = [
        [tool, *(Cell(str(counts[each]) if counts[each] else "", _TONES.get(each, "")) for each in shown)]
        for tool, counts in changed[:_MOST]
    ]
    columns = ["tool", *(_NAMES[each] for each in shown)]
    more = len(changed) - _MOST
    note = [[f"… and {more} more tools", *[""] * len(shown)]] if more > 0 else []
    return Table(columns, [*rows, *note], numbers=columns[1:])


def _print_category(console: Console, category: Category, told: Told) -> None:
    counted, examples = told.rules[category], told.examples[category]
    if not counted:
        return
    console.print(Text(f"\n{_NAMES[category].capitalize()}", "bold red" if category in WIDER else "bold"))
    rows: list[list[Content]] = []
    for (rule, reason), calls in counted.most_common(_MOST):
        counters = [counter for (limit, counter) in told.limits if limit == rule] if category == "newly_denied" else []
        said = reason or (f"over the limit {', '.join(counters)}" if counters else "")
        rows.append([str(calls), Cell(rule, limit=200), Cell(said, limit=300)])
    told_why = any(row[2].text for row in rows if isinstance(row[2], Cell))
    columns = ["calls", "rule", "why"] if told_why else ["calls", "rule"]
    table = Table(columns, [row[: len(columns)] for row in rows], numbers=["calls"])
    console.print(to_rich(table, framed=False, headed=False))
    for row in examples:
        print_folded(console, _example(row))


def _example(row: Compared) -> Text:
    before = f"{row.before.effect} {row.before.rule}".strip()
    after = f"{row.after.effect} {row.after.rule}".strip() if row.category != "apart" else row.before.message
    said = f": {row.after.message}" if row.after.message and row.category != "apart" else ""
    who = f"{plain(row.session, 80)} {plain(row.tool, 80)}"
    return Text.assemble(
        (f"  {moment_shown(row.time) if row.time else 'no time'}  ", "dim"),
        who,
        ("  ", ""),
        (plain(f"{before} → {after}", 400), "bold"),
        plain(said, 400),
    )


def moment_shown(moment: float) -> str:
    """A time for people; seconds where no calendar has it."""
    try:
        return date_and_time(moment)
    except (ValueError, OverflowError, OSError):
        return f"{moment:.0f} s"
