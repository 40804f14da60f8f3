"""How what was learnt looks at a terminal, as a file, and as JSON."""

from __future__ import annotations

import json
from typing import Any, Literal

from guarded_tools.authoring.learn.hold_out import HoldOut, to_json
from guarded_tools.authoring.learn.run import Learnt
from guarded_tools.authoring.learn.written import POISON, draft_yaml
from guarded_tools.cli.console import say
from guarded_tools.cli.replay_view import moment_shown
from guarded_tools.text.visible import plain


def text_of(learnt: Learnt, form: Literal["yaml", "json"]) -> str:
    """The draft as a file."""
    if form == "yaml":
        return draft_yaml(learnt.draft, learnt.bound)
    return json.dumps(learnt.draft.policy, indent=2) + "\n"


def as_document(learnt: Learnt, remarks: list[str]) -> dict[str, Any]:
    """What was learnt as plain data."""
    return {
        "policy": learnt.draft.policy,
        "tools": {
            tool.name: {
                "calls": tool.seen.calls,
                "sessions": len(tool.seen.sessions),
                "asked": tool.seen.asked,
                "risk": tool.rated.risk,
                "why": tool.rated.why,
                "not_learnt": list(tool.unlearnt),
            }
            for tool in learnt.draft.tools
        },
        "limits_bound": dict(sorted(learnt.bound.items())),
        "hold_out": to_json(learnt.hold_out, moment_shown),
        "no_hold_out": learnt.no_hold_out or None,
        "remarks": [*learnt.draft.remarks, *remarks, POISON],
    }


def print_learnt(learnt: Learnt, remarks: list[str], tolerate: float) -> None:
    """Say on standard error what the draft is worth; the draft itself is elsewhere."""
    for line in [*_lines(learnt, tolerate), *learnt.draft.remarks, *remarks, POISON]:
        say(line if line.startswith("  ") else plain(line, 4_000), err=True)


def _lines(learnt: Learnt, tolerate: float) -> list[str]:
    calls = sum(tool.seen.calls for tool in learnt.draft.tools)
    lines = [f"learnt {_many(len(learnt.draft.tools), 'tool')} from {_many(calls, 'call')} that ended well"]
    told = learnt.hold_out
    if told is None:
        return [*lines, f"NO HOLD-OUT RESULT: {learnt.no_hold_out}. Nothing says how the draft does with new calls."]
    return [*lines, *_held_out(told, tolerate)]


def _held_out(told: HoldOut, tolerate: float) -> list[str]:
    would = told.effects
    others = f"{told.judged} other" if told.judged == 1 else f"{told.judged} others"
    made_of, of = _many(told.trained, "session"), _many(told.calls, "call")
    said = (
        f"hold-out: made of {made_of}, the draft would of {of} in {others} deny {would['deny']} "
        f"({100 * told.denied:.1f} %), ask about {would['ask']}, allow {would['allow']}, "
        f"and not be able to judge {would['unjudged']}"
    )
    lines = [said]
    if told.refused:
        of, through, ask = _many(told.refused.total(), "call"), told.refused["allow"], told.refused["ask"]
        lines += [f"hold-out: of {of} that the record refused it would let {through} through, and ask about {ask}"]
    for row in told.examples:
        why = f": {row.after.message}" if row.after.message else ""
        lines.append(
            f"  {moment_shown(row.time)}  {plain(row.session, 80)} {plain(row.tool, 80)}  "
            + plain(f"{row.after.effect} {row.after.rule}{why}", 400)
        )
    if 100 * told.denied > tolerate:
        lines.append(f"the hold-out denies more than {tolerate:g} % (--tolerate)")
    return lines


def _many(count: int, what: str) -> str:
    return f"1 {what}" if count == 1 else f"{count} {what}s"
