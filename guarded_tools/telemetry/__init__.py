"""Watching a guard with the tools people already have: standard logging, LangChain's events, OpenTelemetry.

Each is an observer to hand to a guard, ``Guard(policy, observers=[to_logging(), to_opentelemetry()])``. An observer is
called with every :class:`~guarded_tools.values.AuditEvent` after it was written; what it raises is logged and changes
no decision. A guard without observers pays for none of them.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, TypeAlias

from guarded_tools.secrets import mask_json
from guarded_tools.values import AuditEvent

Observer: TypeAlias = Callable[[AuditEvent], None]

__all__ = ["Observer", "as_dict", "to_langchain", "to_logging", "to_opentelemetry", "trace_ids"]


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


def to_logging(logger: str = "guarded_tools.calls") -> Observer:
    """Log each event as one line: refusals and calls of unknown outcome as warnings, the rest as information.

    The event is on the record as ``record.guarded_tools``, a dictionary, for handlers that write structured logs.
    """
    from guarded_tools.telemetry.logs import observer

    return observer(logger)


def to_langchain(name: str = "guarded_tools") -> Observer:
    """Dispatch each event as a LangChain custom event, seen by ``astream_events`` and ``on_custom_event`` callbacks.

    Outside of a LangChain run there is nobody to tell, and nothing happens.
    """
    from guarded_tools.telemetry.langchain import observer

    return observer(name)


def to_opentelemetry(tracer_provider: Any = None, meter_provider: Any = None) -> Observer:
    """Trace and measure calls by OpenTelemetry's conventions for generative AI and MCP.

    A call that runs is an ``execute_tool`` span around its body; a refused one is such a span with ``error.type`` set
    to the outcome. Durations go to ``gen_ai.execute_tool.duration`` and, for tools of an MCP server, to
    ``mcp.client.operation.duration``; decisions and waits for a human to ``guarded_tools.calls`` and
    ``guarded_tools.approval.duration``. Providers default to the global ones.

    Raises:
        GuardError: ``opentelemetry-api`` is not installed.
    """
    from guarded_tools.telemetry.opentelemetry import observer

    return observer(tracer_provider, meter_provider)
