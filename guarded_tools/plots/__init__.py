"""Pictures of an audit, as matplotlib figures (extra ``notebook``).

Each function takes an :class:`~guarded_tools.audit.AuditLog`, the path of one, or records, and returns a figure that a
notebook shows and ``savefig`` writes. :func:`overview` is all of them on one page. Times are UTC.
"""

from __future__ import annotations

import io
import math
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from datetime import UTC, timedelta
from typing import Any, TypeAlias

from guarded_tools.audit import AuditLog, Record, read
from guarded_tools.audit.summary import answer, carried_over, fullest, summarise
from guarded_tools.audit.summary import calls as join_calls
from guarded_tools.errors import GuardError
from guarded_tools.text.quantities import of_most
from guarded_tools.text.tones import OUTCOMES, PICTURE, fullness, look, share
from guarded_tools.text.units import utc, whose, window
from guarded_tools.text.visible import one_line

try:
    from matplotlib.axes import Axes
    from matplotlib.dates import ConciseDateFormatter
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator
except ImportError as error:
    raise GuardError('matplotlib is not installed: pip install "guarded-tools[notebook]"') from error

Source: TypeAlias = AuditLog | str | os.PathLike[str] | Iterable[Record]

COLOURS = {outcome: shown.colour for outcome, shown in OUTCOMES.items()}
"""The colour of each outcome, in the order in which they are stacked: what ran first, what was refused last."""

_ANSWERS = {"approve": "#4c9f70", "edit": "#4f86c6", "respond": "#9fb8d3", "reject": "#d98032"}
_MOST_BARS = 12
_MOST_LIMITS = 8
_BINS = 40
_STEPS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 21600, 43200, 86400, 604800)


class Picture(Figure):
    """A figure that any notebook shows, whether or not pyplot was ever imported."""

    def _repr_png_(self) -> bytes:
        target = io.BytesIO()
        self.savefig(target, format="png", dpi=110, facecolor="white")
        return target.getvalue()


def overview(source: Source) -> Figure:
    """Draw everything on one page: who was refused what and why, then when, how full, who asked, and who was busy."""
    records = _records(source)
    figure = Picture(figsize=(13, 12), layout="constrained")
    rows: Any = [["why", "why"], ["when", "when"], ["full", "who"], ["asked", "asked"]]
    axes = figure.subplot_mosaic(rows, height_ratios=[4, 3, 4, 2])
    for place, draw in (
        ("why", _draw_refusals),
        ("when", _draw_calls),
        ("full", _draw_limits),
        ("who", _draw_sessions),
        ("asked", _draw_approvals),
    ):
        draw(axes[place], records)
    return figure


def refusals(source: Source) -> Figure:
    """Draw who was refused what, and why: a bar for each kind of refusal, as long as it was frequent."""
    return _alone(_draw_refusals, source)


def calls(source: Source) -> Figure:
    """Draw the calls over time, by outcome."""
    return _alone(_draw_calls, source, height=3.5)


def limits(source: Source) -> Figure:
    """Draw how full each limit was at its fullest, of each session, grant, or all."""
    return _alone(_draw_limits, source)


def approvals(source: Source) -> Figure:
    """Draw how long each question waited for a human, and what the answer was."""
    return _alone(_draw_approvals, source)


def sessions(source: Source) -> Figure:
    """Draw the busiest sessions and what became of their calls."""
    return _alone(_draw_sessions, source)


def labels(source: Source, session: str | None = None) -> Figure:
    """Draw what a session came to carry over its calls, and what became of these; the last session without a name."""
    return _alone(lambda axes, records: _draw_labels(axes, records, session), source)


def _alone(draw: Callable[[Axes, list[Record]], None], source: Source, height: float = 4.5) -> Figure:
    figure = Picture(figsize=(10, height), layout="constrained")
    draw(figure.add_subplot(), _records(source))
    return figure


def _records(source: Source) -> list[Record]:
    if isinstance(source, AuditLog):
        source = source.path
    return list(read(source)) if isinstance(source, str | os.PathLike) else list(source)


# The drawings


def _draw_refusals(axes: Axes, records: list[Record]) -> None:
    axes.set_title("Who was refused what, and why", loc="left", fontweight="bold")
    groups = summarise(join_calls(records)).refusals[:_MOST_BARS]
    if not groups:
        _nothing(axes, "Nobody was refused anything.")
        return
    who = ["".join(map(_short, whose(group.session, group.grant))) for group in groups]
    labels = [f"{name}\n{_short(group.tool)}" for name, group in zip(who, groups, strict=True)]
    _bars(axes, labels, [[(group.outcome, group.times)] for group in groups])
    for position, group in enumerate(groups):
        often = "once" if group.times == 1 else f"{group.times} times"
        why = _short(group.message or group.rule, 90)
        axes.text(
            group.times,
            position,
            f"  {often} {_short(group.ended)}: {why}",
            va="center",
            fontsize=9,
            parse_math=False,
        )
    axes.xaxis.set_visible(False)
    axes.spines["bottom"].set_visible(False)
    # Half of the width belongs to the reasons.
    axes.set_xlim(0, max(group.times for group in groups) * 2.2)
    _legend(axes, [group.outcome for group in groups])


def _draw_calls(axes: Axes, records: list[Record]) -> None:
    axes.set_title("Calls over time, by outcome", loc="left", fontweight="bold")
    rows = list(join_calls(records))
    if not rows:
        _nothing(axes, "No call yet.")
        return
    first, last = min(row.ended for row in rows), max(row.ended for row in rows)
    width = next((step for step in _STEPS if (last - first) / step <= _BINS), _STEPS[-1])
    start = math.floor(first / width) * width
    counts: dict[str, Counter[int]] = defaultdict(Counter)
    for row in rows:
        counts[row.outcome][int((row.ended - start) // width)] += 1
    bins = range(int((last - start) // width) + 1)
    wide: Any = timedelta(seconds=width * 0.9)
    times: Any = [utc(start + (position + 0.5) * width) for position in bins]
    below = [0] * len(bins)
    for outcome in _ordered(counts):
        heights = [counts[outcome][position] for position in bins]
        axes.bar(times, heights, wide, bottom=below, color=look(outcome).colour, label=_legible(outcome))
        below = [low + high for low, high in zip(below, heights, strict=True)]
    formatter = ConciseDateFormatter(axes.xaxis.get_major_locator(), tz=UTC)  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_formatter(formatter)
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_ylabel(f"calls in {window(width)}")
    _place_legend(axes, len(counts))
    axes.spines[["top", "right"]].set_visible(False)


def _draw_limits(axes: Axes, records: list[Record]) -> None:
    axes.set_title("How full each limit was at its fullest", loc="left", fontweight="bold")
    found = sorted(fullest(records), key=lambda one: -share(one.used, one.max))[:_MOST_LIMITS]
    if not found:
        _nothing(axes, "No call counted against a limit.")
        return
    shares = [share(one.used, one.max) for one in found]
    labels = [f"{_short('/'.join(one.counter.split('/')[1:]), 44)}\n{_short(one.scope, 44)}" for one in found]
    colours = [PICTURE[fullness(part)] for part in shares]
    axes.barh(range(len(found)), [min(part, 1.0) for part in shares], color=colours, height=0.6)
    for position, one in enumerate(found):
        used = f"{of_most(one.counter, one.used, one.max)} in {window(one.window)}"
        axes.text(0.01, position, used, va="center", fontsize=8)
    axes.axvline(1.0, color=PICTURE["bad"], linewidth=1)
    axes.set_xlim(0, 1.05)
    axes.set_xticks([0, 0.5, 1], ["0", "half", "full"])
    _rows(axes, labels, size=8)


def _draw_approvals(axes: Axes, records: list[Record]) -> None:
    axes.set_title("How long questions waited for a human, and the answer", loc="left", fontweight="bold")
    answered = [r for r in records if r.get("kind") == "answered" and isinstance(r.get("approval"), dict)]
    answered = [r for r in answered if answer(r["approval"]) != "remembered"]
    by_tool: dict[str, list[tuple[float, str]]] = defaultdict(list)
    for record in answered:
        wait = record.get("human_ms")
        seconds = float(wait) / 1000 if isinstance(wait, int | float) else 0.0
        by_tool[str(record.get("tool", ""))].append((max(seconds, 0.01), answer(record["approval"])))
    tools = sorted(by_tool, key=lambda tool: -len(by_tool[tool]))[:_MOST_BARS]
    if not tools:
        _nothing(axes, "Nobody was asked.")
        return
    seen: set[str] = set()
    for position, tool in enumerate(tools):
        for number, (seconds, verdict) in enumerate(sorted(by_tool[tool])):
            label = None if verdict in seen else _legible(verdict)
            seen.add(verdict)
            # Side by side, so that equal waits do not hide each other.
            height = position + (number % 5 - 2) * 0.1
            colour = _ANSWERS.get(verdict, "#7f8c8d")
            axes.plot(seconds, height, "o", color=colour, markersize=7, alpha=0.85, label=label)
    axes.set_xscale("log")
    axes.set_xlim(0.008, 2 * max(3600.0, *(wait for waits in by_tool.values() for wait, _ in waits)))
    axes.set_xticks([0.01, 0.1, 1, 10, 60, 600, 3600], ["at once", "0.1 s", "1 s", "10 s", "1 min", "10 min", "1 h"])
    axes.minorticks_off()
    _rows(axes, [_short(tool) for tool in tools])
    axes.set_ylim(len(tools) - 0.4, -0.6)
    _place_legend(axes, len(seen))


def _draw_sessions(axes: Axes, records: list[Record]) -> None:
    axes.set_title("Busiest sessions", loc="left", fontweight="bold")
    by_session: dict[str, Counter[str]] = defaultdict(Counter)
    for row in join_calls(records):
        by_session[row.session][row.outcome] += 1
    busiest = sorted(by_session, key=lambda name: -by_session[name].total())[:_MOST_BARS]
    if not busiest:
        _nothing(axes, "No call yet.")
        return
    parts = [[(outcome, by_session[name][outcome]) for outcome in _ordered(by_session[name])] for name in busiest]
    _bars(axes, [_short(name) for name in busiest], parts)
    for position, name in enumerate(busiest):
        axes.text(by_session[name].total(), position, f" {by_session[name].total()}", va="center", fontsize=9)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlim(0)
    _legend(axes, [outcome for name in busiest for outcome in by_session[name]], below=True)


def _draw_labels(axes: Axes, records: list[Record], session: str | None) -> None:
    named = [str(record["session"]) for record in records if record.get("key") and "session" in record]
    name = session if session is not None else named[-1] if named else ""
    axes.set_title(
        f"What session {_short(name)} carries, call by call", loc="left", fontweight="bold", parse_math=False
    )
    rows = [row for row in join_calls(records) if row.session == name]
    if not rows:
        _nothing(axes, "No call yet.")
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
        text = (
            f" {_short(span.tool, 30)}" if span.last is None else f" {_short(span.tool, 30)}, until a human cleared it"
        )
        axes.text(before - 0.75, lanes.index(span.label) + 1, text, va="center", fontsize=8, parse_math=False)
    for position, row in enumerate(rows):
        axes.plot(position, 0, "o", color=look(row.outcome).colour, markersize=9)
        if row.asked:
            axes.plot(position, 0, "o", mfc="none", mec="#333333", markersize=14)
    axes.set_xticks(range(len(rows)), [_short(row.tool, 24) for row in rows], rotation=40, ha="right", parse_math=False)
    axes.set_xlim(-0.8, len(rows) - 0.2)
    _rows(axes, ["calls (ringed: a human was asked)", *map(_short, lanes)])
    _legend(axes, [row.outcome for row in rows])


# What the drawings share


def _bars(axes: Axes, labels: list[str], parts: list[list[tuple[str, int]]]) -> None:
    for position, row in enumerate(parts):
        left = 0
        for outcome, number in row:
            axes.barh(position, number, left=left, color=look(outcome).colour, height=0.6)
            left += number
    _rows(axes, labels)


def _rows(axes: Axes, labels: list[str], size: int = 9) -> None:
    axes.set_yticks(range(len(labels)), labels, fontsize=size, parse_math=False)
    axes.set_ylim(len(labels) - 0.4, -0.6)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(left=False)


def _legend(axes: Axes, outcomes: Iterable[str], *, below: bool = False) -> None:
    found = _ordered(set(outcomes))
    for outcome in found:
        axes.bar(0, 0, color=look(outcome).colour, label=_legible(outcome))
    _place_legend(axes, len(found), below=below)


def _place_legend(axes: Axes, columns: int, *, below: bool = False) -> None:
    # Beside the title or below, where no bar can reach it.
    place: Any = ("upper right", (1, -0.15)) if below else ("lower right", (1, 1))
    style: Any = {"fontsize": 8, "handlelength": 1, "columnspacing": 1, "frameon": False}
    axes.legend(loc=place[0], bbox_to_anchor=place[1], ncols=columns, **style)


def _nothing(axes: Axes, text: str) -> None:
    axes.text(0.5, 0.5, text, ha="center", va="center", transform=axes.transAxes, color="#777777")
    axes.set_axis_off()


def _ordered(outcomes: Iterable[str]) -> list[str]:
    order = list(COLOURS)
    return sorted(outcomes, key=lambda name: (order.index(name) if name in COLOURS else len(order), name))


def _short(text: str, size: int = 36) -> str:
    text = one_line(text.replace("\n", " "))
    return text if len(text) <= size else f"{text[: size - 1]}…"


def _legible(text: str) -> str:
    return _short(text, 20).replace("$", r"\$")  # legends read formulas, and cannot be told not to
