"""The one shape of a result, and the two ways of timing that the benchmarks share."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from importlib import import_module

RATIO = "\N{MULTIPLICATION SIGN}"
"""The unit of a ratio, which is what carries over from one machine to another."""

BLOCK = 25
"""Calls of a block: what is compared takes turns in blocks, so that both see the same machine."""


@dataclass(frozen=True, slots=True)
class Row:
    """One figure: what was measured, how much, and the most it may be. ``bound`` of ``None`` is for information only.

    ``at_least`` turns the bound round, for figures of which more is better.
    """

    name: str
    value: float
    unit: str
    bound: float | None = None
    note: str = ""
    at_least: bool = False

    @property
    def holds(self) -> bool:
        """Whether the figure keeps its bound; true where there is none."""
        if self.bound is None:
            return True
        return self.value >= self.bound if self.at_least else self.value <= self.bound


def number(value: float) -> str:
    """A figure with as many digits as it deserves."""
    magnitude = abs(value)
    if magnitude >= 1000:
        return f"{value:,.0f}"
    return f"{value:.0f}" if magnitude >= 100 else f"{value:.1f}" if magnitude >= 10 else f"{value:.2f}"


def table(rows: Iterable[Row]) -> str:
    """The rows as a Markdown table, ratios first."""
    lines = ["| measured | value | bound | holds | note |", "|---|--:|--:|:-:|---|"]
    for row in sorted(rows, key=lambda row: row.unit != RATIO):
        sign = "≥" if row.at_least else "≤"
        bound = "" if row.bound is None else f"{sign} {number(row.bound)} {row.unit}"
        verdict = "" if row.bound is None else "yes" if row.holds else "**no**"
        cells = (row.name, f"{number(row.value)} {row.unit}", bound, verdict, row.note)
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines)


def measure(suite: str, quick: bool) -> list[Row]:
    """Run one suite; called in a process of its own, so that none warms the caches of the next."""
    return list(import_module(f"benchmarks.{suite}").rows(quick))


def p50_us(body: Callable[[], object], *, rounds: int = 2000, warmup: int = 200) -> float:
    """The median time of one call of ``body`` in microseconds, the collector kept out of it."""
    clock = time.perf_counter_ns
    for _ in range(warmup):
        body()
    samples = []
    collecting = gc.isenabled()
    gc.disable()
    try:
        for _ in range(rounds):
            start = clock()
            body()
            samples.append(clock() - start)
    finally:
        if collecting:
            gc.enable()
    return statistics.median(samples) / 1000


def paired_us(
    base: Callable[[], object], more: Callable[[], object], *, blocks: int = 40, size: int = 50
) -> tuple[float, float]:
    """The medians of both in microseconds, taken in alternating blocks so that both see the same machine."""
    first, second = [], []
    for _ in range(blocks):
        first.append(p50_us(base, rounds=size, warmup=5))
        second.append(p50_us(more, rounds=size, warmup=5))
    return statistics.median(first), statistics.median(second)


def in_turns(*bodies: Callable[[], object], blocks: int = 80) -> list[list[float]]:
    """The microseconds a call took in each block of :data:`BLOCK` calls, the bodies taking turns."""
    for body in bodies:
        body()
    taken: list[list[float]] = [[] for _ in bodies]
    for _ in range(blocks):
        for body, times in zip(bodies, taken, strict=True):
            start = time.perf_counter()
            for _ in range(BLOCK):
                body()
            times.append((time.perf_counter() - start) / BLOCK * 1e6)
    return taken


def ratio(base: Sequence[float], more: Sequence[float]) -> float:
    """The median of the ratios of blocks that ran side by side."""
    return statistics.median(b / a for a, b in zip(base, more, strict=True))


def added(base: Sequence[float], more: Sequence[float]) -> float:
    """The median of what blocks took more than those that ran beside them."""
    return statistics.median(b - a for a, b in zip(base, more, strict=True))
