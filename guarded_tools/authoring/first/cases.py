"""Cases for a drafted policy: what it makes of one call of each tool, of a loop, and of a tool that nobody listed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from guarded_tools.authoring.drill.arguments import fit
from guarded_tools.authoring.scan import Rated
from guarded_tools.authoring.yaml_text import can_be_named, flow, scalar, shown
from guarded_tools.policy import Policy
from guarded_tools.policy.paths import pointer
from guarded_tools.values import is_grave

UNLISTED: Final = "a_tool_that_nobody_listed"
_NOT_LISTED: Final = '{effect: deny, rule: "(default deny)"}'
_HIDDEN: Final = '{effect: deny, rule: "(hidden)"}'
_LONGEST: Final = 400
"""Characters of a call's arguments: what is longer teaches nobody anything."""


def first_cases(policy: Policy, tools: Sequence[Rated]) -> str:
    """Write cases that pass on ``policy``, the draft for these tools, as YAML with comments.

    A tool for which no plausible arguments are found is named in a comment.
    """
    lines = [
        "# What the policy makes of your tools, as it was drafted. Change both together, and run",
        "#   guarded-tools test policy.yaml cases.yaml",
        "cases:",
        "  # What nobody listed does not run.",
        f"  - {{name: a tool that nobody listed, tool: {_unlisted(tools)}, expect: {_NOT_LISTED}}}",
    ]
    named = [tool for tool in tools if can_be_named(tool.info.name)]
    fitting = {tool.info.name: fit(policy, tool.info.name, tool.info.schema or {}, tool.risk) for tool in named}
    calls = {name: args for name, args in fitting.items() if args is not None and len(flow(args)) <= _LONGEST}
    lines += ["", "  # One call of each tool."]
    for tool in named:
        name = tool.info.name
        grave = is_grave(tool.risk)
        if name not in calls and not grave:
            lines.append(f"  # {shown(name)}: write a call of your own, for no plausible arguments were found.")
            continue
        # What is hidden is refused whatever its arguments are.
        lines.append(_case(name, calls.get(name, {}), tool))
    lines += _loop(next((tool for tool in named if _limited(tool) and tool.info.name in calls), None), calls, policy)
    return "\n".join(lines) + "\n"


def _unlisted(tools: Sequence[Rated]) -> str:
    names = {tool.info.name for tool in tools}
    return next(name for name in (UNLISTED + "_" * extra for extra in range(len(names) + 1)) if name not in names)


def _case(name: str, args: Mapping[str, Any], tool: Rated) -> str:
    if is_grave(tool.risk):
        told, expect = "is hidden", _HIDDEN
    else:
        told, expect = ("is allowed", "allow") if tool.risk == "read" else ("is asked about", "ask")
    given = f", args: {flow(args)}" if args else ""
    return f"  - {{name: {scalar(f'{name} {told}')}, tool: {scalar(name)}{given}, expect: {expect}}}"


def _limited(tool: Rated) -> bool:
    return tool.risk != "read" and not is_grave(tool.risk)


def _loop(tool: Rated | None, calls: Mapping[str, Mapping[str, Any]], policy: Policy) -> Iterator[str]:
    """A loop of calls: as many as a minute lets through, one more, and one a minute later."""
    if tool is None:
        return
    name = tool.info.name
    most = next(limit.max for limit in policy.tools[name].limits or () if limit.counter == "calls_per_minute")
    call = f"tool: {scalar(name)}" + (f", args: {flow(calls[name])}" if calls[name] else "")
    rule = scalar(f"/tools{pointer(name)}/limits/calls_per_minute")
    yield ""
    yield "  # A loop ends at the limit, and a minute later there is room again."
    yield f"  - name: {scalar(f'no more than {most} calls of {name} a minute')}"
    yield "    steps:"
    yield f"      - {{{call}, times: {most}, expect: ask}}"
    yield f"      - {{{call}, expect: {{effect: deny, rule: {rule}}}}}"
    yield f"      - {{{call}, after: 1m, expect: ask}}"
