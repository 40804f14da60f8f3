"""Checks a log against its own chain, and its end against the heads that were kept elsewhere.

One walk along the lines, oldest file first, which knows at every step which number comes next and which hash it has to
name. What is found, and by what:

==============  ========================================================================================================
``edited``      a line is not what its own hash says, or the next one names another hash, or it is no record at all
``removed``     a number was left out, and never came
``reordered``   a number that was left out came later
``inserted``    a number came a second time
``cut``         a head names a record beyond the last line
``torn``        a piece of a line that belongs to no record, as a crash leaves it; nothing is missing for it
``headless``    a head that would show a cut is not there
==============  ========================================================================================================

**Invariant.** Whatever was done to lines that a head or a later line vouches for is found, and it is said of the line
that was touched, not of all that follow: after a fault the walk goes on from the next line that is intact. The number
of a line whose own hash is wrong is as doubtful as its text, so it counts for the place that it stands in.

**What cannot be found**, by anybody who has only the files: a log that was written anew from some line on, its hashes
and the head's file included. A copy of the head that is kept elsewhere, in the store or on paper, shows it.

Heads are read before the lines, since other processes go on writing: lines may be newer than a head, never the other
way round. For the same reason a last line without its end is read once more under the writers' lock before it is taken
for torn. Memory grows with the faults, not with the log.
"""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import BinaryIO, Literal, NamedTuple, TypeAlias

from guarded_tools.audit.head import Head, head_path, nobody_writing, peek
from guarded_tools.audit.kept_head import HeadStore, kept_head
from guarded_tools.audit.read import opened
from guarded_tools.audit.record import GENESIS, ChainedLine, parse_line

Fault: TypeAlias = Literal["edited", "removed", "reordered", "inserted", "cut", "torn", "headless"]


class Finding(NamedTuple):
    """One thing that is wrong with a log, and where: ``line`` counts from 1 within ``file``, 0 is the whole file.

    ``seq`` is the number of the first record concerned.
    """

    fault: Fault
    file: str
    line: int
    seq: int
    message: str

    @property
    def tolerated(self) -> bool:
        """Whether a crash explains it: the piece of a line that was never finished."""
        return self.fault == "torn"

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.fault}: {self.message}"


class _LineAt(NamedTuple):
    file: str
    line: int


class _Missing(NamedTuple):
    """Records that did not come where they belong, and the line in front of which they are missing."""

    first: int
    last: int
    before: _LineAt


def verify(path: str | PathLike[str], store: HeadStore | None = None, *, first: int = 1) -> list[Finding]:
    """Check all files of the log at ``path`` and list what is wrong, in the order of the records.

    Finds lines that were edited, removed, reordered, repeated or written by another hand, and an end that was cut off:
    the last line is compared with the head's file, and with the store's head where a store is given. ``first`` is the
    lowest number expected, for logs whose oldest files were archived. A log that is not there is like one in which
    nothing was written yet: only a head that was kept elsewhere tells that it is gone.

    Raises:
        StoreError: the store cannot be read.
    """
    path = Path(path).absolute()
    # Heads first: lines that are written while we read come after them.
    heads = {head_path(path).name: peek(head_path(path))}
    if store is not None:
        heads["the store"] = kept_head(store, path)
    chain = _Chain(first, heads)
    for name, lines in opened(path):
        for number, line in enumerate(lines, 1):
            chain.take(_LineAt(name, number), line if line.endswith(b"\n") else line + _rest(lines, path))
    chain.end(_LineAt(path.name, 0))
    return chain.findings()


def _rest(lines: BinaryIO, path: Path) -> bytes:
    """Read what somebody is writing of a line at this moment; of one that a crash left unfinished there is nothing."""
    with nobody_writing(head_path(path)):
        return lines.readline()


class _Chain:
    """The walk along the lines. Memory grows with what is wrong, not with the log."""

    def __init__(self, first: int, heads: dict[str, Head | None]) -> None:
        self._heads = heads
        self._at = _LineAt("", 0)  # the last record that came in turn
        self._next = first
        self._prev = GENESIS if first == 1 else ""  # empty: not known
        self._scraps: list[_LineAt] = []
        self._gaps: list[_Missing] = []
        self._found: list[Finding] = []

    def findings(self) -> list[Finding]:
        for gap in self._gaps:
            self._say("removed", gap.before, gap.first, f"{_records(gap.first, gap.last)} missing before this line")
        return sorted(self._found, key=lambda finding: finding.seq)

    def take(self, place: _LineAt, line: bytes) -> None:
        record = parse_line(line)
        if record is None:
            if line.strip():
                self._scraps.append(place)
            return
        if not record.intact:
            self._say("edited", place, record.seq, f"record {record.seq} is not what its own hash says")
        if record.seq < self._next:
            self._out_of_turn(place, record)
            return
        if record.intact and record.seq > self._next:
            self._skip_to(record.seq, place)
        elif record.intact and self._prev not in {"", record.prev}:
            self._say(
                "edited",
                self._at if self._at.line else place,
                max(self._next - 1, 1),
                f"record {self._next - 1} was rewritten: record {self._next} follows another one",
            )
        self._settle_scraps(0)
        # The number of a line that was edited is as doubtful as the rest of it: it fills the place it stands in.
        self._prev = record.hash if record.seq == self._next or record.intact else ""
        self._next = (record.seq if record.intact else self._next) + 1
        self._at = place
        self._compare(record)

    def end(self, place: _LineAt) -> None:
        last = max((head.seq for head in self._heads.values() if head is not None), default=0)
        if last >= self._next:
            names = " and ".join(name for name, head in self._heads.items() if head is not None and head.seq == last)
            first = self._settle_scraps(last - self._next + 1)
            if first <= last:
                self._say("cut", self._at, first, f"{_records(first, last)} cut off the end: {last} stands in {names}")
        self._settle_scraps(0)
        if self._next > 1:
            for name, head in self._heads.items():
                if head is None:
                    text = f"{name} has no head of this log, so lines cut off its end cannot be noticed there"
                    self._say("headless", place, self._next - 1, text)

    def _skip_to(self, seq: int, place: _LineAt) -> None:
        first = self._settle_scraps(seq - self._next)
        if first < seq:
            self._gaps.append(_Missing(first, seq - 1, place))

    def _settle_scraps(self, missing: int) -> int:
        """Judge the lines that are no records: destroyed ones where records are missing, else pieces a crash left.

        Returns the number of the first record that is still missing.
        """
        first = self._next
        for place in self._scraps:
            if first < self._next + missing:
                self._say("edited", place, first, f"record {first} is no longer a record")
                first += 1
            else:
                self._say("torn", place, first, "a piece of a line that was never finished, and belongs to no record")
        self._scraps.clear()
        return first

    def _out_of_turn(self, place: _LineAt, record: ChainedLine) -> None:
        for position, gap in enumerate(self._gaps):
            if gap.first <= record.seq <= gap.last:
                parts = (gap._replace(last=record.seq - 1), gap._replace(first=record.seq + 1))
                self._gaps[position : position + 1] = [part for part in parts if part.first <= part.last]
                text = f"record {record.seq} stands after record {self._next - 1}"
                self._say("reordered", place, record.seq, text)
                self._compare(record)
                return
        self._say("inserted", place, record.seq, f"there already is a record {record.seq}")

    def _compare(self, record: ChainedLine) -> None:
        for name, head in self._heads.items():
            if head is not None and head.seq == record.seq and head.hash != record.hash:
                text = (
                    f"record {record.seq} is not the one that {name} names: it was rewritten, or lines before it were"
                )
                self._say("edited", self._at, record.seq, text)

    def _say(self, fault: Fault, place: _LineAt, seq: int, message: str) -> None:
        self._found.append(Finding(fault, place.file, place.line, seq, message))


def _records(first: int, last: int) -> str:
    return f"record {first} is" if first == last else f"records {first} to {last} are"
