"""Watching a guard with the tools people already have: standard logging, LangChain's events, OpenTelemetry.

Each is an observer to hand to a guard, ``Guard(policy, observers=[to_logging(), to_opentelemetry()])``. An observer is
called with every :class:`~guarded_tools.values.AuditEvent` after it was written, and with ``paused`` and ``resumed``,
of which the audit has no line; what it raises is logged and changes no decision. A guard without observers pays for
none of them.
"""

from __future__ import annotations

from typing import Any

from guarded_tools.telemetry.events import Observer, as_dict, trace_ids

__all__ = ["Observer", "as_dict", "to_langchain", "to_logging", "to_opentelemetry", "trace_ids"]


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

    An execution that pauses has a span for each stretch that its body ran, all with one ``guarded_tools.key``; those
    that end in a pause have the outcome ``suspended``. It is measured and counted once, when it ends; the duration is
    its last stretch's. Pauses are counted by ``guarded_tools.pauses``.

    Raises:
        GuardError: ``opentelemetry-api`` is not installed.
    """
    from guarded_tools.telemetry.opentelemetry import observer

    return observer(tracer_provider, meter_provider)
