"""Guarded tools: every call an agent makes is checked before it runs.

A policy says what may run, limits hold exactly across threads, processes and restarts, a human is asked where the
policy wants one, and every decision is written down.

The names below load what they need when they are first used, so that importing this package costs little.
"""

from __future__ import annotations

import datetime as dt
from importlib import import_module
from typing import TYPE_CHECKING, Any

from guarded_tools._version import __version__

if TYPE_CHECKING:
    from guarded_tools.approvers import Approver, SuspendingApprover, deny_all, withdrawn
    from guarded_tools.approvers.buttons import resume_with_buttons
    from guarded_tools.approvers.inbox import InboxApprover
    from guarded_tools.approvers.interrupt import InterruptApprover
    from guarded_tools.approvers.notebook import NotebookApprover
    from guarded_tools.approvers.terminal import TerminalApprover
    from guarded_tools.audit import AuditLog
    from guarded_tools.errors import (
        AuditError,
        CannotAsk,
        ConnectionFailed,
        GuardError,
        PolicyError,
        ResultWithheld,
        StateLost,
        StoreError,
        ToolDenied,
    )
    from guarded_tools.guard import Guard
    from guarded_tools.pictify.connection import pictify_tools
    from guarded_tools.policy.policy import Policy, decide
    from guarded_tools.servers import guarded_tools
    from guarded_tools.stores import Store, open_store
    from guarded_tools.tools.lock import Lock
    from guarded_tools.values import (
        ApprovalRequest,
        AuditEvent,
        Charge,
        Decision,
        ToolCall,
        ToolInfo,
        Verdict,
    )

_HOME = {
    "ApprovalRequest": "values",
    "Approver": "approvers",
    "AuditError": "errors",
    "AuditEvent": "values",
    "AuditLog": "audit",
    "CannotAsk": "errors",
    "Charge": "values",
    "ConnectionFailed": "errors",
    "Decision": "values",
    "Guard": "guard",
    "GuardError": "errors",
    "InboxApprover": "approvers.inbox",
    "InterruptApprover": "approvers.interrupt",
    "Lock": "tools.lock",
    "NotebookApprover": "approvers.notebook",
    "Policy": "policy.policy",
    "PolicyError": "errors",
    "ResultWithheld": "errors",
    "StateLost": "errors",
    "Store": "stores",
    "StoreError": "errors",
    "SuspendingApprover": "approvers",
    "TerminalApprover": "approvers.terminal",
    "ToolCall": "values",
    "ToolDenied": "errors",
    "ToolInfo": "values",
    "Verdict": "values",
    "decide": "policy.policy",
    "deny_all": "approvers",
    "guarded_tools": "servers",
    "open_store": "stores",
    "pictify_tools": "pictify.connection",
    "resume_with_buttons": "approvers.buttons",
    "withdrawn": "approvers",
}

__all__ = [
    "ApprovalRequest",
    "Approver",
    "AuditError",
    "AuditEvent",
    "AuditLog",
    "CannotAsk",
    "Charge",
    "ConnectionFailed",
    "Decision",
    "Guard",
    "GuardError",
    "InboxApprover",
    "InterruptApprover",
    "Lock",
    "NotebookApprover",
    "Policy",
    "PolicyError",
    "ResultWithheld",
    "StateLost",
    "Store",
    "StoreError",
    "SuspendingApprover",
    "TerminalApprover",
    "ToolCall",
    "ToolDenied",
    "ToolInfo",
    "Verdict",
    "__version__",
    "decide",
    "deny_all",
    "guarded_tools",
    "open_store",
    "pictify_tools",
    "resume_with_buttons",
    "withdrawn",
]


def __getattr__(name: str) -> Any:
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    # freezegun looks at every name of every module, with a class of its own in the place of `datetime`. A name that is
    # loaded for that look would keep the class, and pydantic refuses it: the MCP SDK's models and LangChain's fail.
    frozen = dt.datetime.__module__ != "datetime"
    return sorted(name for name in __all__ if name in globals() or not frozen)
