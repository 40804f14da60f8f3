"""The arithmetic of limits over time. Pure; all times are whole microseconds.

A :class:`Row` holds every counter of one scope. A counter is a list of slots, oldest first; a slot is an amount and the
time it frees at: one window after it was taken for a rolling limit, the next UTC boundary for an aligned one. Rolling
limits round that time up to a 64th of the window: a counter stays small, and an amount is held at most 1.6 % too long.
"""

from __future__ import annotations

import hashlib
import json
import random
import struct
import zlib
from array import array
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

from guarded_tools.errors import StoreError
from guarded_tools.stores.clock import SECOND, Clock
from guarded_tools.values import Charge, Usage

SLOTS = 64

# Two clocks read one after the other agree this closely; less is not a step.
_CLOCK_NOISE = 1_000
# A reading that is older than the last one by no more than this came late: callers wait for locks.
_LATE = 10 * SECOND

# The words of a row: these, then one block a counter.
_VERSION, _LENGTH, _LAST, _OFFSET, _BOOT, _MOVED, _LIVE_UNTIL, _HEAD = range(8)
# The words of a block: these, then three a slot: when it frees, how much, how much of it was given back.
_ID, _SIZE, _MAX, _WINDOW, _USED, _BLOCK = range(6)
_SLOT = 3

# Of a window, in seconds: thirty years.
LONGEST = 10**9
# Sums of amounts stay below this, and so in a word.
_MOST = 2**62

_FORMAT = 1
_CHECKSUM = 8
_START = struct.Struct("<Qqq")


def uncountable(charge: Charge) -> StoreError:
    """Say that a charge is not one: NaN, say, would be below every limit."""
    return StoreError(f"not an amount, a limit and a window that can be counted: {charge!r}")


class Refusal(NamedTuple):
    """A charge that does not fit, and how long until it alone would; ``wait`` is ``None`` where it never will."""

    charge: Charge
    used: int
    wait: int | None

    @property
    def worth(self) -> float:
        """Orders refusals: the longest wait is the one worth telling."""
        return float("inf") if self.wait is None else self.wait


@lru_cache(maxsize=8192)
def counter_id(counter: str, window: int, align: str) -> int:
    """Tell counters of one scope apart. A counter that changes its window is another counter."""
    key = f"{counter}\0{window}\0{align}".encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(key, digest_size=8).digest(), "little", signed=True)


class Row:
    """Every counter of one scope, as one value that is read and written whole."""

    __slots__ = ("_names", "_words", "stepped")

    def __init__(self, words: array[int] | None = None, names: bytes = b"") -> None:
        self.stepped = False
        if words is None:
            # Slots are told by when they free less this. It differs from row to row: what was charged before a reset
            # must not be given back after it.
            moved = random.getrandbits(60)
            words = array("q", (_FORMAT, _HEAD, 0, 0, 0, moved, 0))
        self._words = words
        self._names = names

    @classmethod
    def decode(cls, data: bytes) -> Row:
        """Read what :meth:`encode` wrote.

        Raises:
            StoreError: it is not that, or not any more.
        """
        if len(data) < _START.size:
            raise StoreError("a counter row is damaged (it is too short); see `guarded-tools reset --confirm`")
        checksum, version, length = _START.unpack_from(data)
        body = memoryview(data)[_CHECKSUM:]
        if zlib.crc32(body) != checksum:
            raise StoreError(
                "a counter row is damaged (its checksum does not match); see `guarded-tools reset --confirm`"
            )
        words = array("q")
        words.frombytes(body[: length * 8])
        if version != _FORMAT or len(words) != length or length < _HEAD:
            raise StoreError(f"a counter row has format {version}; this version reads format {_FORMAT}")
        return cls(words, data[_CHECKSUM + length * 8 :])

    def encode(self) -> bytes:
        """Write the row as bytes, with a checksum over all of them."""
        words = self._words
        words[_LENGTH] = len(words)
        body = words.tobytes() + self._names
        return zlib.crc32(body).to_bytes(_CHECKSUM, "little") + body

    def copy(self) -> Row:
        """Make a row that can be changed without changing this one."""
        return Row(self._words[:], self._names)

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
        last = words[_LAST] + step
        if now < last - _LATE:
            step += now - last
        elif now < last:
            now = last
        if step:
            self.stepped = True
            self._move(step)
        words[_LAST] = now
        words[_OFFSET] = offset
        words[_BOOT] = boot
        return now

    def _move(self, step: int) -> None:
        words = self._words
        words[_MOVED] += step
        words[_LIVE_UNTIL] += step
        for block in self._blocks():
            for slot in range(block + _BLOCK, block + words[block + _SIZE], _SLOT):
                words[slot] += step

    def take(self, charges: Sequence[Charge], clock: Clock) -> tuple[Refusal | None, list[int]]:
        """Take what fits, and say which charge that does not fit waits longest.

        The slots, one a charge, are for :meth:`give_back`. The caller keeps the row only if nothing was refused.
        """
        now = self.advance(clock)
        words = self._words
        worst: Refusal | None = None
        slots = []
        for charge in charges:
            _, counter, amount, limit, window, _, _, align, _ = charge
            if (
                type(amount) is not int
                or type(limit) is not int
                or type(window) is not int
                or amount < 0
                or limit > _MOST
                or not 0 < window <= LONGEST
            ):
                raise uncountable(charge)
            block = self._find(counter_id(counter, window, align))
            if block < 0:
                block = self._add(charge)
            if words[block + _SIZE] > _BLOCK and words[block + _BLOCK] <= now:
                self._expire(block, now)
            used = words[block + _USED]
            if used + amount > limit:
                refusal = Refusal(charge, used, self._wait(block, amount, limit, clock.wall))
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
            frees_at = birth + words[_MOVED]
            if not charge.refundable or block < 0 or not charge.amount or frees_at <= now:
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
        names: dict[str, str] = dict(json.loads(b"[" + self._names[1:] + b"]"))
        words = self._words
        listed = []
        for block in self._blocks():
            self._expire(block, now)
            held = [
                words[slot] for slot in range(block + _BLOCK, block + words[block + _SIZE], _SLOT) if words[slot + 1]
            ]
            listed.append(
                Usage(
                    scope,
                    names.get(str(words[block + _ID]), "?"),
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
        block = _HEAD
        while block < len(words):
            yield block
            block += words[block + _SIZE]

    def _find(self, wanted: int) -> int:
        words = self._words
        block = _HEAD
        end = len(words)
        while block < end:
            if words[block] == wanted:
                return block
            size = words[block + _SIZE]
            if size < _BLOCK:
                raise StoreError("a counter row is damaged (a block has no size)")
            block += size
        return -1

    def _add(self, charge: Charge) -> int:
        words = self._words
        block = len(words)
        wanted = counter_id(charge.counter, charge.window, charge.align)
        window = charge.window * SECOND
        words.extend((wanted, _BLOCK, charge.max, -window if charge.align == "utc" else window, 0))
        self._names += b"," + json.dumps([str(wanted), charge.counter]).encode()
        return block

    def _expire(self, block: int, now: int) -> None:
        words = self._words
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
                return words[slot] - wall
        raise StoreError("a counter row is damaged (its slots do not add up)")

    def _put(self, block: int, amount: int, now: int) -> int:
        words = self._words
        window = words[block + _WINDOW]
        if window < 0:
            frees_at = (now // -window + 1) * -window
        else:
            width = max(window // SLOTS, 1)
            frees_at = -(-now // width) * width + window
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
        return frees_at - words[_MOVED]
