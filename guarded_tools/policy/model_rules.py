"""What a policy says of a call of the agent's own model, and of going beyond its budget. Pure, as for tools.

Both travel as calls, of names that no tool may have: :data:`~guarded_tools.values.MODEL_CALL` takes an estimate from
every limit, which the truth replaces once the model has answered; :data:`~guarded_tools.values.BUDGET_CALL` is what a
human is asked where a limit is full: whether there shall be more, once, this much, until then.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

from guarded_tools.policy.charging import SCOPES
from guarded_tools.policy.document import PolicyDocument
from guarded_tools.policy.model_budget import USD, ModelLimit, ModelRules, MoreBudget, Spending, in_counts
from guarded_tools.policy.model_prices import PriceUnknown, Tokens, cost
from guarded_tools.text.quantities import MILLION
from guarded_tools.values import MODEL_CALL, Ask, Charge, Decision, ToolCall

RULE: Final = "/model"
_FINEST: Final = 6
_COUNTERS: Final = f"{MODEL_CALL}/*/"


def counter_of(limit: ModelLimit) -> str:
    """Name the counter of a limit. It is no server's, so that agents with tools of several spend from one budget."""
    return f"{_COUNTERS}{limit.counter}{'/USD' if limit.counter == USD else ''}"


def decide_model(policy: PolicyDocument, call: ToolCall) -> Decision:
    """Say what a call of a model takes: ``args`` are its ``model``, ``input_tokens`` and ``answer_tokens``."""
    rules = policy.model
    if rules is None:
        return Decision("allow", RULE)
    try:
        tokens = Tokens(_count(call.args, "input_tokens"), _count(call.args, "answer_tokens"))
        amounts = spent(rules, str(call.args.get("model", "")), tokens)
    except (PriceUnknown, ValueError) as error:
        return Decision("deny", f"{RULE}/prices" if isinstance(error, PriceUnknown) else RULE, str(error))
    decision = Decision("allow", RULE, charges=tuple(_charges(rules, call, amounts)))
    if not policy.shadow:
        return decision
    trial = tuple(charge._replace(scope=f"shadow:{charge.scope}") for charge in decision.charges)
    return Decision("allow", RULE, shadow=decision._replace(charges=trial))


def spent(rules: ModelRules, model: str, tokens: Tokens) -> dict[str, int]:
    """Return what tokens of a model take from each counter, as counters count.

    Raises:
        PriceUnknown: a limit is in dollars, and no price is known.
    """
    found = {
        "tokens": tokens.input + tokens.output,
        "input_tokens": tokens.input,
        "output_tokens": tokens.output,
        "calls": 1,
    }
    if any(limit.counter == USD for limit in rules.limits):
        found[USD] = math.ceil(cost(rules, model, tokens) * MILLION)
    return found


def told(amounts: Mapping[str, int]) -> dict[str, Any]:
    """Write what a call took as a result that :mod:`guarded_tools.pipeline.truth` reads."""
    usd = {counter: f"{n // MILLION}.{n % MILLION:06d}" for counter, n in amounts.items() if counter == USD}
    return {**amounts, **usd}


def decide_more(policy: PolicyDocument, call: ToolCall) -> Decision:
    """Say whether a human may be asked for this much ``more`` of each counter, ``for`` so many seconds."""
    terms = None if policy.model is None else policy.model.approval
    if policy.model is None or terms is None:
        return Decision("deny", RULE, "the policy lets nobody go beyond this budget")
    rule = f"{RULE}/approval"
    fault = _fault(terms, call.args)
    if fault:
        return Decision("deny", rule, fault)
    why = terms.message or "the budget of the model is used up: it may go on with more"
    return Decision("ask", rule, why, ask=Ask(float(terms.timeout)))


def limits_in_question(policy: PolicyDocument, call: ToolCall) -> tuple[Charge, ...]:
    """List the limits beyond which a human is asked to let the model go; they are charged nothing."""
    found = () if policy.model is None else _charges(policy.model, call, {})
    return tuple(each for each in found if thing(each) in call.args["more"])


def _fault(terms: MoreBudget, args: Mapping[str, Any]) -> str:
    """Say what is wrong with what is asked for, as it was or as a human edited it."""
    more, lasts = args.get("more"), args.get("for")
    if not isinstance(more, Mapping) or not more or set(args) != {"model", "more", "for"}:
        return "it has to say more of what, and for how many seconds: leave the names model, more and for as they are"
    for counter, amount in more.items():
        most = terms.more.get(counter)
        try:
            fits = most is not None and 0 < in_counts(counter, amount) <= in_counts(counter, most)
        except ValueError as error:
            return f"more {counter}: it {error}"
        if not fits:
            most_said = "none at all" if most is None else f"more than nothing, and at most {most} at once"
            return f"more {counter}: the policy permits {most_said}"
    if type(lasts) is not int or not 1 <= lasts <= terms.lasts:
        return f"for: it is a number of seconds, at most {terms.lasts}"
    return ""


def offered(rules: ModelRules, model: str, wanting: list[Charge]) -> dict[str, Any] | None:
    """Make the arguments of asking for more, for charges that do not fit; ``None`` where that would not help."""
    things = {thing(charge) for charge in wanting}
    if rules.approval is None or not things <= set(rules.approval.more):
        return None
    more = {counter: amount for counter, amount in rules.approval.more.items() if counter in things}
    return {"model": model, "more": more, "for": rules.approval.lasts}


def thing(charge: Charge) -> Spending:
    """Say what a model's limit counts."""
    name: Spending = charge.counter.split("/")[2]  # type: ignore[assignment]  # counter_of() made it of one
    return name


def _charges(rules: ModelRules, call: ToolCall, amounts: Mapping[str, int]) -> list[Charge]:
    return [
        Charge(
            SCOPES[limit.scope](call),
            counter_of(limit),
            amounts.get(limit.counter, 0),
            limit.most,
            limit.window,
            f"{RULE}/limits/{place}",
            limit.on_deny or "",
            limit.align,
            result="" if limit.counter == "calls" else f"result.{limit.counter}",
            scale=_FINEST if limit.counter == USD else None,
        )
        for place, limit in enumerate(rules.limits)
    ]


def _count(args: Mapping[str, Any], name: str) -> int:
    count = args.get(name)
    if type(count) is not int or count < 0:
        raise ValueError(f"{name} is no number of tokens")
    return count
