"""An explanation with the counters as they stand, for people and for programs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

from guarded_tools.authoring import result_checks
from guarded_tools.marks import Bound, BoundRule, SessionCondition, SessionRules, brought
from guarded_tools.pipeline.messages import taken
from guarded_tools.pipeline.session_rules import because
from guarded_tools.policy.explain import Explanation, ObservedPredicate, Quota
from guarded_tools.policy.policy import Policy
from guarded_tools.stores import Store
from guarded_tools.stores.memory import MemoryStore
from guarded_tools.text.quantities import MILLION, number, quantity, unit_of
from guarded_tools.text.tables import Cell
from guarded_tools.text.tones import EFFECTS, Tone
from guarded_tools.text.units import duration, remaining, soon, window
from guarded_tools.text.visible import one_line
from guarded_tools.tools.risk import classify
from guarded_tools.values import Charge, Decision, Full, Halted, Risk, ToolCall, ToolInfo, scopes_of

_LONGEST = 60
_MOST_SHOWN = 5


class Counted(NamedTuple):
    """A limit as it stands: how much is used, when something of it is free again, and what a reservation would say."""

    used: int
    frees_in: float
    full: Full | None


class Standing(NamedTuple):
    """What a call meets in a store: its limits in the order of the explanation's, a halt, rules across calls.

    ``trial`` are those on trial.
    """

    limits: list[Counted | None]
    halted: Halted | None = None
    bound: Bound | None = None
    trial: Bound | None = None


def standing(explanation: Explanation, call: ToolCall, url: str | None, state: Path | None) -> Standing:
    """Look up what a call would meet in a store. Makes no store where none is.

    Raises:
        StoreError: the store cannot be read.
    """
    from guarded_tools.state import state_path
    from guarded_tools.stores import open_store
    from guarded_tools.stores.disk.address import disk_path, disk_url

    charges = [quota.charge for quota in explanation.quotas]
    url = url or disk_url(state_path(state))
    path = disk_path(url)
    if path is not None and not (path / "counters").exists():
        untouched = [charge and Counted(0, 0.0, _too_much(charge)) for charge in charges]
        return Standing(untouched, None, *_across_in(MemoryStore(), explanation, None))
    store = open_store(url)
    try:
        return standing_in(store, explanation, call)
    finally:
        store.close()


def standing_in(store: Store, explanation: Explanation, call: ToolCall, now: float | None = None) -> Standing:
    """Look up in a store how limits stand, whether calls are halted, and which rules across calls bind."""
    charges = [quota.charge for quota in explanation.quotas]
    usages = {
        (usage.scope, usage.counter): usage
        for scope in {charge.scope for charge in charges if charge}
        for usage in store.usage(scope, now)
    }
    halted = store.peek((), now, scopes=scopes_of(call))
    found: list[Counted | None] = []
    for charge in charges:
        if charge is None:
            found.append(None)
            continue
        usage = usages.get((charge.scope, charge.counter))
        full = store.peek((charge,), now)
        found.append(
            Counted(
                usage.used if usage else 0,
                usage.frees_in if usage else 0.0,
                full if isinstance(full, Full) else None,
            )
        )
    return Standing(found, halted if isinstance(halted, Halted) else None, *_across_in(store, explanation, now))


def _across_in(store: Store, explanation: Explanation, now: float | None) -> tuple[Bound | None, Bound | None]:
    decision = explanation.decision
    shadow = None if decision.shadow is None else decision.shadow.across
    return _bound(store, decision.across, now), _bound(store, shadow, now)


def _bound(store: Store, across: SessionRules | None, now: float | None) -> Bound | None:
    rules: list[BoundRule] = []
    for condition in () if across is None else across.conditions:  # one by one: a denial says nothing of the others
        found = store.peek((), now, (), SessionRules((condition,)))
        rules += found.rules if isinstance(found, Bound) else ()
    return Bound(tuple(rules)) if rules else None


def risk_of(policy: Policy, info: ToolInfo) -> Risk | None:
    """Class a tool as a guard does, where a preset asks: by what is known of it, else by its words."""
    return info.risk or classify(info.name, info.description, info.schema).risk if policy.flow else None


def _too_much(charge: Charge) -> Full | None:
    return Full(charge, 0, None) if charge.amount > charge.max else None


def to_json(explanation: Explanation, met: Standing) -> dict[str, Any]:
    """An explanation as plain data."""
    decision = explanation.decision
    standing, halted, bound, trial = met
    across = decision.across
    return {
        "decision": {
            "effect": decision.effect,
            "rule": decision.rule,
            "message": decision.message,
            "ask": decision.ask._asdict() if decision.ask else None,
            "shadow": decision.shadow
            and dict(zip(("effect", "rule"), _on_trial(decision.shadow, trial), strict=False)),
        },
        "would_run": _verdict(explanation, met) == decision.effect == "allow",
        "halted": halted._asdict() if halted else None,
        "predicates": [seen._asdict() for seen in explanation.predicates],
        "schema": explanation.schema,
        "refunds": explanation.refunds,
        "result": result_checks.as_json(explanation.results),
        "brings": list(brought(across)),
        "across": [_condition_as_json(condition, bound) for condition in (across.conditions if across else ())],
        "limits": [_limit_as_json(quota, count) for quota, count in zip(explanation.quotas, standing, strict=True)],
    }


def dump(data: Any) -> str:
    """Write plain data as JSON. That has no word for a number that is not finite, so it becomes a text."""
    try:
        return json.dumps(data, indent=1, default=str, allow_nan=False)
    except ValueError:
        return json.dumps(json.loads(json.dumps(data, default=str), parse_constant=str), indent=1)


def _limit_as_json(quota: Quota, count: Counted | None) -> dict[str, Any]:
    known: dict[str, Any] = {"rule": quota.rule, "trial": quota.trial, "reason": quota.reason}
    if quota.charge is None or count is None:
        return known
    charge = quota.charge
    return {
        **known,
        "scope": charge.scope,
        "counter": charge.counter,
        "takes": charge.amount,
        **({"unit": unit, "of": MILLION} if (unit := unit_of(charge.counter)) else {}),
        **({"settled_by": charge.result} if charge.result else {}),
        "used": count.used,
        "max": charge.max,
        "window": charge.window,
        "frees_in": count.frees_in,
        "fits": count.full is None,
        "retry_after": count.full.retry_after if count.full else None,
    }


def _condition_as_json(condition: SessionCondition, bound: Bound | None) -> dict[str, Any]:
    found = _binding(condition, bound)
    return {
        "rule": condition.rule,
        "scope": condition.scope,
        "then": condition.then,
        "looks_for": {"kind": condition.kind, "names": condition.names, "within": condition.within},
        "binds": found is not None,
        "found": [] if found is None else [carried._asdict() for carried in found.found],
    }


def _binding(condition: SessionCondition, bound: Bound | None) -> BoundRule | None:
    rules = () if bound is None else bound.rules
    return next((rule for rule in rules if rule.condition == condition), None)


def _on_trial(shadow: Decision, bound: Bound | None) -> tuple[str, str, str]:
    """Say what a rule on trial would have done, by which rule, and what it found in the session."""
    if bound is None or shadow.effect == "deny":
        return shadow.effect, shadow.rule, ""
    decides = next((one for one in bound.rules if one.condition.then != "ask"), None)
    if decides is not None:
        return "deny", decides.condition.rule, because(Bound((decides,)))
    return "ask", shadow.rule if shadow.effect == "ask" else bound.rules[0].condition.rule, because(bound)


def _verdict(explanation: Explanation, met: Standing) -> str:
    standing, halted, bound, _ = met
    if explanation.decision.effect == "deny":
        return "deny"
    if halted is not None:
        return "halted"
    if bound is not None and not bound.asks:
        return "deny"
    full = any(
        count is not None and count.full is not None
        for quota, count in zip(explanation.quotas, standing, strict=True)
        if not quota.trial
    )
    return "limited" if full else "ask" if bound is not None else explanation.decision.effect


class ExplainedLine(NamedTuple):
    """One line of an explanation, in pieces, each on one line and harmless; ``apart`` where a new paragraph begins."""

    pieces: tuple[Cell, ...]
    apart: bool = False


def told(call: ToolCall, explanation: Explanation, met: Standing) -> list[ExplainedLine]:
    """Lay an explanation out for a person, line by line; the first says what becomes of the call."""
    standing, halted, bound, trial = met
    decision = explanation.decision
    verdict = _verdict(explanation, met)
    binds = [] if bound is None or decision.effect == "deny" else [one.condition for one in bound.rules]
    decides = next((one for one in binds if one.then != "ask"), binds[0] if binds and verdict == "ask" else None)
    rule = decision.rule if decides is None or halted is not None else decides.rule
    first = Cell(verdict, EFFECTS.get(verdict, "bad")), Cell(f"  {one_line(call.tool)}  by {one_line(rule)}")
    said = [decision.message] if decision.message else []
    if halted is not None:
        said.append(f"calls are halted for {halted.scope}: {halted.reason or 'no reason given'}")
    if decision.ask is not None:
        said.append(f"a human is asked and has {duration(decision.ask.timeout)}")
    if decision.shadow is not None:
        effect, rule_on_trial, why = _on_trial(decision.shadow, trial)
        said.append(f"on trial: {effect} by {rule_on_trial}{why and f': {why}'}")
    if bound is not None:
        said.append(because(bound))
    lines = [ExplainedLine(first), *(_below(one_line(line)) for line in said)]
    for seen in explanation.predicates:
        tone: Tone = "good" if not seen.refuses else "warn" if _answer(seen).endswith("asks") else "bad"
        saw = Cell(f"  saw {_saw(seen)}: "), Cell(one_line(_answer(seen)), tone)
        lines += [_heading(one_line(seen.rule)), _below(_predicate(seen)), ExplainedLine(saw)]
    for quota, count in zip(explanation.quotas, standing, strict=True):
        full = count is None or count.full is not None
        lines += [_heading(one_line(quota.rule)), _below(_limit(quota, count), "bad" if full else "")]
    return [*lines, *_across(decision.across, bound), *_terms(explanation)]


def _heading(text: str, tone: Tone = "quiet") -> ExplainedLine:
    return ExplainedLine((Cell(text, tone),), apart=True)


def _below(text: str, tone: Tone = "") -> ExplainedLine:
    return ExplainedLine((Cell(f"  {text}", tone),))


def _terms(explanation: Explanation) -> list[ExplainedLine]:
    """Lay out what holds whatever the arguments are: checks of results, and what is left out."""
    lines: list[ExplainedLine] = []
    for rule, checked in result_checks.lines(explanation.results):
        lines += [_heading(rule), _below(checked)]
    if explanation.schema == "off":
        lines.append(_heading('"schema": "off"', "warn"))
        lines.append(_below("arguments are not checked against the tool's own schema", "warn"))
    if explanation.quotas and explanation.refunds == "reported":
        lines.append(
            ExplainedLine((Cell("charges are given back where the server reports that nothing ran"),), apart=True)
        )
    return lines


def _across(across: SessionRules | None, bound: Bound | None) -> list[ExplainedLine]:
    """Lay out what is looked for in the session, and what the call would leave there."""
    lines: list[ExplainedLine] = []
    for condition in () if across is None else across.conditions:
        binds = _binding(condition, bound)
        names = (" and " if condition.every else " or ").join(condition.names)
        verb = {"need": "needs", "ask": "asks after", "deny": "denies after"}[condition.then]
        lately = f" in the last {duration(condition.within)}" if condition.within is not None else ""
        said = f"{condition.scope}: {verb} {condition.kind} {names}{lately}: it {'binds' if binds else 'does not bind'}"
        tone: Tone = "" if not binds else "warn" if condition.then == "ask" else "bad"
        lines += [_heading(one_line(condition.rule)), _below(one_line(said), tone)]
    brings = brought(across)
    return (
        [*lines, ExplainedLine((Cell(f"brings into the session: {', '.join(brings)}"),), apart=True)]
        if brings
        else lines
    )


def _predicate(seen: ObservedPredicate) -> str:
    verbs = {
        "require": "must",
        "deny_if": "must not",
        "when": "ask if",
        "label": "brings it if",
        "after": "speaks of it if",
    }
    verb = verbs[seen.kind]
    trial = " (on trial)" if seen.trial else ""
    return one_line(f"{verb}: {seen.path} {seen.op} {_value(seen.value)}{trial}")


def _answer(seen: ObservedPredicate) -> str:
    said = f"{seen.answer}, it {seen.reason}" if seen.reason else seen.answer
    if seen.kind != "require":
        said = {"holds": "it is", "fails": "it is not"}.get(said, said)
    if not seen.refuses:
        return said
    return f"{said} → {'asks' if seen.kind == 'when' and seen.answer != 'unjudgeable' else 'denies'}"


def _saw(seen: ObservedPredicate) -> str:
    shown = ", ".join(_value(value) for value in seen.saw[:_MOST_SHOWN]) or "nothing"
    return shown + (f" and {len(seen.saw) - _MOST_SHOWN} more" if len(seen.saw) > _MOST_SHOWN else "")


def _limit(quota: Quota, count: Counted | None) -> str:
    charge = quota.charge
    trial = " (on trial)" if quota.trial else ""
    if charge is None or count is None:
        return one_line(quota.reason or "takes nothing") + trial
    state = f"frees in {remaining(count.frees_in)}" if count.used else "nothing is used"
    if count.full is not None:
        after = count.full.retry_after
        state = "can never fit" if after is None else f"full, fits in {soon(after)}"
    align = ", aligned to UTC" if charge.align == "utc" else ""
    used, most = number(charge.counter, count.used), quantity(charge.counter, charge.max)
    later = f", settled by {one_line(charge.result)}" if charge.result else ""
    standing = f"{used} of {most} in {window(charge.window)}{align}, takes {taken(charge)}{later}, {state}"
    return f"{one_line(charge.scope)}: {standing}{trial}"


def _value(value: Any) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
