"""The words of a scope's counters: where each is, how they are brought to a time, and which of them are let go.

``array("q")`` and not objects, because a row is read and written with every call: words cost a copy, not a parse. A row
is a head and then one block a counter; a block is a head and then three words a slot, oldest first: when it frees, how
much it holds, and how much of it was given back.
"""

from __future__ import annotations

import json
import math
import random
from array import array
from collections.abc import Iterator

from guarded_tools.errors import StoreError
from guarded_tools.stores.clock import SECOND, Clock
from guarded_tools.stores.row_bytes import CHECKSUM, FORMAT
from guarded_tools.stores.slots import next_boundary, steady

# Two clocks read one after the other agree this closely; less is not a step.
_CLOCK_NOISE = 1_000
# A reading that is older than the last one by no more than this came late: callers wait for locks.
_LATE = 10 * SECOND
# Counters of a row past which those that hold nothing go: an agent can make up names for ever.
MANY = 128

# The words of a row: these, then one block a counter.
VERSION, LENGTH, LAST, OFFSET, BOOT, MOVED, LIVE_UNTIL, HEAD = range(8)
# The words of a block: these, then three a slot: when it frees, how much, how much of it was given back.
ID, SIZE, MAX, WINDOW, USED, BLOCK = range(6)
SLOT = 3


def glance(data: bytes, clock: Clock) -> float | None:
    """Say how full a row's fullest counter is at most, without reading the row in full; ``None``: it holds nothing.

    What ages out only makes it emptier than its words say. A row that makes no sense is as full as can be, so that
    whoever reads it meets that first.
    """
    now, offset, boot = clock
    try:
        words = memoryview(data)[CHECKSUM : CHECKSUM + 8 * int.from_bytes(data[2 * CHECKSUM : 3 * CHECKSUM], "little")]
        words = words.cast("q")
        stepped = boot and words[BOOT] == boot and not -_CLOCK_NOISE <= offset - words[OFFSET] <= _CLOCK_NOISE
        if words[LIVE_UNTIL] <= now and now >= words[LAST] - _LATE and not stepped:
            return None
        end = len(words) if words[VERSION] == FORMAT else len(words) - 1 - words[-1]
        block, fullest = HEAD, 0.0
        while block < end:
            if words[block + SIZE] < BLOCK:
                return math.inf
            most = words[block + MAX]
            fullest = max(fullest, words[block + USED] / most if most else 1.0)
            block += words[block + SIZE]
    except (IndexError, TypeError, ValueError):
        return math.inf
    return fullest


class CounterBlocks:
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
        if boot and words[BOOT] == boot:
            step = offset - words[OFFSET]
            if -_CLOCK_NOISE <= step <= _CLOCK_NOISE:
                step, offset = 0, words[OFFSET]
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
        words[OFFSET] = offset
        words[BOOT] = boot
        return now

    def _move(self, step: int, *, unsure: bool) -> None:  # noqa: ARG002 - for what has to know it
        """Move all along with a step of the clock. It is ``unsure`` where nobody knows how much time passed as well."""
        words = self._words
        words[MOVED] += step
        words[LIVE_UNTIL] += step
        for block in self._blocks():
            for slot in range(block + BLOCK, block + words[block + SIZE], SLOT):
                words[slot] += step
                words[LIVE_UNTIL] = max(words[LIVE_UNTIL], self._frees(block, slot))

    def idle(self, clock: Clock) -> bool:
        """Whether nothing is held any more, so that forgetting the row changes no answer."""
        now = self.advance(clock)  # first: a step moves what it is compared with
        return self._words[LIVE_UNTIL] <= now

    def _blocks(self) -> Iterator[int]:
        words = self._words
        block = HEAD
        while block < len(words):
            yield block
            block += words[block + SIZE]

    def _find(self, wanted: int) -> int:
        words = self._words
        block = HEAD
        end = len(words)
        while block < end:
            if words[block] == wanted:
                return block
            size = words[block + SIZE]
            if size < BLOCK:
                raise StoreError("a counter row is damaged (a block has no size)")
            block += size
        return -1

    def _slot(self, block: int, frees_at: int) -> int:
        """Find the slot that frees at a time, or -1."""
        words = self._words
        for slot in range(block + words[block + SIZE] - SLOT, block + BLOCK - 1, -SLOT):
            if words[slot] == frees_at:
                return slot
        return -1

    def _drop_empty(self, charged: set[int], now: int) -> None:
        """Forget counters that hold nothing, and what was given back of them."""
        words, names = self._words, self._counters()
        kept, left = words[:HEAD], []
        block = HEAD
        while block < len(words):
            self._expire(block, now)
            end = block + words[block + SIZE]
            if words[block + USED] or words[block + ID] in charged:
                kept.extend(words[block:end])
                left.append(words[block + ID])
            block = end
        self._words = kept
        self._names = b"".join(b"," + json.dumps([str(one), names[one]]).encode() for one in left if one in names)

    def _counters(self) -> dict[int, str]:
        """Tell the counters' names by their ids."""
        return {int(one): name for one, name in json.loads(b"[" + self._names[1:] + b"]")}

    def _frees(self, block: int, slot: int) -> int:
        """Say when a slot frees: when it says, or at the boundary after that if it was moved off one."""
        window, frees_at = self._words[block + WINDOW], self._words[slot]
        return frees_at if window > 0 else next_boundary(frees_at, -window)

    def _expire(self, block: int, now: int) -> None:
        words = self._words
        window = words[block + WINDOW]
        if window < 0:
            # As _frees says it, for all slots at once.
            now += steady(-window) - now % -window
        first = slot = block + BLOCK
        end = block + words[block + SIZE]
        while slot < end and words[slot] <= now:
            words[block + USED] -= words[slot + 1]
            slot += SLOT
        if slot != first:
            words[block + SIZE] -= slot - first
            del words[first:slot]
