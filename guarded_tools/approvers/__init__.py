"""Those who ask a human.

An approver is any function of one :class:`~guarded_tools.values.ApprovalRequest`, sync or async, that returns a
:class:`~guarded_tools.values.Verdict` or a bool. It may also have

``check(request)``
    called before anything is counted; raises :class:`~guarded_tools.errors.CannotAsk` where there is nobody to ask;
``suspends = True``, ``address(request) -> (call, task)`` and ``crowded(request) -> CannotAsk``
    it asks by leaving the call (LangGraph's interrupt) and is called again, in the caller's own thread, when the run
    resumes. The address is the same each time the same call comes by; of several calls in one task only the first is
    asked about, and the others are told ``crowded``.

A sync approver that reads from a human looks at :func:`withdrawn` while it waits; while one that does not is still busy
with a question that was given up, it is asked nothing else.
"""

from __future__ import annotations

from typing import NoReturn

from guarded_tools.approvers.calling import withdrawn
from guarded_tools.errors import CannotAsk
from guarded_tools.values import ApprovalRequest

__all__ = ["deny_all", "withdrawn"]


class _DenyAll:
    """The approver where none was given."""

    def check(self, request: ApprovalRequest) -> None:
        self(request)

    def __call__(self, request: ApprovalRequest) -> NoReturn:
        raise CannotAsk(
            f"{request.tool} needs a human's approval and no approver was given to the guard: "
            "pass approver=TerminalApprover(), approver=InterruptApprover() or a function"
        )

    def __repr__(self) -> str:
        return "deny_all"


deny_all = _DenyAll()
"""Refuses every call that needs a human."""
