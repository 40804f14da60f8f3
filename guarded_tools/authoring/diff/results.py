"""What must hold for the results of a tool: kept back less, or more, than before. Such rules judge no call."""

from __future__ import annotations

from collections.abc import Iterator

from guarded_tools.authoring.diff.search import Pair
from guarded_tools.authoring.diff.values import Direction, PolicyChange
from guarded_tools.policy.paths import pointer
from guarded_tools.policy.result_checks import ResultChecks


def results(pair: Pair) -> Iterator[PolicyChange]:
    """List what is kept back of the results under one of the policies only."""
    if pair.old.rules.refusal is None and pair.new.rules.refusal is None:
        old, new = (side.policy.results(pair.name).checks or ResultChecks() for side in (pair.old, pair.new))
        yield from _gone(pair.name, old, new, "looser")
        yield from _gone(pair.name, new, old, "tighter")


def _gone(tool: str, one: ResultChecks, other: ResultChecks, direction: Direction) -> Iterator[PolicyChange]:
    """List what ``one`` keeps back of a result and ``other`` does not."""
    looser = direction == "looser"
    gone, now = ("no longer", "now") if looser else ("new", "was")
    found: list[tuple[str, str]] = []
    if one.max_chars is not None and (other.max_chars is None or other.max_chars > one.max_chars):
        rest = f"; {now} {other.max_chars:,}" if other.max_chars is not None else f": {gone}"
        found.append((f"results of up to {one.max_chars:,} characters{rest}", one.max_chars_rule))
    for redaction, rule in zip(one.redact, one.redact_rules, strict=True):
        if redaction not in other.redact:
            what = redaction if isinstance(redaction, str) else f"what matches {redaction.regex}"
            found.append((f"{what} redacted in results: {gone}", rule))
    if one.schema_rule and not other.schema_rule:
        found.append((f"results have to fit the tool's output schema: {gone}", one.schema_rule))
    if one.deny and not other.deny and (other.max_chars or other.redact or other.schema_rule):
        found.append(
            (f"results that break a rule are kept back as a whole: {gone}", f"{pointer('tools', tool)}/result")
        )
    for words, rule in found:
        yield PolicyChange("result", direction, (tool,), words, rule)
