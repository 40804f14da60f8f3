"""A learnt policy as YAML, with what bears each rule out beside it. Pure, and the same bytes for the same record.

What was recorded was written by models, and perhaps by others: it ends up in a comment or a quoted value, on one line.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

from guarded_tools.authoring.learn.draft import Draft, DraftedTool, rule_text
from guarded_tools.authoring.learn.seen import EVERY_TOOL
from guarded_tools.authoring.scan import flow_offered, labels_told
from guarded_tools.authoring.yaml_text import LONGEST, flow, scalar, shown
from guarded_tools.policy.paths import EVERYWHERE, pointer
from guarded_tools.tools.risk import RANK

POISON: Final = "A record in which somebody got an agent to misuse its tools teaches that misuse: read every rule."


def draft_yaml(draft: Draft, bound: Mapping[str, int]) -> str:
    """Write a draft down. ``bound`` is how often each limit would have bound in the record, by its rule."""
    policy = draft.policy
    tools = {tool.name: tool for tool in draft.tools}
    calls = sum(tool.seen.calls for tool in draft.tools)
    lines = [
        f"# A draft for {len(tools)} tools, learnt from {calls} recorded calls that ran and ended well.",
        f"# {POISON}",
        "# Texts are never learnt: what a text may say is for you to write.",
        *(f"# {shown(remark, 2 * LONGEST)}" for remark in draft.remarks),
        *_top(policy),
        *flow_offered(entry for entry in policy["tools"].values() if "labels" in entry and "flow" not in policy),
        "",
    ]
    if "all_tools" in policy:
        why = _Why(EVERY_TOOL, EVERYWHERE, draft, bound)
        lines += ["all_tools:", *_parts(policy["all_tools"], why, "  "), ""]
    lines.append("tools:")
    for name in sorted(policy["tools"], key=lambda each: _place(each, tools)):
        entry = policy["tools"][name]
        lines.append("")
        lines += [f"  # {line}" for line in _about(tools[name])] if name in tools else []
        if entry:
            lines.append(f"  {scalar(name)}:")
            lines += _parts(entry, _Why(name, pointer("tools", name), draft, bound), "    ")
        else:
            lines.append(f"  {scalar(name)}: {{}}")
    return "\n".join(lines) + "\n"


def _top(policy: Mapping[str, Any]) -> Iterator[str]:
    for key, value in policy.items():
        if key not in {"all_tools", "tools"}:
            yield f"{scalar(key)}: {flow(value)}"


def _place(name: str, tools: Mapping[str, DraftedTool]) -> tuple[int, str]:
    return (RANK[tools[name].rated.risk] if name in tools else -1), name


def _about(tool: DraftedTool) -> Iterator[str]:
    seen, rated = tool.seen, tool.rated
    yield f"Ran {_times(seen.calls)} in {len(seen.sessions)} sessions. Classed {rated.risk}: {shown(rated.why)}."
    if rated.info.description:
        yield shown(rated.info.description)
    yield f"Labelled: {shown(labels_told(rated.labels), 2 * LONGEST)}."
    if seen.asked:
        yield f"In the record, humans were asked about it ({_times(seen.asked)}), so it asks."
    if seen.unnamed:
        yield "Of some calls not every argument's name was recorded: nothing is learnt of them."
    if tool.unlearnt:
        yield shown(f"Nothing is learnt of {', '.join(tool.unlearnt)}.", 2 * LONGEST)


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


class _Why(NamedTuple):
    """What bears the rules of one entry out, and how often its limits would have bound."""

    name: str
    at: str
    draft: Draft
    bound: Mapping[str, int]

    def of(self, key: str, rule: Mapping[str, Any]) -> str:
        """Say it of one rule; nothing where it was not learnt."""
        why = self.draft.reasons.get((self.name, rule_text(rule)), "")
        if not why or key != "limits":
            return why
        often = self.bound.get(self.at + pointer("limits", rule["counter"]), 0)
        return f"{why}; this would have bound {_times(often)}" if often else f"{why}; this would never have bound"


def _parts(entry: Mapping[str, Any], why: _Why, indent: str) -> Iterator[str]:
    for key, value in entry.items():
        if not isinstance(value, list) or key == "labels" or not value:
            yield f"{indent}{key}: {flow(value)}"
            continue
        yield f"{indent}{key}:"
        for each in value:
            said = why.of(key, each)
            yield f"{indent}  - {flow(each)}" + (f"  # {shown(said)}" if said else "")
