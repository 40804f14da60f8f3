"""Files of calls: our own JSON lines, exports of OpenTelemetry, exports of LangSmith; told apart by what is in them.

Our own lines are read strictly: what they do not say clearly is an error that names the line. Exports hold much else
that is no call of a tool, and that is passed over.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, get_args

from guarded_tools.authoring.recorded import exports
from guarded_tools.authoring.recorded.events import Progress
from guarded_tools.authoring.recorded.shelf import RecordedCall
from guarded_tools.errors import GuardError
from guarded_tools.text import strict_json
from guarded_tools.values import Outcome

_TEXTS: Final = ("tool", "session", "grant", "id", "outcome")
_KEYS: Final = ("tool", "args", "time", "session", "grant", "id", "outcome")
_LONGEST: Final = 64 * 1024 * 1024
"""Characters of one value: what is longer is no line, and no span."""


def read_calls(path: Path, progress: Progress = lambda _: None) -> Iterator[RecordedCall]:
    """Yield the calls of a file, in its order.

    Raises:
        GuardError: it cannot be read, or a line is no call; the message names it.
    """
    for line, value in _values(path, progress):
        for each in value if type(value) is list else [value]:
            if type(each) is not dict:
                raise GuardError(f"{path}, line {line}: a call is a JSON object")
            calls = exports.calls_of(each)
            if calls is not None:
                yield from calls
            else:
                yield _call(each, f"{path}, line {line}")


def _values(path: Path, progress: Progress) -> Iterator[tuple[int, Any]]:
    """Yield the JSON values of a file with the lines they begin on: one a line, or spread over several."""
    try:
        with path.open(encoding="utf-8") as file:
            yield from _split(path, file, progress)
    except OSError as error:
        raise GuardError(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise GuardError(f"{path} is no text in UTF-8: {error.reason} at byte {error.start}") from None


def _split(path: Path, lines: Iterator[str], progress: Progress) -> Iterator[tuple[int, Any]]:
    parts: list[str] = []
    begun = length = 0
    for number, line in enumerate(lines, 1):
        progress(len(line))
        if not parts:
            if not line.strip():
                continue
            begun, length = number, 0
        parts.append(line)
        length += len(line)
        if length > _LONGEST:
            raise GuardError(f"{path}, line {begun}: what begins there does not end within {_LONGEST} characters")
        # Written over several lines, a value opens at the end of its first and closes at the margin.
        opens = len(parts) == 1 and line.rstrip()[-1] in "{[,"
        if opens or (len(parts) > 1 and line[0] not in "}]"):
            continue
        yield begun, _loaded(path, begun, "".join(parts))
        parts = []
    if parts:
        yield begun, _loaded(path, begun, "".join(parts))


def _loaded(path: Path, line: int, text: str) -> Any:
    try:
        return strict_json.loads(text)
    except (ValueError, RecursionError) as error:
        said = f"{error.msg} (column {error.colno})" if isinstance(error, json.JSONDecodeError) else str(error)
        raise GuardError(f"{path}, line {line} cannot be read as JSON: {said}") from None


def _call(line: Mapping[str, Any], where: str) -> RecordedCall:
    unknown = [key for key in line if key not in _KEYS]
    if unknown:
        raise GuardError(f"{where}: {unknown[0]!r} says nothing of a call; there are {', '.join(_KEYS)}")
    if type(line.get("tool")) is not str or not line["tool"]:
        raise GuardError(f'{where}: a call names its tool: {{"tool": "pay", "args": {{}}}}')
    for key in _TEXTS:
        if key in line and type(line[key]) is not str and not (key in {"grant", "id"} and line[key] is None):
            raise GuardError(f"{where}: {key} is a text")
    outcome = line.get("outcome", "")
    if outcome and outcome not in get_args(Outcome):
        raise GuardError(f"{where}: {outcome!r} is no outcome; they are {', '.join(get_args(Outcome))}")
    args = line.get("args")
    if "args" in line and type(args) is not dict:
        raise GuardError(f"{where}: args is an object; leave it out where it was not recorded")
    return RecordedCall(
        line["tool"],
        args,
        _moment(line["time"], where) if "time" in line else None,
        line.get("session", "default"),
        line.get("grant"),
        line.get("id"),
        "" if outcome == "suspended" else outcome,
        untold=outcome == "suspended",
    )


def _moment(said: object, where: str) -> float:
    moment = exports.moment_of(said)
    if moment is None:
        now = datetime.now(UTC).isoformat(timespec="seconds")
        raise GuardError(f'{where}: time is seconds since the epoch, or a text such as "{now}"')
    return moment
