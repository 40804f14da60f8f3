"""Limits that the other policy does not keep, with calls in their order that only the one refuses.

Whether a limit is kept is settled by arithmetic (:mod:`~guarded_tools.authoring.diff.windows`). Where it is not, calls
are made, as fast as the other policy lets them through, until the limit refuses: with the counters of a store, and all
the limits of both policies. What is told as looser was played like this.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from math import ceil, lcm
from typing import Final, NamedTuple, TypeAlias

from guarded_tools.authoring.diff.search import Pair, Searched
from guarded_tools.authoring.diff.sides import BEGIN, Side, SideWorld
from guarded_tools.authoring.diff.values import CallStep, Example
from guarded_tools.authoring.diff.windows import Held, keeps
from guarded_tools.policy.limit import Limit
from guarded_tools.text.quantities import quantity
from guarded_tools.text.units import window

_MOST_STEPS: Final = 4_000
_MOST_AMOUNTS: Final = 6
_LATEST: Final = 10**9
_WHOSE: Final = {"session": "", "grant": " for an identity", "global": " for everybody"}

SidesOf: TypeAlias = Callable[[str], tuple[Side, Side]]
"""Finds a tool under both policies."""


class LostLimit(NamedTuple):
    """A limit of the old policy that the new one does not certainly keep. ``now`` are those in its place.

    ``certain``: calls are there that it refuses and the new policy does not, as arithmetic tells.
    """

    held: Held
    now: tuple[Held, ...]
    certain: bool
    example: Example | None


def lost_limits(
    pair: Pair,
    searched: Searched,
    side_for: SidesOf,
    others: Sequence[CallStep] = (),
    needed: Sequence[CallStep] = (),
) -> list[LostLimit]:
    """List the limits that are not kept.

    ``others`` are calls of other tools that both policies let through, ``needed`` those that a rule wants to have
    succeeded before.
    """
    if pair.new.rules.refusal is not None or pair.old.rules.refusal is not None:
        return []
    mine, theirs = pair.old.limits, pair.new.limits
    lost = []
    for held in mine:
        answers = [keeps(other, held) for other in theirs]
        if "yes" in answers:
            continue
        example = next(_examples(held, pair, searched, side_for, others, needed), None)
        lost.append(LostLimit(held, _in_place(held, mine, theirs), "untold" not in answers, example))
    return lost


def _in_place(held: Held, mine: list[Held], theirs: list[Held]) -> tuple[Held, ...]:
    """Pick what stands in the place of a limit: of its name, else what counts the same and is new."""
    named = [other for other in theirs if other.counter == held.counter]
    known = {each.meaning for each in mine}
    alike = [other for other in theirs if other.measure == held.measure and other.meaning not in known]
    return tuple(named or alike)


def _examples(  # noqa: PLR0917 - what a limit is tried with
    held: Held,
    pair: Pair,
    searched: Searched,
    side_for: SidesOf,
    others: Sequence[CallStep],
    needed: Sequence[CallStep],
) -> Iterator[Example]:
    """Find calls that show it, the fewest first."""
    found: list[Example] = []
    aligned = any(each.limit.align == "utc" for each in (held, *pair.new.limits))
    for call in _calls(held, pair.name, searched):
        played = (
            _exceed(_begun(callers, needed, begin, side_for), held.limit.window, given_back=given_back)
            for given_back in ((False, True) if held.limit.counts == "attempts" else (False,))
            for callers in _callers(held, call, others)
            for begin in _moments(held, pair.new.limits)
        )
        found += islice((example for example in played if example is not None), 1)
    for example in sorted(found, key=lambda example: (len(example.steps), example.calls, example.seconds)):
        yield example if aligned else example._replace(begin=None)


def _calls(held: Held, tool: str, searched: Searched) -> list[CallStep]:
    """Pick calls that take something from a limit: each another amount, the largest first."""
    amounts: dict[int, CallStep] = {}
    for call in searched.usable:
        for charge in call.old.charges:
            if charge.rule == held.rule and charge.counter == held.counter and charge.amount:
                amounts.setdefault(charge.amount, CallStep(tool, call.args))
    return [amounts[amount] for amount in sorted(amounts, reverse=True)][:_MOST_AMOUNTS]


def _callers(held: Held, call: CallStep, others: Sequence[CallStep]) -> Iterator[list[CallStep]]:
    """Say who makes the calls: one session, or as many as the limit counts together."""
    yield [call]
    scope = held.limit.scope
    if scope == "session":
        yield [call._replace(grant=grant) for grant in ("ann", "bob")]
    else:
        grant = "ann" if scope == "grant" else None
        yield [call._replace(session=f"s{n}", grant=grant) for n in range(1, 65)]
    if held.everywhere:
        yield from ([call, other] for other in others)


def _moments(held: Held, theirs: list[Held]) -> Iterator[float]:
    """Say when to begin: where all windows begin, and right before a boundary."""
    shared = lcm(held.limit.window, *(other.limit.window for other in theirs))
    first = -(-BEGIN // shared) * shared if shared < _LATEST else BEGIN
    yield first
    if any(other.limit.align == "utc" for other in theirs):
        for other in theirs:
            yield -(-BEGIN // other.limit.window) * other.limit.window - 0.001
    if held.limit.align == "utc":
        for n in range(1, 4):
            yield first + n * held.limit.window


class _Begun(NamedTuple):
    """Both worlds, who calls in them, and what was called before."""

    old: SideWorld
    new: SideWorld
    callers: list[CallStep]
    before: list[CallStep]


def _begun(callers: list[CallStep], needed: Sequence[CallStep], begin: float, side_for: SidesOf) -> _Begun:
    """Make two worlds, and in both the calls that are needed before."""
    old, new = SideWorld(lambda tool: side_for(tool)[0], begin), SideWorld(lambda tool: side_for(tool)[1], begin)
    wanted = [one._replace(session=each.session, grant=each.grant) for each in callers for one in needed]
    before = [step for step in wanted if "deny" not in (old.make(step).effect, new.make(step).effect)]
    return _Begun(old, new, callers, before)


def _exceed(begun: _Begun, span: int, *, given_back: bool) -> Example | None:
    """Make calls as fast as the new policy lets them through until the old one refuses; ``None`` if it never does."""
    old, new, callers, steps = begun
    if given_back:
        steps.append(callers[0]._replace(given_back=True))
        if "deny" in (old.make(steps[0]).effect, new.make(steps[0]).effect):
            return None
    at = 0.0
    for _ in range(_MOST_STEPS):
        waits = []
        for caller in callers:
            step = caller._replace(at=at)
            fits, wait = new.room(step)
            if fits <= 0:
                waits += [] if wait is None else [wait]
                continue
            holds = old.room(step)[0]
            step = step._replace(times=min(fits, holds + 1))
            steps.append(step)
            if fits > holds:
                return _shown(old, new, steps, holds)
            if "deny" in (old.make(step).effect, new.make(step).effect):
                return None
            waits.append(0.0)
        if not waits or at + min(waits) >= span:
            return None
        at = ceil(round((at + min(waits)) * 1_000, 3)) / 1_000  # times are no exact fractions
    return None


def _shown(old: SideWorld, new: SideWorld, steps: list[CallStep], holds: int) -> Example | None:
    """Make the last calls, and see that the old policy refuses the very last one and the new one does not."""
    last = steps[-1]
    if holds:
        before = last._replace(times=holds)
        if "deny" in (old.make(before).effect, new.make(before).effect):
            return None
        steps[-1:] = [before, last._replace(times=1)]
    fates = old.make(steps[-1]), new.make(steps[-1])
    if fates[0].effect != "deny" or fates[1].effect == "deny":
        return None
    return Example(tuple(steps), *fates, old.begin)


def in_words(held: Held) -> str:
    """Put a limit into words: ``10 calls a minute``, ``5 USD of result.cost a day for an identity``."""
    limit = held.limit
    what = _counted(limit)
    shown = quantity(held.counter, limit.most)
    aligned = " by the calendar (UTC)" if limit.align == "utc" else ""
    whose = _WHOSE[limit.scope] + (" over all tools" if held.everywhere else "")
    given = ", also of calls that never ran" if limit.counts == "attempts" else ""
    estimate = "" if limit.reserved is None else f", {quantity(held.counter, limit.reserved)} until it is known"
    return f"{shown}{what} in {window(limit.window)}{aligned}{whose}{given}{estimate}"


def _counted(limit: Limit) -> str:
    if limit.flat is None:
        return f" of {limit.argument or limit.result}"
    if limit.flat == 1 and limit.unit is None:
        return " call" if limit.most == 1 else " calls"
    return f" at {quantity('///' + (limit.unit or '') if limit.unit else '', limit.flat)} a call"
