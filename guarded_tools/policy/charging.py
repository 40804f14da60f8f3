"""What a call takes from a limit, as one function of the call.

The function answers with a charge, ``None`` (the call takes nothing) or a denial (the amount cannot be told). Amounts
are exact, and a fraction is rounded up, so that no part of anything is free. Of a limit that only the result tells, the
charge is an estimate, and says where the truth will stand. No value is ever part of a message.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any, Final, TypeAlias

from guarded_tools.policy.limit import Limit, exact_amount
from guarded_tools.policy.operators import is_number
from guarded_tools.policy.paths import MISSING, Indeterminate, compile_many, compile_one, kind_of, parse_path, unjudged
from guarded_tools.values import (
    GLOBAL,
    MOST_TOLD,
    Charge,
    Decision,
    ToolCall,
    grant_scope,
    session_scope,
)

Args: TypeAlias = Mapping[str, Any]
Charger: TypeAlias = Callable[[Args, ToolCall], Charge | Decision | None]

new: Final = tuple.__new__
"""Makes a named tuple of all its fields in half the time that its own constructor takes; for what every call makes."""


def compile_limit(rule: str, limit: Limit, counter: str) -> Charger:
    """Make the charge of a limit: nothing where the call takes nothing, a refusal where the amount cannot be told."""
    most, window, message, align = limit.most, limit.window, limit.on_deny or "", limit.align
    refundable = limit.counts == "successes"
    scope_of, scale = SCOPES[limit.scope], limit.decimals

    constant, told_by = limit.reserved if limit.result else limit.flat, limit.result or ""
    if constant is not None:
        return lambda args, call: new(  # noqa: ARG005 - one shape for all
            Charge, (scope_of(call), counter, constant, most, window, rule, message, align, refundable, told_by, scale)
        )

    path = parse_path(str(limit.argument))
    read = compile_many(path) if path.many else compile_one(path)

    def counted(args: Args, call: ToolCall) -> Charge | Decision | None:
        try:
            amount: Any = read(args)
            if scale is not None or type(amount) is not int or amount < 0:
                amount = add_up(amount if path.many else [amount], scale)
        except Indeterminate as reason:
            return Decision("deny", rule, unjudged(message, f"{path.text} {reason}"))
        if amount == 0:
            return None
        if amount > most:  # it never fits, and a number of a thousand digits nobody could read
            amount = min(amount, MOST_TOLD)
        return new(Charge, (scope_of(call), counter, amount, most, window, rule, message, align, refundable, "", scale))

    return counted


def largest(charger: Charger, views: tuple[Args, ...], call: ToolCall) -> Charge | Decision | None:
    """Charge for a call that may be read in several ways: the most that any takes, or the first refusal."""
    found = charger(views[0], call)
    for view in views[1:]:
        other = charger(view, call)
        if isinstance(found, Decision) or other is None:
            continue
        if found is None or isinstance(other, Decision) or other.amount > found.amount:
            found = other
    return found


def add_up(values: list[Any], scale: int | None) -> int:
    """Add up amounts as counters count them: decimals exactly, or without a ``scale`` whole numbers, rounded up.

    Raises:
        Indeterminate: one is missing, no amount, not finite or negative.
    """
    total: int | Fraction = 0
    for value in values:
        if value is MISSING or value is None:
            raise Indeterminate("is missing, so it cannot be counted")
        if scale is not None and type(value) is str:
            total += _decimal(value, scale)
            continue
        if not is_number(value):
            hint = "; count its .length" if scale is None and type(value) in (list, str) else ""
            raise Indeterminate(
                f"cannot be counted: it is {'not finite' if type(value) is float else kind_of(value)}{hint}"
            )
        if value < 0:
            raise Indeterminate("cannot be counted: it is negative")
        if scale is not None:
            total += _decimal(value, scale)
        else:
            total += value if type(value) is int else Fraction(value)
    return math.ceil(total)


def _decimal(value: object, scale: int) -> int:
    try:
        return exact_amount(value, scale)
    except ValueError as reason:
        raise Indeterminate(f"cannot be counted: it {reason}") from None


SCOPES: Final[Mapping[str, Callable[[ToolCall], str]]] = {
    "session": lambda call: session_scope(call.session),
    "grant": lambda call: session_scope(call.session) if call.grant is None else grant_scope(call.grant),
    "global": lambda call: GLOBAL,  # noqa: ARG005
}
