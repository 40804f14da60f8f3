"""Whether a limit holds what another one holds, over all sequences of calls: the arithmetic of windows. Pure.

A limit *keeps* another where no sequence of calls that it lets through would break the other. Within the window of the
other it may let several windows of its own through: of ten a minute six hundred fit into an hour, so 500 an hour are
not kept by it, and 600 are. Limits are taken as they are written; that a store holds an amount up to a 64th of the
window longer is left out.
"""

from __future__ import annotations

from math import gcd
from typing import Literal, NamedTuple, TypeAlias

from guarded_tools.policy.limit import Limit

Keeps: TypeAlias = Literal["yes", "no", "untold"]


class Held(NamedTuple):
    """A limit that speaks for a tool. ``everywhere``: calls of all tools are counted together."""

    rule: str
    limit: Limit
    counter: str
    everywhere: bool

    @property
    def measure(self) -> tuple[str | None, ...]:
        """What is counted: two limits of one measure can be compared by their amounts."""
        limit = self.limit
        return () if limit.flat is not None else (limit.argument, limit.result, limit.unit)

    @property
    def most(self) -> int:
        """How much is let through in a window: calls, where each takes the same."""
        flat = self.limit.flat
        return self.limit.most if flat is None else self.limit.most // flat

    @property
    def meaning(self) -> tuple[object, ...]:
        """All that makes a difference to what is let through."""
        one = self.limit
        terms = (one.window, one.align, one.scope, one.counts, one.reserved, one.decimals if self.measure else None)
        return (self.measure, self.most, self.everywhere, *terms)


def keeps(one: Held, other: Held) -> Keeps:
    """Say whether ``one`` lets no calls through that ``other`` would refuse."""
    if one.measure != other.measure:
        return "untold"
    within = one.most * windows_in(one.limit, other.limit)
    certain = (not other.everywhere or one.everywhere) and within <= other.most
    # One session may act for several identities, and for one identity there are many sessions.
    certain = certain and one.limit.scope in (other.limit.scope, "global")
    certain = certain and one.limit.counts in (other.limit.counts, "attempts")
    return _amounts(one.limit, other.limit) if certain else "no"


def _amounts(one: Limit, other: Limit) -> Keeps:
    if one.flat is not None:
        return "yes"
    if (one.reserved or 0) < (other.reserved or 0):
        return "no"
    # Fewer decimals: more is rounded up.
    coarser = one.decimals == other.decimals or (
        one.decimals is not None and other.decimals is not None and one.decimals < other.decimals
    )
    return "yes" if coarser else "untold"


def windows_in(one: Limit, other: Limit) -> int:
    """Say how many windows of ``one`` can be used up, each in full, within one window of ``other``."""
    mine, theirs = one.window, other.window
    if one.align == "rolling":
        return -(-theirs // mine)
    if other.align == "rolling":  # it may begin right before a boundary
        return -(-theirs // mine) + 1
    shared = gcd(mine, theirs)
    return -(-(theirs // shared + mine // shared - 1) // (mine // shared))
