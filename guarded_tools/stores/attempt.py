"""One try at reserving, for backends that keep rows: what each scope has to do for it, and what comes of it.

A backend shows the row of each of :attr:`Attempt.scopes` once, all as they are at one moment, and then asks for the
answer. Only if there is none may it keep the rows, and of these only those that the call changes. So all is judged by
what was there before the call's own marks, whatever scopes these are in. What refuses comes in this order:

1. a rule across calls that refuses, the first in the order of the policy;
2. of charges that do not fit the one that waits longest, since after a shorter wait the call would be refused again;
3. the rules across calls that ask, all of them: a human decides once;
4. marks for which there is no room, an error.

Marks that are only noted are an attempt too, without charges. Redis does the same in a script of its own. Where a clock
stepped, rows are to be brought to it even so: without boot times, a row that never heard of the step would wait for the
wall clock to catch up.
"""

from __future__ import annotations

from collections.abc import Sequence

from guarded_tools.errors import StoreError
from guarded_tools.marks import Bound, BoundRule, Mark, SessionCondition, SessionRules
from guarded_tools.stores.clock import SECOND, Clock
from guarded_tools.stores.row import Row
from guarded_tools.stores.slots import Refusal
from guarded_tools.values import Charge, Full

# What one scope has to do for a call: charges, and which of the call's these are; conditions; marks.
_Part = tuple[Sequence[Charge], Sequence[int], Sequence[SessionCondition], Sequence[Mark]]


class Attempt:
    """Charges and rules across calls, on their way to being taken or refused."""

    __slots__ = ("_bound", "_conditions", "_no_room", "_parts", "_refusal", "slots", "stepped")

    def __init__(self, charges: Sequence[Charge], rules: SessionRules | None = None) -> None:
        conditions, marks = ((), ()) if rules is None else rules[:2]
        self._conditions = conditions
        self._parts = _parts(charges, conditions, marks)
        self._refusal: Refusal | None = None
        self._bound: list[BoundRule] = []
        self._no_room: StoreError | None = None
        self.slots: list[int] = []
        """In which slot each charge went."""
        self.stepped: list[str] = []
        """Scopes that a step of the clock has moved."""

    @property
    def scopes(self) -> Sequence[str]:
        """Whose rows are wanted."""
        return list(self._parts)

    def changes(self, scope: str) -> bool:
        """Whether anything is taken from a scope, or brought into it; of others it only looks at the marks."""
        charges, _, _, marks = self._parts[scope]
        return bool(charges or marks)

    def take(self, scope: str, row: Row, clock: Clock) -> None:
        """Try what is asked of one scope on its row, which may be kept only if there is no :meth:`answer`."""
        charges, positions, conditions, marks = self._parts[scope]
        now = row.advance(clock)
        if conditions:
            self._bound += row.judge(conditions, now)
        if charges:
            refusal, taken = row.take(charges, now, clock.wall)
            if refusal:
                if self._refusal is None or refusal.worth > self._refusal.worth:
                    self._refusal = refusal
            elif len(self._parts) == 1:
                self.slots = taken
            else:
                self.slots = self.slots or [0] * sum(len(part[1]) for part in self._parts.values())
                for position, slot in zip(positions, taken, strict=True):
                    self.slots[position] = slot
        if marks:
            try:
                row.bring(marks, now)
            except StoreError as error:
                self._no_room = self._no_room or error
        if row.stepped:
            self.stepped.append(scope)

    def answer(self) -> Bound | Full | None:
        """Say what refuses the call, once all rows were shown; ``None`` if nothing does.

        Raises:
            StoreError: there is no room for its marks.
        """
        if self._bound:
            bound = self._bound
            if len(bound) > 1:
                bound = sorted(bound, key=lambda one: self._conditions.index(one.condition))
            refusing = next((one for one in bound if one.condition.then != "ask"), None)
            if refusing:
                return Bound((refusing,))
        if self._refusal:
            return full(self._refusal)
        if self._bound:
            return Bound(tuple(bound))
        if self._no_room:
            raise self._no_room
        return None


def full(refusal: Refusal) -> Full:
    """Say what a refusal means to the caller."""
    wait = refusal.wait
    return Full(refusal.charge, refusal.used, None if wait is None else wait / SECOND)


def _parts(
    charges: Sequence[Charge], conditions: Sequence[SessionCondition], marks: Sequence[Mark]
) -> dict[str, _Part]:
    if len(charges) == 1 and not conditions and not marks:
        return {charges[0].scope: (charges, (0,), (), ())}
    scopes = {one.scope for one in charges}
    if conditions or marks:
        scopes.update([one.scope for one in conditions], [one.scope for one in marks])
    if len(scopes) == 1:  # as nearly always
        return {scopes.pop(): (charges, range(len(charges)), conditions, marks)}
    parts: dict[str, tuple[list[Charge], list[int], list[SessionCondition], list[Mark]]] = {}
    for position, charge in enumerate(charges):
        part = parts.setdefault(charge.scope, ([], [], [], []))
        part[0].append(charge)
        part[1].append(position)
    for condition in conditions:
        parts.setdefault(condition.scope, ([], [], [], []))[2].append(condition)
    for mark in marks:
        parts.setdefault(mark.scope, ([], [], [], []))[3].append(mark)
    return dict(parts)
