"""How much happened in the busiest window, counted as a store counts it: in 64ths of a window, rounded up."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

from guarded_tools.policy.fields import DAY, HOUR, MINUTE

WINDOWS: Final[Mapping[str, int]] = {"minute": MINUTE, "hour": HOUR, "day": DAY}
"""The windows that are looked at, in seconds, the shortest first."""
_PARTS: Final = 64
_MANY: Final = 2 * _PARTS
_MOST_OPEN: Final = 16_384


class Busiest:
    """The busiest window of each length, of each of many keys, over the calls of one session at a time.

    Of sessions and keys that go on at the same time, the 16,384 last used are followed. What is beyond makes a number
    too low, never too high; so does a call that is told of a whole window late.
    """

    def __init__(self) -> None:
        self._most: dict[str, list[int]] = {}
        self._open: dict[tuple[str, str], tuple[dict[int, int], ...]] = {}

    def add(self, key: str, session: str, moment: float) -> None:
        """Count a call."""
        slots = self._open.pop((key, session), None) or tuple({} for _ in WINDOWS)
        self._open[key, session] = slots  # the last used stands last
        if len(self._open) > _MOST_OPEN:
            del self._open[next(iter(self._open))]
        most = self._most.setdefault(key, [0] * len(WINDOWS))
        for place, window in enumerate(WINDOWS.values()):
            most[place] = max(most[place], _add(slots[place], math.ceil(moment * _PARTS / window)))

    def of(self, key: str) -> dict[str, int]:
        """Return how many calls the busiest window of each length held."""
        return dict(zip(WINDOWS, self._most.get(key, [0] * len(WINDOWS)), strict=True))


def _add(counts: dict[int, int], slot: int) -> int:
    """Count one more in a slot, and return the most that any window holds in which it is."""
    newest = next(reversed(counts)) if counts else slot
    counts[slot] = counts.get(slot, 0) + 1
    # One that is settled after others that came later is in several windows that were looked at.
    ends = [slot] if slot >= newest else [end for end in counts if slot <= end <= slot + _PARTS]
    if slot < newest:
        in_order = sorted(counts.items())  # the newest stands last
        counts.clear()
        counts.update(in_order)
    if len(counts) > _MANY:
        for old in [each for each in counts if each < max(newest, slot) - _PARTS]:
            del counts[old]
    return max((sum(n for at, n in counts.items() if end - _PARTS <= at <= end) for end in ends), default=1)
