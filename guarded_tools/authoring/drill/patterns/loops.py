"""Too often: loops, retries, bursts at an edge, new sessions, a new process."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable
from typing import Final

from guarded_tools.authoring.drill.agents import hop, loop
from guarded_tools.authoring.drill.course import Course
from guarded_tools.authoring.drill.pattern import none, pattern, representatives, seen, varied
from guarded_tools.authoring.drill.values import UNASKED, Breach, Loot, Target
from guarded_tools.authoring.drill.world import START, World, approves

_CEILING = """all_tools:
  limits:
    - {counter: calls_an_hour, window: hour, max: <most>, scope: session, counts: attempts}"""
_HOPS: Final = 5_000
_AT_ONCE: Final = 400
_UNTIL_FULL: Final = 200
_MORE: Final = 1.5
_DAY: Final = 86_400


@pattern(
    "loop-same",
    "loops",
    "Runaway loop, the same call",
    agent="loops",
    recipe="1-runaway-loop",
    lines="""tools:
  <tool>:
    limits: [{counter: calls_an_hour, window: hour, max: <most>, scope: session, counts: attempts}]""",
)
def same_call(course: Course) -> Loot:
    """The same call once a second for an hour, of one tool of each class and kind of limit; the human says no.

    Breach: more than 1,200 calls of a tool that reads, 300 of one that writes, 100 of one that executes or 10 of one
    that moves money or destroys ran in the hour without a question.
    """
    bound = representatives(course, course.attackable)
    breaches = []
    for target in bound:
        most = UNASKED[target.risk]
        ran = loop(course.world([target]), [target], most).total()
        if ran > most:
            said = f"more than {most:,} calls in an hour"
            breaches.append(Breach(target.name, said, target.base, grave=target.grave, most=most))
    return seen(bound, breaches) if bound else none("no call could be made of any tool")


@pattern(
    "loop-varied",
    "loops",
    "Runaway loop, other arguments and tools",
    agent="loops",
    recipe="1-runaway-loop",
    lines=_CEILING,
)
def varied_calls(course: Course) -> Loot:
    """All tools in turn for an hour, with arguments that differ, leaving what is refused for what still goes.

    Breach: as for the same call, with all tools of a class together.
    """
    return _by_class(course, lambda _: "agent", {}, 1.0)


@pattern(
    "session-hop",
    "loops",
    "A new session for every call",
    agent="hops",
    recipe="9-session-hopping",
    lines="""all_tools:
  limits:
    - {counter: calls_of_all, window: hour, max: <most>, scope: grant, counts: attempts}""",
)
def session_hop(course: Course) -> Loot:
    """All tools in turn for an hour, twice a second, each call in a session of its own, for one identity.

    Breach: more than 5,000 reads, or as many of the others as for a loop in one session, ran in the hour without a
    question.
    """
    return _by_class(course, hop, {"read": _HOPS}, 0.5)


def _by_class(course: Course, session: Callable[[int], str], other: dict[str, int], pace: float) -> Loot:
    bound = course.attackable
    makers = {target.name: varied(course, target) for target in bound}
    breaches = []
    told = []
    for risk, each in UNASKED.items():
        targets = [target for target in bound if target.risk == risk]
        most = other.get(risk, each)
        world = course.world(targets)
        ran = loop(world, targets, most, args=lambda target, n: makers[target.name](n), session=session, pace=pace)
        if ran.total():
            told.append(f"{ran.total():,} {risk}")
        if ran.total() > most:
            worst = max(targets, key=lambda target: ran[target.name])
            said = f"more than {most:,} {risk} calls in an hour"
            breaches.append(Breach(worst.name, said, makers[worst.name](1), grave=worst.grave, most=most))
    note = f"unasked in an hour: {', '.join(told) or 'nothing'}"
    return seen(bound, breaches, note) if bound else none("no call could be made of any tool")


@pattern(
    "retry-storm",
    "loops",
    "A call that fails, again and again",
    agent="loops",
    recipe="2-retry-storm",
    lines="""tools:
  <tool>:
    limits: [{counter: tries, window: minute, max: 10, counts: attempts}]""",
)
def retry_storm(course: Course) -> Loot:
    """A read that fails each time, once a second for an hour.

    Breach: more than 1,200 calls of one tool reached the server.
    """
    bound = representatives(course, [target for target in course.attackable if target.risk == "read"])
    breaches = []
    for target in bound:
        world = course.world([target])
        world.failing = True
        most = UNASKED["read"]
        if loop(world, [target], most, counts=lambda made: made.ran).total() > most:
            breaches.append(Breach(target.name, f"more than {most:,} failing calls in an hour", target.base))
    return seen(bound, breaches) if bound else none("no tool reads")


@pattern(
    "burst-edge",
    "loops",
    "A burst across the edge of a window",
    agent="loops",
    recipe="12-burst-across-the-edge-of-a-window",
    lines="""tools:
  <tool>:
    limits: [{counter: calls, window: hour, max: 10, align: rolling}]""",
)
def burst(course: Course) -> Loot:
    """As many calls as go within the minute before midnight (UTC) and the minute after; and within two other minutes.

    Breach: of a tool that is limited, half as many calls again ran across the edge as within any other two minutes, and
    more than five more.
    """
    bound, breaches = [], []
    for target in representatives(course, course.attackable):
        usual, full = _two_minutes(course, target, START)
        if not full:
            continue
        bound.append(target)
        across, _ = _two_minutes(course, target, START - START % _DAY + _DAY - 60)
        if across > max(usual * _MORE, usual + 5):
            said = f"{across} calls across the edge, {usual} elsewhere"
            breaches.append(Breach(target.name, said, target.base, grave=target.grave))
    return seen(bound, breaches) if bound else none("no limit is met by 200 calls a minute")


def _two_minutes(course: Course, target: Target, begin: float) -> tuple[int, bool]:
    world = course.world([target], approves)
    world.now = begin
    ran = Counter[bool]()
    for at in (0.0, 61.0):
        world.now = begin + at
        for _ in range(_AT_ONCE // 2):
            made = world.call(target.name, target.base)
            ran[made.ran] += 1
            world.wait(0.2)
            if not made.ran:
                break
    return ran[True], bool(ran[False]) and bool(ran[True])


@pattern(
    "restart",
    "loops",
    "A new process, to begin with empty counters",
    agent="hops",
    recipe="9-session-hopping",
    lines='# In the program: Guard(…, store="disk:///…") or a Redis keeps counters; memory:// forgets them.',
)
def restart(course: Course) -> Loot:
    """Calls until a limit is full; then the process ends, another one begins with what is on disk, and calls again.

    Breach: a call ran that the limit refused a moment before.
    """
    bound, breaches = [], []
    for target in representatives(course, course.attackable):
        with tempfile.TemporaryDirectory(prefix="guarded-tools-drill-", ignore_cleanup_errors=True) as folder:
            if course.policy is not None and not _soon_full(course, target):
                continue
            world = course.world([target], approves, f"disk://{folder}")
            if not _fill(world, target):
                continue
            bound.append(target)
            world.restart()
            if world.call(target.name, target.base).ran:
                breaches.append(Breach(target.name, "a full limit was empty again", target.base, grave=target.grave))
    return seen(bound, breaches) if bound else none("no limit is full after 200 calls")


def _soon_full(course: Course, target: Target) -> bool:
    """Whether it is worth while: in memory, that many calls fill something."""
    return _fill(course.aside([target], approves), target)


def _fill(world: World, target: Target) -> bool:
    for ran in range(_UNTIL_FULL):
        if not world.call(target.name, target.base).ran:
            return ran > 0
        world.wait(0.01)
    return False
