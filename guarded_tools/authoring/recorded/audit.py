"""The audit as a stream of events: over all files of a log, oldest first, in constant memory.

The audit holds the names of arguments and, where the policy says so (``log_values``), some values. Secrets in both are
masked and what is too long is cut, so a name or value that shows either is not what was there, and counts as unknown.
Lines that are no records, or that lack what every record has, are passed over and counted: whoever reads is told.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime
from functools import lru_cache
from os import PathLike
from typing import Any, Final

from guarded_tools.audit.read import Record, opened, parse
from guarded_tools.authoring.recorded.events import NO_ARGS, NO_TOOLS, Charged, Kind, Progress, RecordedEvent
from guarded_tools.policy.paths import parse_path
from guarded_tools.text.secret_shapes import MASK

_KINDS: Final[dict[str, Kind]] = {
    "asked": "asked", "answered": "answered", "admitted": "admitted", "refused": "refused", "settled": "settled",
    "control": "control",
}  # fmt: skip
_CHARGE = 5
# The clock of a log of several writers is never quite in order.
_LATE: Final = 10.0


class AuditReader:
    """Reads the log at a path, anew with each walk; ``broken`` and ``backwards`` count what was wrong with its lines.

    ``broken`` are lines that are no records, ``backwards`` those that are older than one before them by more than ten
    seconds, as where two logs were mixed.
    """

    def __init__(self, path: str | PathLike[str], progress: Progress = lambda _: None) -> None:
        self.broken = 0
        self.backwards = 0
        self.events = 0
        self._path = path
        self._progress = progress

    def __iter__(self) -> Iterator[RecordedEvent]:
        """Yield the events in the order in which they were written."""
        latest = 0.0
        self.broken = self.backwards = self.events = 0
        for _, lines in opened(self._path):
            for line in lines:
                self._progress(len(line))
                record = parse(line)
                if record is None:
                    self.broken += bool(line.strip())
                    continue
                if record.get("kind") == "shadow" or record.get("tool") in NO_TOOLS:
                    continue
                event = event_of(record)
                if event is None:
                    self.broken += 1
                    continue
                self.backwards += event.time < latest - _LATE
                latest = max(latest, event.time)
                self.events += 1
                yield event


def event_of(record: Record) -> RecordedEvent | None:
    """Read one record; ``None`` where it is none that the audit writes."""
    said, tool, outcome = record.get("kind"), record.get("tool", ""), record.get("outcome", "")
    kind, moment = _KINDS.get(said) if type(said) is str else None, _moment(record.get("time"))
    session, grant, key = record.get("session", ""), record.get("grant"), record.get("key", "")
    if kind is None or moment is None:
        return None
    if not (type(tool) is type(session) is type(key) is type(outcome) is str and (grant is None or type(grant) is str)):
        return None
    if kind == "control":
        return RecordedEvent(
            kind, moment, "", session, grant=grant, rule=str(record.get("rule", "")),
            message=str(record.get("message", "")), labels=_texts(record.get("labels")),
        )  # fmt: skip
    if not tool or not key:
        return None
    found = record.get("charges")
    charges = () if type(found) is not list else _charges(found)
    if kind == "settled":  # half of all lines, and all else is known from the other half
        return RecordedEvent(kind, moment, tool, session, key, outcome=outcome, charges=charges)
    names = _names(record.get("args", []))
    call_id, approval = record.get("call_id"), record.get("approval")
    verdict, edited = ("", ()) if type(approval) is not dict else _answer(approval)
    values = record.get("values")
    return RecordedEvent(
        kind,
        moment,
        tool,
        session,
        key,
        grant,
        call_id if type(call_id) is str else None,
        outcome,
        str(record.get("rule", "")),
        str(record.get("message", "")),
        names,
        NO_ARGS if type(values) is not dict else _known(values, names),
        str(record.get("policy", "")),
        charges,
        _texts(record.get("labels")) if "labels" in record else (),
        verdict,
        edited,
    )


def _moment(text: object) -> float | None:
    try:
        moment = datetime.fromisoformat(text)  # type: ignore[arg-type]  # what is no text raises as well
        return moment.timestamp() if moment.tzinfo else None
    except (TypeError, ValueError, OverflowError):
        return None


def _names(listed: object) -> tuple[str, ...] | None:
    """The names of all top-level arguments; ``None`` where one was masked, or the list was cut."""
    if type(listed) is not list:
        return None
    for name in listed:
        if type(name) is not str or MASK in name or "… (" in name:
            return None
    return tuple(listed)


def _texts(found: object) -> tuple[str, ...]:
    return tuple(map(str, found)) if type(found) is list else ()


def _charges(found: list[Any]) -> tuple[Charged, ...]:
    return tuple(
        (each[0], each[1], each[2])
        for each in found
        if type(each) is list
        and len(each) == _CHARGE
        and type(each[0]) is type(each[1]) is str
        and type(each[2]) is int
        and each[2] >= 0
    )


def _answer(approval: dict[str, Any]) -> tuple[str, tuple[str, ...]]:
    return str(approval.get("verdict", "")), _texts(approval.get("edited"))


@lru_cache(maxsize=4096)
def _argument(path: str) -> str | None:
    """The top-level argument that is all of what stands at a path."""
    try:
        steps = parse_path(path).steps
    except ValueError:
        return None
    return steps[0] if len(steps) == 1 and type(steps[0]) is str else None


def _known(values: dict[str, Any], names: tuple[str, ...] | None) -> dict[str, Any]:
    """The arguments whose values were logged whole. Of a deeper path nobody knows what else stood beside it."""
    found = {name: value for path, value in values.items() if (name := _argument(path)) is not None}
    return {name: value for name, value in found.items() if (names is None or name in names) and not _changed(value)}


def _changed(value: object) -> bool:
    """Whether a secret was masked in a value, or it was cut."""
    text = value if type(value) is str else json.dumps(value, ensure_ascii=False)
    return MASK in text or "… (" in text
