"""Rules across the calls of a session that the other policy does not keep, and short sessions that show it.

What is looked for (``after``, ``needs``, ``flow``) is compared rule by rule, and so is what a call leaves (``labels``):
a rule that looks for a label is looser, too, where fewer calls bring it. Sessions of up to three calls are then made
under both policies: what leaves something behind, and what looks for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice, product
from typing import Any, Final, NamedTuple

from guarded_tools.authoring.diff.checks import refuses_all_of
from guarded_tools.authoring.diff.limits import SidesOf
from guarded_tools.authoring.diff.search import Pair, Searched
from guarded_tools.authoring.diff.sides import SideWorld
from guarded_tools.authoring.diff.values import CallStep, Example
from guarded_tools.policy.compile import Check
from guarded_tools.policy.globs import covers
from guarded_tools.policy.session_parts import After, Need
from guarded_tools.policy.session_rules import FLOW_RULE, AcrossRules
from guarded_tools.text.units import duration
from guarded_tools.values import Decision

_STRICTNESS = {"allow": 0, "ask": 1, "deny": 2}
_MOST_LEFT: Final = 10
_MOST_LAST: Final = 6
_MOST_GAPS: Final = 4
_MOST_SESSIONS: Final = 1_500


class LostRule(NamedTuple):
    """A rule across calls that is not certainly kept; of a label, what brings it no more. ``label`` is that label."""

    tool: str
    rule: str
    was: str
    label: str = ""
    example: Example | None = None


def lost_rules(pair: Pair) -> Iterator[LostRule]:
    """List the rules across calls of a tool that the new policy does not certainly keep."""
    old, new = pair.old.rules.across, pair.new.rules.across
    if old is None or pair.new.rules.refusal is not None or pair.old.rules.refusal is not None:
        return
    afters = [] if new is None else list(new.after)
    for rule, after, when in old.after:
        if not any(_keeps_after(other, others, after, when) for _, other, others in afters):
            yield LostRule(pair.name, rule, _after_words(after))
    needs = [] if new is None else [need for _, need in new.needs]
    for rule, need in old.needs:
        if not any(_keeps_need(other, need) for other in needs):
            yield LostRule(pair.name, rule, _need_words(need))
    if old.flow is not None and (new is None or new.flow != old.flow):
        yield LostRule(pair.name, FLOW_RULE, f"flow: {old.flow}")
    yield from _lost_labels(pair, old, new)


def _lost_labels(pair: Pair, old: AcrossRules, new: AcrossRules | None) -> Iterator[LostRule]:
    same_flow = old.flow is not None and new is not None and new.flow == old.flow
    if same_flow:
        if old.labels is None and new is not None and new.labels is not None:
            yield LostRule(pair.name, FLOW_RULE, "without labels it counts as untrusted and private", "*")
        if pair.old.risk != "read" and pair.new.risk == "read":
            yield LostRule(pair.name, FLOW_RULE, f"as {pair.old.risk} it counts as outward", "outward")
    theirs = [] if new is None else new.labels or ()
    for brought in old.labels or ():
        kept = any(other.label == brought.label and _covers_when(other.when, brought.when) for other in theirs)
        if not kept and (same_flow or brought.label in old.wanted.labels):
            yield LostRule(
                pair.name, "", f"it brings the label {brought.label}{_sometimes(brought.when)}", brought.label
            )


def _covers_when(one: Sequence[Check], other: Sequence[Check]) -> bool:
    """Whether the predicates of ``one`` speak of every call of which those of ``other`` do; none speak of all."""
    return not one or (bool(other) and all(any(refuses_all_of(mine, each) for mine in one) for each in other))


def _keeps_after(one: After, one_when: Sequence[Check], other: After, other_when: Sequence[Check]) -> bool:
    if not _covers_when(one_when, other_when) or one.scope != other.scope:
        return False
    if (other.then, one.then) == ("deny", "approve") or not _as_long(one.within, other.within):
        return False
    if other.labels is not None:  # all of them have to be there
        return one.labels is not None and set(one.labels) <= set(other.labels)
    return one.tools is not None and all(any(covers(mine, name) for mine in one.tools) for name in other.tools or ())


def _keeps_need(one: Need, other: Need) -> bool:
    if one.scope != other.scope or (other.same is not None and one.same != other.same):
        return False
    if other.within is not None and (one.within is None or one.within > other.within):
        return False
    return all(any(covers(theirs, name) for theirs in other.tool) for name in one.tool)


def _as_long(one: int | None, other: int | None) -> bool:
    return one is None or (other is not None and one >= other)


def _after_words(after: After) -> str:
    what = (
        f"the session carries {' and '.join(after.labels)}"
        if after.labels
        else f"{' or '.join(after.tools or ())} was called"
    )
    then = "denied" if after.then == "deny" else "asked about"
    lately = "" if after.within is None else f" in the last {duration(after.within)}"
    return (
        f"{then} once {what}{lately}"
        + ("" if after.scope == "session" else " (of the identity)")
        + (" (of some arguments)" if after.when else "")
    )


def _need_words(need: Need) -> str:
    same = "" if need.same is None else " with the same values"
    lately = "" if need.within is None else f" in the last {duration(need.within)}"
    return f"denied until {' or '.join(need.tool)} succeeded{same}{lately}" + (
        "" if need.scope == "session" else " (of the identity)"
    )


def _sometimes(when: Sequence[Check]) -> str:
    return " of some arguments" if when else ""


# Sessions


def sessions(
    lost: Sequence[LostRule], pairs: Sequence[Pair], found: Callable[[str], Searched], side_for: SidesOf
) -> Iterator[Example]:
    """Find short sessions whose last call is held less than it was, the shortest first."""
    # Where a label is brought no more, whoever looks for it is held less.
    ends = {each.tool for each in lost} if not any(each.label for each in lost) else {pair.name for pair in pairs}
    leaving: dict[Any, CallStep] = {}
    last: list[CallStep] = []
    gaps = {1.0}
    for pair in pairs:
        looks: dict[Any, CallStep] = {}
        searched = found(pair.name)
        for call in (*searched.usable, *(each for each in searched.differing if each.looser)):
            step = CallStep(pair.name, call.args)
            marks = tuple(_marks(said) for said in (call.old, call.new))
            if any(marks):
                leaving.setdefault(marks, step)
            conditions = tuple(said.across and said.across.conditions for said in (call.old, call.new))
            if any(conditions) and pair.name in ends:
                looks.setdefault((call.old.effect, call.new.effect, conditions), step)
            gaps |= {each.within + 1.0 for said in conditions for each in said or () if each.within is not None}
        last += list(looks.values())[:_MOST_LAST]
    made = _made(list(leaving.values())[:_MOST_LEFT], last, sorted(gaps)[:_MOST_GAPS])
    for steps in islice(made, _MOST_SESSIONS):
        example = _play(steps, side_for)
        if example is not None:
            yield example


def _marks(said: Decision) -> tuple[Any, ...]:
    """What a call leaves, whichever tool it is of."""
    rules = said.across
    left = (() if rules is None else rules.marks) + said.succeeded
    return tuple(sorted((mark.kind, mark.name, mark.same, mark.scope) for mark in left))


def _made(leaving: list[CallStep], last: Iterable[CallStep], gaps: list[float]) -> Iterator[tuple[CallStep, ...]]:
    last = list(last)
    for count in range(3):
        for before, gap, end in product(product(leaving, repeat=count), gaps if count else gaps[:1], last):
            early = [step._replace(at=float(at)) for at, step in enumerate(before)]
            yield (*early, end._replace(at=(count - 1 + gap) if count else 0.0))


def _play(steps: tuple[CallStep, ...], side_for: SidesOf) -> Example | None:
    """Make the calls; ``None`` where one before the last is refused now, or the last is held as much as before."""
    old, new = SideWorld(lambda tool: side_for(tool)[0]), SideWorld(lambda tool: side_for(tool)[1])
    for step in steps[:-1]:
        old.make(step)
        if new.make(step).effect == "deny":
            return None
    fates = old.make(steps[-1]), new.make(steps[-1])
    looser = _STRICTNESS[fates[1].effect] < _STRICTNESS[fates[0].effect]
    return Example(steps, *fates) if looser else None
