"""The policy language: load one, and ask what it says of a call."""

from __future__ import annotations

from guarded_tools.policy.engine import decide
from guarded_tools.policy.model import ApprovalLimits, Policy

__all__ = ["ApprovalLimits", "Policy", "decide"]
