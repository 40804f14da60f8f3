"""From a record to a draft, how often its limits would have bound, and what a draft of a part makes of the rest. Pure.

The record is walked a few times, so that nothing of it has to be kept.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from typing import Final, NamedTuple

from guarded_tools.authoring.diff import compare
from guarded_tools.authoring.learn.base import Base, on_top
from guarded_tools.authoring.learn.draft import Draft, KnownTool, learn
from guarded_tools.authoring.learn.hold_out import FEWEST, HoldOut, bound, is_held_out, judge
from guarded_tools.authoring.learn.seen import SeenRecord, hashed
from guarded_tools.authoring.learn.terms import Terms
from guarded_tools.authoring.recorded.events import RecordedEvent
from guarded_tools.authoring.replay.engine import Replay
from guarded_tools.errors import GuardError
from guarded_tools.policy.policy import Policy

WALKS: Final = 4
"""How often a record is walked, at most."""
_MOST_SESSIONS: Final = 100_000
_HALTED: Final = re.compile(r"halted session:(.*)", re.DOTALL)

Walk = Callable[[], Iterable[RecordedEvent]]


class Given(NamedTuple):
    """What a draft is made with, beside the record: what is known of the tools, and the policy to stay below."""

    known: Mapping[str, KnownTool]
    terms: Terms = Terms()
    base: Base | None = None
    server: str = ""

    def draft(self, seen: SeenRecord) -> Draft:
        """Make a draft of what was seen."""
        draft = learn(seen, self.known, self.terms, self.server)
        return draft if self.base is None else on_top(draft, self.base)

    def replay(self, policy: Policy) -> Replay:
        """Make a replay for a policy."""
        return Replay(policy, infos={name: tool.info for name, tool in self.known.items()})


class Learnt(NamedTuple):
    """A draft with all there is to say of it. Without a hold-out, ``no_hold_out`` says why."""

    draft: Draft
    policy: Policy
    bound: Counter[str]
    hold_out: HoldOut | None
    no_hold_out: str
    remarks: tuple[str, ...]


class _Read(NamedTuple):
    """What one walk gave: what all sessions teach, what those not held out do, and how many there are of each."""

    every: SeenRecord
    training: SeenRecord
    sessions: tuple[int, int]


def learn_from(walk: Walk, given: Given, *, steps: bool) -> Learnt:
    """Learn. ``steps`` is whether the record may tell that humans halted sessions.

    Raises:
        GuardError: there is nothing to learn from, or the base cannot be tightened by it.
    """
    halted = _halted(walk()) if steps else frozenset()
    read = _read(walk(), halted)
    draft = given.draft(read.every)
    policy = Policy.model_validate(draft.policy)
    unsure = () if given.base is None else _proved(given.base.policy, policy, given)
    often = bound(given.replay(policy).rows(walk()))
    told, why = _hold_out(walk, read, given, halted)
    return Learnt(draft, policy, often, told, why, (*_remarks(read.every, draft, halted), *unsure))


def _proved(base: Policy, policy: Policy, given: Given) -> tuple[str, ...]:
    """Have the two policies compared: what was built to hold all that the base holds is also found to do so.

    Raises:
        GuardError: something would be held less.
    """
    found = compare(base, policy, [tool.info for tool in given.known.values()])
    if found.looser:
        raise GuardError(f"the draft would loosen the base, so there is none: {found.looser[0].words}")
    return tuple(f"nobody can tell whether the base holds more here: {each.words}" for each in found.untold)


def _halted(events: Iterable[RecordedEvent]) -> frozenset[str]:
    """Find the sessions that somebody halted. Where a name ends and the reason begins is not certain: any may be it."""
    found: set[str] = set()
    for event in events:
        said = _HALTED.match(event.message) if event.kind == "control" and event.rule == "(halt)" else None
        if said is not None and len(found) < _MOST_SESSIONS:
            found.update(said[1][: place.start()] for place in re.finditer(": ", said[1]))
    return frozenset(found)


def _read(events: Iterable[RecordedEvent], halted: Container[str]) -> _Read:
    every = SeenRecord(lambda session: session not in halted)
    training = SeenRecord(lambda session: session not in halted and not is_held_out(session))
    sessions: tuple[set[int], set[int]] = set(), set()
    for event in events:
        every.take(event)
        training.take(event)
        if event.kind == "admitted" and event.session not in halted:
            side = sessions[is_held_out(event.session)]
            if len(side) < _MOST_SESSIONS:
                side.add(hashed(event.session))
    return _Read(every.end(), training.end(), (len(sessions[0]), len(sessions[1])))


def _hold_out(walk: Walk, read: _Read, given: Given, halted: Container[str]) -> tuple[HoldOut | None, str]:
    trained, held = read.sessions
    if trained + held < FEWEST or not (trained and held):
        return None, f"{trained + held} sessions are too few to hold some of them out"
    try:
        policy = Policy.model_validate(given.draft(read.training).policy)
    except GuardError as error:
        return None, f"the sessions that are not held out teach nothing: {error}"
    # What is learnt counts by session; a base may count for all, and then all have to be there.
    events = walk() if given.base is not None else (e for e in walk() if e.kind == "control" or is_held_out(e.session))
    told = judge((row for row in given.replay(policy).rows(events) if row.session not in halted), trained, held)
    return (told, "") if told.calls else (None, "the sessions that were held out made no call that ran")


def _remarks(seen: SeenRecord, draft: Draft, halted: frozenset[str]) -> Iterator[str]:
    drafted = {tool.name for tool in draft.tools}
    names = {"refused": "refused", "failed": "failed", "untold": "of unknown end", "unsettled": "never settled"}
    counts = sum(seen.untaught.values(), Counter[str]())
    told = [f"{counts[why]} {said}" for why, said in names.items() if counts[why]]
    if told:
        yield f"calls that teach nothing: {', '.join(told)}"
    never = sorted(name for name in seen.untaught if name not in seen.tools)
    if never:
        more = f" and {len(never) - _SHOWN} more" if len(never) > _SHOWN else ""
        yield f"not let through, for none of their calls ended well: {', '.join(never[:_SHOWN])}{more}"
    unnamed = sorted(name for name in seen.tools if name not in drafted)
    if unnamed:
        yield f"used, and not in the draft: {', '.join(unnamed[:_SHOWN])}"
    if seen.crowded:
        yield f"{seen.crowded} calls of further tools were not looked at: there are too many tools"
    if halted:
        yield "sessions that somebody halted teach nothing"
    blind = [
        tool.name
        for tool in draft.tools
        if tool.seen.unnamed or any(a.unrecorded for a in tool.seen.arguments.values())
    ]
    if blind:
        yield f"arguments were not recorded whole, so rules about them are missing: {', '.join(blind[:_SHOWN])}"


_SHOWN: Final = 12
