"""One record of the audit: an event as a line of JSON that is chained to the line before it.

A line is ``{"seq":…,"time":…, the event …,"prev":"<hash of the line before>","hash":"<hash of this line>"}``. The hash
is the SHA-256 of the line's own bytes up to ``,"hash":``, so that ``head -c`` and ``sha256sum`` can check it too.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, NamedTuple

from guarded_tools.secrets import mask, mask_json
from guarded_tools.values import AuditEvent

GENESIS = "0" * 64
"""What stands for the hash of the line before the first."""

_LONG_LINE = 16_384
_LONG_TEXT = 1_000
_MANY = 50

_dumps = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode
_loose = json.JSONEncoder(separators=(",", ":"), default=repr).encode
_SEALED = re.compile(rb'(\{"seq":([0-9]{1,18}),.*,"prev":"([0-9a-f]{64})"),"hash":"([0-9a-f]{64})"\}')


class Sealed(NamedTuple):
    """What the chain says of one line. ``intact`` is false where the line is not what its own hash says."""

    seq: int
    prev: str
    hash: str
    intact: bool


# Names repeat from call to call: what masking said of them is remembered.
_mask_name = lru_cache(maxsize=4096)(mask)


@lru_cache(maxsize=1024)
def _mask_names(names: tuple[str, ...]) -> list[str]:
    return [mask(name) for name in names]


@lru_cache(maxsize=1024)
def _mask_charges(charges: tuple[tuple[str, str, int], ...]) -> list[tuple[str, str, int]]:
    return [(mask(scope), mask(counter), amount) for scope, counter, amount in charges]


def _milliseconds(value: float) -> float:
    return round(value, 3)


# Fields that are not here are made by the guard and hold neither names nor text of others.
_WRITE: dict[str, Callable[[Any], Any]] = {
    "tool": _mask_name,
    "session": _mask_name,
    "rule": _mask_name,
    "message": mask,
    "grant": _mask_name,
    "server": _mask_name,
    "call_id": mask,
    "args": _mask_names,
    "values": mask_json,
    "charges": _mask_charges,
    "retry_after": _milliseconds,
    "approval": mask_json,
    "guard_ms": _milliseconds,
    "human_ms": _milliseconds,
    "tool_ms": _milliseconds,
    "trace": dict,
}


def encode(event: AuditEvent) -> str:
    """Return the members of an event's line, without braces: what is unset is left out, secrets are masked.

    The text is ASCII, and free of control characters below DEL, whatever the event holds. Past 16 KB, or where
    ``values`` or ``approval`` are not JSON, texts and lists are cut and say so.
    """
    members = {
        name: _WRITE[name](value) if name in _WRITE else value
        for name, value in zip(AuditEvent._fields, event, strict=True)
        if value or type(value) is float
    }
    try:
        text = _dumps(members)
    except (TypeError, ValueError, RecursionError):
        text = ""
    if not 0 < len(text) <= _LONG_LINE:
        text = _dumps({name: _cut(value) for name, value in members.items()})
    return text[1:-1]


def _cut(value: Any) -> Any:
    if isinstance(value, str):
        surplus = len(value) - _LONG_TEXT
        return value if surplus <= 0 else f"{value[:_LONG_TEXT]}… ({surplus} characters more)"
    if isinstance(value, Mapping):
        try:
            return {"cut": _cut(_loose(value))}
        except (TypeError, ValueError, RecursionError):
            return {"cut": "(not JSON)"}
    if isinstance(value, list | tuple):
        surplus = len(value) - _MANY
        return [_cut(item) for item in value[:_MANY]] + ([f"… ({surplus} more)"] if surplus > 0 else [])
    return value


def seal(body: str, seq: int, now: float, prev: str) -> tuple[bytes, str]:
    """Return the line of record ``seq``, newline included, and its hash. ``now`` is in seconds since the epoch."""
    hashed = f'{{"seq":{seq},"time":"{timestamp(now)}",{body},"prev":"{prev}"'.encode("ascii")
    own = hashlib.sha256(hashed).hexdigest()
    return b'%b,"hash":"%b"}\n' % (hashed, own.encode("ascii")), own


def unseal(line: bytes) -> Sealed | None:
    """Read what the chain says of a line; ``None`` where the line is no record."""
    match = _SEALED.fullmatch(line.rstrip(b"\n"))
    if match is None:
        return None
    own = match[4].decode("ascii")
    return Sealed(int(match[2]), match[3].decode("ascii"), own, hashlib.sha256(match[1]).hexdigest() == own)


def timestamp(now: float) -> str:
    """Seconds since the epoch as UTC in ISO 8601, to the microsecond."""
    return datetime.fromtimestamp(now, UTC).isoformat(timespec="microseconds")[:-6] + "Z"
