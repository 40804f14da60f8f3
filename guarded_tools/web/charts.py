"""How many calls ended how in the last minutes, as bars: pure, and drawn by a template as SVG."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from guarded_tools.text.charts import Chart, stacked
from guarded_tools.text.units import clock


def chart(title: str, minutes: Mapping[int, Mapping[str, int]], now: float, *, bars: int, each: int) -> Chart:
    """Stack the calls of the last ``bars`` stretches of ``each`` minutes, the present one the last."""
    last = int(now // 60) // each
    stretches: list[Counter[str]] = [Counter() for _ in range(bars)]
    for minute, counted in minutes.items():
        at = minute // each - last + bars - 1
        if 0 <= at < bars:
            stretches[at].update(counted)
    return stacked(title, stretches, lambda at: clock((last - bars + 1 + at) * each * 60, now))
