"""What a call has to do with its counters beside the reservation: how full they are, and what it took in truth."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from guarded_tools.approval.execution import Charged
from guarded_tools.flow import Await, Flow
from guarded_tools.pipeline.context import CallContext
from guarded_tools.pipeline.truth import truth_of
from guarded_tools.policy.model_rules import limits_in_question
from guarded_tools.stores import Store
from guarded_tools.values import Charge, Reservation, Usage


def usage_shown(context: CallContext, store: Store, now: float | None) -> Flow[tuple[Usage, ...]]:
    """Say how full the limits are that a call would count against, or of which there shall be more."""
    charges = context.decision.charges
    if context.policy is not None and context.info.kind == "budget":
        charges = limits_in_question(context.policy, context.call)
    found: dict[tuple[str, str], Usage] = {}
    for scope in dict.fromkeys(charge.scope for charge in charges):
        for usage in (yield Await(store.usage, None, (scope, now))):
            found[usage.scope, usage.counter] = usage
    nothing = ((c, Usage(c.scope, c.counter, 0, c.max, c.window, 0.0)) for c in charges)
    return tuple(found.get((charge.scope, charge.counter), unused) for charge, unused in nothing)


def going_on(charges: Sequence[Charge], charged: Charged) -> Reservation:
    """Say what an execution that goes on after a pause has still to settle, of what it was ``charged`` when it began.

    Nobody knows its slots any more: what it took beyond the estimate counts from now on, and of what it took less
    nothing comes back.
    """
    before = {(scope, counter, window): amount for scope, counter, amount, _, window in charged}
    settled = [c for c in charges if c.result and (c.scope, c.counter, c.window) in before]
    settled = [charge._replace(amount=before[charge.scope, charge.counter, charge.window]) for charge in settled]
    return Reservation(tuple(settled), (0,) * len(settled), itertools.count())


def settle(
    reservation: Reservation, charged: Charged, result: object, store: Store, now: float | None
) -> Flow[tuple[Charged, str]]:
    """Put what a call took in truth in the place of what was reserved, where its result tells.

    Returns the charges as they are now, ``charged`` being as they were recorded, and what could not be told.
    """
    if not any(charge.result for charge in reservation.charges):
        return charged, ""
    found = truth_of(reservation.charges, result)
    yield Await(store.settle, store.asettle, (reservation, found.amounts, now))
    true = {
        (charge.scope, charge.counter, charge.window): amount
        for charge, amount in zip(reservation.charges, found.amounts, strict=True)
    }
    told = tuple(
        (scope, counter, true.get((scope, counter, window), amount), most, window)
        for scope, counter, amount, most, window in charged
    )
    return told, "; ".join(found.doubts)
