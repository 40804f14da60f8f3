"""How much a human can be asked: what keeps an agent from burying a human in questions.

Per session: so many questions within a window, and after so many rejections no more about that tool; what a human
rejected twice is not asked a third time. How many may be open at once is counted by
:mod:`~guarded_tools.approval.pending`. In the unnamed session rejections end with the process, because nothing else
says that one agent ended and another began; the counts do not.
"""

from __future__ import annotations

from guarded_tools.approval.remembered import of_session
from guarded_tools.flow import Await, Flow
from guarded_tools.policy.document import ApprovalLimits
from guarded_tools.stores import Store
from guarded_tools.values import ApprovalRequest, Charge, Full, session_scope

SESSION_ENDS = 30 * 86_400
"""No session says that it ended: what holds "for the session" holds this many seconds."""


def rejected_before(
    request: ApprovalRequest, limits: ApprovalLimits, *, store: Store, at: float | None
) -> Flow[str | None]:
    """Say why humans need not be asked again: ``repeated`` for this call, ``closed`` for this tool, or ``None``."""
    of_tool, of_call = _rejections(request, limits)
    full = yield Await(store.peek, store.apeek, ((of_call, of_tool), at))
    if not isinstance(full, Full):
        return None
    return "repeated" if full.charge.counter == of_call.counter else "closed"


def count_rejection(request: ApprovalRequest, limits: ApprovalLimits, *, store: Store, at: float | None) -> Flow[None]:
    """Note that a human rejected this call."""
    for charge in _rejections(request, limits):
        yield Await(store.reserve, store.areserve, ((charge,), at))


def count_ask(request: ApprovalRequest, limits: ApprovalLimits, *, store: Store, at: float | None) -> Flow[Full | None]:
    """Note that a human is asked; :class:`Full` if the session has asked as much as it may."""
    scope = session_scope(request.session)
    charge = Charge(scope, "*/*/(asks)", 1, limits.max_asks, limits.window, "(asks)", refundable=False)
    taken = yield Await(store.reserve, store.areserve, ((charge,), at))
    return taken if isinstance(taken, Full) else None


def _rejections(request: ApprovalRequest, limits: ApprovalLimits) -> tuple[Charge, Charge]:
    """The two counters of a rejection: of this tool, and of this call."""
    tag = of_session(request.session)[:8] if request.session == "default" else ""
    name = f"{request.server}/{request.tool}/(rejected {tag}"
    scope = session_scope(request.session)
    return (
        Charge(scope, f"{name})", 1, limits.max_rejections, SESSION_ENDS, "(rejections)", refundable=False),
        Charge(scope, f"{name}{request.digest[:32]})", 1, 2, SESSION_ENDS, "(rejections)", refundable=False),
    )
