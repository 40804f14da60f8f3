"""Approvers are asked as the pipeline asks them: through the workflow."""

from tests.approval.conftest import approvals, clock, store, sync_approvals

__all__ = ["approvals", "clock", "store", "sync_approvals"]
