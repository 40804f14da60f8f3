"""What a comparison found, in words for people and as plain data for programs."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any, Final

from guarded_tools.authoring.diff.values import DIRECTIONS, CallStep, Difference, Example, PolicyChange
from guarded_tools.authoring.replay.values import Fate
from guarded_tools.text.units import duration, utc
from guarded_tools.text.visible import plain
from guarded_tools.values import canonical

_MOST_STEPS: Final = 50
_MOST_ARGUMENTS: Final = 200
_MOST_NAMED: Final = 3


def in_words(example: Example, stand_ins: Mapping[str, str]) -> str:
    """Tell an example in one line: ``11 calls of pay {} at once: allow → deny /tools/pay/rate_limit``."""
    old, new = _fate(example.old), _fate(example.new)
    return plain(f"{_calls(example, stand_ins)}: {f'{old} → {new}' if old != new else f'{old}, as before'}", 600)


def tools_in_words(tools: tuple[str, ...], stand_ins: Mapping[str, str]) -> str:
    """Name the tools of a finding, the first of many."""
    names = [_name(tool, stand_ins) for tool in tools[:_MOST_NAMED]]
    more = len(tools) - _MOST_NAMED
    return plain(", ".join(names) + (f" and {more} more" if more > 0 else ""), 300)


def to_json(found: Difference) -> dict[str, Any]:
    """Give it as plain data. Of an example with many steps only the first fifty are written out."""
    return {
        "counts": {direction: len(found.of(direction)) for direction in DIRECTIONS},
        "tools": list(found.tools),
        "stand_ins": dict(found.stand_ins),
        "changes": [_finding(each) for each in found.changes],
    }


def _finding(found: PolicyChange) -> dict[str, Any]:
    example = found.example
    shown = example and {
        "calls": example.calls,
        "seconds": example.seconds,
        "begin": example.begin,
        "steps": [_step(step) for step in example.steps[:_MOST_STEPS]],
        "steps_left_off": max(len(example.steps) - _MOST_STEPS, 0),
        "old": _plain_fate(example.old),
        "new": _plain_fate(example.new),
    }
    return {**found._asdict(), "tools": list(found.tools), "example": shown}


def _step(step: CallStep) -> dict[str, Any]:
    return {**step._asdict(), "args": dict(step.args)}


def _plain_fate(fate: Fate) -> dict[str, str]:
    return {"effect": fate.effect, "rule": fate.rule, "message": fate.message}


def _fate(fate: Fate) -> str:
    return f"{fate.effect} {fate.rule}"


def _calls(example: Example, stand_ins: Mapping[str, str]) -> str:
    steps = example.steps
    if example.calls == 1:
        return _call(steps[0], stand_ins)
    if len({(step.tool, canonical(step.args)) for step in steps}) > 1:
        told = [_call(steps[0], stand_ins)]
        for before, step in pairwise(steps):
            later = step.at - before.at
            said = f"{duration(later)} later " if later else ""
            told.append(said + (f"{step.times} times " if step.times > 1 else "") + _call(step, stand_ins))
        return ", ".join(told[:_MOST_NAMED]) + (f", … {example.calls} calls" if len(told) > _MOST_NAMED else "")
    span = f"in {duration(round(example.seconds, 3))}" if example.seconds else "at once"
    sessions, grants = len({step.session for step in steps}), {step.grant for step in steps}
    where = f" in {sessions} sessions" if sessions > 1 else ""
    whose = f" for {len(grants)} identities" if len(grants) > 1 else " of one identity" if grants != {None} else ""
    begins = "" if example.begin is None else f" from {_time(example.begin)} UTC"
    given = ", the first of which never ran" if steps[0].given_back else ""
    return f"{example.calls:,} calls of {_call(steps[0], stand_ins)} {span}{begins}{where}{whose}{given}"


def _time(moment: float) -> str:
    """Tell a time of day to the millisecond, as far as there is one."""
    return utc(moment).isoformat(timespec="milliseconds")[11:23].removesuffix(".000")


def _call(step: CallStep, stand_ins: Mapping[str, str]) -> str:
    args = canonical(step.args)
    cut = args if len(args) <= _MOST_ARGUMENTS else f"{args[:_MOST_ARGUMENTS]}…"
    return f"{_name(step.tool, stand_ins)} {cut}"


def _name(tool: str, stand_ins: Mapping[str, str]) -> str:
    return f"({stand_ins[tool]})" if tool in stand_ins else tool
