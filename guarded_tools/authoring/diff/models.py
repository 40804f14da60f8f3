"""What differs in what the agent's own model may spend: limits, as windows, prices, and who may let it go on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

from guarded_tools.authoring.diff.values import Direction, PolicyChange
from guarded_tools.authoring.diff.windows import Held, keeps
from guarded_tools.policy.limit import Limit
from guarded_tools.policy.model_budget import USD, ModelLimit, ModelRules
from guarded_tools.policy.model_rules import RULE
from guarded_tools.policy.policy import Policy
from guarded_tools.text.units import duration, window
from guarded_tools.values import MODEL_CALL


def models(old: Policy, new: Policy) -> Iterator[PolicyChange]:
    """List what differs."""
    before, after = old.model, new.model
    if before == after:
        return
    yield from _limits(before, after, "looser")
    yield from _limits(after, before, "tighter")
    if before is None or after is None:
        return
    yield from _prices(before, after)
    if before.answer_tokens != after.answer_tokens:
        words = f"an answer is taken to be {before.answer_tokens} tokens long, now {after.answer_tokens}"
        yield _change("looser" if after.answer_tokens < before.answer_tokens else "tighter", words, "answer_tokens")
    yield from _approval(before, after)


def _limits(held: ModelRules | None, other: ModelRules | None, direction: Direction) -> Iterator[PolicyChange]:
    """List the limits of ``held`` that ``other`` does not keep."""
    theirs = [_held(place, limit) for place, limit in enumerate(other.limits if other else ())]
    for place, limit in enumerate(held.limits if held else ()):
        mine = _held(place, limit)
        if all(keeps(each, mine) != "yes" for each in theirs):
            of_this = [_said(each) for each in (other.limits if other else ()) if each.counter == limit.counter]
            now = f"{'now' if direction == 'looser' else 'was'} {' and '.join(of_this) or 'not limited'}"
            yield _change(direction, f"{_said(limit)}; {now}", f"limits/{place}", "limit")


def _held(place: int, limit: ModelLimit) -> Held:
    unit = {"unit": "USD"} if limit.counter == USD else {}
    same = limit.model_dump(include={"counter", "max", "window", "scope", "align"})
    # What a call is taken to cost is no part of what is let through: the truth takes its place.
    as_tools = Limit.model_validate({**unit, **same, "count": f"result.{limit.counter}", "estimate": 1} if not unit
                                    else {**unit, **same, "count": "result.usd", "estimate": "0.000001"})  # fmt: skip
    return Held(f"{RULE}/limits/{place}", as_tools, limit.counter, everywhere=True)


def _said(limit: ModelLimit) -> str:
    return f"{limit.max} {limit.counter} in {window(limit.window)}, per {limit.scope}"


def _prices(before: ModelRules, after: ModelRules) -> Iterator[PolicyChange]:
    for name in {**before.prices, **after.prices}:
        old, new = (dict(rules.prices[name]) if name in rules.prices else None for rules in (before, after))
        if old == new:
            continue
        direction: Direction = "changed"
        if old is not None and new is not None:
            less, more = _cheaper(old, new), _cheaper(new, old)
            direction = "looser" if less else "tighter" if more else "changed"
        yield _change(direction, f"the price of {name} is another one", f"prices/{name}")
    if list(before.prices) != list(after.prices) and set(before.prices) == set(after.prices):
        yield _change("changed", "the prices are in another order: the first that fits counts", "prices")


def _cheaper(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    """Whether tokens of some kind cost less: one that has no price of its own costs what its whole kind does."""

    def of(prices: Mapping[str, Any], kind: str) -> Decimal:
        whole = "output" if kind in {"output", "output_audio", "reasoning"} else "input"
        said = prices[kind]
        return Decimal(str(prices[whole] if said is None else said))

    return any(of(new, kind) < of(old, kind) for kind in old)


def _approval(before: ModelRules, after: ModelRules) -> Iterator[PolicyChange]:
    old, new = before.approval, after.approval
    if old == new:
        return
    if old is None or new is None:
        yield _change("looser" if old is None else "tighter", "a human may let it go on beyond its limits: "
                      + ("new" if old is None else "no longer"), "approval", "approval")  # fmt: skip
        return
    for counter in dict.fromkeys((*old.more, *new.more)):
        was, now = (Decimal(str(each.more.get(counter, 0))) for each in (old, new))
        if was != now:
            words = f"a human may allow {was} {counter} more at once, now {now}"
            yield _change("looser" if now > was else "tighter", words, f"approval/more/{counter}", "approval")
    if old.lasts != new.lasts:
        words = f"for {duration(old.lasts)}, now for {duration(new.lasts)}"
        yield _change("looser" if new.lasts > old.lasts else "tighter", words, "approval/for", "approval")
    if (old.timeout, old.message) != (new.timeout, new.message):
        yield _change("changed", "how a human is asked to let it go on", "approval", "approval")


def _change(direction: Direction, words: str, at: str, kind: Any = "setting") -> PolicyChange:
    return PolicyChange(kind, direction, (MODEL_CALL,), words, f"{RULE}/{at}")
