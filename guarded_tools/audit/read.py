"""The reading side: records as dictionaries, filtered, over all files of a log, and followed as they are written."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from os import PathLike
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

from pydantic_core import from_json

from guarded_tools.audit.backwards import OLDEST, Beginning, begins, identity
from guarded_tools.audit.rotation import rotated

Record: TypeAlias = dict[str, Any]

FIELDS = (
    "seq", "time", "kind", "outcome", "tool", "server", "session", "grant", "key", "call_id", "rule", "message", "args",
    "values", "policy", "charges", "refunded", "retry_after", "timeout", "approval", "labels", "result", "guard_ms",
    "human_ms", "tool_ms", "trace", "prev", "hash",
)  # fmt: skip
"""Every member a record can have, in the order of an export's columns."""


_PLAIN = re.compile(r"[ !#-\[\]-~]*")  # what JSON writes as it is


@dataclass(frozen=True, slots=True)
class Filter:
    """Which records are wanted; what is ``None`` does not matter.

    ``tool`` may hold ``*`` and ``?``. ``since`` is in seconds since the epoch. ``shadow`` picks the decisions of
    rules under trial, or leaves them out. ``key`` joins the records of one call.
    """

    session: str | None = None
    tool: str | None = None
    outcome: str | None = None
    kind: str | None = None
    since: float | None = None
    shadow: bool | None = None
    key: str | None = None

    def wants(self, record: Record) -> bool:
        """Say whether a record passes."""
        return (
            (self.session is None or record.get("session") == self.session)
            and (self.tool is None or fnmatchcase(str(record.get("tool", "")), self.tool))
            and (self.outcome is None or record.get("outcome") == self.outcome)
            and (self.kind is None or record.get("kind") == self.kind)
            and (self.key is None or record.get("key") == self.key)
            and (self.shadow is None or (record.get("kind") == "shadow") == self.shadow)
            and (self.since is None or when(record) >= self.since)
        )

    def sieve(self) -> Callable[[bytes], bool]:
        """Make a test of lines that costs less than to parse them: what it refuses holds no record that is wanted."""
        exact = (self.session, self.outcome, self.kind, self.key)
        needles = [f'"{text}"'.encode("ascii") for text in exact if text is not None and _PLAIN.fullmatch(text)]
        if not needles:
            return lambda _: True
        if len(needles) == 1:
            (needle,) = needles
            return lambda line: needle in line or b"\\" in line
        # Where something is escaped, JSON has other ways to write a text.
        return lambda line: all(needle in line for needle in needles) or b"\\" in line


def when(record: Record) -> float:
    """Return a record's time in seconds since the epoch; 0.0 where it has none."""
    try:
        moment = datetime.fromisoformat(str(record.get("time")))
    except ValueError:
        return 0.0
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def files(path: str | PathLike[str]) -> list[Path]:
    """List the files of the log at ``path``, oldest first, the current one last."""
    current = Path(path)
    return [full for _, full in rotated(current)] + ([current] if current.exists() else [])


def opened(path: str | PathLike[str], begin: Beginning = OLDEST) -> Iterator[tuple[str, BinaryIO]]:
    """Open the files of the log at ``path``, oldest first, one at a time; one that is rotated meanwhile is not lost.

    Those before ``begin`` are left out, and the one in which it is stands there.
    """
    current = Path(path)
    behind = begin.behind
    while True:
        # Opened before the list is read: if nothing newer is full by then, this is what comes next.
        with _open(current) or nullcontext() as last:
            full = [(number, file) for number, file in rotated(current) if number > behind]
            if not full:
                if last is not None:
                    yield current.name, _at(begin, last)
                return
        for number, file in full:
            behind = number
            with _open(file) or nullcontext() as lines:
                if lines is not None:
                    yield file.name, _at(begin, lines)


def _at(begin: Beginning, file: BinaryIO) -> BinaryIO:
    if begin.offset and identity(file) == begin.inode:
        file.seek(begin.offset)
    return file


def read(
    path: str | PathLike[str],
    *,
    session: str | None = None,
    tool: str | None = None,
    outcome: str | None = None,
    kind: str | None = None,
    since: float | None = None,
    shadow: bool | None = None,
    key: str | None = None,
) -> Iterator[Record]:
    """Yield the records of a log in the order they were written, filtered as :class:`Filter` says.

    Lines that are no records are passed over; :func:`~guarded_tools.audit.verify` tells of them. With ``since`` a log
    is read only from there on, as :mod:`guarded_tools.audit.backwards` says.
    """
    yield from matching(path, Filter(session, tool, outcome, kind, since, shadow, key))


def matching(
    path: str | PathLike[str], wanted: Filter, progress: Callable[[int], None] = lambda _: None
) -> Iterator[Record]:
    """Do as :func:`read`; ``progress`` is told of how many bytes of the log more it is through."""
    begin = OLDEST if wanted.since is None else begins(Path(path), wanted.since)
    progress(begin.skipped)
    passes = wanted.sieve()
    for _, lines in opened(path, begin):
        for line in lines:
            progress(len(line))
            if passes(line):
                record = parse(line)
                if record is not None and wanted.wants(record):
                    yield record


def follow(
    path: str | PathLike[str],
    wanted: Filter = Filter(),
    *,
    after: int | None = None,
    poll: float = 0.2,
    stop: Callable[[], bool] = lambda: False,
) -> Iterator[Record]:
    """Yield records as they are written, over rotations; looks every ``poll`` seconds until ``stop()``.

    Begins behind record ``after``, or with what is written from now on.
    """
    current = Path(path)
    file = _begin(current, after)
    part = b""
    try:
        while True:
            # Asked before reading: what was written until then is still delivered.
            ending = stop()
            following = _open_next(current, file)
            while file is not None and (piece := file.readline()):
                part += piece
                if part.endswith(b"\n"):
                    record = parse(part)
                    part = b""
                    if record is not None and record["seq"] > (after or 0) and wanted.wants(record):
                        yield record
            if following is not None:
                if file is not None:
                    file.close()
                file, part = following, b""
            elif ending:
                return
            else:
                time.sleep(poll)
    finally:
        if file is not None:
            file.close()


def _begin(current: Path, after: int | None) -> BinaryIO | None:
    """Open the newest file that may hold the record after ``after``, or the newest of all at its end."""
    file = _open(current)
    full = reversed(rotated(current))
    while True:
        if file is not None:
            if after is None:
                file.seek(0, os.SEEK_END)
                return file
            first = parse(file.readline())
            if first is not None and first["seq"] <= after + 1:
                file.seek(0)
                return file
            file.close()
        older = next(full, None)
        if older is None:
            return None
        file = _open(older[1])


def _open_next(current: Path, file: BinaryIO | None) -> BinaryIO | None:
    """Open what continues ``file``, or the oldest file where that is ``None``; ``None`` while there is no such."""
    # As in opened(): if nothing behind ours is full once the list is read, this is what comes next.
    newest = _open(current)
    own = None if file is None else os.fstat(file.fileno())
    if newest is not None and own is not None and os.path.samestat(os.fstat(newest.fileno()), own):
        newest.close()
        return None
    passed = own is None
    for _, path in rotated(current):
        full = _open(path)
        if full is None:
            continue
        if passed:
            if newest is not None:
                newest.close()
            return full
        passed = own is not None and os.path.samestat(os.fstat(full.fileno()), own)
        full.close()
    return newest


def _open(path: Path) -> BinaryIO | None:
    try:
        return path.open("rb")
    except FileNotFoundError:
        return None


def parse(line: bytes) -> Record | None:
    """Read one line; ``None`` where it is no record."""
    try:
        record = from_json(line, cache_strings="keys")
    except ValueError:
        record = _reread(line)
    return record if isinstance(record, dict) and type(record.get("seq")) is int else None


def _reread(line: bytes) -> Any:
    """Read what the fast reader does not: half a surrogate pair, and what is nested deeper than it goes."""
    try:
        return json.loads(line.decode("utf-8-sig", "surrogatepass"))
    except (ValueError, RecursionError):
        return None
