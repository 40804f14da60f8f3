"""How much a human can be asked: what keeps an agent from burying a human in questions.

Per session: so many questions open at once, so many within a window, and after so many rejections no more about that
tool; what a human rejected twice is not asked a third time. In the unnamed session rejections end with the process,
because nothing else says that one agent ended and another began; the counts do not.
"""

from __future__ import annotations

from typing import NamedTuple

from guarded_tools.errors import StoreError
from guarded_tools.remembered import of_session
from guarded_tools.steps import Line, Step
from guarded_tools.stores import Store
from guarded_tools.values import ApprovalRequest, Charge, Full, digest

SESSION_ENDS = 30 * 86_400
"""No session says that it ended: what holds "for the session" holds this many seconds."""


class AskLimits(NamedTuple):
    """How much a human can be asked in one session.

    ``max_pending`` questions open at once, ``max_asks`` in any ``window`` seconds; ``max_rejections`` close a tool.
    """

    max_pending: int = 5
    max_asks: int = 20
    window: int = 600
    max_rejections: int = 3


def rejected_before(request: ApprovalRequest, limits: AskLimits, *, store: Store, at: float | None) -> Line[str | None]:
    """Say why humans need not be asked again: ``repeated`` for this call, ``closed`` for this tool, or ``None``."""
    of_tool, of_call = _rejections(request, limits)
    full = yield Step(store.peek, store.apeek, ((of_call, of_tool), at))
    if not isinstance(full, Full):
        return None
    return "repeated" if full.charge.counter == of_call.counter else "closed"


def count_rejection(request: ApprovalRequest, limits: AskLimits, *, store: Store, at: float | None) -> Line[None]:
    """Note that a human rejected this call."""
    for charge in _rejections(request, limits):
        yield Step(store.reserve, store.areserve, ((charge,), at))


def count_ask(request: ApprovalRequest, limits: AskLimits, *, store: Store, at: float | None) -> Line[Full | None]:
    """Note that a human is asked; :class:`Full` if the session has asked as much as it may."""
    scope = f"session:{request.session}"
    charge = Charge(scope, "*/*/(asks)", 1, limits.max_asks, limits.window, "(asks)", refundable=False)
    taken = yield Step(store.reserve, store.areserve, ((charge,), at))
    return taken if isinstance(taken, Full) else None


def claim_slot(request: ApprovalRequest, limits: AskLimits, ask_id: str, *, store: Store) -> Line[str | None]:
    """Take one of the session's slots for open questions, or ``None``. It frees itself when the question expires."""
    for number in range(limits.max_pending):
        slot = f"approvals/open/{digest(request.session)[:32]}/{number}"
        if (yield Step(store.add, store.aadd, (slot, ask_id.encode(), request.timeout + 1))):
            return slot
    return None


def release_slot(slot: str, ask_id: str, *, store: Store) -> Line[None]:
    """Give a slot back, if it is still this question's."""
    try:
        if (yield Step(store.get, store.aget, (slot,))) == ask_id.encode():
            yield Step(store.take, store.atake, (slot,))
    except StoreError:
        pass  # must not hide why the question ended, and the slot frees itself


def _rejections(request: ApprovalRequest, limits: AskLimits) -> tuple[Charge, Charge]:
    """The two counters of a rejection: of this tool, and of this call."""
    tag = of_session(request.session)[:8] if request.session == "default" else ""
    name = f"{request.server}/{request.tool}/(rejected {tag}"
    scope = f"session:{request.session}"
    return (
        Charge(scope, f"{name})", 1, limits.max_rejections, SESSION_ENDS, "(rejections)", refundable=False),
        Charge(scope, f"{name}{request.digest[:32]})", 1, 2, SESSION_ENDS, "(rejections)", refundable=False),
    )
