"""What every way of watching tells: an event as plain data, and the ids by which other traces know a call."""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, TypeAlias

from guarded_tools.text.redaction import mask_json
from guarded_tools.values import AuditEvent

Observer: TypeAlias = Callable[[AuditEvent], None]
"""Called with every event after it was written."""


class AwaitedObserver(ABC):
    """An observer that waits for others, and so has a twin for where an event loop would be held up."""

    @abstractmethod
    def __call__(self, event: AuditEvent) -> None:
        """Hear of an event, in a thread that may wait."""

    @abstractmethod
    async def aobserve(self, event: AuditEvent) -> None:
        """Hear of an event on an event loop."""


def as_dict(event: AuditEvent) -> dict[str, Any]:
    """Return an event as JSON values with secrets masked, without what is unset: what the audit's line holds."""
    return {
        name: mask_json(value)
        for name, value in zip(AuditEvent._fields, event, strict=True)
        if value or type(value) is float
    }


def trace_ids() -> dict[str, str] | None:
    """Return the ids under which other traces know the current call, or ``None``.

    ``run`` is LangChain's run, which is LangSmith's too; ``trace`` and ``span`` are OpenTelemetry's, in hex. Looks only
    at what the program has imported already.
    """
    found: dict[str, str] = {}
    langchain = sys.modules.get("langchain_core.runnables.config")
    if langchain is not None:
        config = langchain.var_child_runnable_config.get()
        run = getattr(config["callbacks"], "parent_run_id", None) if config and "callbacks" in config else None
        if run is not None:
            found["run"] = str(run)
    opentelemetry = sys.modules.get("opentelemetry.trace")
    if opentelemetry is not None:
        context = opentelemetry.get_current_span().get_span_context()
        if context.is_valid:
            found["trace"] = format(context.trace_id, "032x")
            found["span"] = format(context.span_id, "016x")
    return found or None
