"""Events as OpenTelemetry spans and metrics, named by the GenAI and MCP semantic conventions (in development, 2026)."""

from __future__ import annotations

import time
from contextvars import ContextVar
from typing import Any, NamedTuple

from guarded_tools.errors import not_installed
from guarded_tools.telemetry.events import Observer
from guarded_tools.text.quantities import MILLION, by_unit, quantity, unit_of
from guarded_tools.text.redaction import mask
from guarded_tools.values import BUDGET_CALL, MODEL_CALL, AuditEvent

try:
    from opentelemetry import context, metrics, trace
    from opentelemetry.trace import Span, StatusCode
except ImportError as error:
    raise not_installed("OpenTelemetry's API is not installed", "otel") from error

_NAME = "guarded_tools"
# Names that only a model knows would each become a time series of their own.
_UNKNOWN_TOOL = ("(default deny)", "(no policy)", "(lock)")
_NO_ERROR = (None, "ok", "suspended")
# Both as the conventions say: doubling for a tool's execution, the other for an operation of MCP.
_EXECUTION_SECONDS = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
_SECONDS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 120, 300)


class _Running(NamedTuple):
    """A call whose body runs, in the context it runs in; ``outer`` is the guarded call that made it, if one did."""

    key: str
    span: Span
    token: Any
    outer: _Running | None


# In the context and not in a table: a call that never settles is forgotten with the context it was made in.
_running: ContextVar[_Running | None] = ContextVar("guarded_tools_running", default=None)


def observer(tracer_provider: Any, meter_provider: Any) -> Observer:
    """Make the observer that :func:`guarded_tools.telemetry.to_opentelemetry` promises."""
    return _Instruments(tracer_provider, meter_provider).observe


class _Instruments:
    def __init__(self, tracer_provider: Any, meter_provider: Any) -> None:
        self._tracer = trace.get_tracer(_NAME, tracer_provider=tracer_provider)
        meter = metrics.get_meter(_NAME, meter_provider=meter_provider)
        self._executions = meter.create_histogram(
            "gen_ai.execute_tool.duration",
            unit="s",
            description="The duration of a single tool execution",
            explicit_bucket_boundaries_advisory=_EXECUTION_SECONDS,
        )
        self._operations = meter.create_histogram(
            "mcp.client.operation.duration",
            unit="s",
            description="Duration of calls of an MCP server's tools, as their caller sees it",
            explicit_bucket_boundaries_advisory=_SECONDS,
        )
        self._calls = meter.create_counter(
            "guarded_tools.calls", unit="{call}", description="Guarded calls, by what became of them"
        )
        self._spent = meter.create_counter(
            "guarded_tools.spent", unit="1", description="What calls took of limits with a unit, in that unit"
        )
        self._pauses = meter.create_counter(
            "guarded_tools.pauses", unit="{pause}", description="How often executions were suspended and kept"
        )
        self._approvals = meter.create_histogram(
            "guarded_tools.approval.duration",
            unit="s",
            description="How long calls waited for a human",
            explicit_bucket_boundaries_advisory=_SECONDS,
        )

    def observe(self, event: AuditEvent) -> None:
        if event.kind in ("admitted", "resumed"):
            self._begin(event)
        elif event.kind == "paused":
            self._end(event)
            self._pauses.add(1, {"gen_ai.tool.name": mask(event.tool)})
        elif event.kind == "settled":
            self._end(event)
            self._measure(event)
        elif event.kind == "refused":
            self._refuse(event)
        elif event.kind == "answered":
            verdict = str((event.approval or {}).get("verdict", ""))
            labels = {"gen_ai.tool.name": mask(event.tool), "guarded_tools.verdict": verdict}
            self._approvals.record((event.human_ms or 0.0) / 1000, labels)

    def _begin(self, event: AuditEvent) -> None:
        span = self._tracer.start_span(_name(event), attributes=_describe(event))
        token = context.attach(trace.set_span_in_context(span))
        _running.set(_Running(event.key, span, token, _running.get()))

    def _end(self, event: AuditEvent) -> None:
        running = _running.get()
        while running is not None and running.key != event.key:
            running = running.outer
        if running is None:  # it ended in another context than it began in, because its caller had left
            self._tell_afterwards(event, _name(event), event.tool_ms)
            return
        context.detach(running.token)
        _running.set(running.outer)
        running.span.set_attributes(_describe(event))
        _fail(running.span, event)
        running.span.end()

    def _measure(self, event: AuditEvent) -> None:
        labels = _labels(event)
        for unit, amount in by_unit(() if event.refunded else event.charges).items():
            spent = {"gen_ai.tool.name": mask(event.tool), "guarded_tools.unit": unit}
            self._spent.add(amount / MILLION, spent)
        if event.tool not in (MODEL_CALL, BUDGET_CALL):
            self._executions.record((event.tool_ms or 0.0) / 1000, labels)
        if event.server:
            self._operations.record((event.tool_ms or 0.0) / 1000, labels | {"mcp.method.name": "tools/call"})
        self._count(event)

    def _refuse(self, event: AuditEvent) -> None:
        name = "execute_tool" if event.rule in _UNKNOWN_TOOL else _name(event)
        self._tell_afterwards(event, name, (event.guard_ms or 0.0) + (event.human_ms or 0.0))
        self._count(event)

    def _tell_afterwards(self, event: AuditEvent, name: str, took: float | None) -> None:
        """Make a span of what is over, and took so many milliseconds."""
        now = time.time_ns()
        span = self._tracer.start_span(name, attributes=_describe(event), start_time=now - int((took or 0.0) * 1e6))
        _fail(span, event)
        span.end(now)

    def _count(self, event: AuditEvent) -> None:
        name = "_OTHER" if event.rule in _UNKNOWN_TOOL else mask(event.tool)
        self._calls.add(1, {"gen_ai.tool.name": name, "guarded_tools.outcome": str(event.outcome)})


def _name(event: AuditEvent) -> str:
    """Name a span; of a call of the agent's own model as whoever traces models names it."""
    return "chat" if event.tool == MODEL_CALL else f"execute_tool {mask(event.tool)}"


def _labels(event: AuditEvent) -> dict[str, str]:
    if event.tool == MODEL_CALL:
        chat = {"gen_ai.operation.name": "chat", "gen_ai.tool.name": MODEL_CALL}
        return chat if event.outcome in _NO_ERROR else chat | {"error.type": str(event.outcome)}
    labels = {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": mask(event.tool),
        "gen_ai.tool.type": "extension" if event.server else "function",
    }
    return labels if event.outcome in _NO_ERROR else labels | {"error.type": str(event.outcome)}


def _describe(event: AuditEvent) -> dict[str, Any]:
    """A span's attributes. Of the arguments only the names, as everywhere."""
    attributes: dict[str, Any] = {
        **_labels(event),
        "gen_ai.conversation.id": mask(event.session),
        "gen_ai.tool.call.id": event.call_id and mask(event.call_id),
        "mcp.method.name": "tools/call" if event.server else None,
        "guarded_tools.key": event.key,
        "guarded_tools.rule": mask(event.rule),
        "guarded_tools.policy": event.policy,
        "guarded_tools.outcome": event.outcome,
        "guarded_tools.server": mask(event.server),
        "guarded_tools.grant": event.grant and mask(event.grant),
        "guarded_tools.arguments": [mask(name) for name in event.args],
        "guarded_tools.retry_after": event.retry_after,
        "guarded_tools.refunded": event.refunded or None,
        "guarded_tools.verdict": (event.approval or {}).get("verdict"),
        "guarded_tools.result": (event.result or {}).get("did"),
        "guarded_tools.breach": (event.result or {}).get("breach"),
        "guarded_tools.spent": _spent(event),
        "guarded_tools.guard_ms": event.guard_ms,
        "guarded_tools.human_ms": event.human_ms,
    }
    return {name: value for name, value in attributes.items() if value is not None and value not in ("", [])}


def _spent(event: AuditEvent) -> list[str]:
    """Write what a call took in the end of limits with a unit: ``0.12 USD``."""
    charges = event.charges if event.kind == "settled" and not event.refunded else ()
    return list(dict.fromkeys(quantity(counter, amount) for _, counter, amount, _, _ in charges if unit_of(counter)))


def _fail(span: Span, event: AuditEvent) -> None:
    if event.outcome not in _NO_ERROR:
        span.set_status(StatusCode.ERROR, mask(event.message) or str(event.outcome))
