"""A drill, told: as lines for people and as plain data for programs. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

from guarded_tools.authoring.drill.run import Drilled
from guarded_tools.authoring.drill.values import Breach, PatternResult
from guarded_tools.text.units import counted
from guarded_tools.text.visible import plain

_PAGE: Final = "docs/recipes.md"
_LONGEST: Final = 160
_MOST_TOLD: Final = 3


class Heading(NamedTuple):
    """What was drilled: the policy or guard, whose tools, and what is taken for granted of the program around it."""

    what: str
    server: str
    assumed: str = ""


def lines(heading: Heading, drilled: Drilled) -> Iterator[str]:
    """Tell a drill: a line a pattern, what passed and what closes it, plausible use, the grade."""
    yield plain(f"{heading.what}: {counted(drilled.tools, 'tool')} of {heading.server}, {drilled.offered} offered")
    if heading.assumed:
        yield f"assumed: {heading.assumed}"
    yield ""
    for finding in drilled.findings:
        yield plain(f"{_verdict(finding):6}  {finding.pattern.name:16}  {_what(finding)}")
    for finding in drilled.findings:
        if not finding.held:
            yield from _closing(finding)
    yield ""
    yield from _use(drilled)
    yield _graded(drilled)


def _verdict(finding: PatternResult) -> str:
    return "-" if not finding.applies else "held" if finding.held else "PASSED"


def _what(finding: PatternResult) -> str:
    """What came of a pattern, and for what reason that is no breach, or is one."""
    if not finding.applies:
        return f"does not apply: {finding.seen.note}"
    told = (
        f"{counted(finding.calls, 'call')}, {finding.ran:,} ran, {finding.unasked:,} of them unasked, "
        f"{counted(finding.questions, 'question')}"
    )
    if finding.seen.note:
        told += f"; {finding.seen.note}"
    if finding.held and finding.rules:
        told += f"; stopped by {', '.join(finding.rules)}"
    return told


def _closing(finding: PatternResult) -> Iterator[str]:
    pattern, breaches = finding.pattern, finding.seen.breaches
    yield ""
    yield f"{pattern.name}: {pattern.title}"
    for breach in breaches[:_MOST_TOLD]:
        example = f", for example {example_of(breach)}" if breach.args is not None else ""
        yield plain(f"  {breach.tool}: {breach.said}{example}")
    if len(breaches) > _MOST_TOLD:
        yield f"  and {len(breaches) - _MOST_TOLD} more"
    yield f"  a breach: {pattern.threshold}"
    yield f"  closed by {_PAGE}#{pattern.recipe}, in the policy:"
    for line in policy_lines(finding).splitlines():
        yield plain(f"    {line}")


def policy_lines(finding: PatternResult) -> str:
    """The lines that close a pattern, with the tool and the argument of its first breach; "" where it held."""
    if not finding.seen.breaches:
        return ""
    breach = finding.seen.breaches[0]
    lines = finding.pattern.lines.replace("<path>", breach.path or "args").replace("<most>", str(breach.most))
    return lines.replace("<tool>", _key(breach.tool)).replace("<reader>", _key(breach.reader))


def _key(name: str) -> str:
    """A tool's name as YAML has it: as it is, or in quotes."""
    return name if re.fullmatch(r"[A-Za-z_]\w*", name, re.ASCII) else json.dumps(name)


def example_of(breach: Breach) -> str:
    """The arguments of a breach on one line, cut."""
    text = json.dumps(breach.args or {}, ensure_ascii=True, default=str)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def _use(drilled: Drilled) -> Iterator[str]:
    made = [control for control in drilled.once if control.made]
    ran = sum(control.ran for control in made)
    worked = sum(control.ran for control in drilled.day)
    yield f"plausible use: {ran} of {len(made)} tools once, {worked} of {len(drilled.day)} calls of a working day"
    for control in drilled.once:
        if not control.ran:
            yield plain(f"  {control.tool}: {'blocked by ' if control.made else ''}{control.said}")
    blocked = {control.tool: control.said for control in drilled.day if not control.ran}
    for tool, said in blocked.items():
        yield plain(f"  {tool}, in the course of the day: blocked by {said}")


def _graded(drilled: Drilled) -> str:
    told = drilled.grade
    share = f"{told.held} of {told.attacks} patterns held, times {told.benign:.0%} of plausible use: {told.score:.2f}"
    return f"grade {told.letter}: {share}{f'; {told.capped}' if told.capped else ''}"


def to_json(heading: Heading, drilled: Drilled) -> dict[str, Any]:
    """The same as plain data."""
    told = drilled.grade
    return {
        "policy": heading.what,
        "server": heading.server,
        "assumed": heading.assumed,
        "tools": drilled.tools,
        "offered": drilled.offered,
        "grade": told.letter,
        "score": round(told.score, 4),
        "held": told.held,
        "attacks": told.attacks,
        "benign": round(told.benign, 4),
        "capped": told.capped,
        "patterns": [_finding(finding) for finding in drilled.findings],
        "once": [control._asdict() for control in drilled.once],
        "day": {
            "calls": len(drilled.day),
            "ran": sum(control.ran for control in drilled.day),
            "blocked": {control.tool: control.said for control in drilled.day if not control.ran},
        },
    }


def _finding(finding: PatternResult) -> Mapping[str, Any]:
    pattern, seen = finding.pattern, finding.seen
    return {
        "name": pattern.name,
        "family": pattern.family,
        "title": pattern.title,
        "agent": pattern.agent,
        "tries": pattern.tries,
        "threshold": pattern.threshold,
        "applies": finding.applies,
        "held": finding.held,
        "grave": finding.grave,
        "tools": list(seen.bound),
        "calls": finding.calls,
        "ran": finding.ran,
        "unasked": finding.unasked,
        "questions": finding.questions,
        "amount": seen.amount,
        "unit": seen.unit,
        "note": seen.note,
        "stopped_by": list(finding.rules),
        "breaches": [
            {"tool": breach.tool, "said": breach.said, "path": breach.path, "grave": breach.grave}
            | ({} if breach.args is None else {"example": example_of(breach)})
            for breach in seen.breaches
        ],
        "recipe": f"{_PAGE}#{pattern.recipe}",
        "lines": policy_lines(finding),
    }
