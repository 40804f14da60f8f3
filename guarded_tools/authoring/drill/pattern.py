"""How a pattern is written: a function whose docstring says what it tries and, last, from when on it is a breach."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from guarded_tools.authoring.drill.arguments import Spot, at_top, places, with_value
from guarded_tools.authoring.drill.course import Course
from guarded_tools.authoring.drill.values import Agent, Breach, Human, Loot, Pattern, Target, Tried
from guarded_tools.authoring.drill.world import World, refuses
from guarded_tools.policy import decide
from guarded_tools.policy.names import Names
from guarded_tools.policy.schema_check import misfit
from guarded_tools.values import ToolCall


def pattern(
    name: str, family: str, title: str, *, agent: Agent, recipe: str, lines: str
) -> Callable[[Callable[[Course], Loot]], Pattern]:
    """Make a pattern of a function. In ``lines``, ``<tool>`` and ``<path>`` stand for those of the first breach.

    ``recipe`` is the anchor of a heading in docs/recipes.md.
    """

    def make(run: Callable[[Course], Loot]) -> Pattern:
        tries, _, threshold = inspect.cleandoc(run.__doc__ or "").rpartition("\n\nBreach: ")
        return Pattern(name, family, title, agent, recipe, lines, _one(tries), _one(threshold), run)

    return make


def _one(text: str) -> str:
    return " ".join(text.split())


def none(reason: str) -> Loot:
    """What a pattern found that has nothing to attack, and why."""
    return Loot((), note=reason)


def seen(
    targets: Iterable[Target], breaches: Iterable[Breach], note: str = "", amount: float = 0, unit: str = ""
) -> Loot:
    """What a pattern found that attacked these tools."""
    return Loot(tuple(dict.fromkeys(target.name for target in targets)), tuple(breaches), note, amount, unit)


def opened(course: Course, targets: Sequence[Target], human: Human, *, aside: bool = False) -> World:
    """Make a world in which whatever these tools need to have been called before was, in the usual session."""
    needed = {} if course.policy is None else {tool.name: tool for each in targets for tool in _needed(course, each)}
    make = course.aside if aside else course.world
    world = make({tool.name: tool for tool in (*targets, *needed.values())}.values(), human)
    for tool in needed.values():
        world.call(tool.name, tool.base)
    return world


def _needed(course: Course, target: Target) -> list[Target]:
    entry = None if course.policy is None else Names(course.policy).entry(target.name)
    rules = () if course.policy is None or entry is None else (*entry.tool.needs, *course.policy.all_tools.needs)
    wanted = {name for need in rules for name in need.tool}
    return [tool for tool in course.attackable if tool.name in wanted and tool.risk == "read"]


def representatives(course: Course, targets: Iterable[Target]) -> list[Target]:
    """One tool of all that are held alike: by the same limits, of one class; of a foreign guard, one of each class."""
    found: dict[Any, Target] = {}
    for target in targets:
        found.setdefault((target.risk, _held_by(course, target)), target)
    return list(found.values())


def _held_by(course: Course, target: Target) -> Any:
    if course.policy is None:
        return ""
    said = decide(course.policy, ToolCall(target.name, target.base), target.info.schema, target.risk)
    limits = tuple((charge.max, charge.window, charge.align, charge.scope) for charge in said.charges)
    return (said.effect, limits, said.ask, said.shadow is not None)


def varied(course: Course, target: Target) -> Callable[[int], dict[str, Any]]:
    """Arguments that differ from call to call where any text may stand, and that are refused no sooner for it."""
    for place in at_top(places(target.schema)):
        if not place.free or place.address:
            continue
        made = with_value(target.base, place, "a7")
        if misfit(target.schema, made) is None and not _refused(course, target, made):
            return lambda number, place=place: with_value(target.base, place, f"a{number}")  # type: ignore[misc]
    return lambda _: target.base


def _refused(course: Course, target: Target, args: Mapping[str, Any]) -> bool:
    if course.policy is None:
        return False
    call = ToolCall(target.name, args)
    return decide(course.policy, call, target.info.schema, target.risk).effect == "deny"


def try_values(
    course: Course,
    wanted: Callable[[Target], Iterable[Spot]],
    values: Callable[[Target, Spot], Iterable[Any]],
    *,
    human: Human = refuses,
    breach: Callable[[Target, Spot, Tried], Breach],
    unbound: str,
) -> Loot:
    """Put every value in every wanted place of every tool, each in a session of its own; what ran unasked passed.

    Only what fits the tool's schema is tried: what does not is refused as malformed, or is found by that pattern.
    """
    bound: list[Target] = []
    breaches: list[Breach] = []
    for target in course.attackable:
        tried = [(place, made) for place in wanted(target) for made in _made(target, place, values(target, place))]
        if not tried:
            continue
        bound.append(target)
        world = course.world([target], human)
        for number, (place, args) in enumerate(tried):
            attempt = world.call(target.name, args, f"agent-{number}")
            if attempt.unasked:
                breaches.append(breach(target, place, attempt))
                break
    return seen(bound, breaches) if bound else none(unbound)


def _made(target: Target, place: Spot, values: Iterable[Any]) -> Iterator[dict[str, Any]]:
    for value in values:
        args = with_value(target.base, place, value)
        if misfit(target.schema, args) is None:
            yield args
