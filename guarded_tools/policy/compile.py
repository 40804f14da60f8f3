"""Rules made ready: each predicate, limit and approval of an entry as one function of the call.

What can be known before a call is settled once: a path becomes a reader, an operator and its value a test, a denial a
finished :class:`~guarded_tools.values.Decision`. So the functions here come in two halves: the outer one runs when a
tool is first called, the closure it returns runs for each call, and never looks at the policy again.

A predicate says one of four things of a value:

* *true* or *false*: ``require`` denies at false, ``deny_if`` at true, and ``when`` has a human asked at true. The
  decision for that is ``refusal``, made beforehand; of kind ``when`` it is never handed out, only recognised as "ask".
* *nothing*, where an argument is left out, or ``null`` that the predicate does not name. Then ``missing`` is said: a
  denial of kind ``require``; of the others ``None``. Only ``exists`` speaks of what is not there.
* *it cannot be told*, :class:`~guarded_tools.policy.paths.Indeterminate`: another type, two ways to read it. That
  denies the call, of whichever kind the predicate is, because either answer could be the wrong one.

A path with ``[*]`` speaks of every element, to the end: one that cannot be judged denies even where ``when`` would ask.
No value is ever part of a message. What a call takes from a limit is told by :mod:`~guarded_tools.policy.charging`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, Literal, NamedTuple, TypeAlias

from guarded_tools.policy.document import Approval, PolicyDocument, Rules
from guarded_tools.policy.limit import Limit
from guarded_tools.policy.operators import compile_test
from guarded_tools.policy.paths import (
    EVERYWHERE,
    MISSING,
    Indeterminate,
    Path,
    compile_many,
    compile_one,
    escape,
    parse_path,
    pointer,
    unjudged,
)
from guarded_tools.policy.predicate import Predicate
from guarded_tools.policy.readings import Reader
from guarded_tools.values import (
    Ask,
    Decision,
    Remember,
)

Args: TypeAlias = Mapping[str, Any]
CheckResult: TypeAlias = Callable[[Args], Decision | None]
Asker: TypeAlias = Callable[[Args, Decision], Decision]
Kind: TypeAlias = Literal["require", "deny_if", "when"]

_NARROWEST: Final[tuple[Remember, ...]] = ("never", "same", "tool")


class Check(NamedTuple):
    """A predicate made ready: ``read`` finds the values, ``test`` speaks about one, ``refusal`` is said if it denies.

    Of kind ``when`` it denies nothing but what cannot be judged; its ``refusal`` stands for "a human is asked".
    """

    rule: str
    predicate: Predicate
    kind: Kind
    path: Path
    test: Callable[[Any], bool]
    takes_null: bool
    refusal: Decision
    missing: Decision | None

    def holds(self, value: Any) -> bool | None:
        """What the predicate says of one value: true, false, or ``None`` where there is nothing to speak about.

        Raises:
            Indeterminate: why nothing can be said of the value.
        """
        if self.predicate.op != "exists" and (value is MISSING or (value is None and not self.takes_null)):
            return None
        return self.test(value)

    def doubt(self, reason: Indeterminate) -> Decision:
        """Refuse a call that cannot be judged."""
        return Decision("deny", self.rule, unjudged(self.predicate.on_deny, f"{self.predicate.path} {reason}"))


class RuleSet(NamedTuple):
    """The rules of one entry made ready: those of a tool, or those of all tools."""

    action: str
    action_rule: str
    reason: str
    checks: tuple[Check, ...]
    limits: tuple[tuple[str, Limit, str], ...]
    ask: Ask | None
    ask_rule: str
    ask_message: str


def compile_rules(policy: PolicyDocument, rules: Rules, base: str, tool: str) -> RuleSet:
    """Make the rules of one entry ready; ``base`` is its pointer, ``tool`` whose counters are charged."""
    origin = policy.origin
    approval = rules.approval or _implied_approval(rules)
    limits = [(origin(f"{base}/rate_limit"), limit) for limit in _implied_limit(rules)]
    limits += [
        (origin(f"{base}/limits/{place}", base + pointer("limits", limit.counter)), limit)
        for place, limit in enumerate(rules.limits)
    ]
    prefix = counter_prefix(policy.server or "", "*" if base == EVERYWHERE else tool)
    return RuleSet(
        rules.action or "allow",
        origin(f"{base}/action"),
        rules.reason or "",
        (
            *checks_of(policy, rules.require, f"{base}/require", "require"),
            *checks_of(policy, rules.deny_if, f"{base}/deny_if", "deny_if"),
            *checks_of(policy, (approval and approval.when) or (), f"{base}/approval/when", "when"),
        ),
        tuple((rule, limit, limit.named(prefix)) for rule, limit in limits),
        Ask(float(approval.timeout), approval.remember, float(approval.remember_for)) if approval else None,
        f"{base}/approval" if rules.approval else f"{base}/action",
        (approval and approval.message) or rules.reason or "",
    )


def counter_prefix(server: str, tool: str) -> str:
    """Begin the name of a counter; a name with a slash in it stays one part."""
    return f"{escape(server)}/{escape(tool)}/"


def compile_check(check: Check) -> CheckResult:  # noqa: C901 - most of it is the closure, which pays for each call it makes
    """Make the verdict of a predicate: ``None`` where it has nothing against the call, else what it says."""
    required = check.kind == "require"
    test, refusal, missing = check.test, check.refusal, check.missing
    speaks_of_nothing = check.takes_null or check.predicate.op == "exists"

    def answer(value: Any) -> Decision | None:
        said = check.holds(value)
        return missing if said is None else None if said is required else refusal

    if check.path.many:
        read_all = compile_many(check.path)

        def verdict_of_all(args: Args) -> Decision | None:
            # What is said of one element does not excuse another that cannot be judged.
            said = None
            try:
                for value in read_all(args):
                    if speaks_of_nothing or value is MISSING or value is None:
                        found = answer(value)
                        said = said or found
                    elif test(value) is not required:
                        said = said or refusal
            except Indeterminate as reason:
                return check.doubt(reason)
            return said

        return verdict_of_all

    read = compile_one(check.path)

    def verdict(args: Args) -> Decision | None:
        try:
            value = read(args)
            if speaks_of_nothing or value is MISSING or value is None:
                return answer(value)
            return None if test(value) is required else refusal
        except Indeterminate as reason:
            return check.doubt(reason)

    return verdict


def readers(rule_sets: tuple[RuleSet, ...]) -> list[Reader]:
    """List every rule that reads an argument."""
    found = [
        Reader(check.rule, check.path, check.predicate.on_deny or "") for rules in rule_sets for check in rules.checks
    ]
    return found + [
        Reader(rule, parse_path(limit.argument), limit.on_deny or "")
        for rules in rule_sets
        for rule, limit, _ in rules.limits
        if limit.argument is not None
    ]


def compile_ask(rules: RuleSet) -> Asker:
    """Turn an allowed call into a question where the rules want one; where two sets ask, the narrower terms hold."""
    terms = rules.ask
    assert terms is not None
    whens = [(check, compile_check(check)) for check in rules.checks if check.kind == "when"]

    def ask(args: Args, decision: Decision) -> Decision:
        if decision.effect == "deny":
            return decision
        rule = "" if whens else rules.ask_rule
        for check, verdict in whens:
            said = verdict(args)
            if said is check.refusal:
                rule = rule or check.rule
            elif said is not None:
                return said
        if not rule:
            return decision
        earlier = decision.ask
        if earlier is None:
            return decision._replace(effect="ask", rule=rule, message=rules.ask_message, ask=terms)
        narrower = Ask(
            min(earlier.timeout, terms.timeout),
            min(earlier.remember, terms.remember, key=_NARROWEST.index),
            min(earlier.remember_for, terms.remember_for),
        )
        return decision._replace(ask=narrower)

    return ask


def _implied_approval(rules: Rules) -> Approval | None:
    return Approval() if rules.action == "approve" else None


def _implied_limit(rules: Rules) -> list[Limit]:
    rate = rules.rate_limit
    return [] if rate is None else [Limit(counter="rate_limit", max=rate.max, window=rate.window)]


def checks_of(policy: PolicyDocument, predicates: tuple[Predicate, ...], base: str, kind: Kind) -> list[Check]:
    """Make the predicates of one list ready; ``base`` is the list's pointer."""
    checks: list[Check] = []
    times: dict[str, int] = {}
    for place, predicate in enumerate(predicates):
        name = f"{predicate.path}-{predicate.op}"
        times[name] = nth = times.get(name, 0) + 1
        rule = f"{base}/{escape(name)}" + (f"#{nth}" if nth > 1 else "")
        checks.append(_check(predicate, policy.origin(f"{base}/{place}", rule), kind))
    return checks


def _check(predicate: Predicate, rule: str, kind: Kind) -> Check:
    value, required = predicate.value, kind == "require"
    said = f"{predicate.path} must {'be' if required else 'not be'} {predicate.phrase}"
    missing = Decision("deny", rule, unjudged(predicate.on_deny, f"{predicate.path} is missing")) if required else None
    return Check(
        rule,
        predicate,
        kind,
        parse_path(predicate.path),
        _test(predicate, required=required),
        value is None or (type(value) is list and None in value),
        Decision("deny", rule, predicate.on_deny or said),
        missing,
    )


def _test(predicate: Predicate, *, required: bool) -> Callable[[Any], bool]:
    op, value = predicate.op, predicate.value
    if op == "exists":
        return lambda seen: (seen is not None and seen is not MISSING) is value
    # Where "different" lets the call through, a value that only looks different must not.
    guards = op in ({"neq", "not_in"} if required else {"eq", "in", "contains"})
    return compile_test(op, value, folding=predicate.fold, guards=guards)
