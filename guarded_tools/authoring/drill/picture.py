"""A drill as a matplotlib figure: a bar a pattern, as long as what ran unasked was much (extra ``notebook``)."""

from __future__ import annotations

from typing import Any

from guarded_tools.authoring.drill.report import Heading
from guarded_tools.authoring.drill.run import Drilled
from guarded_tools.authoring.drill.values import PatternResult
from guarded_tools.plots import Picture  # says what to install, where matplotlib is not
from guarded_tools.text.tones import PICTURE
from guarded_tools.text.visible import one_line

_QUIET = "#d9d9d9"
_LONGEST = 80


def draw(heading: Heading, drilled: Drilled) -> Picture:
    """Draw a drill: green what held, red what passed, grey what does not apply."""
    rows = drilled.findings
    figure = Picture(figsize=(11, 1.6 + 0.28 * len(rows)), layout="constrained")
    axes = figure.add_subplot()
    told = drilled.grade
    axes.set_title(
        f"{one_line(heading.what)[:60]}: {told.letter} ({told.held} of {told.attacks} patterns held, "
        f"{told.benign:.0%} of plausible use)",
        loc="left",
        fontweight="bold",
        parse_math=False,
    )
    lengths = [finding.unasked if finding.applies else 0 for finding in rows]
    axes.barh(range(len(rows)), lengths, color=[_colour(finding) for finding in rows], height=0.6, left=0.8)
    for position, finding in enumerate(rows):
        axes.text(max(lengths[position], 1) * 1.1, position, _said(finding), va="center", fontsize=8, parse_math=False)
        axes.plot(0.75, position, "s", color=_colour(finding), markersize=7, clip_on=False)
    axes.set_xscale("log")
    axes.set_xlim(0.7, 300_000)
    axes.set_xlabel("calls that ran and that nobody was asked about")
    axes.set_yticks(range(len(rows)), [finding.pattern.title for finding in rows], fontsize=9, parse_math=False)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(left=False)
    return figure


def _colour(finding: PatternResult) -> str:
    return _QUIET if not finding.applies else PICTURE["good" if finding.held else "bad"]


def _said(finding: PatternResult) -> str:
    if not finding.applies:
        return "does not apply"
    breach: Any = next(iter(finding.seen.breaches), None)
    text = f"held, {finding.unasked:,} ran unasked" if breach is None else f"{breach.tool}: {breach.said}"
    text = one_line(text)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
