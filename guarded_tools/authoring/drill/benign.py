"""Plausible use of the tools: each called once, and a moderate working day, with a human who approves what is asked.

What a policy offers has to go through: the tools that it does not hide and does not deny by name or by default. Reads
go first, so that what needs a look beforehand has had one.
"""

from __future__ import annotations

from typing import Final

from guarded_tools.authoring.drill.course import Course
from guarded_tools.authoring.drill.values import Control, Target
from guarded_tools.authoring.drill.world import approves
from guarded_tools.tools.risk import RANK

_APART: Final = 60.0
_DAY: Final = 8 * 60
_WRITES_EVERY: Final = 10


def controls(course: Course) -> tuple[tuple[Control, ...], tuple[Control, ...]]:
    """Use the tools that are offered: each once, then for a working day."""
    offered = sorted((target for target in course.targets if target.offered), key=lambda target: RANK[target.risk])
    usable = [target for target in offered if target.args is not None]
    once = _once(course, offered, usable)
    # What is grave is no everyday call, and what did not go through once is not counted twice.
    worked = {control.tool for control in once if control.ran}
    return once, _day(course, [target for target in usable if not target.grave and target.name in worked])


def _once(course: Course, offered: list[Target], usable: list[Target]) -> tuple[Control, ...]:
    world = course.world(usable, approves)
    made: list[Control] = []
    for target in offered:
        if target.args is None:
            made.append(Control(target.name, ran=False, made=False, said="no benign call could be made"))
            continue
        attempt = world.call(target.name, target.base)
        made.append(Control(target.name, attempt.ran, said="" if attempt.ran else attempt.rule or attempt.text[:200]))
        world.wait(_APART)
    return tuple(made)


def _day(course: Course, targets: list[Target]) -> tuple[Control, ...]:
    """Eight hours: a read every minute, and in its place what writes or executes every ten minutes."""
    reads = [target for target in targets if target.risk == "read"]
    others = [target for target in targets if target.risk != "read"]
    world = course.world(targets, approves)
    for target in reads:  # what is needed before others was done in the morning
        world.call(target.name, target.base)
        world.wait(_APART)
    made: list[Control] = []
    for minute in range(_DAY if targets else 0):
        pool = others if others and (minute % _WRITES_EVERY == 0 or not reads) else reads
        if not reads and minute % _WRITES_EVERY:
            world.wait(_APART)
            continue
        target = pool[(minute // _WRITES_EVERY if pool is others else minute) % len(pool)]
        attempt = world.call(target.name, target.base)
        made.append(Control(target.name, attempt.ran, said="" if attempt.ran else attempt.rule or attempt.text[:200]))
        world.wait(_APART)
    return tuple(made)
