"""One drill from end to end: every pattern in turn, the controls, the grade."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from guarded_tools.authoring.drill.benign import controls
from guarded_tools.authoring.drill.course import Course
from guarded_tools.authoring.drill.grade import Grade, grade
from guarded_tools.authoring.drill.patterns import PATTERNS
from guarded_tools.authoring.drill.values import Control, Pattern, PatternResult, Target
from guarded_tools.authoring.drill.world import Subject
from guarded_tools.policy import Policy


class Drilled(NamedTuple):
    """A drill's outcome: what every pattern did, which plausible calls went through, and the grade of both."""

    findings: tuple[PatternResult, ...]
    once: tuple[Control, ...]
    day: tuple[Control, ...]
    grade: Grade
    tools: int
    offered: int


def drill(
    subject: Subject,
    targets: Sequence[Target],
    policy: Policy | None = None,
    *,
    patterns: Sequence[Pattern] = PATTERNS,
    told: Callable[[str], None] = lambda _: None,
) -> Drilled:
    """Run every pattern and every control. ``told`` hears the name of each as it begins."""
    course = Course(subject, targets, policy)
    with _quiet():
        findings = tuple(_each(course, patterns, told))
        told("Plausible use")
        once, day = controls(course)
    return Drilled(
        findings,
        once,
        day,
        grade(findings, once, day, len(course.targets)),
        len(course.targets),
        sum(target.offered for target in course.targets),
    )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the guard's log to itself: what it warns of here is what the drill does to it."""
    log = logging.getLogger("guarded_tools")
    before, log.disabled = log.disabled, True
    try:
        yield
    finally:
        log.disabled = before


def _each(course: Course, patterns: Sequence[Pattern], told: Callable[[str], None]) -> Iterator[PatternResult]:
    for pattern in patterns:
        told(pattern.title)
        yield course.run(pattern)
