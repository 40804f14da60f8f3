"""The latest records of a log, newest first, at a cost that does not grow with the log."""

from __future__ import annotations

from collections.abc import Iterator
from os import PathLike
from pathlib import Path

from guarded_tools.audit.backwards import STRETCH, Reach, lines_backwards, opened_newest_first
from guarded_tools.audit.read import Filter, Record, parse

_ANY = Filter()


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
