"""How many calls ended how, as bars: pure, and drawn by a template as SVG."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Final, NamedTuple

from guarded_tools.text.tones import OUTCOMES, look
from guarded_tools.text.units import clock

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


def chart(title: str, minutes: Mapping[int, Mapping[str, int]], now: float, *, bars: int, each: int) -> Chart:
    """Stack the calls of the last ``bars`` stretches of ``each`` minutes, the present one the last."""
    last = int(now // 60) // each
    stretches: list[Counter[str]] = [Counter() for _ in range(bars)]
    for minute, counted in minutes.items():
        at = minute // each - last + bars - 1
        if 0 <= at < bars:
            stretches[at].update(counted)
    most = max((one.total() for one in stretches), default=0)
    order = {outcome: at for at, outcome in enumerate(OUTCOMES)}
    drawn, told = [], []
    for at, counted in enumerate(stretches):
        top = HEIGHT
        if counted:
            told.append(Stretch(clock((last - bars + 1 + at) * each * 60, now), counted))
        for outcome in sorted(counted, key=lambda one: order.get(one, len(order))):
            height = HEIGHT * counted[outcome] / most
            top -= height
            said = f"{told[-1].when}: {counted[outcome]} {outcome}"
            drawn.append(Bar(at * _WIDTH, top, _WIDTH - _GAP, height, look(outcome).colour, said))
    begins = clock((last - bars + 1) * each * 60, now)
    return Chart(title, bars * _WIDTH, drawn, told[::-1], most, sum(stretches, Counter()), begins)
