"""A state as large as the page is promised for: open questions, lines of an audit over a day, sessions with labels."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from guarded_tools.approvers.inbox import Question
from guarded_tools.audit import AuditLog, audit_path
from guarded_tools.marks import Mark, SessionRules
from guarded_tools.stores import open_store
from guarded_tools.stores.disk.store import DiskStore
from guarded_tools.values import ApprovalRequest, AuditEvent, Charge, Usage, digest

QUESTIONS: Final = 1_000
LINES: Final = 1_000_000
SESSIONS: Final = 100_000
POLICY: Final = {
    "version": "1",
    "default": "deny",
    "server": "shop",
    "all_tools": {"limits": [{"counter": "all", "window": "hour", "max": 10**7, "scope": "global"}]},
    "tools": {
        "list_orders": {"rate_limit": "60/minute", "labels": ["untrusted"]},
        "refund": {
            "risk": "financial",
            "approval": True,
            "limits": [{"counter": "refunded", "window": "day", "max": 10_000, "count": "args.amount"}],
        },
        "note": {"limits": [{"counter": "notes", "window": "hour", "max": 10**6, "scope": "session"}]},
    },
}
_DAY: Final = 86_400.0
_BATCH: Final = 500


def fill_store(url: str, scale: float) -> None:
    """Fill a store, smaller by ``scale``: a call counted in each session, each tenth with a label; open questions."""
    store = open_store(url)
    calls = []
    for number in range(_sessions(scale)):
        scope = f"session:session-{number:06}"
        charges = [Charge(scope, "shop/list_orders/rate_limit", 1, 60, 3600, "/tools/list_orders/rate_limit")]
        marks = (Mark(scope, "label", "untrusted", "list_orders"),) if number % 10 == 0 else ()
        calls.append((charges, None, (), SessionRules(marks=marks)))
    if isinstance(store, DiskStore):
        store.reserve_together(calls)
    else:
        for call in calls:
            store.reserve(*call)
    for number in range(int(QUESTIONS * scale)):
        question = Question.ask(_request(number))
        store.put(f"approvals/inbox/{question.id}", question.dump(), question.request.timeout)
    store.close()


def _sessions(scale: float) -> int:
    return int(SESSIONS * scale)


def _request(number: int) -> ApprovalRequest:
    """A question as a guard asks it, with arguments of some thirty lines."""
    args = {
        "amount": number % 90,
        "order": f"order-{number}",
        "note": "as agreed on the phone; the customer waits for it",
        "items": [{"sku": f"sku-{at}", "count": at, "title": f"a thing that was sent back, {at}"} for at in range(8)],
    }
    session = f"session-{number:06}"
    usage = Usage(f"session:{session}", "shop/refund/refunded", 120, 10_000, 86_400, 3_600.0)
    return ApprovalRequest(
        "refund", args, session, digest("refund", args), "/tools/refund/approval", "the policy has each refund asked",
        server="shop", description="Pay back what an order cost.", risk="financial", usage=(usage,), timeout=36_000.0,
        expires_at=time.time() + 36_000.0,
    )  # fmt: skip


def fill_audit(home: Path, scale: float) -> str:
    """Write lines as the guard does, over the last day, fewer by ``scale``; returns the key of a call amid the latest.

    Each twentieth call is refused, each fiftieth asked about.
    """
    path, lines, sessions = audit_path(home), int(LINES * scale), _sessions(scale)
    begins, drawn = time.time() - _DAY, random.Random(19)
    written = 0
    log = AuditLog(path, clock=lambda: begins + _DAY * written / lines)
    middle, number = "", 0
    while written < lines:
        batch: list[tuple[AuditEvent]] = []
        while len(batch) < _BATCH:
            number += 1
            batch += [(event,) for event in _call(number, f"session-{drawn.randrange(sessions):06}")]
        middle = middle or (_key(number) if written >= lines * 0.92 else "")
        log.write_together(batch)
        written += len(batch)
    log.close()
    return middle


def _key(number: int) -> str:
    return f"{number * 0x9E3779B97F4A7C15 % 2**64:016x}"


def _call(number: int, session: str) -> Iterator[AuditEvent]:
    refused, asked = number % 20 == 0, number % 50 == 0
    event = AuditEvent(
        "refused" if refused else "admitted",
        tool="refund" if asked else "list_orders",
        session=session,
        key=_key(number),
        outcome="denied" if refused else None,
        rule="/tools/refund" if asked else "/tools/list_orders",
        message="refund is not permitted for this order" if refused else "",
        server="shop",
        call_id=f"call_{number:024x}",
        args=("amount", "order") if asked else ("page",),
        policy="0" * 16,
        charges=(
            (f"session:{session}", "shop/list_orders/rate_limit", 1, 60, 3600),
            ("global", "shop/*/all", 1, 10**7, 3600),
        ),
        guard_ms=0.1234,
        trace={"run": "01a20ccb-c370-71bd-9776-878286d399df"},
    )
    if asked:
        yield event._replace(kind="asked", outcome=None)
        yield event._replace(kind="answered", outcome=None, approval={"kind": "approve", "by": "ann (web)"})
    yield event
    if not refused:
        yield event._replace(kind="settled", outcome="ok", args=(), tool_ms=2.345)


def size(home: Path) -> int:
    """Return how many bytes the state takes on the disk."""
    return sum(file.stat().st_size for file in home.rglob("*") if file.is_file())


def about(scale: float) -> str:
    """Say how large the state is."""
    return f"{int(QUESTIONS * scale):,} open questions, {int(LINES * scale):,} lines, {_sessions(scale):,} sessions"
