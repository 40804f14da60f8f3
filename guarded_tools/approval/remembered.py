"""Approvals that outlast the question: kept, found again, listed and revoked, by lines of :mod:`guarded_tools.flow`.

An entry is bound to server, tool, what the tool says of itself, session and grant, and to the digest of the call unless
it covers the whole tool. Destructive and financial tools are never covered. Entries of the unnamed session end with the
process.
"""

from __future__ import annotations

import json
import os
import secrets
from typing import Any, Literal, NamedTuple

from guarded_tools.errors import StoreError
from guarded_tools.flow import Await, Flow
from guarded_tools.stores import Store
from guarded_tools.text.redaction import mask_json
from guarded_tools.values import ApprovalRequest, Remember, Verdict, canonical, digest, widest_memory

LONGEST = 86_400.0
"""No approval is remembered for longer than this, in seconds."""

_PREFIX = "approvals/remembered/"
_PROCESS = secrets.token_hex(8)
_WIDTH: dict[Remember | Literal["once"], int] = {"never": 0, "once": 0, "same": 1, "tool": 2}
_SHOWN = 2_000


class Remembered(NamedTuple):
    """An approval that covers later calls until ``expires_at`` (seconds since the epoch).

    ``covers`` is ``same`` (these ``args``, as JSON text without secrets) or ``tool`` (ANY arguments). :func:`revoke`
    takes ``id``.
    """

    id: str
    covers: Literal["same", "tool"]
    session: str
    server: str
    tool: str
    grant: str | None
    args: str
    by: str
    granted_at: float
    expires_at: float


def of_session(session: str) -> str:
    """Return what stands for a session in keys that end with it, in hex; the unnamed one is this process's own."""
    if session != "default":
        return digest("session", session)[:32]
    return digest("process", _PROCESS, os.getpid())[:32]  # the pid, because a forked child starts with our secret


def keep(request: ApprovalRequest, verdict: Verdict, *, store: Store, now: float) -> Flow[bool]:
    """Remember an approval where the policy permits it as widely as the human asked for; say whether it is.

    It is kept for the request's ``remember_for`` seconds, and for :data:`LONGEST` at most. ``now`` is in seconds since
    the epoch. What is wider than the policy permits is not remembered at all, rather than less widely: the human said
    yes to something else. Arguments are kept to be listed, without their secrets and cut after 2,000 characters.

    Raises:
        StoreError: it cannot be kept.
    """
    covers = verdict.remember
    seconds = min(request.remember_for, LONGEST)
    if covers == "once" or _WIDTH[covers] > _WIDTH[widest_memory(request.risk, request.remember)] or seconds <= 0:
        return False
    entry = {
        "covers": covers,
        "session": request.session,
        "server": request.server,
        "tool": request.tool,
        "grant": request.grant,
        "args": canonical(mask_json(request.args))[:_SHOWN] if covers == "same" else "",
        "by": verdict.by,
        "granted_at": now,
        "expires_at": now + seconds,
    }
    key = _key(request, covers)
    yield Await(store.put, store.aput, (key, json.dumps(entry).encode(), seconds))
    return True


def find(request: ApprovalRequest, *, store: Store, now: float) -> Flow[Remembered | None]:
    """Find what covers this request under what the policy permits now, be it less than when it was given.

    The span counts from when the approval was given, by the shorter of what was promised then and of the request's
    ``remember_for`` now. ``now`` is in seconds since the epoch; a clock that was put back before the approval covers
    nothing.

    Raises:
        StoreError: what is kept there cannot be read.
    """
    for covers in ("same", "tool"):
        if _WIDTH[covers] > _WIDTH[widest_memory(request.risk, request.remember)]:
            return None
        key = _key(request, covers)
        kept = yield Await(store.get, store.aget, (key,))
        if kept is None:
            continue
        entry = _read(key, kept)
        seconds = min(entry.expires_at - entry.granted_at, request.remember_for, LONGEST)
        if entry.covers == covers and entry.granted_at <= now < entry.granted_at + seconds:
            return entry
    return None


def remembered(store: Store, session: str | None = None) -> Flow[list[Remembered]]:
    """List what is remembered, in one session or in all, soonest to expire first.

    Raises:
        StoreError: an entry cannot be read; the message names its id, for :func:`revoke`.
    """
    found = yield Await(store.scan, store.ascan, (_PREFIX,))
    entries = [_read(key, kept) for key, kept in found]
    return sorted((e for e in entries if session in (None, e.session)), key=lambda e: (e.expires_at, e.id))


def revoke(store: Store, entry_id: str) -> Flow[bool]:
    """Forget one approval; ``False`` if there is none of that id. The next call is asked about again.

    Also one that cannot be read: only its key is looked at. A call that is admitted at this moment may still go by it.

    Raises:
        StoreError: the store cannot be relied on.
    """
    found = yield Await(store.scan, store.ascan, (_PREFIX,))
    gone = False
    for key in [key for key, _ in found if _id(key) == entry_id]:
        gone = (yield Await(store.take, store.atake, (key,))) is not None or gone
    return gone


def _key(request: ApprovalRequest, covers: Literal["same", "tool"]) -> str:
    # To the tool as it was: a server may give its name to something else.
    bound = [request.digest] if covers == "same" else [request.server, request.tool, request.grant]
    bound.append(request.definition)
    return f"{_PREFIX}{of_session(request.session)}/{covers}/{digest(*bound)}"


def _id(key: str) -> str:
    return digest(key)[:10]


def _read(key: str, kept: bytes) -> Remembered:
    try:
        entry: dict[str, Any] = json.loads(kept)
        return Remembered(id=_id(key), **entry)
    except (ValueError, TypeError) as error:
        raise StoreError(f"the remembered approval {_id(key)} cannot be read ({error}); revoke it") from None
