"""One record of the audit: an event as a line of JSON that is chained to the line before it.

A line is ``{"seq":…,"time":…, the event …,"prev":"<hash of the line before>","hash":"<hash of this line>"}``. The hash
is the SHA-256 of the line's own bytes up to ``,"hash":``, so that ``head -c`` and ``sha256sum`` can check it too.

**Invariant.** A line is what was hashed: readers compare bytes and never write JSON anew, for two writers of JSON agree
on values and not on bytes. So a line has one shape (:data:`_SEALED`), ASCII from end to end, with the number first and
both hashes last, at places where no text of an event can stand: quotes in it are escaped. What does not have this shape
is no record, however much it looks like one.

**Why it is bounded.** Names, messages and values come from models and servers. Each is masked before it is cut, since
half a secret looks like none, and only as far as can be seen, since masking a megabyte costs milliseconds. What was cut
says how much of it is missing. A value that is no JSON becomes a text about itself; an audit that could be made to
refuse a line would be a way to stop an agent, or to keep a call out of the account.

**Why half of an event is remembered as text.** What a call shares with thousands of others, from its tool to its
charges, is encoded and masked once; time, key, message and latencies are written each time. The memory is emptied when
it is full, and holds no text long enough to matter.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from operator import itemgetter
from typing import Any, NamedTuple, TypeAlias

from guarded_tools.text.redaction import LONGEST_SECRET, mask, mask_json
from guarded_tools.text.units import utc
from guarded_tools.values import AuditEvent

GENESIS = "0" * 64
"""What stands for the hash of the line before the first."""

_LONG = 16_384
_LONG_TEXT = 1_000
_MANY = 50
_WORTH_KEEPING = 4_096
_KEPT = 1_024

_dumps = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode
_loose = json.JSONEncoder(separators=(",", ":"), default=repr).encode
_SEALED = re.compile(rb'(\{"seq":([0-9]{1,18}),.*,"prev":"([0-9a-f]{64})"),"hash":"([0-9a-f]{64})"\}')


class ChainedLine(NamedTuple):
    """What the chain says of one line. ``intact`` is false where the line is not what its own hash says."""

    seq: int
    prev: str
    hash: str
    intact: bool


def _text(text: str) -> str:
    if len(text) <= _LONG_TEXT:
        return _dumps(mask(text))
    # Masking a megabyte that somebody made up costs milliseconds, and half a secret looks like none.
    masked = mask(text[: _LONG_TEXT + LONGEST_SECRET])
    surplus = len(text) - _LONG_TEXT - LONGEST_SECRET
    more = max(surplus, 0) + len(masked) - _LONG_TEXT
    return _dumps(masked if more <= 0 else f"{masked[:_LONG_TEXT]}… ({more} characters more)")


def _names(names: tuple[str, ...]) -> str:
    surplus = len(names) - _MANY
    more = [_dumps(f"… ({surplus} more)")] if surplus > 0 else []
    return f"[{','.join([_text(name) for name in names[:_MANY]] + more)}]"


def _charges(charges: tuple[tuple[str, str, int, int, int], ...]) -> str:
    each = (f"[{_text(scope)},{_text(counter)},{','.join(map(str, rest))}]" for scope, counter, *rest in charges)
    return f"[{','.join(each)}]"


def _json(value: Mapping[str, Any]) -> str:
    try:
        masked = mask_json(value)
        try:
            text = _dumps(masked)
        except (TypeError, ValueError):
            return f'{{"cut":{_text(_loose(masked))}}}'
    except (TypeError, ValueError, RecursionError):
        return '{"cut":"(not JSON)"}'
    return text if len(text) <= _LONG else f'{{"cut":{_text(text)}}}'


def _number(value: float) -> str:
    return repr(round(value, 3)) if math.isfinite(value) else "null"


def _ids(ids: Mapping[str, str]) -> str:
    return f"{{{','.join([f'{_dumps(name)}:{_dumps(value)}' for name, value in ids.items()])}}}"


_Write: TypeAlias = Callable[[Any], str]

# How each field becomes JSON. What an event shares with thousands of others is encoded once; the rest each time. What
# is written without a look at it was made by the guard and holds neither names nor text of others.
_SHARED: dict[str, _Write] = {
    "kind": _dumps,
    "tool": _text,
    "session": _text,
    "outcome": _dumps,
    "rule": _text,
    "grant": _text,
    "server": _text,
    "args": _names,
    "policy": _dumps,
    "charges": _charges,
    "labels": _names,
}
_OWN: dict[str, _Write] = {
    "key": _dumps,
    "message": _text,
    "call_id": _text,
    "values": _json,
    "refunded": str,
    "retry_after": _number,
    "timeout": _number,
    "approval": _json,
    "result": _json,
    "guard_ms": _number,
    "human_ms": _number,
    "tool_ms": _number,
    "trace": _ids,
}
_shared_of = itemgetter(*(AuditEvent._fields.index(name) for name in _SHARED))
_own_of = itemgetter(*(AuditEvent._fields.index(name) for name in _OWN))
_encoded: dict[tuple[Any, ...], str] = {}


def encode(event: AuditEvent) -> str:
    """Return the members of an event's line, without braces: what is unset is left out, secrets are masked.

    The text is ASCII, and free of control characters below DEL, whatever the event holds. What is too long for a line,
    or is not JSON, is cut and says so.

    Raises:
        TypeError: the event holds something else than its fields promise.
    """
    shared = _shared_of(event)
    text = _encoded.get(shared)
    if text is None:
        text = _members(_SHARED, shared)
        if len(text) <= _WORTH_KEEPING:
            if len(_encoded) >= _KEPT:
                _encoded.clear()
            _encoded[shared] = text
    own = _members(_OWN, _own_of(event))
    return f"{text},{own}" if own else text


def _members(writes: dict[str, _Write], values: tuple[Any, ...]) -> str:
    return ",".join(
        [
            f'"{name}":{write(value)}'
            for (name, write), value in zip(writes.items(), values, strict=True)
            if value or type(value) is float
        ]
    )


def chain(body: str, seq: int, now: float, prev: str) -> tuple[bytes, str]:
    """Return the line of record ``seq``, newline included, and its hash. ``now`` is in seconds since the epoch."""
    hashed = f'{{"seq":{seq},"time":"{timestamp(now)}",{body},"prev":"{prev}"'.encode("ascii")
    own = hashlib.sha256(hashed).hexdigest()
    return b'%b,"hash":"%b"}\n' % (hashed, own.encode("ascii")), own


def parse_line(line: bytes) -> ChainedLine | None:
    """Read what the chain says of a line; ``None`` where the line is no record."""
    match = _SEALED.fullmatch(line.rstrip(b"\n"))
    if match is None:
        return None
    own = match[4].decode("ascii")
    return ChainedLine(int(match[2]), match[3].decode("ascii"), own, hashlib.sha256(match[1]).hexdigest() == own)


def timestamp(now: float) -> str:
    """Seconds since the epoch as UTC in ISO 8601, to the microsecond."""
    seconds = int(now // 1)
    text = _second(seconds)
    return f"{text}.{int((now - seconds) * 1e6):06d}Z"


@lru_cache(maxsize=16)
def _second(seconds: int) -> str:
    return utc(seconds).strftime("%Y-%m-%dT%H:%M:%S")
