"""A policy's rules for calls of which not every argument is known: which of them can be judged, and what is left open.

Rules that read what was not recorded are taken out before the rest is compiled, and named. What the rest denies is
denied for certain, since every rule can only deny more; anything else that it says is worth as much as the list of the
rules that were taken out is empty. An argument that was not there at all is known: a rule that reads it finds nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from guarded_tools.marks import Mark
from guarded_tools.policy.charging import SCOPES
from guarded_tools.policy.compile import Check, RuleSet
from guarded_tools.policy.engine import Evaluator, ToolRules, compile_tool
from guarded_tools.policy.limit import Limit
from guarded_tools.policy.paths import Path, parse_path
from guarded_tools.policy.policy import Policy
from guarded_tools.policy.session_rules import AcrossRules
from guarded_tools.values import ToolCall

_MOST_KEPT = 4096


class Missing(NamedTuple):
    """A rule that reads an argument which was not recorded."""

    rule: str
    path: str


class CountedLimit(NamedTuple):
    """A limit whose amount is counted from an argument which was not recorded."""

    rule: str
    limit: Limit
    counter: str
    path: str


class Judgeable(NamedTuple):
    """What can be judged of calls of one tool, and what cannot.

    ``args`` stand in for those that are not known; no rule that is left reads them. ``lost`` are marks of which nobody
    can tell whether a call leaves them: the kind of scope, the kind of mark, the name.
    """

    decide: Evaluator
    args: Mapping[str, Any]
    missing: tuple[Missing, ...]
    amounts: tuple[CountedLimit, ...]
    lost: tuple[tuple[str, str, str], ...]
    strict: bool

    def lost_marks(self, call: ToolCall) -> list[Mark]:
        """List the marks that a call may have left, or not."""
        return [Mark(SCOPES[scope](call), kind, name, call.tool) for scope, kind, name in self.lost]  # type: ignore[arg-type]  # one of the kinds


class _Unknown:
    """Which arguments are not known, and what was found to read them."""

    def __init__(self, names: tuple[str, ...] | None, known: frozenset[str]) -> None:
        self._names = names
        self._known = known
        self.missing: dict[Missing, None] = {}
        self.amounts: list[CountedLimit] = []
        self.lost: dict[tuple[str, str, str], None] = {}

    def reads(self, path: Path) -> bool:
        """Whether a path leads to an argument that is not known."""
        first = path.steps[0] if path.steps else None
        if type(first) is str:
            return first not in self._known and (self._names is None or first in self._names)
        return self._names is None or not self._known.issuperset(self._names)

    def keep(self, checks: tuple[Check, ...]) -> tuple[Check, ...]:
        """Return the predicates that can be judged, and note the others."""
        self.missing |= dict.fromkeys(Missing(each.rule, each.path.text) for each in checks if self.reads(each.path))
        return tuple(each for each in checks if not self.reads(each.path))


class JudgeableRules:
    """The rules of a policy by tool and by what is known of a call's arguments, each made ready once."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._made: dict[tuple[str, tuple[str, ...] | None, frozenset[str]], Judgeable] = {}

    def of(self, tool: str, names: tuple[str, ...] | None, known: frozenset[str]) -> Judgeable:
        """Return what can be judged of a call with these arguments, of which the values of ``known`` were recorded."""
        key = (tool, names, known)
        found = self._made.get(key)
        if found is None:
            if len(self._made) >= _MOST_KEPT:  # a model may invent names without end
                self._made.clear()
            found = self._made[key] = _made(self._policy, tool, names, known)
        return found


def _made(policy: Policy, tool: str, names: tuple[str, ...] | None, known: frozenset[str]) -> Judgeable:
    rules = policy.compiled.rules(tool)
    unknown = _Unknown(names, known)
    kept = ToolRules(
        tuple(_rule_set(each, unknown) for each in rules.rule_sets),
        rules.rule,
        rules.refusal,
        strict=False,  # of a part of the arguments nobody can say whether the whole fits the schema
        across=None if rules.across is None else _across(rules.across, unknown),
    )
    return Judgeable(
        compile_tool(kept),
        dict.fromkeys(names or ()),
        () if rules.refusal is not None else tuple(unknown.missing),
        tuple(unknown.amounts),
        tuple(unknown.lost),
        rules.strict,
    )


def _rule_set(rules: RuleSet, unknown: _Unknown) -> RuleSet:
    limits = []
    for rule, limit, counter in rules.limits:
        path = None if limit.argument is None else parse_path(limit.argument)
        if path is not None and unknown.reads(path):
            unknown.amounts.append(CountedLimit(rule, limit, counter, path.text))
        else:
            limits.append((rule, limit, counter))
    return rules._replace(checks=unknown.keep(rules.checks), limits=tuple(limits))


def _across(across: AcrossRules, unknown: _Unknown) -> AcrossRules:
    labels = []
    for label in across.labels or ():
        kept = unknown.keep(label.when)
        if len(kept) == len(label.when):
            labels.append(label)
        else:
            places = {"session", *(kind for prefix, kind in across.wanted.labels.get(label.label, ()) if not prefix)}
            unknown.lost |= dict.fromkeys((kind, "label", label.label) for kind in places)
    after = tuple(each for each in across.after if len(unknown.keep(each[2])) == len(each[2]))
    needs = []
    for rule, need in across.needs:
        unread = [own for _, own in need.same or () if unknown.reads(parse_path(own))]
        unknown.missing |= dict.fromkeys(Missing(rule, own) for own in unread)
        needs += [] if unread else [(rule, need)]
    succeeded = []
    for wanted in across.succeeded:
        if any(unknown.reads(parse_path(path)) for path in wanted.paths):
            unknown.lost[wanted.place[1], "succeeded", wanted.name] = None
        else:
            succeeded.append(wanted)
    return across._replace(
        labels=None if across.labels is None else tuple(labels),
        after=after,
        needs=tuple(needs),
        succeeded=tuple(succeeded),
    )
