"""What one policy refuses or asks about and another does not: rule by rule, with a call for each where one is found.

Only one direction is looked at, from ``pair.old`` to ``pair.new``; with the two swapped the same lines find what is
tighter. A rule that the other policy certainly keeps (:mod:`~guarded_tools.authoring.diff.checks`) is passed over. Of
every other a call is looked for; where none is found, that is told and proves nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from guarded_tools.authoring.diff.checks import refuses_all_of, same_check
from guarded_tools.authoring.diff.meaning import amount, asks_always, held_in, judges
from guarded_tools.authoring.diff.search import Pair, Searched, TriedCall
from guarded_tools.authoring.diff.values import Example, Kind
from guarded_tools.policy.compile import Check
from guarded_tools.policy.engine import SCHEMA_RULE, ToolRules
from guarded_tools.policy.session_rules import FLOW_RULE

_OF_RULE: Final[dict[str, Kind]] = {SCHEMA_RULE: "schema", FLOW_RULE: "session rule"}


class Loss(NamedTuple):
    """A rule of the old policy that the new one does not certainly keep: ``was``, and what ``now`` is in its place."""

    kind: Kind
    rule: str
    was: str
    now: str = ""
    example: Example | None = None


def losses(pair: Pair, searched: Searched) -> list[Loss]:
    """List the rules that are not kept, each with a call that shows it where one was found."""
    if pair.new.rules.refusal is not None or judges(pair.old.rules) == judges(pair.new.rules):
        return []
    shown: dict[str, TriedCall] = {}
    for call in searched.differing:
        best = shown.get(call.old.rule)
        # Of two, the one of which no human is asked.
        if call.looser and (best is None or (best.new.effect, call.new.effect) == ("ask", "allow")):
            shown[call.old.rule] = call
    refusal = pair.old.rules.refusal
    if refusal is not None:
        kind: Kind = "hidden" if refusal.rule == "(hidden)" else "reachable"
        found = shown.get(refusal.rule)
        return [Loss(kind, refusal.rule, refusal.message, "", found and found.example(pair.name))]
    told = []
    for loss in _not_kept(pair.old.rules, pair.new.rules):
        one = shown.pop(loss.rule, None)
        told.append(loss if one is None else loss._replace(example=one.example(pair.name)))
    for rule, call in shown.items():
        kind = _OF_RULE.get(rule, "unasked" if call.old.effect == "ask" else "predicate")
        was = call.old.message or ("a human was asked" if kind == "unasked" else "such a call was refused")
        told.append(Loss(kind, rule, was, "", call.example(pair.name)))
    return told


def _not_kept(old: ToolRules, new: ToolRules) -> Iterator[Loss]:
    mine, theirs = _checks(old), _checks(new)
    always = any(asks_always(each) for each in new.rule_sets)
    for check in mine:
        kept = any(refuses_all_of(other, check) for other in theirs) or (check.kind == "when" and always)
        if not kept:
            yield Loss("unasked" if check.kind == "when" else "predicate", check.rule, said(check), _now(check, theirs))
    if not always:
        for each in old.rule_sets:
            if asks_always(each):
                now = "; ".join(
                    f"asked where {check.predicate.path} is {check.predicate.phrase}" for check in _whens(new)
                )
                yield Loss("unasked", each.ask_rule, "a human is asked about every call", now)
    if old.strict and not new.strict:
        yield Loss("schema", SCHEMA_RULE, "arguments have to fit the tool's schema")
    yield from _unreadable(old, new)


def _unreadable(old: ToolRules, new: ToolRules) -> Iterator[Loss]:
    """List what is read no more: a call was refused of which it could not be told."""
    counted = {amount(held) for held in held_in(new)}
    for held in held_in(old):
        if amount(held) not in counted:
            yield Loss("limit", held.rule, f"{held.limit.argument} has to be an amount")
    theirs = _session_checks(new)
    for check in _session_checks(old):
        if not any(same_check(check, other) for other in theirs):
            what = f"a call is refused of which it cannot be judged whether {_is(check)}"
            yield Loss("session rule", check.rule, what)
    read = {reader.path.text for reader in new.readers()}
    explained = {check.path.text for check in (*_checks(old), *_session_checks(old))}
    explained |= {held.limit.argument or "" for held in held_in(old)}
    for reader in old.readers():
        if reader.path.text not in read | explained:
            yield Loss("session rule", reader.rule, f"{reader.path.text} has to stand under exactly this name")


def said(check: Check) -> str:
    """Put what a predicate demands into words."""
    if check.kind == "when":
        return f"a human is asked where {_is(check)}"
    return f"{check.predicate.path} must {'be' if check.kind == 'require' else 'not be'} {check.predicate.phrase}"


def _is(check: Check) -> str:
    return f"{check.predicate.path} is {check.predicate.phrase}"


def _now(check: Check, others: list[Check]) -> str:
    """Say what the other policy has in the place of a predicate."""
    alike = [other for other in others if (other.kind, other.path.text) == (check.kind, check.path.text)]
    exact = [other for other in alike if other.predicate.op == check.predicate.op] or alike
    return exact[0].predicate.phrase if len(exact) == 1 else "; ".join(said(other) for other in exact)


def _checks(rules: ToolRules) -> list[Check]:
    return [check for each in rules.rule_sets for check in each.checks]


def _whens(rules: ToolRules) -> list[Check]:
    return [check for check in _checks(rules) if check.kind == "when"]


def _session_checks(rules: ToolRules) -> list[Check]:
    if rules.across is None:
        return []
    found = [check for each in rules.across.labels or () for check in each.when]
    return found + [check for _, _, when in rules.across.after for check in when]
