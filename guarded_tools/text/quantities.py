"""How much was counted, in words: amounts of a unit are kept as whole millionths of it, and read as decimals.

The name of a counter says what it counts: ``<server>/<tool>/<name>``, and ``/<unit>`` where its amounts have one.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

MILLION: Final = 10**6
LARGEST: Final = 2**53
"""The highest amount of a unit, in millionths: every store counts exactly up to here."""

_PARTS: Final = 3
_ONE_CALL: Final = 32
"""As long is a call's digest, by which its rejections are counted (:mod:`guarded_tools.approval.quota`)."""


def unit_of(counter: str) -> str:
    """Return the unit of what a counter counts; ``""`` for calls and other things that have none."""
    parts = counter.split("/")
    return parts[_PARTS] if len(parts) == _PARTS + 1 else ""


def by_unit(charges: Iterable[tuple[str, str, int, int, int]]) -> dict[str, int]:
    """Say what a call took of each unit, in millionths, by its charges: (scope, counter, amount, max, window).

    It may count against several limits in one unit, of its session and of its grant; it took that once, the most of it.
    """
    found: dict[str, int] = {}
    for _, counter, amount, _, _ in charges:
        unit = unit_of(counter)
        if unit:
            found[unit] = max(found.get(unit, 0), amount)
    return found


def spoken(counter: str) -> str:
    """Name a counter to a person: of those that the guard keeps for itself, what they count."""
    *place, name = counter.split("/")
    if name == "(asks)":
        return "questions to a human"
    if not name.startswith("(rejected ") or not place:
        return counter
    return f"rejections of {'one call of ' if len(name) > _ONE_CALL else ''}{place[-1]}"


def number(counter: str, amount: int, *, grouped: bool = False) -> str:
    """Write an amount as its counter counts it, without the unit: ``30``, ``4.98``."""
    if not unit_of(counter):
        return f"{amount:,}" if grouped else str(amount)
    whole, millionths = divmod(amount, MILLION)
    shown = f"{whole:,}" if grouped else str(whole)
    if not millionths:
        return shown
    decimals = f"{millionths:06d}".rstrip("0")
    return f"{shown}.{decimals:0<2}"


def quantity(counter: str, amount: int, *, grouped: bool = False) -> str:
    """Write an amount with its unit, if it has one: ``30``, ``4.98 USD``."""
    return f"{number(counter, amount, grouped=grouped)} {unit_of(counter)}".rstrip()


def of_most(counter: str, amount: int, most: int, *, grouped: bool = False) -> str:
    """Write how much of a limit is used: ``30 of 60``, ``4.98 of 5 USD``."""
    return f"{number(counter, amount, grouped=grouped)} of {quantity(counter, most, grouped=grouped)}"
