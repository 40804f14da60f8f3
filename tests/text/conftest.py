"""What is masked is masked in the audit as well."""

from tests.audit.conftest import make_log, path

__all__ = ["make_log", "path"]
