"""Counting what may be of any number of kinds, in bounded memory: the rare are forgotten, the frequent stay."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

K = TypeVar("K")
V = TypeVar("V")


def thinned(found: dict[K, V], most: int, weight: Callable[[K, V], float]) -> dict[K, V]:
    """Return a dictionary as it is, and where it has more than ``most`` entries, the heavier half of so many.

    Whoever counts so gets the heaviest right unless they come rarely among very many others: what was forgotten begins
    at nothing when it comes again.
    """
    if len(found) <= most:
        return found
    heaviest = sorted(found, key=lambda key: -weight(key, found[key]))[: most // 2]
    return {key: found[key] for key in heaviest}
