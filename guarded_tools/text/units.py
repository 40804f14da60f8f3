"""Spans of time, moments and identities in words: one home for each, so that the same thing reads the same everywhere.

Spans are in seconds, moments in seconds since the epoch. Moments are told in UTC: an audit is read on machines of
several zones, and its lines are in UTC too.

A span is told in one of five ways, by what it is needed for:

- :func:`window`, of a limit: in the largest unit that divides it, so that the words are exact;
- :func:`duration`, of what is remembered or waited for: exact as well, with its number;
- :func:`remaining`, of what ends soon: rounded, for a table that is read once;
- :func:`countdown`, of what runs out while somebody types: minutes and seconds;
- :func:`wait`, until a call would fit: rounded up, so that waiting that long is enough.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Final

_SIZES: Final = {"day": 86_400, "hour": 3_600, "minute": 60, "second": 1}
_ROUNDED: Final = ((86_400, "days"), (3_600, "h"), (60, "min"))

# Spans


def exact(seconds: float, largest: str = "day") -> tuple[float, str]:
    """Return a span as a number of the largest unit that divides it, and that unit's name; none above ``largest``."""
    units = list(_SIZES)
    unit = next((unit for unit in units[units.index(largest) :] if seconds % _SIZES[unit] == 0), "second")
    return (seconds // _SIZES[unit] if unit != "second" else seconds), unit


def window(seconds: int) -> str:
    """Put the window of a limit into words: ``a minute``, ``2 hours``, ``90 seconds``."""
    number, unit = exact(seconds)
    if number == 1:
        return f"an {unit}" if unit == "hour" else f"a {unit}"
    return f"{number} {unit}s"


def duration(seconds: float, largest: str = "day") -> str:
    """Put a span into words with its number: ``1 minute``, ``90 seconds``, ``2 days``; in no unit above ``largest``."""
    number, unit = exact(seconds, largest)
    return f"{number:g} {unit}{'' if number == 1 else 's'}"


def remaining(seconds: float) -> str:
    """Say about how long something stays as it is: ``50 s``, ``12 min``, ``5 h``, ``30 days``; ``0 s`` once over."""
    left = max(seconds, 0)
    size, unit = next(((size, unit) for size, unit in _ROUNDED if left >= 2 * size), (1, "s"))
    return f"{left / size:.0f} {unit}"


def soon(seconds: float) -> str:
    """Say in about what time something comes, never too early: ``50 seconds``, ``12 minutes``, ``3 days``."""
    unit = next((unit for unit, size in _SIZES.items() if seconds >= 2 * size), "second")
    return duration(math.ceil(seconds / _SIZES[unit]) * _SIZES[unit], unit)


def countdown(seconds: float) -> str:
    """Write what is left to answer in, as a clock does: ``1:05``."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


def wait(seconds: float) -> str:
    """Write a number of seconds so that waiting them is enough: rounded up to the millisecond."""
    return f"{math.ceil(seconds * 1000) / 1000:.3f}".rstrip("0").rstrip(".")


def latency(milliseconds: float) -> str:
    """Write how long something took, in milliseconds; nothing where it is not known, which is written as 0."""
    return f"{milliseconds:.1f} ms" if milliseconds else ""


def counted(number: int, one: str, many: str = "") -> str:
    """Write how many there are: ``1 tool``, ``31 tools``; ``many`` where an s does not make it."""
    return f"{number:,} {one if number == 1 else many or f'{one}s'}"


# Moments


def utc(moment: float) -> datetime:
    """Return a moment as a date and a time of day, in UTC.

    Raises:
        ValueError: it is beyond the calendar; likewise OverflowError and OSError, by how far.
    """
    return datetime.fromtimestamp(moment, UTC)


def date_and_time(moment: float) -> str:
    """Write a moment to the second: ``2026-01-31 12:00:00``."""
    return utc(moment).strftime("%Y-%m-%d %H:%M:%S")


def clock(moment: float, now: float) -> str:
    """Write a moment as short as a line of a log needs it: its time of day, and its date where ``now`` has another."""
    then = utc(moment)
    return then.strftime("%H:%M:%S" if then.date() == utc(now).date() else "%m-%d %H:%M")


# Identities


def whose(session: str, grant: str | None, link: str = " for ") -> tuple[str, ...]:
    """Say who acts, and for whom if for anybody, in pieces to be joined: each is to be shown, or cut, by itself."""
    return (session, link, grant) if grant else (session,)
