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

Words rather than objects, because a row is read and written with every call: ``array("q")`` costs a copy, not a parse.
"""

from __future__ import annotations

import json
import random
from array import array
from collections.abc import Iterator, Sequence

from guarded_tools.errors import StoreError
from guarded_tools.stores.clock import SECOND, Clock
from guarded_tools.stores.row_bytes import FORMAT
from guarded_tools.stores.slots import (
    STEADY,
    Refusal,
    check_charge,
    counter_id,
    next_boundary,
    same_limit,
    when_it_frees,
)
from guarded_tools.values import Charge, Usage

# Two clocks read one after the other agree this closely; less is not a step.
_CLOCK_NOISE = 1_000
# A reading that is older than the last one by no more than this came late: callers wait for locks.
_LATE = 10 * SECOND
# Counters of a row past which those that hold nothing go: an agent can make up names for ever.
_MANY = 128

# The words of a row: these, then one block a counter.
VERSION, LENGTH, LAST, _OFFSET, _BOOT, MOVED, _LIVE_UNTIL, HEAD = range(8)
# The words of a block: these, then three a slot: when it frees, how much, how much of it was given back.
_ID, _SIZE, _MAX, _WINDOW, _USED, _BLOCK = range(6)
_SLOT = 3


class Counters:
    """Every counter of one scope, as words; :class:`~guarded_tools.stores.row.Row` keeps them as bytes."""

    __slots__ = ("_names", "_words", "stepped")

    def __init__(self, words: array[int] | None = None, names: bytes = b"") -> None:
        self.stepped = False
        if words is None:
            # Slots are told by when they free less this. It differs from row to row: what was charged before a reset
            # must not be given back after it.
            moved = random.getrandbits(60)
            words = array("q", (FORMAT, HEAD, 0, 0, 0, moved, 0))
        self._words = words
        self._names = names

    def advance(self, clock: Clock) -> int:
        """Bring the row to ``clock`` and return the time there, which never runs backwards.

        What is held ages by the time since boot, or by the wall clock where the row was last seen in another boot. A
        step of the wall clock moves all slots along with it: one forward frees nothing, and one back holds nothing for
        longer than its window.
        """
        words = self._words
        now, offset, boot = clock
        step = 0
        if boot and words[_BOOT] == boot:
            step = offset - words[_OFFSET]
            if -_CLOCK_NOISE <= step <= _CLOCK_NOISE:
                step, offset = 0, words[_OFFSET]
        last = words[LAST] + step
        unsure = now < last - _LATE
        if unsure:
            step += now - last
        elif now < last:
            now = last
        if step:
            self.stepped = True
            self._move(step, unsure=unsure)
        words[LAST] = now
        words[_OFFSET] = offset
        words[_BOOT] = boot
        return now

    def _move(self, step: int, *, unsure: bool) -> None:  # noqa: ARG002 - for what has to know it
        """Move all along with a step of the clock. It is ``unsure`` where nobody knows how much time passed as well."""
        words = self._words
        words[MOVED] += step
        words[_LIVE_UNTIL] += step
        for block in self._blocks():
            for slot in range(block + _BLOCK, block + words[block + _SIZE], _SLOT):
                words[slot] += step
                words[_LIVE_UNTIL] = max(words[_LIVE_UNTIL], self._frees(block, slot))

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
            _, counter, amount, limit, window, _, _, align, _ = charge
            block = self._find(counter_id(counter, window, align))
            if block < 0:
                block = self._add(charge, charges, now)
                words = self._words
            if words[block + _SIZE] > _BLOCK:
                self._expire(block, now)
            used = words[block + _USED]
            if used + amount > limit:
                refusal = Refusal(charge, used, self._wait(block, amount, limit, wall))
                if worst is None or refusal.worth > worst.worth:
                    worst = refusal
                continue
            words[block + _MAX] = limit
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
            end = block + words[block + _SIZE]
            given_before = sum(words[block + _BLOCK + 2 : end : _SLOT])
            if given_before + charge.amount > charge.max:
                continue
            for slot in range(end - _SLOT, block + _BLOCK - 1, -_SLOT):
                if words[slot] == frees_at:
                    if words[slot + 1] >= charge.amount:
                        words[slot + 1] -= charge.amount
                        words[slot + 2] += charge.amount
                        words[block + _USED] -= charge.amount
                        given += 1
                    break
        return given

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
                for slot in range(block + _BLOCK, block + words[block + _SIZE], _SLOT)
                if words[slot + 1]
            ]
            listed.append(
                Usage(
                    scope,
                    names.get(words[block + _ID], "?"),
                    words[block + _USED],
                    words[block + _MAX],
                    abs(words[block + _WINDOW]) // SECOND,
                    (held[0] - clock.wall) / SECOND if held else 0.0,
                )
            )
        return listed

    def idle(self, clock: Clock) -> bool:
        """Whether nothing is held any more, so that forgetting the row changes no answer."""
        now = self.advance(clock)  # first: a step moves what it is compared with
        return self._words[_LIVE_UNTIL] <= now

    def _blocks(self) -> Iterator[int]:
        words = self._words
        block = HEAD
        while block < len(words):
            yield block
            block += words[block + _SIZE]

    def _find(self, wanted: int) -> int:
        words = self._words
        block = HEAD
        end = len(words)
        while block < end:
            if words[block] == wanted:
                return block
            size = words[block + _SIZE]
            if size < _BLOCK:
                raise StoreError("a counter row is damaged (a block has no size)")
            block += size
        return -1

    def _add(self, charge: Charge, charges: Sequence[Charge], now: int) -> int:
        """Begin a counter, and return its block. ``charges`` are all of the call, this one among them."""
        charged = {counter_id(other.counter, other.window, other.align) for other in charges}
        inherited: dict[int, int] = {}
        if len(self._words) > HEAD:
            inherited = self._inherited(charge, charged, now)
            if sum(1 for _ in self._blocks()) >= _MANY:
                self._drop_empty(charged, now)
        words = self._words
        block = len(words)
        wanted = counter_id(charge.counter, charge.window, charge.align)
        window = charge.window * SECOND
        size = _BLOCK + _SLOT * len(inherited)
        words.extend((wanted, size, charge.max, -window if charge.align == "utc" else window, sum(inherited.values())))
        for frees_at, amount in inherited.items():
            words.extend((frees_at, amount, 0))
            words[_LIVE_UNTIL] = max(words[_LIVE_UNTIL], frees_at)
        self._names += b"," + json.dumps([str(wanted), charge.counter]).encode()
        return block

    def _inherited(self, charge: Charge, charged: set[int], now: int) -> dict[int, int]:
        """Say what a new counter holds of the one that it takes the place of: when each amount frees."""
        names, words = self._counters(), self._words
        window = charge.window * SECOND
        most: dict[int, int] = {}
        best = (0, 0, False, "")
        for block in self._blocks():
            name = names.get(words[block + _ID], "")
            if words[block + _ID] in charged or not same_limit(name, charge.counter):
                continue
            self._expire(block, now)
            before = words[block + _WINDOW]
            held: dict[int, int] = {}
            for slot in range(block + _BLOCK, block + words[block + _SIZE], _SLOT):
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

    def _drop_empty(self, charged: set[int], now: int) -> None:
        """Forget counters that hold nothing, and what was given back of them."""
        words, names = self._words, self._counters()
        kept, left = words[:HEAD], []
        block = HEAD
        while block < len(words):
            self._expire(block, now)
            end = block + words[block + _SIZE]
            if words[block + _USED] or words[block + _ID] in charged:
                kept.extend(words[block:end])
                left.append(words[block + _ID])
            block = end
        self._words = kept
        self._names = b"".join(b"," + json.dumps([str(one), names[one]]).encode() for one in left if one in names)

    def _counters(self) -> dict[int, str]:
        """Tell the counters' names by their ids."""
        return {int(one): name for one, name in json.loads(b"[" + self._names[1:] + b"]")}

    def _frees(self, block: int, slot: int) -> int:
        """Say when a slot frees: when it says, or at the boundary after that if it was moved off one."""
        window, frees_at = self._words[block + _WINDOW], self._words[slot]
        return frees_at if window > 0 else next_boundary(frees_at, -window)

    def _expire(self, block: int, now: int) -> None:
        words = self._words
        window = words[block + _WINDOW]
        if window < 0:
            # As _frees says it, for all slots at once.
            now += STEADY - now % -window
        first = slot = block + _BLOCK
        end = block + words[block + _SIZE]
        while slot < end and words[slot] <= now:
            words[block + _USED] -= words[slot + 1]
            slot += _SLOT
        if slot != first:
            words[block + _SIZE] -= slot - first
            del words[first:slot]

    def _wait(self, block: int, amount: int, limit: int, wall: int) -> int | None:
        if amount > limit:
            return None
        words = self._words
        missing = words[block + _USED] + amount - limit
        for slot in range(block + _BLOCK, block + words[block + _SIZE], _SLOT):
            missing -= words[slot + 1]
            if missing <= 0:
                return self._frees(block, slot) - wall
        raise StoreError("a counter row is damaged (its slots do not add up)")

    def _put(self, block: int, amount: int, now: int) -> int:
        words = self._words
        window = words[block + _WINDOW]
        frees_at = when_it_frees(now, window)
        words[block + _USED] += amount
        first = block + _BLOCK
        slot = block + words[block + _SIZE] - _SLOT
        # Only a step of the clock leaves slots that free later than a new one.
        while slot >= first and words[slot] > frees_at:
            slot -= _SLOT
        if slot >= first and words[slot] == frees_at:
            words[slot + 1] += amount
        else:
            words[slot + _SLOT : slot + _SLOT] = array("q", (frees_at, amount, 0))
            words[block + _SIZE] += _SLOT
            words[_LIVE_UNTIL] = max(words[_LIVE_UNTIL], frees_at)
        return frees_at - words[MOVED]
