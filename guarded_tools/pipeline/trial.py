"""Rules on trial: what they would have made of a call, on counters and marks of their own."""

from __future__ import annotations

from collections.abc import Mapping

from guarded_tools.flow import Await, Flow
from guarded_tools.marks import Bound
from guarded_tools.pipeline import messages, session_rules
from guarded_tools.stores import Store
from guarded_tools.values import Decision, Effect, Full, Outcome

# What a call would have come to, for the audit; "suspended": a human would have been asked.
_ON_TRIAL: Mapping[Effect, Outcome] = {"allow": "ok", "ask": "suspended", "deny": "denied"}


def tried(shadow: Decision, store: Store, now: float | None) -> Flow[tuple[Outcome, Decision]]:
    """Count a call where its trial counts, and say what it would have come to. Whatever fails is only told."""
    outcome = _ON_TRIAL[shadow.effect]
    if shadow.effect == "deny" or not (shadow.charges or shadow.across):
        return outcome, shadow
    try:
        taken = yield _reserving(shadow, store, now)
        if isinstance(taken, Bound) and taken.asks:
            outcome, shadow = "suspended", session_rules.on_trial(shadow, taken)
            taken = yield _reserving(shadow, store, now)  # as if a human had let it through
    except Exception as error:  # noqa: BLE001 - whatever it is, it is no business of the call
        return "failed_closed", shadow._replace(message=messages.broken(error))
    if isinstance(taken, Full):
        return "limited", shadow._replace(rule=taken.charge.rule, message=messages.used_up(taken))
    if isinstance(taken, Bound):
        rule = taken.rules[0].condition.rule
        return "denied", shadow._replace(rule=rule, message=session_rules.because(taken))
    return outcome, shadow


def _reserving(shadow: Decision, store: Store, now: float | None) -> Await:
    asked = (shadow.charges, now, ())
    return Await(store.reserve, store.areserve, asked if shadow.across is None else (*asked, shadow.across))
