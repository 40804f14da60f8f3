"""An append-only account of every decision: JSON lines, each chained to the one before by hash.

:class:`AuditLog` writes it; :func:`read`, :func:`newest_first` and :func:`follow` tell what happened; :func:`verify`
finds what was changed.
"""

from __future__ import annotations

from guarded_tools.audit.head import audit_path
from guarded_tools.audit.kept_head import HeadStore
from guarded_tools.audit.log import AuditLog, Fsync
from guarded_tools.audit.read import FIELDS, Filter, Record, follow, read, when
from guarded_tools.audit.tabular import export, export_calls
from guarded_tools.audit.tail import newest_first
from guarded_tools.audit.verify import Finding, verify

__all__ = [
    "FIELDS",
    "AuditLog",
    "Filter",
    "Finding",
    "Fsync",
    "HeadStore",
    "Record",
    "audit_path",
    "export",
    "export_calls",
    "follow",
    "newest_first",
    "read",
    "verify",
    "when",
]
