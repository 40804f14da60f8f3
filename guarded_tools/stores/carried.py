"""What a scope carries of earlier calls: marks, found by what they say. Pure; all times are whole microseconds.

A mark is five words: two that tell it from every other, which entry of the names it has, and when it was brought first
and last. A call looks for a few marks among at most six hundred with every reservation, so they are looked for by two
words, 128 bits of a hash of kind, name and digest, for which nobody can make up another mark that has the same. Names
are read only where somebody is told of them. Digests are kept nowhere else, and the values never.

**When in doubt, a mark that binds is there and one that is needed is not.** Marks age as counters do: a step of the
wall clock moves them along. Where the clock was set back and nobody can tell how much time went by, a mark may be
older than it looks. It goes on binding what may only happen without it, for a whole window; what may only happen within
a window after it has to wait for the next one. :data:`_DOUBT` says so of a mark, until it is brought again.

**Bounded.** Labels, and tools that were admitted, are as many as a policy names; one too many is an error, since what
gave way would loosen a rule. Of calls that succeeded there can be any number, told apart by digests. There the oldest
of a tool gives way, which only tightens a rule that needs it; and of the tool with the most, so that no tool can make
another one's give way.
"""

from __future__ import annotations

import hashlib
import json
from array import array
from collections.abc import Collection, Iterable, Sequence
from functools import lru_cache
from typing import NamedTuple

from guarded_tools.errors import StoreError
from guarded_tools.marks import BoundRule, Carried, Mark, MarkKind, SessionCondition
from guarded_tools.stores.clock import SECOND

MOST_NAMES = 64
"""Labels, and tools that were admitted, that one scope carries."""

MOST_OF_A_TOOL = 128
"""Calls that succeeded that one scope knows by one name, each with another digest."""

MOST_SUCCEEDED = 512
"""Calls that succeeded that one scope knows in all."""

LONGEST_NAME = 4096
"""Characters of a name; of a tool's, what is beyond is left off."""

KINDS: tuple[MarkKind, ...] = ("label", "admitted", "succeeded")
THENS = ("ask", "deny", "need")

_LONGEST = 10**9

# The words of a mark. The third is the number of its entry times 8, plus 4 if in doubt, plus its place in KINDS.
_ID, _REST, _WHAT, _FIRST, _LAST, WORDS = range(6)
_KIND, _DOUBT, _ENTRY = 3, 4, 8
_SUCCEEDED = KINDS.index("succeeded")
# Words past which it is worth while to make a dictionary of where marks are.
_FEW = 12 * WORDS


@lru_cache(maxsize=8192)
def mark_id(kind: str, name: str, same: str) -> tuple[int, int]:
    """Tell marks of one scope apart.

    Raises:
        StoreError: there is no such kind, or no name.
    """
    if kind not in KINDS or not 0 < len(name) <= LONGEST_NAME:
        raise StoreError(f"not a mark that can be kept: {kind!r} of {name[:80]!r}")
    key = f"{kind}\0{len(same)}\0{same}{name}".encode("utf-8", "surrogatepass")
    hashed = hashlib.blake2b(key, digest_size=16).digest()
    return int.from_bytes(hashed[:8], "little", signed=True), int.from_bytes(hashed[8:], "little", signed=True)


class Lookup(NamedTuple):
    """What a condition looks for, as a scope's marks are told apart; ``within`` is in microseconds."""

    ids: tuple[tuple[int, int], ...]
    within: int | None
    needed: bool
    every: bool


@lru_cache(maxsize=1024)
def lookup(condition: SessionCondition) -> Lookup:
    """See that a condition is one, and put it into ids: a window that is none would find nothing, and no names neither.

    Raises:
        StoreError: it is not.
    """
    _, kind, names, then, _, _, every, within, same = condition
    if not names or then not in THENS or not (within is None or (type(within) is int and 0 < within <= _LONGEST)):
        raise StoreError(f"not a rule across calls that can be judged: {condition!r}")
    ids = tuple(mark_id(kind, name, same) for name in names)
    return Lookup(ids, None if within is None else within * SECOND, then == "need", every)


def too_many(scope: str, name: str) -> StoreError:
    """Make the error of a label, or of a tool, for which there is no room."""
    return StoreError(
        f"{scope} carries {MOST_NAMES} labels and names of tools, and {name[:80]!r} is one too many: use fewer in the"
        " policy, and begin another session, or forget this one with `guarded-tools reset`"
    )


def in_order(carried: Iterable[Carried]) -> list[Carried]:
    """Order marks: labels first, then by when they were brought; of a call that succeeded, one a name."""
    merged: dict[tuple[str, str, str], Carried] = {}
    for one in sorted(
        carried, key=lambda one: (one.kind != "label", one.first, one.scope, one.kind, one.name, one.tool)
    ):
        known = merged.setdefault((one.scope, one.kind, one.name), one)
        if one.last > known.last:
            merged[one.scope, one.kind, one.name] = known._replace(last=one.last)
    return list(merged.values())


class CarriedMarks:
    """The marks of one scope."""

    __slots__ = ("_places", "names", "words")

    def __init__(
        self, words: array[int] | None = None, names: bytes = b"", places: dict[int, int] | None = None
    ) -> None:
        self.words = array("q") if words is None else words
        self.names = names
        # Where marks are, by the first word of their ids; of those that share one, the last. Made when it is wanted and
        # never changed, so that copies share it.
        self._places = places

    def copy(self) -> CarriedMarks:
        """Make marks that can be changed without changing these."""
        return CarriedMarks(self.words[:], self.names, self._places)

    @property
    def loosen(self) -> bool:
        """Whether forgetting them would loosen a rule."""
        return any(what & _KIND != _SUCCEEDED for what in self.words[_WHAT::WORDS])

    def move(self, step: int, *, unsure: bool) -> None:
        """Move all along with a step of the clock."""
        words = self.words
        for mark in range(0, len(words), WORDS):
            words[mark + _FIRST] += step
            words[mark + _LAST] += step
            if unsure:
                words[mark + _WHAT] |= _DOUBT

    def judge(self, condition: SessionCondition, now: int) -> BoundRule | None:
        """Say whether a rule binds, and by what it found.

        Raises:
            StoreError: it is no rule that can be judged.
        """
        ids, within, needed, every = lookup(condition)
        words = self.words
        found = []
        for one in ids:
            mark = self._find(one)
            if mark < 0:
                continue
            if within is not None:
                old = now - words[mark + _LAST] >= within
                if old or (needed and words[mark + _WHAT] & _DOUBT):
                    continue
            found.append(mark)
        there = len(found) == len(ids) if every else bool(found)
        if needed:
            return None if there else BoundRule(condition)
        return BoundRule(condition, tuple(self._shown(condition.scope, found))) if there else None

    def bring(self, marks: Sequence[Mark], now: int) -> None:
        """Add marks, or note that they were brought again.

        Raises:
            StoreError: there are too many. Some may be there then, so these marks are of no use any more.
        """
        for mark in marks:
            _, kind, name, _, same = mark
            at = self._find(mark_id(kind, name, same))
            if at >= 0:
                self.words[at + _LAST] = now
                self.words[at + _WHAT] &= ~_DOUBT
            else:
                self._add(mark, now)

    def clear(self, label: str) -> bool:
        """Take a label away; returns whether it was there."""
        at = self._find(mark_id("label", label, ""))
        if at >= 0:
            self._drop({at})
        return at >= 0

    def carried(self, scope: str) -> list[Carried]:
        """List them, as :func:`in_order` does."""
        return in_order(self._shown(scope, range(0, len(self.words), WORDS)))

    def _find(self, wanted_id: tuple[int, int]) -> int:
        one, rest = wanted_id
        words = self.words
        if len(words) > _FEW:
            if self._places is None:
                self._places = dict(zip(words[_ID::WORDS], range(0, len(words), WORDS), strict=True))
            at = self._places.get(one, -1)
            if at < 0 or words[at + _REST] == rest:
                return at
        for at in range(0, len(words), WORDS):
            if words[at] == one and words[at + _REST] == rest:
                return at
        return -1

    def _add(self, mark: Mark, now: int) -> None:
        kind = KINDS.index(mark.kind)
        succeeded = sum(what & _KIND == _SUCCEEDED for what in self.words[_WHAT::WORDS])
        if kind != _SUCCEEDED and len(self.words) // WORDS - succeeded >= MOST_NAMES:
            raise too_many(mark.scope, mark.name)
        named = (mark.kind, mark.name, mark.tool[:LONGEST_NAME])
        entries = self._entries()
        entry = next((number for number, known in entries.items() if known == named), None)
        if entry is None:
            entry = max(entries, default=-1) + 1
            self.names += b"," + json.dumps([entry, *named]).encode()
        one, rest = mark_id(mark.kind, mark.name, mark.same)
        self._places = None
        self.words.extend((one, rest, entry * _ENTRY + kind, now, now))
        if kind == _SUCCEEDED and succeeded >= MOST_OF_A_TOOL:
            self._give_way()

    def _give_way(self) -> None:
        """Drop the oldest marks of tools that have too many of them."""
        words, entries = self.words, self._entries()
        tools: dict[str, list[int]] = {}
        for mark in sorted(range(0, len(words), WORDS), key=lambda mark: words[mark + _LAST]):
            if words[mark + _WHAT] & _KIND == _SUCCEEDED:
                tools.setdefault(entries[words[mark + _WHAT] // _ENTRY][1], []).append(mark)
        gone: set[int] = set()
        while True:
            fullest = max(tools, key=lambda name: (len(tools[name]), name))
            if len(tools[fullest]) <= MOST_OF_A_TOOL and sum(map(len, tools.values())) <= MOST_SUCCEEDED:
                break
            gone.add(tools[fullest].pop(0))
        self._drop(gone)

    def _drop(self, gone: Collection[int]) -> None:
        words = self.words
        kept = array("q")
        for mark in range(0, len(words), WORDS):
            if mark not in gone:
                kept.extend(words[mark : mark + WORDS])
        used = {what // _ENTRY for what in kept[_WHAT::WORDS]}
        left = [[entry, *named] for entry, named in self._entries().items() if entry in used]
        self.words = kept
        self._places = None
        self.names = b"".join(b"," + json.dumps(one).encode() for one in left)

    def _entries(self) -> dict[int, tuple[MarkKind, str, str]]:
        """Tell kind, name and tool by the number of an entry."""
        return {number: (kind, name, tool) for number, kind, name, tool in json.loads(b"[" + self.names[1:] + b"]")}

    def _shown(self, scope: str, marks: Iterable[int]) -> Iterable[Carried]:
        words, entries = self.words, self._entries()
        for mark in marks:
            named = entries[words[mark + _WHAT] // _ENTRY]
            yield Carried(scope, *named, words[mark + _FIRST] / SECOND, words[mark + _LAST] / SECOND)
