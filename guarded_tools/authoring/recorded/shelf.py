"""Calls from anywhere, kept on disk while they are needed: put in the order of time, and found by session and id.

Sources that are no audit come thread by thread, or in the order in which somebody exported them, and limits are a
matter of time. So what is read goes into a temporary database, which is gone with the process: memory stays flat.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from guarded_tools.authoring.recorded.events import NO_ARGS, NO_TOOLS, RecordedEvent
from guarded_tools.policy.paths import parse_path

_RAN = ("ok", "error", "never_ran", "unknown")


class RecordedCall(NamedTuple):
    """One call, from a source that tells calls and not steps.

    ``args`` is ``None`` where they were not recorded; ``names`` may be known even so. ``time`` is in seconds since the
    epoch, ``None`` where nobody wrote it down. ``outcome`` is ``""`` where nobody did; then the call is taken to have
    run, with nobody asked, or, with ``untold``, not taken for anything.
    """

    tool: str
    args: Mapping[str, Any] | None
    time: float | None = None
    session: str = "default"
    grant: str | None = None
    id: str | None = None
    outcome: str = ""
    rule: str = ""
    message: str = ""
    names: tuple[str, ...] | None = None
    verdict: str = ""
    untold: bool = False


class Shelf:
    """Keeps calls. Fill it once, with :meth:`fill`, then read; ``filled`` is how many there are."""

    def __init__(self) -> None:
        self.filled = 0
        self.untimed = 0
        self._latest = 0.0
        self._base = sqlite3.connect("")  # a file without a name, gone when it is closed
        self._base.executescript(
            "PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF;"
            "CREATE TABLE calls (n INTEGER PRIMARY KEY, time REAL, place TEXT, tool TEXT, args TEXT, call TEXT)"
        )

    def fill(self, calls: Iterable[RecordedCall]) -> None:
        """Take calls in. One without a time came when the one before it did."""
        rows = (self._row(call) for call in calls if call.tool not in NO_TOOLS)
        self._base.executemany("INSERT INTO calls VALUES (NULL, ?, ?, ?, ?, ?)", rows)
        self._base.executescript(
            "CREATE INDEX IF NOT EXISTS places ON calls (place); CREATE INDEX IF NOT EXISTS times ON calls (time, n);"
        )

    def events(self) -> Iterator[RecordedEvent]:
        """Yield what happened, in the order of time."""
        rows = self._base.execute("SELECT n, time, call FROM calls ORDER BY time, n")
        for number, moment, text in rows:
            call = RecordedCall(*json.loads(text))
            yield from _events(call, moment, str(number))

    def arguments(self, session: str, call_id: str, tool: str) -> Mapping[str, Any] | None:
        """Return the arguments of a call; ``None`` where it is not here, or under one id with several of them."""
        found = self._base.execute(
            "SELECT DISTINCT args FROM calls WHERE place = ? AND tool = ? LIMIT 2",
            (_ascii([session, call_id]), _ascii(tool)),
        ).fetchall()
        args: Mapping[str, Any] | None = json.loads(found[0][0]) if len(found) == 1 else None
        return args

    def close(self) -> None:
        """Let go of the file."""
        self._base.close()

    def _row(self, call: RecordedCall) -> tuple[float, str | None, str, str, str]:
        self.filled += 1
        self.untimed += call.time is None
        moment = self._latest = self._latest if call.time is None else call.time
        place = None if call.id is None else _ascii([call.session, call.id])
        return moment, place, _ascii(call.tool), json.dumps(call.args, sort_keys=True), _ascii(call)


def _ascii(value: object) -> str:
    # Half a surrogate pair, which JSON may hold, is its escape here: a database takes none.
    return json.dumps(value)


def _events(call: RecordedCall, moment: float, key: str) -> Iterator[RecordedEvent]:
    """A call as the steps that it must have had."""
    names = call.names if call.args is None else tuple(sorted(call.args))
    refused = call.outcome not in {"", *_RAN}
    came = RecordedEvent(
        "made" if call.untold else "refused" if refused else "admitted",
        moment,
        call.tool,
        call.session,
        key,
        call.grant,
        call.id,
        call.outcome,
        call.rule,
        call.message,
        None if names is None else tuple(names),
        NO_ARGS if call.args is None else call.args,
        verdict=call.verdict,
    )
    yield came
    if came.kind == "admitted":
        yield came._replace(kind="settled", outcome=call.outcome or "ok")


class Joined:
    """The audit's events with the arguments that another source has; ``found`` and ``missed`` count the calls' events.

    Joined by session, id and tool. Of the arguments in the other source those count that the audit names, too: what is
    named there and not here was filled in on the way, and nobody wrote down with what. What a human edited is not what
    the model wrote.
    """

    def __init__(self, events: Iterable[RecordedEvent], shelf: Shelf) -> None:
        self.found = 0
        self.missed = 0
        self._events = events
        self._shelf = shelf

    def __iter__(self) -> Iterator[RecordedEvent]:
        """Yield the events in their order."""
        self.found = self.missed = 0
        for event in self._events:
            if event.kind in {"settled", "control"} or event.complete:
                yield event
                continue
            args = None if event.call_id is None else self._shelf.arguments(event.session, event.call_id, event.tool)
            if args is None:
                self.missed += event.kind != "answered"
                yield event
                continue
            self.found += event.kind != "answered"
            edited = () if event.kind == "asked" else _edited(event.edited)
            known = {
                name: value
                for name, value in args.items()
                if (event.names is None or name in event.names) and (edited is not None and name not in edited)
            }
            yield event._replace(args={**known, **event.args})


def _edited(paths: tuple[str, ...]) -> tuple[str, ...] | None:
    """The top-level arguments that hold what was edited; ``None`` where that cannot be told."""
    tops = []
    for path in paths:
        try:
            steps = parse_path(path).steps
        except ValueError:
            return None
        if not steps or type(steps[0]) is not str:
            return None
        tops.append(steps[0])
    return tuple(tops)
