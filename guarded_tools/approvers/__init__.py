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

from guarded_tools.approvers.protocol import deny_all, withdrawn

__all__ = ["deny_all", "withdrawn"]
