"""Events as lines of standard logging."""

from __future__ import annotations

import logging

from guarded_tools.telemetry.events import Observer, as_dict
from guarded_tools.text.redaction import mask
from guarded_tools.text.visible import one_line
from guarded_tools.values import AuditEvent

_FINE = (None, "ok", "error", "never_ran", "responded", "suspended")


def observer(name: str) -> Observer:
    """Make the observer that :func:`guarded_tools.telemetry.to_logging` promises."""
    logger = logging.getLogger(name)

    def observe(event: AuditEvent) -> None:
        level = logging.INFO if event.outcome in _FINE or event.kind == "shadow" else logging.WARNING
        if logger.isEnabledFor(level):
            logger.log(level, "%s", _line(event), extra={"guarded_tools": as_dict(event)})

    return observe


def _line(event: AuditEvent) -> str:
    parts = [event.kind, event.tool]
    parts += [f"session={event.session}"] if event.session else []
    parts += [f"outcome={event.outcome}"] if event.outcome else []
    parts += [f"rule={event.rule}"] if event.rule else []
    parts += [f"({event.message})"] if event.message else []
    # Names come from models: a line break in one must not forge a line of the log.
    return one_line(mask(" ".join(filter(None, parts)))).encode("ascii", "backslashreplace").decode("ascii")
