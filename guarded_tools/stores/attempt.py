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
from guarded_tools.stores.common import by_scope, pick
from guarded_tools.stores.row import Row
from guarded_tools.stores.slots import Refusal
from guarded_tools.values import Charge, Full

_Parts = dict[str, tuple[list[int], list[SessionCondition], list[Mark]]]


class Attempt:
    """Charges and rules across calls, on their way to being taken or refused."""

    __slots__ = ("_bound", "_charges", "_conditions", "_no_room", "_parts", "_refusal", "slots", "stepped")

    def __init__(self, charges: Sequence[Charge], rules: SessionRules | None = None) -> None:
        self._charges = charges
        self._conditions = rules.conditions if rules else ()
        self._refusal: Refusal | None = None
        self._bound: list[BoundRule] = []
        self._no_room: StoreError | None = None
        self.slots = [0] * len(charges)
        """In which slot each charge went."""
        self.stepped: list[str] = []
        """Scopes that a step of the clock has moved."""
        self._parts: _Parts = {scope: (positions, [], []) for scope, positions in by_scope(charges).items()}
        if rules:
            for condition in self._conditions:
                self._parts.setdefault(condition.scope, ([], [], []))[1].append(condition)
            for mark in rules.marks:
                self._parts.setdefault(mark.scope, ([], [], []))[2].append(mark)

    @property
    def scopes(self) -> Sequence[str]:
        """Whose rows are wanted."""
        return list(self._parts)

    def changes(self, scope: str) -> bool:
        """Whether anything is taken from a scope, or brought into it; of others it only looks at the marks."""
        positions, _, marks = self._parts[scope]
        return bool(positions or marks)

    def take(self, scope: str, row: Row, clock: Clock) -> None:
        """Try what is asked of one scope on its row, which may be kept only if there is no :meth:`answer`."""
        positions, conditions, marks = self._parts[scope]
        if conditions:
            self._bound += row.judge(conditions, clock)
        if positions:
            refusal, taken = row.take(pick(self._charges, positions), clock)
            if refusal:
                if self._refusal is None or refusal.worth > self._refusal.worth:
                    self._refusal = refusal
            else:
                for position, slot in zip(positions, taken, strict=True):
                    self.slots[position] = slot
        if marks:
            try:
                row.bring(marks, clock)
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
