"""How many calls ended how, as bars: pure. A template or :func:`to_svg` draws them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple

from guarded_tools.text.tables import escaped
from guarded_tools.text.tones import OUTCOMES, look

HEIGHT: Final = 100.0
_WIDTH: Final = 10.0
_GAP: Final = 1.5


class Bar(NamedTuple):
    """One outcome of one stretch of time, in the chart's own units."""

    x: float
    y: float
    width: float
    height: float
    colour: str
    said: str


class Stretch(NamedTuple):
    """How many calls ended how in one stretch of time, and when it began."""

    when: str
    counted: Mapping[str, int]


class Chart(NamedTuple):
    """Bars from left to right. ``most`` is what the highest stands for; ``total`` counts each outcome.

    ``stretches`` say the same for a table: those in which a call ended, the latest first.
    """

    title: str
    width: float
    bars: list[Bar]
    stretches: list[Stretch]
    most: int
    total: Counter[str]
    begins: str


def stacked(title: str, stretches: Sequence[Counter[str]], when: Callable[[int], str]) -> Chart:
    """Stack the calls of each stretch by outcome; ``when`` writes the moment at which a stretch begins."""
    most = max((one.total() for one in stretches), default=0)
    order = {outcome: at for at, outcome in enumerate(OUTCOMES)}
    drawn, told = [], []
    for at, counted in enumerate(stretches):
        top = HEIGHT
        if counted:
            told.append(Stretch(when(at), counted))
        for outcome in sorted(counted, key=lambda one: order.get(one, len(order))):
            height = HEIGHT * counted[outcome] / most
            top -= height
            said = f"{told[-1].when}: {counted[outcome]} {outcome}"
            drawn.append(Bar(at * _WIDTH, top, _WIDTH - _GAP, height, look(outcome).colour, said))
    return Chart(title, len(stretches) * _WIDTH, drawn, told[::-1], most, sum(stretches, Counter()), when(0))


def to_svg(chart: Chart) -> str:
    """Draw a chart as an HTML fragment that needs nothing else: an SVG, and what its colours stand for."""
    bars = "".join(
        f'<rect x="{bar.x:.2f}" y="{bar.y:.2f}" width="{bar.width:.2f}" height="{bar.height:.2f}" fill="{bar.colour}">'
        f"<title>{escaped(bar.said)}</title></rect>"
        for bar in chart.bars
    )
    legend = "".join(
        f'<span style="margin-right:1.2em;white-space:nowrap"><svg viewBox="0 0 10 10" width="10" height="10">'
        f'<rect width="10" height="10" fill="{look(outcome).colour}"/></svg> {number:,} {escaped(outcome)}</span>'
        for outcome, number in chart.total.items()
    )
    said = ", ".join(f"{number} {outcome}" for outcome, number in chart.total.items()) or "no call"
    return (
        f'<figure style="margin:.4em 0"><figcaption>{escaped(chart.title)}, since {escaped(chart.begins)} UTC; '
        f"at most {chart.most:,} in one bar</figcaption>"
        f'<svg viewBox="0 0 {chart.width:.0f} {HEIGHT:.0f}" preserveAspectRatio="none" role="img" '
        f'style="width:100%;height:9em" aria-label="{escaped(f"{chart.title}: {said}")}">{bars}</svg>'
        f"<div>{legend}</div></figure>"
    )
