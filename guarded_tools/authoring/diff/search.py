"""Calls of one tool that two policies judge differently, found by trying what both policies' rules turn on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from guarded_tools.authoring.candidates import candidates
from guarded_tools.authoring.diff.sides import Side
from guarded_tools.authoring.diff.values import CallStep, Example
from guarded_tools.authoring.replay.values import Fate
from guarded_tools.values import Decision

_STRICTNESS = {"allow": 0, "ask": 1, "deny": 2}
_MOST_USABLE = 60


class TriedCall(NamedTuple):
    """One call, and what each policy says of it."""

    args: Mapping[str, Any]
    old: Decision
    new: Decision

    @property
    def looser(self) -> bool:
        """Whether it is held less than it was."""
        return _STRICTNESS[self.new.effect] < _STRICTNESS[self.old.effect]

    @property
    def tighter(self) -> bool:
        """Whether it is held more than it was."""
        return _STRICTNESS[self.new.effect] > _STRICTNESS[self.old.effect]

    def example(self, tool: str) -> Example:
        """Tell it."""
        old, new = (Fate(said.effect, said.rule, said.message) for said in (self.old, self.new))
        return Example((CallStep(tool, self.args),), old, new)


class Pair(NamedTuple):
    """A tool under both policies."""

    name: str
    old: Side
    new: Side

    def turned(self) -> Pair:
        """Swap the two: what is tighter one way is looser the other way."""
        return Pair(self.name, self.new, self.old)


class Searched(NamedTuple):
    """What a search came upon: the calls judged differently, and those that both let through."""

    tried: int
    differing: tuple[TriedCall, ...]
    usable: tuple[TriedCall, ...]

    def turned(self) -> Searched:
        """Swap the policies."""
        differing, usable = (
            tuple(TriedCall(each.args, each.new, each.old) for each in tried) for tried in (self.differing, self.usable)
        )
        return Searched(self.tried, differing, usable)


def search(pair: Pair, most: int) -> Searched:
    """Try at most so many calls of a tool."""
    old, new = pair.old, pair.new
    differing: dict[tuple[str, ...], TriedCall] = {}
    usable: dict[tuple[Any, ...], TriedCall] = {}
    tried = 0
    for args in candidates([old.rules, new.rules], old.info.schema, most=most):
        tried += 1
        call = TriedCall(args, old.decide(args), new.decide(args))
        if call.looser or call.tighter:
            # The first call of each kind is the plainest.
            key = (call.old.effect, call.new.effect, call.old.rule, call.new.rule)
            differing.setdefault(key, call)
        if "deny" not in (call.old.effect, call.new.effect) and len(usable) < _MOST_USABLE:
            usable.setdefault(_taken(call), call)
    # Those first of which no human is asked.
    calls = sorted(usable.values(), key=lambda call: (call.old.effect, call.new.effect) != ("allow", "allow"))
    return Searched(tried, tuple(differing.values()), tuple(calls))


def _taken(call: TriedCall) -> tuple[Any, ...]:
    """All of a call that rules beside the arguments' turn on: what it takes, asks, looks for and leaves."""
    return tuple(
        (said.effect, said.ask, tuple((charge.counter, charge.amount) for charge in said.charges), said.across)
        for said in (call.old, call.new)
    )
