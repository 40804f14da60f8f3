"""The latest records and calls of a log, at a cost that does not grow with the log."""

from __future__ import annotations

import itertools
import json
import os
import time
from collections.abc import Iterator
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import BinaryIO

from guarded_tools.audit.backwards import STRETCH, Reach, lines_backwards, opened_newest_first
from guarded_tools.audit.read import Filter, Record, parse
from guarded_tools.audit.summary import ENDED, OPEN, CallRow, calls, open_as, same_call

_ANY = Filter()
_SEARCHED = 4 * 1024 * 1024
_FURTHER = 1_000
_dumps = json.JSONEncoder(ensure_ascii=True).encode
_OF_A_QUESTION = {"approval", "human_ms"}


def newest_first(
    path: str | PathLike[str], wanted: Filter = _ANY, *, most_bytes: int | None = None, block: int = STRETCH
) -> Iterator[Record]:
    """Yield the records of a log as :func:`~guarded_tools.audit.read` does, in reverse, as of the moment it is begun.

    Only as much is read as is asked for: whoever takes ten records has read ``block`` bytes. A filter that little
    passes is another thing, so ``since`` or ``most_bytes``, after which it ends, bound how far back it looks. Nothing
    older than ``since`` is read, but for what :mod:`guarded_tools.audit.backwards` says.
    """
    reach = None if wanted.since is None else Reach(wanted.since, block)
    passes = wanted.sieve()
    left = most_bytes
    for _, file in opened_newest_first(Path(path)):
        for line in lines_backwards(file, block):
            if left is not None:
                left -= len(line) + 1
                if left < 0:
                    return
            if reach is not None and not reach.passes(line):
                if reach.ended:
                    return
                continue
            if line and passes(line):
                record = parse(line)
                if record is not None and wanted.wants(record):
                    yield record


def latest_calls(
    path: str | PathLike[str], wanted: Filter = _ANY, *, count: int = 15, now: float | None = None
) -> list[CallRow]:
    """Join the last ``count`` calls of a log, in the order of their last lines: open ones stand at their time.

    ``outcome`` is the call's, and may be ``open`` or ``expired``, which is as of ``now``, in seconds since the epoch
    (default: the present). The calls' first lines are looked for among the 1,000 records before
    them: one that a human thought about for longer begins with the first of its lines that was found.
    """
    now = time.time() if now is None else now
    latest = _Latest(wanted.outcome, now)
    records = newest_first(path, replace(wanted, outcome=None, shadow=bool(wanted.shadow)))
    for record in records if count else ():
        latest.add(record)
        if latest.found == count:
            break
    for record in itertools.islice(records, _FURTHER):
        if not latest.unfinished:
            break
        latest.add(record, new=False)
    rows = calls(reversed(latest.records), shadow=bool(wanted.shadow), now=now)
    return sorted(rows, key=lambda row: row.ended)[-count:] if count else []


def story(path: str | PathLike[str], key: str, *, most_bytes: int, block: int = _SEARCHED) -> list[Record]:
    """Return all records of one call, oldest first, as far as they stand in the last ``most_bytes`` of a log.

    Of a call whose run was resumed those of its earlier runs are among them.
    """
    found = [record for record in _mentioning(path, key, most_bytes, block) if record.get("key") == key]
    # A run that goes on begins with its question once more.
    for call in {same_call(record) for record in found if record.get("call_id") and record.get("kind") == "asked"}:
        found += _earlier_runs(
            found, [one for one in _mentioning(path, call[2], most_bytes, block) if same_call(one) == call]
        )
    return sorted(found, key=lambda record: record["seq"])


def _earlier_runs(found: list[Record], mentions: list[Record]) -> list[Record]:
    """Pick what came before a call's own records and did not end; a model may use an id of its own a second time."""
    own, first = {record.get("key") for record in found}, min(record["seq"] for record in found)
    before = [record for record in mentions if record["seq"] < first and record.get("key") not in own]
    last_end = max((record["seq"] for record in before if record.get("kind") in ENDED), default=0)
    return [record for record in before if record["seq"] > last_end]


def _mentioning(path: str | PathLike[str], text: str, most_bytes: int, block: int) -> Iterator[Record]:
    """Yield the records in whose lines a text stands. Lines are looked for, not read: most hold nothing of it."""
    needle, left = _dumps(text).encode("ascii"), most_bytes
    for _, file in opened_newest_first(Path(path)):
        end, lines = os.fstat(file.fileno()).st_size, set[int]()
        while end > 0 and left > 0:
            start = max(end - min(block, left), 0)
            piece = os.pread(file.fileno(), end - start + len(needle) - 1, start)
            left -= end - start
            at = piece.find(needle)
            while 0 <= at < end - start:
                begins, line = _line_around(file, start + at)
                record = None if begins in lines else parse(line)
                lines.add(begins)
                if record is not None:
                    yield record
                at = piece.find(needle, at + 1)
            end = start


def _line_around(file: BinaryIO, offset: int) -> tuple[int, bytes]:
    """Return where the line in which ``offset`` stands begins, and the line."""
    base = max(offset - STRETCH, 0)
    piece = os.pread(file.fileno(), 2 * STRETCH, base)
    begins, ends = piece.rfind(b"\n", 0, offset - base) + 1, piece.find(b"\n", offset - base)
    return base + begins, piece[begins : ends if ends >= 0 else None]


class _Latest:
    """The records of the last calls of one outcome, which are handed to it newest first.

    ``found`` calls were begun to be collected, and ``unfinished`` are the keys of those whose first line is to come.
    """

    def __init__(self, outcome: str | None, now: float) -> None:
        self.records: list[Record] = []
        self.found = 0
        self.unfinished: set[str] = set()
        self._outcome = outcome
        self._now = now
        self._known: dict[str | tuple[str, str, str], bool] = {}  # by key, and by what a resumed call keeps: if wanted

    def add(self, record: Record, *, new: bool = True) -> None:
        kind = record.get("kind")
        if kind == "control":
            return
        key, resumed = str(record.get("key") or record["seq"]), same_call(record)
        wanted = self._known.get(key)
        if wanted is None and kind == "asked" and resumed[2]:
            wanted = self._known.get(resumed)
        if wanted is None:
            outcome = str(record.get("outcome", OPEN)) if kind in ENDED else open_as(record, self._now)
            wanted = new and self._outcome in {None, outcome}
            self.found += wanted
        self._known[key] = self._known[resumed] = wanted
        if wanted:
            self.records.append(record)
            self.unfinished.add(key)
        if _is_first(record):
            self.unfinished.discard(key)


def _is_first(record: Record) -> bool:
    """Whether a call has no line before this one. One that was asked about may: a run that resumes asks once more."""
    kind = record.get("kind")
    if kind == "asked":
        return not record.get("call_id")
    return kind == "shadow" or (kind in {"admitted", "refused"} and not record.keys() & _OF_A_QUESTION)
