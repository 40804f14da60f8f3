"""How a row is read, changed and written in one transaction by one public call of diskcache.

**Why "+".** ``Cache.incr(key, delta)`` is the one public call that begins a transaction, reads a value, stores
``value + delta`` and commits, in four statements; ``transact``, ``get`` and ``set`` take half as long again. It adds
with ``+`` whatever it is given, so the delta is an object whose ``__radd__`` is handed the old row and returns the new
one (:class:`Change`). Rows of several scopes are changed one after the other inside ``transact``, which makes their
``incr`` a part of the same transaction.

**What rolls back.** An exception inside ``__radd__`` leaves ``incr`` and ends the transaction without a trace, and so
does one inside ``transact``.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from guarded_tools.errors import StoreError

_LAST = "\U0010ffff"
_HALF = re.compile("[\ud800-\udfff]")  # of a surrogate pair: no text in a database


class Change:
    """What ``Cache.incr`` adds to a row. incr reads, adds and writes in one transaction; ``apply`` runs inside it."""

    __slots__ = ("_apply",)

    def __init__(self, apply: Callable[[bytes], bytes]) -> None:
        self._apply = apply

    def __radd__(self, old: object) -> bytes:
        # incr starts a missing row at 0.
        return self._apply(value_of(old) if old != 0 else b"")


def key_of(scope: str) -> bytes:
    """Name the key that a scope's row is under."""
    return scope.encode("utf-8", "surrogatepass")


def scope_of(key: bytes) -> str:
    """Name the scope whose row is under a key."""
    return bytes(key).decode("utf-8", "surrogatepass")


def value_of(value: object) -> bytes:
    """See that a value is one of ours.

    Raises:
        StoreError: the database was written by somebody else.
    """
    if type(value) is not bytes:
        raise StoreError("the database holds a value that was not written by guarded_tools")
    return value


def beyond(prefix: str) -> str | bytes:
    """Return what all texts with this prefix stand before: else SQLite walks on through every scope that there is."""
    following = chr(ord(prefix[-1]) + 1) if prefix and prefix[-1] < _LAST else ""
    return f"{prefix[:-1]}{following}" if following and not _HALF.match(following) else b""  # texts stand before bytes
