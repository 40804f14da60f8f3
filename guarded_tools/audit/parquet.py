"""Records and calls as Parquet, which pandas, DuckDB and Polars read with its types (extra ``parquet``)."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from guarded_tools.audit.read import FIELDS, Record
from guarded_tools.audit.summary import CallRow
from guarded_tools.audit.tabular import CALL_FIELDS, MOMENTS, as_text
from guarded_tools.errors import not_installed

_AT_ONCE: Final = 10_000
_WHOLE: Final = frozenset({"seq", "refunded"})
_NUMBERS: Final = frozenset({"retry_after", "timeout", "guard_ms", "human_ms", "tool_ms"})
_FLAGS: Final = frozenset({"asked"})
_LARGEST: Final = 2**63


def write_records(records: Iterable[Record], path: Path) -> int:
    """Write records as Parquet to a new file, one column a field; return how many. Lists and objects become JSON.

    Raises:
        FileExistsError: the file is there.
        GuardError: pyarrow is not installed.
    """
    return _write(FIELDS, ([record.get(field) for field in FIELDS] for record in records), path)


def write_calls(calls: Iterable[CallRow], path: Path) -> int:
    """Write calls as Parquet to a new file, one row a call; return how many.

    Raises:
        FileExistsError: the file is there.
        GuardError: pyarrow is not installed.
    """
    return _write(CALL_FIELDS, calls, path)


def _write(fields: tuple[str, ...], rows: Iterable[Iterable[Any]], path: Path) -> int:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise not_installed("pyarrow is not installed", "parquet") from error
    types = {name: pa.int64() for name in _WHOLE} | {name: pa.float64() for name in _NUMBERS}
    types |= {name: pa.bool_() for name in _FLAGS} | {name: pa.timestamp("us", tz="UTC") for name in MOMENTS}
    schema = pa.schema([(field, types.get(field, pa.string())) for field in fields])
    count = 0
    with path.open("xb") as file, pq.ParquetWriter(file, schema) as writer:
        for some in _batches(rows):
            columns = [[_value(field, value) for value in values] for field, values in zip(fields, some, strict=True)]
            writer.write_batch(pa.record_batch(columns, schema=schema))
            count += len(columns[0])
    return count


def _batches(rows: Iterable[Iterable[Any]]) -> Iterator[list[tuple[Any, ...]]]:
    """Yield the columns of so many rows at once, so that memory does not grow with the log."""
    left = iter(rows)
    while some := list(itertools.islice(left, _AT_ONCE)):
        yield list(zip(*some, strict=True))


def _value(field: str, value: Any) -> Any:
    """Return a value as its column has it; ``None`` for one that is none: a log may have been edited."""
    if field in _WHOLE:
        return value if type(value) is int and -_LARGEST <= value < _LARGEST else None
    if field in _NUMBERS:
        return float(value) if type(value) in {int, float} and abs(value) < _LARGEST else None
    if field in _FLAGS:
        return bool(value)
    if field in MOMENTS:
        return _moment(value)
    return None if value is None else as_text(value)


def _moment(value: Any) -> datetime | None:
    try:
        if isinstance(value, str):
            moment = datetime.fromisoformat(value)
            return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        return None if value is None else datetime.fromtimestamp(value, UTC)
    except (ValueError, TypeError, OverflowError, OSError):
        return None
