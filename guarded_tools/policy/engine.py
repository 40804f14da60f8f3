"""What a policy says of a call. Pure: nothing is counted, asked or written here.

The rules of a tool are compiled when it is first called, once for a policy and a name, so that the cost of a decision
does not grow with the policy. A call then meets, in this order, and the first denial is the answer:

1. the name: hidden, not listed under ``"default": "deny"``, or one that only looks like a listed one;
2. ``action: deny``, of the tool's own rules or of ``all_tools``;
3. the tool's own JSON Schema, unless the policy checks none;
4. the readings of the arguments: what a server may make of them, where that is not what stands in them;
5. ``require`` of the tool, then of ``all_tools``; ``deny_if`` of both. Every reading has to pass;
6. ``limits`` of both, each the largest charge that a reading takes; an amount that cannot be told denies;
7. ``labels``, ``after``, ``needs`` and ``flow``: what the store has to look for in the session, and what the call
   leaves there (:mod:`~guarded_tools.policy.session_rules`);
8. ``approval`` of both: an allowed call becomes a question, on the narrower terms where both ask.

1 and 2 need no arguments, so they are a constant. Two sets of rules speak for a tool, its own entry's and those of
``all_tools``; neither overrides the other, and either can deny.

*Shadow*: rules on trial are compiled apart, with a refusal and charges of their own, and what they say is handed along
in ``Decision.shadow``; their counters have scopes of their own, so a trial takes nothing from a limit in force. Where
an entry is on trial, the rules for all tools stay in force. Where the policy is, only ``hide`` does. An entry on trial
loosens nothing either: neither its ``schema: off`` nor its ``refunds`` holds.

Values here are named tuples, not dataclasses: a decision is made for every call, and a frozen dataclass takes three
times as long to make; they compare and unpack as what they are, immutable rows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple, TypeAlias

from guarded_tools.marks import Mark
from guarded_tools.policy.charging import compile_limit, largest, new
from guarded_tools.policy.compile import (
    CheckResult,
    RuleSet,
    compile_ask,
    compile_check,
    compile_rules,
    readers,
)
from guarded_tools.policy.document import PolicyDocument, Rules
from guarded_tools.policy.names import Entry, Names
from guarded_tools.policy.paths import EVERYWHERE, kind_of, pointer, unjudged
from guarded_tools.policy.readings import Ambiguous, Reader, Readings
from guarded_tools.policy.result_checks import ResultPlans
from guarded_tools.policy.session_rules import (
    NOTHING,
    AcrossRules,
    Wanted,
    across_rules,
    always_asked,
    compile_across,
    wanted_by,
)
from guarded_tools.text.visible import one_line
from guarded_tools.values import BUDGET_CALL, MODEL_CALL, Charge, Decision, Risk, ToolCall

Schema: TypeAlias = Mapping[str, Any] | None
Evaluator: TypeAlias = Callable[[ToolCall, Schema, Risk | None], Decision]

SCHEMA_RULE: Final = "/schema"
# A model may invent names without end.
_MOST_COMPILED: Final = 4096


class CompiledPolicy(dict[str, Evaluator]):
    """The compiled rules of a policy by tool name, each made when it is first asked for."""

    def __init__(self, policy: PolicyDocument) -> None:
        super().__init__()
        self._policy = policy
        self.names = Names(policy)
        self.wanted = wanted_by(policy)
        self.results = ResultPlans(policy, self.names)

    def __missing__(self, tool: str) -> Evaluator:
        if len(self) >= _MOST_COMPILED:
            self.clear()
        self[tool] = evaluate = compile_tool(self.rules(tool))
        return evaluate

    def rules(self, tool: str) -> ToolRules:
        """Find the rules that speak for a tool."""
        return tool_rules(self._policy, self.names, self.wanted, tool)


class ToolRules(NamedTuple):
    """What a policy says of a tool before it sees any arguments.

    ``rule`` is what lets it through. ``refusal`` settles every call. ``trial`` is what the rules under trial say.
    ``across`` are its rules across calls.
    """

    rule_sets: tuple[RuleSet, ...]
    rule: str
    refusal: Decision | None
    strict: bool
    trial: ToolRules | None = None
    across: AcrossRules | None = None

    def readers(self) -> list[Reader]:
        """List every rule that reads an argument."""
        return readers(self.rule_sets) + ([] if self.across is None else self.across.readers())


def tool_rules(policy: PolicyDocument, names: Names, wanted: Wanted, tool: str) -> ToolRules:
    """Find the rules that speak for a tool; ``wanted`` is what those of all others want to know of it."""
    if tool in {MODEL_CALL, BUDGET_CALL}:
        reserved = Decision("deny", "(guard)", f"{tool} is a name of the guard's own, and no tool's")
        return ToolRules((), "(guard)", reserved, strict=False)
    if names.hides(tool):
        return ToolRules(
            (), "(hidden)", Decision("deny", "(hidden)", f"{one_line(tool)} is not available"), strict=False
        )
    everywhere = compile_rules(policy, policy.all_tools, EVERYWHERE, tool)
    entry = names.entry(tool)
    strict = is_strict(policy, entry)
    own: tuple[RuleSet, ...] = ()
    written: list[tuple[str, Rules]] = []
    refusal = None
    if entry is None:
        rule = f"(default {policy.default})"
        if policy.default == "deny":
            refusal = Decision("deny", rule, f"{one_line(tool)} is not allowed by the policy")
    else:
        rule = pointer("tools", entry.key)
        own = (compile_rules(policy, entry.tool, rule, tool),)
        written = [(rule, entry.tool)]
        if entry.lookalike:
            refusal = Decision("deny", rule, f"{one_line(tool)} is not a listed tool; it only looks like {entry.key}")
    risk = None if entry is None else entry.tool.risk
    for_all = (EVERYWHERE, policy.all_tools)
    across = across_rules(policy, wanted, [*written, for_all], tool, risk)
    full = _tool_rules((*own, everywhere), rule, refusal, tool, strict=strict)._replace(across=across)
    if policy.shadow:
        return ToolRules((), rule, None, strict=False, trial=full)
    if entry is not None and entry.tool.shadow and not entry.lookalike:
        across = across_rules(policy, wanted, written, tool, risk, trial=True)
        trial = _tool_rules(own, rule, None, tool, strict=False)._replace(across=across)
        across = across_rules(policy, wanted, [for_all], tool, None)
        return _tool_rules((everywhere,), rule, None, tool, strict=strict)._replace(trial=trial, across=across)
    return full


def is_strict(policy: PolicyDocument, entry: Entry | None) -> bool:
    """Whether calls of a tool are checked against its schema. An entry on trial loosens nothing."""
    own = None if entry is None or entry.lookalike or entry.tool.shadow else entry.tool.schema_check
    return (own or policy.schema_check) == "strict"


def _tool_rules(
    rule_sets: tuple[RuleSet, ...], rule: str, refusal: Decision | None, tool: str, *, strict: bool
) -> ToolRules:
    for rules in rule_sets:
        if rules.action == "deny" and refusal is None:
            refusal = Decision("deny", rules.action_rule, rules.reason or f"{one_line(tool)} is denied by the policy")
    return ToolRules(rule_sets, rule, refusal, strict)


def compile_tool(rules: ToolRules) -> Evaluator:
    """Compile everything a policy says of one tool."""
    evaluate = _compile(rules)
    if rules.trial is None:
        return evaluate
    on_trial = _compile(rules.trial)
    return lambda call, schema, risk: evaluate(call, schema, risk)._replace(shadow=_apart(on_trial(call, schema, risk)))


def _apart(decision: Decision) -> Decision:
    """Move the charges and the marks of a rule under trial to scopes of their own."""
    across = decision.across
    if across is not None:
        conditions = tuple(each._replace(scope=f"shadow:{each.scope}") for each in across.conditions)
        across = across._replace(conditions=conditions, marks=_marks_apart(across.marks))
    return decision._replace(
        charges=tuple(charge._replace(scope=f"shadow:{charge.scope}") for charge in decision.charges),
        across=across,
        succeeded=_marks_apart(decision.succeeded),
    )


def _marks_apart(marks: tuple[Mark, ...]) -> tuple[Mark, ...]:
    return tuple(mark._replace(scope=f"shadow:{mark.scope}") for mark in marks)


def _compile(tool: ToolRules) -> Evaluator:  # noqa: C901 - most of it is the closure, which pays for each call it makes
    rule_sets, rule, strict = tool.rule_sets, tool.rule, tool.strict
    if tool.refusal is not None:
        refusal = tool.refusal
        return lambda call, schema, risk: refusal  # noqa: ARG005 - settled before any arguments are seen
    checks = _checks_in_order(rule_sets)
    limits = [compile_limit(*limit) for rules in rule_sets for limit in rules.limits]
    asks = [compile_ask(rules) for rules in rule_sets if rules.ask is not None]
    across = None if tool.across is None else compile_across(tool.across)
    readings = Readings(tool.readers())

    def evaluate(call: ToolCall, schema: Schema, risk: Risk | None) -> Decision:  # noqa: C901, PLR0911 - one a denial
        args = call.args if type(call.args) is dict else _as_dict(call.args)
        if args is None:
            return Decision("deny", rule, f"the arguments are {kind_of(call.args)}, not an object")
        misfit = _misfit(schema, args) if strict and schema is not None else None
        if misfit is not None:
            return Decision("deny", SCHEMA_RULE, misfit)
        try:
            views = readings.of(args, schema)
        except Ambiguous as doubt:
            return Decision("deny", doubt.rule, unjudged(doubt.message, str(doubt)))
        for view in views:
            for check in checks:
                denied = check(view)
                if denied is not None:
                    return denied
        several = len(views) > 1
        charges: list[Charge] = []
        for limit in limits:
            charge = largest(limit, views, call) if several else limit(views[0], call)
            if type(charge) is Charge:
                charges.append(charge)
            elif charge is not None:
                return charge  # type: ignore[return-value]  # `type() is` does not narrow to the other half
        found = NOTHING if across is None else across(views, call, risk)
        if isinstance(found, Decision):
            return found
        decision = new(Decision, ("allow", rule, "", tuple(charges), None, None, found.rules, found.succeeded))
        for ask in asks:
            for view in views:
                decision = ask(view, decision)
        return always_asked(decision) if found.always else decision

    return evaluate


def _checks_in_order(rule_sets: tuple[RuleSet, ...]) -> list[CheckResult]:
    """Make the predicates ready that can deny: ``require`` of all sets before ``deny_if``."""
    return [
        compile_check(check)
        for kind in ("require", "deny_if")
        for rules in rule_sets
        for check in rules.checks
        if check.kind == kind
    ]


def _as_dict(args: object) -> dict[str, Any] | None:
    try:
        return dict(args) if isinstance(args, Mapping) else None
    except Exception:  # noqa: BLE001 - whatever a foreign mapping does, it is not an object of JSON
        return None


def _misfit(schema: Mapping[str, Any], args: dict[str, Any]) -> str | None:
    # jsonschema_rs is only loaded where there is a schema to check.
    from guarded_tools.policy.schema_check import misfit

    return misfit(schema, args)
