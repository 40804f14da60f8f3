"""Everything that is kept of one scope, as one value: its counters, and the marks that its calls left.

Both in one, since a call looks at both and changes both, and a value that is read and written whole needs no second
statement, and no transaction, to be of one moment. A row without marks is what it was before there were any, byte for
byte; one that has some says another format, so that an older version refuses to read it rather than miss a label.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence

from guarded_tools.errors import StoreError
from guarded_tools.marks import BoundRule, Carried, Mark, SessionCondition
from guarded_tools.stores.blocks import HEAD, LAST, LENGTH, MOVED, VERSION
from guarded_tools.stores.carried import WORDS, CarriedMarks
from guarded_tools.stores.clock import SECOND, Clock
from guarded_tools.stores.row_bytes import FORMAT, FORMAT_WITH_MARKS, pack, unpack
from guarded_tools.stores.window import Counters

IDLE = 30 * 86_400 * SECOND
"""How long after its last call a scope may be forgotten that knows only what succeeded: what needs that is denied."""

_NONE = CarriedMarks()


class Row(Counters):
    """Every counter and every mark of one scope."""

    __slots__ = ("_marks",)

    def __init__(self, words: array[int] | None = None, names: bytes = b"", marks: CarriedMarks | None = None) -> None:
        super().__init__(words, names)
        self._marks = marks

    @classmethod
    def decode(cls, data: bytes) -> Row:
        """Read what :meth:`encode` wrote.

        Raises:
            StoreError: it is not that, or not any more.
        """
        words, names = unpack(data, HEAD)
        if words[VERSION] == FORMAT:
            return cls(words, names)
        # The last word says how many before it are of marks.
        length = words.pop()
        if length <= 0 or length % WORDS or length > len(words) - HEAD:
            raise StoreError("a counter row is damaged (its marks do not add up)")
        marks = CarriedMarks(words[-length:])
        del words[-length:]
        names, _, marks.names = names.partition(b"\n")
        return cls(words, names, marks)

    def encode(self) -> bytes:
        """Write the row as bytes, with a checksum over all of them."""
        words, names, marks = self._words, self._names, self._marks
        words[VERSION] = FORMAT
        if marks is not None and marks.words:
            length = len(marks.words)
            words = words + marks.words
            words.append(length)
            words[VERSION] = FORMAT_WITH_MARKS
            names = b"%b\n%b" % (names, marks.names)
        words[LENGTH] = len(words)
        return pack(words, names)

    def copy(self) -> Row:
        """Make a row that can be changed without changing this one."""
        marks = self._marks
        return Row(self._words[:], self._names, None if marks is None else marks.copy())

    def judge(self, conditions: Sequence[SessionCondition], now: int) -> list[BoundRule]:
        """List the rules across calls that bind, and what each of them found. ``now`` is what :meth:`advance` gave."""
        marks = self._marks or _NONE
        return [bound for condition in conditions if (bound := marks.judge(condition, now))]

    def bring(self, marks: Sequence[Mark], now: int) -> None:
        """Add marks, or note that they were brought again.

        Raises:
            StoreError: there are too many. The caller does not keep the row then.
        """
        if self._marks is None:
            self._marks = CarriedMarks()
        self._marks.bring(marks, now)

    def clear(self, label: str) -> bool:
        """Take a label away; returns whether it was there."""
        return self._marks is not None and self._marks.clear(label)

    def carried(self, scope: str, clock: Clock) -> list[Carried]:
        """List the marks: labels first, then by when they were brought."""
        self.advance(clock)
        return (self._marks or _NONE).carried(scope)

    def forgettable(self, clock: Clock) -> bool:
        """Whether forgetting the row loosens nothing: nothing is held, and no label or admitted call is known."""
        words, marks = self._words, self._marks
        seen, moved = words[LAST], words[MOVED]
        if not self.idle(clock):
            return False
        # What the step moved is not time that passed.
        passed = words[LAST] - seen - (words[MOVED] - moved)
        return marks is None or not marks.words or (not marks.loosen and passed >= IDLE)

    def _move(self, step: int, *, unsure: bool) -> None:
        super()._move(step, unsure=unsure)
        if self._marks is not None:
            self._marks.move(step, unsure=unsure)
