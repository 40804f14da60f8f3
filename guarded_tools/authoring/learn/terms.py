"""On what terms a draft is made of what was seen."""

from __future__ import annotations

import math
from decimal import ROUND_CEILING, Context, Decimal
from fractions import Fraction
from typing import Final, NamedTuple

_FIGURES: Final = Context(prec=3, rounding=ROUND_CEILING)


class Terms(NamedTuple):
    """``headroom`` is how many times the most that was seen is let through, ``most_values`` how many values are few."""

    headroom: Decimal = Decimal("1.5")
    most_values: int = 8

    def with_room(self, most: float) -> int | float:
        """Return a number above what was seen: a whole one rounded up, another one rounded up to three figures."""
        if type(most) is int:
            return math.ceil(most * Fraction(self.headroom))
        room = _FIGURES.multiply(Decimal(repr(most)), self.headroom)
        return int(room) if room == room.to_integral_value() else float(room)
