"""Those who ask a human, and what the rest of the package needs of one.

:mod:`~guarded_tools.approvers.protocol` says what an approver is: any function of one
:class:`~guarded_tools.values.ApprovalRequest` that returns a :class:`~guarded_tools.values.Verdict` or a bool; start
reading there. :mod:`~guarded_tools.approvers.card` is what is shown, each other module one way to show it.
"""

from __future__ import annotations

from guarded_tools.approvers.protocol import Approver, CheckingApprover, SuspendingApprover, deny_all, withdrawn

__all__ = ["Approver", "CheckingApprover", "SuspendingApprover", "deny_all", "withdrawn"]
