"""The policy language: a document that says what an agent's tools may do, and what it makes of one call.

Start reading at :mod:`~guarded_tools.policy.document` (the format), then :mod:`~guarded_tools.policy.engine` (a
decision); a new operator goes into :mod:`~guarded_tools.policy.operators`.
"""

from __future__ import annotations

from guarded_tools.policy.document import ApprovalLimits
from guarded_tools.policy.policy import Policy, decide

__all__ = ["ApprovalLimits", "Policy", "decide"]
