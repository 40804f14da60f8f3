"""The way to a human: whether an approver can ask where a call is made, and where it finds the answer again."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from guarded_tools.approval import execution
from guarded_tools.approval.calling import call_in_place
from guarded_tools.approval.pending import LATE
from guarded_tools.approval.result import ApprovalResult, judge, refusal
from guarded_tools.approval.suspension import is_suspension
from guarded_tools.approvers.protocol import Approver, CallAddress, SuspendingApprover, checks, suspends
from guarded_tools.errors import CannotAsk
from guarded_tools.flow import Await, Flow
from guarded_tools.stores import Store
from guarded_tools.values import ApprovalRequest, digest

T = TypeVar("T")


def reach(
    request: ApprovalRequest, approver: Approver, store: Store
) -> Flow[tuple[str, str, CallAddress] | ApprovalResult]:
    """Make sure that the approver can ask here, and claim the task that its answer will come to.

    Returns the keys of the question and of its task, and its place; "" of all for an approver that does not suspend. A
    refusal where it cannot ask.
    """
    refused = _try(approver.check, request) if checks(approver) else None
    if refused is not None:
        return refused
    if not suspends(approver):
        return "", "", CallAddress()
    place = place_of(request, approver)
    if isinstance(place, ApprovalResult):
        return place
    key, task = keys_of(request, place)
    refused = yield from claim(request, approver, key, task, store)
    return (key, task, place) if refused is None else refused


def claim(
    request: ApprovalRequest, approver: SuspendingApprover, key: str, task: str, store: Store
) -> Flow[ApprovalResult | None]:
    """Claim a task for the questions about one call: the answers that come to it have no name on them."""
    ours = claim_of(request, key).encode()
    if (yield Await(store.add, store.aadd, (task, ours, request.timeout + LATE))):
        return None
    holder = yield Await(store.get, store.aget, (task,))
    became = execution.what_became(holder, key, ours.decode())
    if became is None:
        return None if holder in (None, ours) else _said_by(approver.crowded, request)
    if isinstance(became, ApprovalResult):
        return became
    refused = _said_by(approver.spent, request)
    if became == "ran":
        refused = refused._replace(detail=f"{refused.detail}. The call that was approved ran to its end, once")
    return refused


def place_of(request: ApprovalRequest, approver: SuspendingApprover) -> CallAddress | ApprovalResult:
    """Ask an approver where a suspended call is found again; a refusal where it cannot say."""
    address = _try(approver.address, request)
    if isinstance(address, ApprovalResult):
        return address
    if isinstance(address, tuple) and len(address) in (2, 4) and all(isinstance(part, str) for part in address):
        return CallAddress(*address)
    return refusal("failed", "the approver's address has to be a CallAddress, or two texts")


def keys_of(request: ApprovalRequest, place: CallAddress) -> tuple[str, str]:
    """Say under which keys the question about a call and the claim on its task are kept."""
    session = request.session
    return f"approvals/asked/{digest(session, place.call)}", f"approvals/task/{digest(session, place.task)}"


def claim_of(request: ApprovalRequest, key: str) -> str:
    """Say what the questions about one call claim their task with."""
    return f"{key} {request.digest}"


def _said_by(method: Callable[[ApprovalRequest], CannotAsk], request: ApprovalRequest) -> ApprovalResult:
    """Refuse with what an approver says for itself."""
    said = _try(method, request)
    if isinstance(said, ApprovalResult):
        return said
    if isinstance(said, CannotAsk):
        return judge(said, 0.0)
    return refusal("failed", f"the approver said {type(said).__name__}, where CannotAsk belongs")


def _try(method: Callable[[ApprovalRequest], T], request: ApprovalRequest) -> T | ApprovalResult:
    """Call an approver's method; whatever it raises is a refusal, except what steers a run."""
    try:
        return call_in_place(method, request)
    except Exception as error:
        if is_suspension(error):
            raise
        return judge(error, 0.0)
