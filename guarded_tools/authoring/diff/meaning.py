"""What the rules of a tool say, as plain values that can be compared: without messages, names and closures."""

from __future__ import annotations

from typing import Any

from guarded_tools.authoring.diff.checks import meaning
from guarded_tools.authoring.diff.sides import Side
from guarded_tools.authoring.diff.windows import Held
from guarded_tools.policy.compile import RuleSet
from guarded_tools.policy.engine import ToolRules
from guarded_tools.policy.session_parts import After, Need
from guarded_tools.policy.session_rules import AcrossRules
from guarded_tools.values import is_grave


def says(side: Side) -> tuple[Any, ...]:
    """Everything that a policy says of a tool and that makes a difference to some call."""
    return (
        judges(side.rules),
        terms(side),
        sorted(map(repr, (limit.meaning for limit in side.limits))),
        across(side.rules.across),
        trial(side),
        side.policy.results(side.info.name).checks,
        side.policy.refunds(side.info.name),
    )


def judges(rules: ToolRules) -> tuple[Any, ...]:
    """What decides between allow, ask and deny, before limits and other calls are looked at."""
    if rules.refusal is not None:
        return (rules.rule == "(hidden)",)
    sets, session = rules.rule_sets, rules.across
    whens = [] if session is None else [check for each in session.labels or () for check in each.when]
    whens += [] if session is None else [check for _, _, when in session.after for check in when]
    return (
        rules.strict,
        sorted(meaning(check) for each in sets for check in each.checks),
        sorted(meaning(check) for check in whens),
        any(asks_always(each) for each in sets),
        sorted(reader.path.text for reader in rules.readers()),
        sorted(repr(amount(held)) for held in held_in(rules)),
        None if session is None else (session.flow, session.risk, repr(across(session)) if session.flow else ""),
    )


def asks_always(rules: RuleSet) -> bool:
    """Whether a human is asked about every call."""
    return rules.ask is not None and not any(check.kind == "when" for check in rules.checks)


def held_in(rules: ToolRules) -> list[Held]:
    """The limits, wherever they are counted."""
    return [Held(*limit, everywhere=False) for each in rules.rule_sets for limit in each.limits]


def amount(held: Held) -> tuple[str, bool] | None:
    """The argument that a limit counts, and whether decimals do; a call without such an amount is refused."""
    return None if held.limit.argument is None else (held.limit.argument, held.limit.decimals is not None)


def terms(side: Side) -> tuple[Any, ...]:
    """On what terms a human is asked."""
    return (
        [each.ask for each in side.rules.rule_sets if each.ask is not None],
        is_grave(side.risk),
    )


def across(rules: AcrossRules | None) -> tuple[Any, ...] | None:
    """What is looked for in a session, and what is left there."""
    if rules is None:
        return None
    labels = None if rules.labels is None else [(each.label, list(map(meaning, each.when))) for each in rules.labels]
    return (
        labels,
        [(after_says(after), list(map(meaning, when))) for _, after, when in rules.after],
        [need_says(need) for _, need in rules.needs],
        sorted(rules.admitted),
        sorted(rules.succeeded),
        sorted((label, sorted(places)) for label, places in rules.wanted.labels.items()),
        rules.flow,
        rules.risk if rules.flow else None,
        rules.timeout,
    )


def after_says(after: After) -> tuple[Any, ...]:
    """What an ``after`` looks for, and what follows; without its ``when``."""
    return after.labels, after.tools, after.within, after.then, after.scope


def need_says(need: Need) -> tuple[Any, ...]:
    """What a ``needs`` looks for."""
    return need.tool, need.outcome, need.within, need.same, need.scope


def trial(side: Side) -> tuple[Any, ...] | None:
    """What is on trial."""
    found = side.rules.trial
    if found is None:
        return None
    asks = [each.ask for each in found.rule_sets]
    kept_back = side.policy.results(side.info.name).trial
    return (judges(found), asks, sorted(repr(held.meaning) for held in held_in(found)), across(found.across), kept_back)


def messages(rules: ToolRules) -> list[str]:
    """Every text that a refused or asked call is told, as far as a policy writes it."""
    found = [each.reason for each in rules.rule_sets] + [each.ask_message for each in rules.rule_sets]
    found += [check.predicate.on_deny or "" for each in rules.rule_sets for check in each.checks]
    found += [held.limit.on_deny or "" for held in held_in(rules)]
    if rules.across is not None:
        found += [after.message or "" for _, after, _ in rules.across.after]
        found += [need.message or "" for _, need in rules.across.needs]
    return sorted(text for text in found if text)
