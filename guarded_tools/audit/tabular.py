"""Records and calls as rows of a table: cells, and CSV. The other form is :mod:`guarded_tools.audit.parquet`."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable
from typing import Any, TextIO

from pydantic_core import to_json

from guarded_tools.audit.read import FIELDS, Record
from guarded_tools.audit.record import timestamp
from guarded_tools.audit.summary import CallRow

CALL_FIELDS = CallRow._fields
"""The columns of a table of calls."""
MOMENTS = frozenset({"time", "ended", "expires"})
"""Those of them that hold a time."""

_PLACES = {field: place for place, field in enumerate(FIELDS)}
_WRITTEN = frozenset({type(None), int, float, bool})
_FORMULA = frozenset("=+-@\t\r")
_dumps = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def export(records: Iterable[Record], file: TextIO) -> int:
    """Write records as CSV, one column a field, and return how many. What is not a text or number becomes JSON.

    A text that a spreadsheet would run as a formula is preceded by an apostrophe. Half a surrogate pair, which JSON may
    hold and UTF-8 may not, becomes its escape: a backslash, ``ud800``.
    """
    rows = csv.writer(file)
    rows.writerow(FIELDS)
    count = 0
    for record in records:
        row: list[Any] = [None] * len(FIELDS)
        for field, value in record.items():
            place = _PLACES.get(field)
            if place is None:
                continue
            kind = type(value)
            # Nearly all is written as it is: to ask a function about each costs as much as to read the log.
            plain = value.isascii() and value[:1] not in _FORMULA if kind is str else kind in _WRITTEN
            row[place] = value if plain else _cell(value)
        rows.writerow(row)
        count += 1
    return count


def export_calls(calls: Iterable[CallRow], file: TextIO) -> int:
    """Write calls as CSV, one row a call, and return how many; texts are as in :func:`export`, times as in a log."""
    rows = csv.writer(file)
    rows.writerow(CALL_FIELDS)
    count = 0
    for call in calls:
        told: Iterable[tuple[str, Any]] = zip(CALL_FIELDS, call, strict=True)
        rows.writerow(
            [timestamp(value) if field in MOMENTS and value is not None else _cell(value) for field, value in told]
        )
        count += 1
    return count


def as_text(value: Any) -> str:
    """Write a value as text that UTF-8 can hold: a text as it is, anything else as JSON."""
    text = value if isinstance(value, str) else _as_json(value)
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


def _as_json(value: Any) -> str:
    try:
        return to_json(value, inf_nan_mode="constants").decode()
    except ValueError:  # half a surrogate pair, or nested deeper than it goes; it takes a third of the time
        return _dumps(value)


def _cell(value: Any) -> str | int | float:
    if value is None:
        return ""
    if isinstance(value, int | float):
        return value
    text = as_text(value)
    return f"'{text}" if text[:1] in _FORMULA else text
