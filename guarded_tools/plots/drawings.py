"""The drawings themselves, each into axes that are handed in."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from datetime import UTC, timedelta
from typing import Any, Final

from guarded_tools.audit import Record
from guarded_tools.audit.activity import Timeline, ToolWaits
from guarded_tools.audit.charged import DaySpent, Fullest
from guarded_tools.audit.label_spans import carried_over
from guarded_tools.audit.refusals import RefusalRow
from guarded_tools.audit.shown import refused, why
from guarded_tools.audit.summary import calls as join_calls
from guarded_tools.plots.parts import (
    Axes,
    ConciseDateFormatter,
    FuncFormatter,
    MaxNLocator,
    bars,
    legend,
    legible,
    name_rows,
    nothing,
    ordered,
    place_legend,
    short,
)
from guarded_tools.text.quantities import MILLION, of_most
from guarded_tools.text.tones import PICTURE, fullness, look, share
from guarded_tools.text.units import utc, window

_ANSWERS: Final = {"approve": "#4c9f70", "edit": "#4f86c6", "respond": "#9fb8d3", "reject": "#d98032"}
_SPENDERS: Final = ("#4f86c6", "#4c9f70", "#d98032", "#8e6bb0", "#c9a227", "#5aa7a7", "#b0574f", "#8c8c8c")
MOST_BARS: Final = 12
"""Rows of a drawing."""
_MOST_LIMITS: Final = 8
_MOST_DAYS: Final = 31


def draw_refusals(axes: Axes, kinds: Sequence[RefusalRow]) -> None:
    """Draw who was refused what, and why."""
    axes.set_title("Who was refused what, and why", loc="left", fontweight="bold")
    groups = kinds[:MOST_BARS]
    if not groups:
        nothing(axes, "Nobody was refused anything.")
        return
    labels = [f"{short(group.tool)}\n{''.join(map(short, refused(group)))}" for group in groups]
    bars(axes, labels, [[(group.outcome, group.times)] for group in groups])
    for position, group in enumerate(groups):
        often = "once" if group.times == 1 else f"{group.times} times"
        reason = short(why(group) or group.rule, 90)
        axes.text(
            group.times,
            position,
            f"  {often} {short(group.ended)}: {reason}",
            va="center",
            fontsize=9,
            parse_math=False,
        )
    axes.xaxis.set_visible(False)
    axes.spines["bottom"].set_visible(False)
    # Half of the width belongs to the reasons.
    axes.set_xlim(0, max(group.times for group in groups) * 2.2)
    legend(axes, [group.outcome for group in groups])


def draw_calls(axes: Axes, found: Timeline | None) -> None:
    """Draw the calls over time."""
    axes.set_title("Calls over time, by outcome", loc="left", fontweight="bold")
    if found is None:
        nothing(axes, "No call yet.")
        return
    start, width, stretches = found
    wide: Any = timedelta(seconds=width * 0.9)
    times: Any = [utc(start + (position + 0.5) * width) for position in range(len(stretches))]
    outcomes = ordered({outcome for counted in stretches for outcome in counted})
    below = [0] * len(stretches)
    for outcome in outcomes:
        heights = [counted[outcome] for counted in stretches]
        axes.bar(times, heights, wide, bottom=below, color=look(outcome).colour, label=legible(outcome))
        below = [low + high for low, high in zip(below, heights, strict=True)]
    formatter = ConciseDateFormatter(axes.xaxis.get_major_locator(), tz=UTC)  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_formatter(formatter)
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_ylabel(f"calls in {window(width)}")
    place_legend(axes, len(outcomes))
    axes.spines[["top", "right"]].set_visible(False)


def draw_limits(axes: Axes, limits: Sequence[Fullest]) -> None:
    """Draw how full each limit was at its fullest."""
    axes.set_title("How full each limit was at its fullest", loc="left", fontweight="bold")
    found = limits[:_MOST_LIMITS]
    if not found:
        nothing(axes, "No call counted against a limit.")
        return
    shares = [share(one.used, one.max) for one in found]
    labels = [f"{short('/'.join(one.counter.split('/')[1:]), 44)}\n{short(one.scope, 44)}" for one in found]
    colours = [PICTURE[fullness(part)] for part in shares]
    axes.barh(range(len(found)), [min(part, 1.0) for part in shares], color=colours, height=0.6)
    for position, one in enumerate(found):
        used = f"{of_most(one.counter, one.used, one.max)} in {window(one.window)}"
        axes.text(0.01, position, used, va="center", fontsize=8)
    axes.axvline(1.0, color=PICTURE["bad"], linewidth=1)
    axes.set_xlim(0, 1.05)
    axes.set_xticks([0, 0.5, 1], ["0", "half", "full"])
    name_rows(axes, labels, size=8)


def draw_approvals(axes: Axes, found: Sequence[ToolWaits]) -> None:
    """Draw how long questions waited, and the answers."""
    axes.set_title("How long questions waited for a human, and the answer", loc="left", fontweight="bold")
    if not found:
        nothing(axes, "Nobody was asked.")
        return
    dots: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for position, tool in enumerate(found):
        for number, (seconds, verdict) in enumerate(tool.waits):
            # Side by side, so that equal waits do not hide each other.
            dots[verdict].append((seconds, position + (number % 5 - 2) * 0.1))
    for verdict, places in dots.items():
        waits, heights = zip(*places, strict=True)
        colour = _ANSWERS.get(verdict, "#7f8c8d")
        axes.plot(waits, heights, "o", color=colour, markersize=7, alpha=0.85, label=legible(verdict))
    axes.set_xscale("log")
    axes.set_xlim(0.008, 2 * max(3600.0, *(tool.waits[-1][0] for tool in found)))
    axes.set_xticks([0.01, 0.1, 1, 10, 60, 600, 3600], ["at once", "0.1 s", "1 s", "10 s", "1 min", "10 min", "1 h"])
    axes.minorticks_off()
    some = [f" ({len(tool.waits)} of {tool.asked:,})" if tool.asked > len(tool.waits) else "" for tool in found]
    name_rows(axes, [f"{short(tool.tool)}{note}" for tool, note in zip(found, some, strict=True)])
    place_legend(axes, len(dots))


def draw_sessions(axes: Axes, busiest: Sequence[tuple[str, Counter[str]]]) -> None:
    """Draw the busiest sessions."""
    axes.set_title("Busiest sessions", loc="left", fontweight="bold")
    if not busiest:
        nothing(axes, "No call yet.")
        return
    parts = [[(outcome, counted[outcome]) for outcome in ordered(counted)] for _, counted in busiest]
    bars(axes, [short(name) for name, _ in busiest], parts)
    for position, (_, counted) in enumerate(busiest):
        axes.text(counted.total(), position, f" {counted.total()}", va="center", fontsize=9)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlim(0)
    legend(axes, [outcome for _, counted in busiest for outcome in counted], below=True)


def draw_labels(axes: Axes, records: Sequence[Record], name: str) -> None:
    """Draw what a session came to carry."""
    axes.set_title(f"What session {short(name)} carries, call by call", loc="left", fontweight="bold", parse_math=False)
    rows = [row for row in join_calls(records) if row.session == name]
    if not rows:
        nothing(axes, "No call yet.")
        return
    rows.sort(key=lambda row: row.time)
    spans = carried_over(records, name)
    lanes = list(dict.fromkeys(span.label for span in spans))
    for span in spans:
        before = sum(row.time <= span.first for row in rows)
        until = len(rows) if span.last is None else sum(row.time <= span.last for row in rows)
        colour = PICTURE["bad"] if span.label == "untrusted" else PICTURE["warn"]
        axes.barh(
            lanes.index(span.label) + 1, until - before + 0.5, left=before - 0.75, height=0.5, color=colour, alpha=0.5
        )
        text = f" {short(span.tool, 30)}" if span.last is None else f" {short(span.tool, 30)}, until a human cleared it"
        axes.text(before - 0.75, lanes.index(span.label) + 1, text, va="center", fontsize=8, parse_math=False)
    for position, row in enumerate(rows):
        axes.plot(position, 0, "o", color=look(row.outcome).colour, markersize=9)
        if row.asked:
            axes.plot(position, 0, "o", mfc="none", mec="#333333", markersize=14)
    axes.set_xticks(range(len(rows)), [short(row.tool, 24) for row in rows], rotation=40, ha="right", parse_math=False)
    axes.set_xlim(-0.8, len(rows) - 0.2)
    name_rows(axes, ["calls (ringed: a human was asked)", *map(short, lanes)])
    legend(axes, [row.outcome for row in rows])


def draw_spending(axes: Axes, found: Sequence[DaySpent], unit: str) -> None:
    """Draw what was spent on each day, by session: those that spent most, and all others together."""
    axes.set_title(f"Spent a day, in {short(unit)}, by session", loc="left", fontweight="bold", parse_math=False)
    if not found:
        nothing(axes, f"Nothing was spent in {short(unit)}.")
        return
    totals: Counter[str] = Counter()
    for each in found:
        totals[each.session] += each.amount
    named = [session for session, _ in totals.most_common(len(_SPENDERS) - 1)]
    days = sorted({each.day for each in found})[-_MOST_DAYS:]
    below = [0.0] * len(days)
    for place, session in enumerate([*named, None]):
        heights = [
            sum(
                each.amount
                for each in found
                if each.day == day and (each.session == session if session is not None else each.session not in named)
            )
            / MILLION
            for day in days
        ]
        if any(heights):
            name = "all others" if session is None else legible(session)
            axes.bar(range(len(days)), heights, 0.6, bottom=below, color=_SPENDERS[place], label=name)
            below = [low + high for low, high in zip(below, heights, strict=True)]
    for position, total in enumerate(below):
        axes.text(position, total, f"{total:,.2f}", ha="center", va="bottom", fontsize=8)
    axes.set_xticks(range(len(days)), days, rotation=40 if len(days) > 6 else 0, fontsize=8)  # noqa: PLR2004 - they would touch
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    axes.spines[["top", "right"]].set_visible(False)
    place_legend(axes, 4, below=True)
