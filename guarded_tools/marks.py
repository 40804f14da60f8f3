"""What rules across the calls of a session are about: the marks that calls leave, and what a call looks for.

Values that pass along the line, as those of :mod:`guarded_tools.values`. A policy says which marks a call leaves and
which it looks for (:mod:`guarded_tools.policy.session_rules`); a store keeps them beside the counters of the same
scope, and looks and writes in the very transaction that reserves.
"""

from __future__ import annotations

from typing import Literal, NamedTuple, TypeAlias

MarkKind: TypeAlias = Literal[
    "label",  # what a call's result brings into the session, from the moment it is admitted
    "admitted",  # that a call was admitted
    "succeeded",  # that a call ended well; of one whose end is unknown nothing is said
]


class Mark(NamedTuple):
    """What one call leaves behind in a session (or grant), for rules across calls.

    ``name`` is the label, or the tool as the rule names it that wants to know: a name or a glob. ``tool`` is whose call
    it was. ``same`` is a digest of the values that a rule compares with those of later calls, ``""`` for none.
    """

    scope: str
    kind: MarkKind
    name: str
    tool: str
    same: str = ""


class SessionCondition(NamedTuple):
    """One rule across calls, as it speaks of one call: what it looks for in a session, and what follows.

    It looks for marks of ``kind`` with any of ``names``, or with ``every`` for all of them, of the last ``within``
    seconds (``None``: ever), and with this very ``same``. ``ask`` and ``deny`` bind where it is found, ``need`` denies
    where it is not. ``rule`` is the rule's JSON pointer and ``message`` its own words.
    """

    scope: str
    kind: MarkKind
    names: tuple[str, ...]
    then: Literal["ask", "deny", "need"]
    rule: str
    message: str = ""
    every: bool = False
    within: int | None = None
    same: str = ""


class SessionRules(NamedTuple):
    """What a call must find, or must not find, in its session, and the marks it leaves there once it is admitted.

    ``timeout`` is how long a human is asked, in seconds, where a condition has one asked.
    """

    conditions: tuple[SessionCondition, ...] = ()
    marks: tuple[Mark, ...] = ()
    timeout: float = 600.0


class Carried(NamedTuple):
    """A mark as a session carries it: what brought it, and when first and last, in seconds since the epoch."""

    scope: str
    kind: MarkKind
    name: str
    tool: str
    first: float
    last: float


class BoundRule(NamedTuple):
    """A rule across calls that binds, and what it found; of a ``need`` that is nothing."""

    condition: SessionCondition
    found: tuple[Carried, ...] = ()


class Bound(NamedTuple):
    """Rules across calls bind; nothing was written. It is the first that refuses, else all those that ask."""

    rules: tuple[BoundRule, ...]

    @property
    def asks(self) -> bool:
        """Whether a human may let the call through."""
        return all(bound.condition.then == "ask" for bound in self.rules)


def brought(rules: SessionRules | None) -> tuple[str, ...]:
    """Name the labels that a call brings, each once."""
    marks = () if rules is None else rules.marks
    return tuple(dict.fromkeys(mark.name for mark in marks if mark.kind == "label"))
