"""How much was counted, in words: amounts of a unit are kept as whole millionths of it, and read as decimals.

The name of a counter says what it counts: ``<server>/<tool>/<name>``, and ``/<unit>`` where its amounts have one.
"""

from __future__ import annotations

from typing import Final

MILLION: Final = 10**6
LARGEST: Final = 2**53
"""The highest amount of a unit, in millionths: every store counts exactly up to here."""

_PARTS: Final = 3


def unit_of(counter: str) -> str:
    """Return the unit of what a counter counts; ``""`` for calls and other things that have none."""
    parts = counter.split("/")
    return parts[_PARTS] if len(parts) == _PARTS + 1 else ""


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
