"""What would happen to a call, and why: every predicate with the value it saw, every limit with what it would take."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple, TypeAlias

from guarded_tools.policy.charging import compile_limit, largest
from guarded_tools.policy.compile import Check, Kind, compile_check
from guarded_tools.policy.engine import Schema, ToolRules
from guarded_tools.policy.model_rules import decide_model
from guarded_tools.policy.paths import MISSING, Indeterminate, compile_many
from guarded_tools.policy.policy import Policy, decide
from guarded_tools.policy.readings import Ambiguous, Readings
from guarded_tools.policy.result_checks import ResultPlan
from guarded_tools.values import MODEL_CALL, Charge, Decision, Refunds, Risk, ToolCall

Answer: TypeAlias = Literal["holds", "fails", "missing", "unjudgeable"]


class ObservedPredicate(NamedTuple):
    """A predicate and what it saw. ``refuses`` is whether it denies the call, or, of kind ``when``, has it asked about.

    Of kind ``label`` it says whether the call brings one, of kind ``after`` whether such a rule speaks of it.

    ``saw`` are the values its path led to, without the gaps. ``trial`` marks a rule that is only on trial.
    """

    rule: str
    kind: Kind | Literal["label", "after"]
    path: str
    op: str
    value: Any
    saw: tuple[Any, ...]
    answer: Answer
    refuses: bool
    reason: str = ""
    trial: bool = False


class Quota(NamedTuple):
    """A limit and what the call would take from it: a charge, nothing, or the reason why that cannot be told."""

    rule: str
    charge: Charge | None
    reason: str = ""
    trial: bool = False


class Explanation(NamedTuple):
    """A decision and everything that had a say in it, whether or not something before it settled the matter.

    ``refunds`` is whose word gives the charges back; ``schema`` whether arguments must fit the tool's own schema.
    ``results`` are the checks that a result would meet.
    """

    decision: Decision
    predicates: tuple[ObservedPredicate, ...]
    quotas: tuple[Quota, ...]
    refunds: Refunds = "certain"
    schema: Literal["strict", "off"] = "strict"
    results: ResultPlan = ResultPlan()


def explain(policy: Policy, call: ToolCall, schema: Schema = None, risk: Risk | None = None) -> Explanation:
    """Decide, and show every predicate and limit that speaks for the tool. Changes nothing.

    A call of :data:`~guarded_tools.values.MODEL_CALL` is one of the agent's own model.
    """
    if call.tool == MODEL_CALL:
        decision = decide_model(policy, call)
        trial = decision.shadow.charges if decision.shadow else ()
        charged = [(charge, False) for charge in decision.charges] + [(charge, True) for charge in trial]
        quotas = tuple(Quota(charge.rule, charge, trial=tried) for charge, tried in charged)
        return Explanation(decision, (), quotas)
    rules = policy.compiled.rules(call.tool)
    predicates, limits = _look(rules, call, schema, trial=False)
    if rules.trial is not None:
        more_predicates, more_quotas = _look(rules.trial, call, schema, trial=True)
        predicates, limits = predicates + more_predicates, limits + more_quotas
    checked: Literal["strict", "off"] = "strict" if rules.strict or rules.refusal else "off"
    decision = decide(policy, call, schema, risk)
    results = ResultPlan() if rules.refusal else policy.results(call.tool)
    return Explanation(decision, tuple(predicates), tuple(limits), policy.refunds(call.tool), checked, results)


def _look(
    tool: ToolRules, call: ToolCall, schema: Schema, *, trial: bool
) -> tuple[list[ObservedPredicate], list[Quota]]:
    views: tuple[dict[str, Any], ...] = (dict(call.args),)
    ambiguous = None
    try:
        views = Readings(tool.readers()).of(views[0], schema)
    except Ambiguous as doubt:
        ambiguous = doubt
    predicates = [_seen(check, views, ambiguous, trial=trial) for rules in tool.rule_sets for check in rules.checks]
    if tool.across is not None:
        across: list[tuple[Check, Literal["label", "after"]]] = [
            (check, "label") for each in tool.across.labels or () for check in each.when
        ]
        across += [(check, "after") for _, _, when in tool.across.after for check in when]
        seen = [(_seen(check, views, ambiguous, trial=trial), kind) for check, kind in across]
        predicates += [one._replace(kind=kind, refuses=one.answer == "unjudgeable") for one, kind in seen]
    quotas = []
    for rules in tool.rule_sets:
        for rule, limit, counter in rules.limits:
            found = largest(compile_limit(rule, limit, counter), views, call)
            if ambiguous is not None and ambiguous.rule == rule:
                quotas.append(Quota(rule, None, f"{limit.count} {ambiguous}", trial))
            elif isinstance(found, Decision):
                # Not on_deny, which speaks to the model of a limit that is full.
                plain = compile_limit(rule, limit.model_copy(update={"on_deny": None}), counter)
                said = largest(plain, views, call)
                quotas.append(Quota(rule, None, said.message if said else "", trial))
            else:
                apart = found._replace(scope=f"shadow:{found.scope}") if trial and found else found
                quotas.append(Quota(rule, apart, "", trial))
    return predicates, quotas


def _seen(
    check: Check, views: tuple[dict[str, Any], ...], ambiguous: Ambiguous | None, *, trial: bool
) -> ObservedPredicate:
    # Of the ways to read the call, the one that is refused decides.
    args = next((view for view in views if compile_check(check)(view) is not None), views[0])
    values: list[Any] = []
    reason = ""
    try:
        values = compile_many(check.path)(args)
        if ambiguous is not None and ambiguous.rule == check.rule:
            raise ambiguous
        answers = [check.holds(value) for value in values]
    except Indeterminate as doubt:
        answer: Answer = "unjudgeable"
        reason = str(doubt)
    else:
        # Of many elements, the one that decides speaks for all.
        decisive = check.kind != "require"
        answer = _answer(answers, decisive=decisive)
    said = compile_check(check)(args)
    predicate = check.predicate
    saw = tuple(value for value in values if value is not MISSING)
    return ObservedPredicate(
        check.rule,
        check.kind,
        predicate.path,
        predicate.op,
        predicate.value,
        saw,
        answer,
        said is not None or (ambiguous is not None and ambiguous.rule == check.rule),
        reason,
        trial,
    )


def _answer(answers: list[bool | None], *, decisive: bool) -> Answer:
    if decisive in answers:
        return "holds" if decisive else "fails"
    if None in answers:
        return "missing"
    return "fails" if decisive else "holds"
