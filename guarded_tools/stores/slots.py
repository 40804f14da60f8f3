"""What a limit is made of: charges that can be counted, when a slot frees, and which counter takes another's place."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import NamedTuple

from guarded_tools.errors import StoreError
from guarded_tools.stores.clock import SECOND
from guarded_tools.values import Charge

SLOTS = 64
"""Slots a rolling window is divided into."""

STEADY = 2 * SECOND
"""A boundary of an aligned limit stays where it is when the clock steps by no more than this."""

# Of a window, in seconds: thirty years.
_LONGEST = 10**9
MOST = 2**62
"""Sums of amounts stay below this, and so in a word."""


class Refusal(NamedTuple):
    """A charge that does not fit, and how long until it alone would; ``wait`` is ``None`` where it never will."""

    charge: Charge
    used: int
    wait: int | None

    @property
    def worth(self) -> float:
        """Orders refusals: the longest wait is the one worth telling."""
        return float("inf") if self.wait is None else self.wait


def check_charge(charge: Charge, most: int = MOST) -> None:
    """See that a charge is one: NaN, say, would be below every limit. ``most`` is the highest limit there may be.

    Raises:
        StoreError: it is not.
    """
    _, _, amount, limit, window, *_ = charge
    if (
        type(amount) is not int
        or type(limit) is not int
        or type(window) is not int
        or amount < 0
        or limit > most
        or not 0 < window <= _LONGEST
    ):
        raise StoreError(f"not an amount, a limit and a window that can be counted: {charge!r}")


def check_amount(amount: int) -> int:
    """See that what a call has taken is an amount.

    Raises:
        StoreError: it is not.
    """
    if type(amount) is not int or amount < 0:
        raise StoreError(f"not an amount that can be counted: {amount!r}")
    return amount


@lru_cache(maxsize=8192)
def counter_id(counter: str, window: int, align: str) -> int:
    """Tell counters of one scope apart. A counter that changes its window is another counter."""
    key = f"{counter}\0{window}\0{align}".encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(key, digest_size=8).digest(), "little", signed=True)


def when_it_frees(taken: int, window: int) -> int:
    """Say when an amount frees that is taken at a time; ``window`` is negative for an aligned limit."""
    if window < 0:
        return (taken // -window + 1) * -window
    width = max(window // SLOTS, 1)
    return -(-taken // width) * width + window


def next_boundary(frees_at: int, window: int) -> int:
    """Say when a slot of an aligned limit frees that a step of the clock may have moved off its boundary.

    Which of two windows its charge was in is not known any more, so it counts in the later.
    """
    return -((steady(window) - frees_at) // window) * window


def steady(window: int) -> int:
    """Say by how much a step of the clock may move a slot of an aligned limit and is still time passing.

    Always less than a window: a slot moved by as much would belong to the one before, and count in none.
    """
    return min(STEADY, window - 1)


def same_limit(one: str, other: str) -> bool:
    """Whether two counters are of one tool and name, and of one server or of one that had no name."""
    if one == other:
        return True
    server, _, rest = one.partition("/")
    other_server, _, other_rest = other.partition("/")
    return rest == other_rest and "" in {server, other_server}
