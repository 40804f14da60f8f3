"""What tracing systems export, as calls: spans of OpenTelemetry and runs of LangSmith.

- *OpenTelemetry*: an OTLP document, or one a line as the collector's file exporter writes them
  (``resourceSpans``), or spans as ``ConsoleSpanExporter`` prints them. A call is a span of the operation
  ``execute_tool``, with ``gen_ai.tool.name`` and, if somebody let them be recorded, ``gen_ai.tool.call.arguments``.
  The spans of a guard hold the names of the arguments and what became of the call besides.
- *LangSmith*: runs, one a line or a list of them. A call is a run of the type ``tool``. Its tracer writes what a tool
  was given as Python writes it, in ``inputs.input``; that is read as the literal it is.

Whatever is in there was written by others: what does not have the form of a call is no call, and raises nothing.
"""

from __future__ import annotations

import ast
import json
import math
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from guarded_tools.authoring.recorded.shelf import RecordedCall

_END_OF_TIME: Final = datetime(9999, 12, 31, tzinfo=UTC).timestamp()
_LONGEST_LITERAL: Final = 1_000_000


def calls_of(value: Mapping[str, Any]) -> list[RecordedCall] | None:
    """Return the calls in one exported value; ``None`` where it is no export."""
    if "resourceSpans" in value:
        return [call for span in _otlp_spans(value) if (call := _span_call(*span)) is not None]
    if "run_type" in value:
        call = _run_call(value) if value["run_type"] == "tool" else None
        return [] if call is None else [call]
    if "context" in value and "attributes" in value:
        attributes = value["attributes"]
        found = _span_call(attributes if type(attributes) is dict else {}, value.get("start_time"), _trace(value))
        return [] if found is None else [found]
    return None


def moment_of(said: object) -> float | None:
    """Read a time, in seconds since the epoch: from a number of them, or from a date and a time of day, else in UTC."""
    moment = said
    if type(said) is str:
        try:
            found = datetime.fromisoformat(said)
            moment = (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
        except (ValueError, OverflowError):
            return None
    if type(moment) not in {int, float}:
        return None
    seconds = float(moment) if type(moment) is float or abs(moment) < _END_OF_TIME else math.inf  # type: ignore[arg-type]  # a number
    return seconds if 0 <= seconds < _END_OF_TIME else None


def _list(value: object, *path: str) -> list[Any]:
    for key in path:
        value = value.get(key) if type(value) is dict else None
    return value if type(value) is list else []


def _otlp_spans(value: Mapping[str, Any]) -> Iterator[tuple[dict[str, Any], object, str]]:
    for resource in _list(value, "resourceSpans"):
        for scope in _list(resource, "scopeSpans"):
            for span in _list(scope, "spans"):
                pairs = [each for each in _list(span, "attributes") if type(each) is dict]
                attributes = {str(each.get("key")): _any_value(each.get("value")) for each in pairs}
                nanoseconds = str(span.get("startTimeUnixNano", "")) if type(span) is dict else ""
                began = int(nanoseconds) / 1e9 if nanoseconds.isdecimal() and len(nanoseconds) < 20 else None  # noqa: PLR2004 - as far as 64 bits go
                yield attributes, began, str(span.get("traceId", "")) if type(span) is dict else ""


def _any_value(value: object) -> Any:
    """A value as OTLP writes it in JSON."""
    if type(value) is not dict:
        return None
    for kind, found in value.items():
        if kind == "intValue":
            return int(found) if str(found).lstrip("-").isdecimal() else None
        if kind == "arrayValue":
            return [_any_value(each) for each in _list(found, "values")]
        if kind == "kvlistValue":
            pairs = [each for each in _list(found, "values") if type(each) is dict]
            return {str(each.get("key")): _any_value(each.get("value")) for each in pairs}
        return found
    return None


def _trace(span: Mapping[str, Any]) -> str:
    context = span["context"]
    return str(context.get("trace_id", "")) if type(context) is dict else ""


def _span_call(attributes: dict[str, Any], began: object, trace: str) -> RecordedCall | None:
    tool = attributes.get("gen_ai.tool.name")
    if attributes.get("gen_ai.operation.name") != "execute_tool" or type(tool) is not str or not tool:
        return None
    args = attributes.get("gen_ai.tool.call.arguments")
    names = attributes.get("guarded_tools.arguments")
    outcome = attributes.get("guarded_tools.outcome") or ("error" if attributes.get("error.type") else "")
    session = attributes.get("gen_ai.conversation.id") or trace
    guarded = "guarded_tools.key" in attributes
    if names is None and guarded:
        names = []  # a guard writes none where there are none
    return RecordedCall(
        tool,
        _object(args) if type(args) is str else args if type(args) is dict else None,
        moment_of(began),
        str(session) if session else "default",
        _text(attributes.get("guarded_tools.grant")),
        _text(attributes.get("gen_ai.tool.call.id")),
        "" if outcome == "suspended" else str(outcome),
        str(attributes.get("guarded_tools.rule", "")),
        names=tuple(map(str, names)) if type(names) is list and not any("***" in str(name) for name in names) else None,
        verdict=str(attributes.get("guarded_tools.verdict", "")),
        untold=outcome == "suspended",
    )


def _run_call(run: Mapping[str, Any]) -> RecordedCall | None:
    tool, inputs, extra = run.get("name"), run.get("inputs"), run.get("extra")
    if type(tool) is not str or not tool:
        return None
    metadata = extra.get("metadata") if type(extra) is dict else None
    threads = metadata if type(metadata) is dict else {}
    session = next((threads[key] for key in ("thread_id", "session_id", "conversation_id") if threads.get(key)), None)
    outputs = run.get("outputs")
    output = outputs.get("output") if type(outputs) is dict else None
    told = output.get("kwargs", output) if type(output) is dict else {}
    message: dict[str, Any] = told if type(told) is dict else {}
    artifact = message.get("artifact")
    denied = artifact if type(artifact) is dict and artifact.keys() >= {"denied", "outcome", "rule"} else {}
    failed = bool(run.get("error")) or message.get("status") == "error"
    return RecordedCall(
        tool,
        _inputs(inputs),
        moment_of(run.get("start_time")),
        str(session or run.get("trace_id") or "default"),
        None,
        _text(message.get("tool_call_id")),
        str(denied.get("outcome") or ("error" if failed else "ok" if outputs else "")),
        str(denied.get("rule") or ""),
        str(denied.get("reason") or ""),
    )


def _inputs(inputs: object) -> dict[str, Any] | None:
    """What a tool was given: as it is, or as the tracer wrote it down."""
    if type(inputs) is not dict:
        return None
    said = inputs.get("input")
    if len(inputs) != 1 or type(said) is not str or not said.startswith("{"):
        return inputs
    if len(said) > _LONGEST_LITERAL:
        return None
    try:
        found = ast.literal_eval(said)
        return found if type(found) is dict and json.loads(json.dumps(found)) == found else None
    except (ValueError, SyntaxError, RecursionError, MemoryError, TypeError):
        return _object(said)


def _object(text: str) -> dict[str, Any] | None:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return found if type(found) is dict else None


def _text(value: object) -> str | None:
    return value if type(value) is str and value else None
