"""The arithmetic of limits over time. Pure; all times are whole microseconds.

:class:`Counters` holds every counter of one scope. A counter is a list of slots, oldest first; a slot is an amount and
the time it frees at: one window after it was taken for a rolling limit, the next UTC boundary for an aligned one.
Rolling limits round that time up to a 64th of the window: a counter stays small, and an amount is held at most 1.6 %
too long.

**The invariant**: whatever clocks, reloads and names do, what a counter holds is at least what was taken from it within
its window. Where that cannot be told exactly, it holds longer:

- *A step of the wall clock* moves every slot along (:meth:`Counters.advance`), so that its age stays what it was.
- *A boundary cannot move.* A slot of an aligned limit that was moved off its boundary frees at the next one: which of
  two days its charge was in is not known any more, so it counts in the later. Steps of up to two seconds, such as a
  leap second, leave it where it is.
- *A counter that changes its window, alignment or server* is another counter. It begins with what the one before it
  held: the same charges, each for as long as the new window says. What the old window had let go is not known, and
  nothing is inherited from a counter that the same call charges beside it.
- *A name nobody has* leaves a counter behind that holds nothing, for as long as it has to remember what was given back.
  Past 128 counters the ones that hold nothing go when another comes.

Where the words are in which all this is kept is told by :mod:`~guarded_tools.stores.blocks`.
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Sequence

from guarded_tools.errors import StoreError
from guarded_tools.stores.blocks import (
    BLOCK,
    HEAD,
    ID,
    LIVE_UNTIL,
    MANY,
    MAX,
    MOVED,
    SIZE,
    SLOT,
    USED,
    WINDOW,
    CounterBlocks,
)
from guarded_tools.stores.clock import SECOND, Clock
from guarded_tools.stores.slots import (
    MOST,
    Refusal,
    check_amount,
    check_charge,
    counter_id,
    same_limit,
    when_it_frees,
)
from guarded_tools.values import Charge, Usage


class Counters(CounterBlocks):
    """Every counter of one scope, and what may be done with them."""

    __slots__ = ()

    def take(self, charges: Sequence[Charge], now: int, wall: int) -> tuple[Refusal | None, list[int]]:
        """Take what fits, and say which charge that does not fit waits longest.

        ``now`` is what :meth:`advance` gave, and ``wall`` what the caller waits by. The slots, one a charge, are for
        :meth:`give_back`. The caller keeps the row only if nothing was refused.
        """
        words = self._words
        worst: Refusal | None = None
        slots = []
        for charge in charges:
            check_charge(charge)
            _, counter, amount, limit, window, _, _, align, *_ = charge
            block = self._find(counter_id(counter, window, align))
            if block < 0:
                block = self._add(charge, charges, now)
                words = self._words
            if words[block + SIZE] > BLOCK:
                self._expire(block, now)
            used = words[block + USED]
            if used + amount > limit:
                refusal = Refusal(charge, used, self._wait(block, amount, limit, wall))
                if worst is None or refusal.worth > worst.worth:
                    worst = refusal
                continue
            words[block + MAX] = limit
            slots.append(self._put(block, amount, now) if amount else 0)
        return worst, slots

    def give_back(self, charges: Sequence[Charge], slots: Sequence[int], clock: Clock) -> int:
        """Undo charges in the very slots they were taken from; returns how many were.

        A slot that has freed by itself stays as it is, and so does a counter that gave back its maximum already.
        """
        now = self.advance(clock)
        words = self._words
        given = 0
        for charge, birth in zip(charges, slots, strict=True):
            block = self._find(counter_id(charge.counter, charge.window, charge.align))
            frees_at = birth + words[MOVED]
            if not charge.refundable or block < 0 or not charge.amount:
                continue
            self._expire(block, now)
            end = block + words[block + SIZE]
            given_before = sum(words[block + BLOCK + 2 : end : SLOT])
            slot = self._slot(block, frees_at)
            if given_before + charge.amount > charge.max or slot < 0:
                continue
            if words[slot + 1] >= charge.amount:
                words[slot + 1] -= charge.amount
                words[slot + 2] += charge.amount
                words[block + USED] -= charge.amount
                given += 1
        return given

    def settle(self, charges: Sequence[Charge], slots: Sequence[int], amounts: Sequence[int], clock: Clock) -> None:
        """Put the true amounts in the place of those that were taken, in the very slots.

        What is more than was taken is kept, also beyond the limit, and counts from now on where its slot has freed.
        What is less is given back where the slot still holds it.
        """
        now = self.advance(clock)
        for charge, birth, amount in zip(charges, slots, amounts, strict=True):
            surplus = check_amount(amount) - charge.amount
            block = self._find(counter_id(charge.counter, charge.window, charge.align))
            if block < 0 and surplus > 0:
                block = self._add(charge, charges, now)
            if block < 0 or not surplus:
                continue
            self._expire(block, now)
            words = self._words
            words[block + MAX] = charge.max
            slot = self._slot(block, birth + words[MOVED])
            surplus = min(surplus, MOST - words[block + USED])
            if slot >= 0:
                surplus = max(surplus, -words[slot + 1])
                words[slot + 1] += surplus
                words[block + USED] += surplus
            elif surplus > 0:
                self._put(block, surplus, now)

    def usage(self, scope: str, clock: Clock) -> list[Usage]:
        """List the counters as they stand."""
        now = self.advance(clock)
        names = self._counters()
        words = self._words
        listed = []
        for block in self._blocks():
            self._expire(block, now)
            held = [
                self._frees(block, slot)
                for slot in range(block + BLOCK, block + words[block + SIZE], SLOT)
                if words[slot + 1]
            ]
            listed.append(
                Usage(
                    scope,
                    names.get(words[block + ID], "?"),
                    words[block + USED],
                    words[block + MAX],
                    abs(words[block + WINDOW]) // SECOND,
                    (held[0] - clock.wall) / SECOND if held else 0.0,
                )
            )
        return listed

    def _add(self, charge: Charge, charges: Sequence[Charge], now: int) -> int:
        """Begin a counter, and return its block. ``charges`` are all of the call, this one among them."""
        charged = {counter_id(other.counter, other.window, other.align) for other in charges}
        inherited: dict[int, int] = {}
        if len(self._words) > HEAD:
            inherited = self._inherited(charge, charged, now)
            if sum(1 for _ in self._blocks()) >= MANY:
                self._drop_empty(charged, now)
        words = self._words
        block = len(words)
        wanted = counter_id(charge.counter, charge.window, charge.align)
        window = charge.window * SECOND
        size = BLOCK + SLOT * len(inherited)
        words.extend((wanted, size, charge.max, -window if charge.align == "utc" else window, sum(inherited.values())))
        for frees_at, amount in inherited.items():
            words.extend((frees_at, amount, 0))
            words[LIVE_UNTIL] = max(words[LIVE_UNTIL], frees_at)
        self._names += b"," + json.dumps([str(wanted), charge.counter]).encode()
        return block

    def _inherited(self, charge: Charge, charged: set[int], now: int) -> dict[int, int]:
        """Say what a new counter holds of the one that it takes the place of: when each amount frees."""
        names, words = self._counters(), self._words
        window = charge.window * SECOND
        most: dict[int, int] = {}
        best = (0, 0, False, "")
        for block in self._blocks():
            name = names.get(words[block + ID], "")
            if words[block + ID] in charged or not same_limit(name, charge.counter):
                continue
            self._expire(block, now)
            before = words[block + WINDOW]
            held: dict[int, int] = {}
            for slot in range(block + BLOCK, block + words[block + SIZE], SLOT):
                # As late as it can have been: an aligned counter does not know.
                taken = words[slot] - before if before > 0 else now
                frees_at = when_it_frees(min(taken, now), -window if charge.align == "utc" else window)
                if words[slot + 1] and frees_at > now:
                    held[frees_at] = held.get(frees_at, 0) + words[slot + 1]
            # Of several the fullest; what comes after that only makes the choice the same on every backend.
            rank = (sum(held.values()), abs(before), before < 0, name)
            if rank > best:
                best, most = rank, held
        return most

    def _wait(self, block: int, amount: int, limit: int, wall: int) -> int | None:
        if amount > limit:
            return None
        words = self._words
        missing = words[block + USED] + amount - limit
        for slot in range(block + BLOCK, block + words[block + SIZE], SLOT):
            missing -= words[slot + 1]
            if missing <= 0:
                return self._frees(block, slot) - wall
        raise StoreError("a counter row is damaged (its slots do not add up)")

    def _put(self, block: int, amount: int, now: int) -> int:
        words = self._words
        window = words[block + WINDOW]
        frees_at = when_it_frees(now, window)
        words[block + USED] += amount
        first = block + BLOCK
        slot = block + words[block + SIZE] - SLOT
        # Only a step of the clock leaves slots that free later than a new one.
        while slot >= first and words[slot] > frees_at:
            slot -= SLOT
        if slot >= first and words[slot] == frees_at:
            words[slot + 1] += amount
        else:
            words[slot + SLOT : slot + SLOT] = array("q", (frees_at, amount, 0))
            words[block + SIZE] += SLOT
            words[LIVE_UNTIL] = max(words[LIVE_UNTIL], frees_at)
        return frees_at - words[MOVED]
