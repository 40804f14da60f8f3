"""Where a command takes recorded calls from: an audit, checkpoints, files; alone, or the one joined to the other."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from guarded_tools.cli.audit import audit_at
from guarded_tools.cli.console import progress

if TYPE_CHECKING:
    from guarded_tools.authoring.recorded.audit import AuditReader
    from guarded_tools.authoring.recorded.events import RecordedEvent
    from guarded_tools.authoring.recorded.shelf import Joined, Shelf

Audit = Annotated[
    Path | None, typer.Option("--audit", help="The audit's file. Default: the state directory's.", show_default=False)
]
Checkpoints = Annotated[
    str | None,
    typer.Option(
        "--checkpoints", metavar="URL", help="LangGraph's: sqlite:///path or postgresql://…", show_default=False
    ),
]
Calls = Annotated[
    Path | None,
    typer.Option("--calls", help="Calls as JSON lines, or an OpenTelemetry or LangSmith export.", show_default=False),
]


class Recorded:
    """A stream of what was recorded, which can be walked again, and what there is to say of it after a walk.

    ``steps`` is whether it tells more than calls: what humans did in between, which only an audit does.
    """

    def __init__(
        self,
        events: Callable[[], Iterable[RecordedEvent]],
        reader: AuditReader | None = None,
        joined: Joined | None = None,
        shelf: Shelf | None = None,
    ) -> None:
        self.steps = reader is not None
        self._events = events
        self._reader = reader
        self._joined = joined
        self._shelf = shelf

    def __iter__(self) -> Iterator[RecordedEvent]:
        """Yield the events in the order of time."""
        yield from self._events()

    def remarks(self) -> Iterator[str]:
        """Say what was wrong with it, and how far what was joined fits."""
        if self._reader is not None and self._reader.broken:
            lines = self._reader.broken
            yield f"{lines} lines are no records and were passed over; `guarded-tools audit verify` says which"
        if self._reader is not None and self._reader.backwards:
            lines = self._reader.backwards
            yield f"{lines} lines are older than one before them: were logs mixed, or a clock set back?"
        if self._joined is not None:
            found, wanted = self._joined.found, self._joined.found + self._joined.missed
            yield f"arguments were found for {found} of {wanted} calls of which the audit lacks some"
        elif self._shelf is not None and self._shelf.untimed:
            yield f"{self._shelf.untimed} calls have no time, and count as made at the time of the one before them"


@contextmanager
def opened(
    audit: Path | None,
    checkpoints: str | None,
    calls: Path | None,
    state: Path | None,
    *,
    doing: str = "Replaying",
    walks: int = 1,
) -> Iterator[Recorded]:
    """Open what was named; the state directory's audit where nothing was. It will be walked ``walks`` times.

    Raises:
        GuardError: something cannot be read.
    """
    from guarded_tools.audit import audit_path
    from guarded_tools.audit.backwards import bytes_in
    from guarded_tools.audit.read import files
    from guarded_tools.authoring.recorded.audit import AuditReader
    from guarded_tools.authoring.recorded.shelf import Joined, Shelf
    from guarded_tools.state import state_path

    alone = checkpoints is None and calls is None
    path = None
    if alone or audit is not None or state is not None:
        path = audit_at(audit or audit_path(state_path(state)))
    with closing(Shelf()) as shelf:
        _fill(shelf, checkpoints, calls)
        if path is None:
            with progress(doing, walks * shelf.filled) as advance:
                yield Recorded(lambda: _counted(shelf, advance), shelf=shelf)
            return
        with progress(doing, walks * bytes_in(files(path))) as advance:
            reader = AuditReader(path, advance)
            joined = None if alone else Joined(reader, shelf)
            yield Recorded((joined or reader).__iter__, reader, joined)


def _counted(shelf: Shelf, advance: Callable[[int], None]) -> Iterator[RecordedEvent]:
    for event in shelf.events():
        advance(event.kind != "settled")
        yield event


def _fill(shelf: Shelf, checkpoints: str | None, calls: Path | None) -> None:
    if checkpoints is not None:
        from guarded_tools.authoring.recorded.checkpoints import read_checkpoints

        with progress("Reading checkpoints", 0):
            shelf.fill(read_checkpoints(checkpoints))
    if calls is not None:
        from guarded_tools.authoring.recorded.calls import read_calls

        with progress("Reading calls", calls.stat().st_size if calls.is_file() else 0) as advance:
            shelf.fill(read_calls(calls, advance))
