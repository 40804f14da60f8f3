"""Rules across the calls of a session, where a call meets them: who is asked, what is refused, what is said of it.

The store says which rules bind (:class:`~guarded_tools.marks.Bound`), in the transaction in which it would reserve. One
that asks makes a question of the call: a human is told what the session carries, and since when. **The invariant**: an
approval covers the rules that the human was shown, and no other. Where another one binds by the time the call is
admitted, because a call beside it brought something in, or because the human's edit is of what another rule speaks, the
call is refused and may come again. No remembered approval answers such a question: it was given before the session
carried this.
"""

from __future__ import annotations

from typing import Final

from guarded_tools.marks import Bound, BoundRule, Carried, Mark, SessionRules
from guarded_tools.pipeline.context import CallContext
from guarded_tools.policy.session_parts import OUTWARD, PRIVATE, SECRET, UNTRUSTED
from guarded_tools.text.units import duration, utc
from guarded_tools.text.visible import one_line
from guarded_tools.values import Ask, Decision

CHANGED: Final = "the human who was asked was not shown all that a rule asks about this call by now"

_BROUGHT: Final = {
    UNTRUSTED: "read untrusted content",
    PRIVATE: "read private data",
    SECRET: "read secrets",
    OUTWARD: "sent something out or changed state",
}


def still_asking(context: CallContext) -> SessionRules | None:
    """Return what the store is to look for and to write: without the rules that the human was shown."""
    across = context.decision.across
    if across is None:
        return None
    if context.paused is not None:  # it was admitted before; what its body reads, it reads from now on
        return across._replace(conditions=()) if across.marks else None
    shown = () if context.answer is None else context.answer.across
    if not shown:
        return across
    return across._replace(conditions=tuple(c for c in across.conditions if c.then != "ask" or c.rule not in shown))


def may_ask(decision: Decision) -> bool:
    """Whether a rule across calls could have a human asked about this call."""
    return decision.across is not None and any(each.then == "ask" for each in decision.across.conditions)


def asking(context: CallContext, bound: Bound) -> CallContext:
    """Make a question of a call that rules across calls ask about."""
    decision = context.decision
    said = because(bound)
    if decision.effect == "allow":
        timeout = 600.0 if decision.across is None else decision.across.timeout
        decision = decision._replace(effect="ask", rule=bound.rules[0].condition.rule, ask=Ask(timeout))
    elif decision.message:
        said = f"{decision.message.rstrip('. ')}; {said}"
    terms = (decision.ask or Ask())._replace(remember="never")
    rules = tuple(dict.fromkeys(each.condition.rule for each in bound.rules))
    return context._replace(decision=decision._replace(message=said, ask=terms), across=rules)


def because(bound: Bound) -> str:
    """Say why rules bind: what the session did, by which call, and when."""
    return "; ".join(dict.fromkeys(map(_because, bound.rules)))


def advice(bound: Bound) -> str:
    """Say what a model is to do about a refusal; ``""`` for what it is told of every other."""
    condition = bound.rules[0].condition
    if condition.then == "need":
        return f"Call {_any_of(condition.names)} first, and this again once that has succeeded."
    if condition.within is None:
        what = "clears the label" if condition.kind == "label" else "resets the session"
        return f"It stays so until a human {what}: do not repeat this call."
    return "Do not repeat this call; tell the user why it is refused."


def _because(bound: BoundRule) -> str:
    condition = bound.condition
    if condition.then == "need":
        lately = f" in the last {duration(condition.within)}" if condition.within is not None else ""
        alike = " with the same values" if condition.same else ""
        said = f"{_any_of(condition.names)} has not succeeded{alike} in this {_kind(condition.scope)}{lately}"
    else:
        said = f"this {_kind(condition.scope)} {' and '.join(map(_brought, bound.found))}"
    return f"{condition.message.rstrip('. ')}: {said}" if condition.message else said


def _brought(carried: Carried) -> str:
    """Say what is carried, which call brought it first, and when that was; and when any did so most recently."""
    tool, named = one_line(carried.tool), one_line(carried.name)  # a model may have made up the tool's name
    first, last = (f"{utc(at):%Y-%m-%d %H:%M}" for at in (carried.first, carried.last))
    if carried.kind != "label":
        who = "" if named == tool else f"{named} "
        return f"called {tool} ({first} UTC{'' if first == last else f'; {who}most recently {last} UTC'})"
    when = f"{first} UTC{'' if first == last else f'; most recently {last} UTC'}"
    return f"{_BROUGHT.get(carried.name, f'carries {named}')} ({tool}, {when})"


def _kind(scope: str) -> str:
    return scope.removeprefix("shadow:").partition(":")[0]


def _any_of(names: tuple[str, ...]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} or {names[-1]}"


def succeeded(decision: Decision) -> tuple[Mark, ...]:
    """List the marks that a call leaves once it ended well, those of a trial among them."""
    return decision.succeeded + (() if decision.shadow is None else decision.shadow.succeeded)


def on_trial(shadow: Decision, bound: Bound) -> Decision:
    """Say of a rule on trial that it would have had a human asked, and go on as if that one had agreed."""
    across = shadow.across
    if across is not None:
        across = across._replace(conditions=tuple(each for each in across.conditions if each.then != "ask"))
    return shadow._replace(rule=bound.rules[0].condition.rule, message=because(bound), across=across)
