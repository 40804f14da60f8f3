"""How many calls of a log ended how, minute by minute, at a tenth of what reading its records costs.

A line as the log writes it is not parsed but looked at. Any other is read in full.
"""

from __future__ import annotations

import calendar
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from guarded_tools.audit.backwards import STRETCH, Reach, lines_backwards, opened_newest_first
from guarded_tools.audit.read import parse

_LINE: Final = re.compile(rb'\{"seq":([0-9]{1,18}),"time":"([0-9-]{10}T[0-9:]{5})[^"]*","kind":"([a-z]+)"')
# Behind plain texts alone, so that it is the record's own outcome and none that a value names.
_OUTCOME: Final = re.compile(rb'(?:,"[a-z_]+":"[ !#-\[\]-~]*")*?,"outcome":"([a-z_]+)"')
_ENDED: Final = {b"settled", b"refused"}


class MinuteTally(NamedTuple):
    """How many calls ended with each outcome in some minutes since the epoch.

    ``reach`` is the minute of the oldest line that was counted so far, ``None`` where all that was asked for is.
    """

    reach: int | None
    minutes: dict[int, Counter[str]]


def tally(path: Path, *, before: int, since: float, most_bytes: int, block: int = STRETCH) -> Iterator[MinuteTally]:
    """Count the ends of calls in the lines before number ``before``, newest first, some hundreds of lines at a time.

    It ends at ``since``, in seconds since the epoch, as :mod:`guarded_tools.audit.backwards` says, or after
    ``most_bytes``; then the last tally says how far it came.
    """
    reach, left, looked_at = Reach(since, block), most_bytes, 0
    counted: Counter[tuple[bytes, str]] = Counter()
    minute = b""
    for _, file in opened_newest_first(path):
        for line in lines_backwards(file, block):
            left -= len(line) + 1
            passes = reach.passes(line)
            if reach.ended or left < 0:
                yield _summed(None if reach.ended else minute, counted)
                return
            seen = _look_at(line) if passes else None
            if seen is not None and seen[0] < before:
                minute = seen[1]
                if seen[2] is not None:
                    counted[minute, seen[2]] += 1
            looked_at += len(line)
            if looked_at >= block:
                yield _summed(minute, counted)
                counted, looked_at = Counter(), 0
    yield _summed(None, counted)


def _look_at(line: bytes) -> tuple[int, bytes, str | None] | None:
    """Return a line's number, its minute, and the outcome where it ends a call; ``None`` where it is no record."""
    match = _LINE.match(line)
    if match is not None and match[3] not in _ENDED:
        return int(match[1]), match[2], None
    outcome = None if match is None else _OUTCOME.match(line, match.end())
    if match is not None and outcome is not None:
        return int(match[1]), match[2], outcome[1].decode("ascii")
    record = parse(line)
    if record is None:
        return None
    ended = str(record.get("kind")).encode() in _ENDED
    return record["seq"], str(record.get("time"))[:16].encode(), str(record.get("outcome", "")) if ended else None


def _summed(reach: bytes | None, counted: Counter[tuple[bytes, str]]) -> MinuteTally:
    minutes: dict[int, Counter[str]] = {}
    for (minute, outcome), number in counted.items():
        minutes.setdefault(_minute(minute), Counter())[outcome] += number
    return MinuteTally(None if reach is None else _minute(reach), minutes)


def _minute(text: bytes) -> int:
    """Read ``2026-11-29T05:18`` as minutes since the epoch; 0 for what is no time."""
    try:
        year, month, day, hour, minute = map(int, re.split(rb"[-T:]", text))
        return calendar.timegm((year, month, day, hour, minute, 0)) // 60
    except ValueError:
        return 0
