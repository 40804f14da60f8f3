"""When calls were made, by whom, and how long humans took: counted as calls and records come, in bounded memory.

Each of these takes one thing after the other and can be asked at any time. :func:`told` hands records to several on
their way, so that one pass over a log fills them all.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple, Protocol

from guarded_tools.audit.bounded import thinned
from guarded_tools.audit.read import Record
from guarded_tools.audit.summary import CallRow, answer

MOST_SESSIONS: Final = 20_000
"""Sessions that are counted at once; of more, those with the fewest calls begin anew."""
MOST_WAITS: Final = 400
"""Waits of a tool that are kept; of more, every second, fourth and so on."""
_MOST_TOOLS: Final = 1_000
_STEPS: Final = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 21600, 43200, 86400, 604800)
# Each divides the next and all steps above itself: what is counted by one can be counted again by the next.
_GRAINS: Final = (1, 60, 3_600, 86_400)
_SHORTEST: Final = 0.01  # as a logarithm has no place for none


class _Taker(Protocol):
    def add(self, record: Record, /) -> object: ...


def told(records: Iterable[Record], *takers: _Taker) -> Iterator[Record]:
    """Hand records on, each to all takers first."""
    for record in records:
        for taker in takers:
            taker.add(record)
        yield record


class Timeline(NamedTuple):
    """How many calls ended how in each of some stretches of ``width`` seconds; the first begins at ``start``."""

    start: int
    width: int
    stretches: list[Counter[str]]


class CallTimes:
    """Counts calls by when they ended, over any length of time."""

    def __init__(self, most: int = 40) -> None:
        self._most = most
        self._grain = 0
        self._counts: dict[int, Counter[str]] = {}
        self._ends: tuple[float, float] | None = None

    def add(self, row: CallRow) -> None:
        """Take the next call."""
        first, last = self._ends or (row.ended, row.ended)
        first, last = self._ends = min(first, row.ended), max(last, row.ended)
        grain = self._grain
        while grain + 1 < len(_GRAINS) and last - first > self._most * _GRAINS[grain + 1]:
            grain += 1
        if grain != self._grain:
            counts: dict[int, Counter[str]] = {}
            for at, counted in self._counts.items():
                counts.setdefault(at * _GRAINS[self._grain] // _GRAINS[grain], Counter()).update(counted)
            self._grain, self._counts = grain, counts
        at = int(row.ended // _GRAINS[grain])
        self._counts.setdefault(at, Counter())[row.outcome] += 1

    def found(self) -> Timeline | None:
        """Return the calls in as few and even stretches as asked for; ``None`` where there was no call."""
        if self._ends is None:
            return None
        first, last = self._ends
        width = next((step for step in _STEPS if (last - first) / step <= self._most), _STEPS[-1])
        start = int(first // width)
        stretches: list[Counter[str]] = [Counter() for _ in range(int(last // width) - start + 1)]
        for at, counted in self._counts.items():
            stretches[at * _GRAINS[self._grain] // width - start].update(counted)
        return Timeline(start * width, width, stretches)


class BusySessions:
    """Counts what became of each session's calls."""

    def __init__(self) -> None:
        self._counts: dict[str, Counter[str]] = {}

    def add(self, row: CallRow) -> None:
        """Take the next call."""
        counted = self._counts.get(row.session)
        if counted is None:
            counted = self._counts[row.session] = Counter()
        counted[row.outcome] += 1
        self._counts = thinned(self._counts, MOST_SESSIONS, lambda _, one: one.total())

    def found(self, most: int) -> list[tuple[str, Counter[str]]]:
        """List the busiest sessions, the busiest first."""
        busiest = sorted(self._counts, key=lambda name: -self._counts[name].total())[:most]
        return [(name, self._counts[name]) for name in busiest]


class ToolWaits(NamedTuple):
    """How often humans were asked about a tool, and some of the waits: seconds, and the answer."""

    tool: str
    asked: int
    waits: list[tuple[float, str]]


class HumanWaits:
    """Keeps how long questions waited for a human, and the answers: all of a few, an even choice of many."""

    def __init__(self) -> None:
        self._asked: Counter[str] = Counter()
        self._waits: dict[str, list[tuple[float, str]]] = defaultdict(list)
        self._every: dict[str, int] = {}

    def add(self, record: Record) -> None:
        """Take the next record."""
        approval = record.get("approval")
        if record.get("kind") != "answered" or not isinstance(approval, dict) or answer(approval) == "remembered":
            return
        tool, wait = str(record.get("tool", "")), record.get("human_ms")
        number, every = self._asked[tool], self._every.get(tool, 1)
        self._asked[tool] += 1
        if number % every:
            return
        seconds = float(wait) / 1000 if isinstance(wait, int | float) else 0.0
        waits = self._waits[tool]
        waits.append((max(seconds, _SHORTEST), answer(approval)))
        if len(waits) > MOST_WAITS:
            del waits[1::2]
            self._every[tool] = every * 2
        if len(self._asked) > _MOST_TOOLS:
            self._asked = Counter(thinned(self._asked, _MOST_TOOLS, lambda _, asked: asked))
            self._waits = defaultdict(list, {tool: self._waits[tool] for tool in self._asked})
            self._every = {tool: each for tool, each in self._every.items() if tool in self._asked}

    def found(self, most: int) -> list[ToolWaits]:
        """List the tools that humans were asked about most, with their waits, the shortest first."""
        tools = sorted(self._asked, key=lambda tool: -self._asked[tool])[:most]
        return [ToolWaits(tool, self._asked[tool], sorted(self._waits[tool])) for tool in tools]
