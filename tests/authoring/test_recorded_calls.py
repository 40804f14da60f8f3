"""Calls from files and traces: ours read strictly, others' read for what has the form of a call."""

from __future__ import annotations

import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SimpleSpanProcessor

from guarded_tools import Policy, ToolCall, ToolDenied
from guarded_tools.authoring.recorded.calls import read_calls
from guarded_tools.authoring.recorded.events import RecordedEvent
from guarded_tools.authoring.recorded.exports import calls_of
from guarded_tools.authoring.recorded.shelf import Joined, RecordedCall, Shelf
from guarded_tools.errors import GuardError
from guarded_tools.telemetry import to_opentelemetry
from guarded_tools.testing import memory_guard
from guarded_tools.values import BUDGET_CALL, MODEL_CALL

LINE = {
    "tool": "pay",
    "args": {"n": 1},
    "time": "2026-01-01T00:00:00Z",
    "session": "s",
    "grant": "g",
    "id": "c",
    "outcome": "ok",
}


def read(tmp_path, text):
    path = tmp_path / "calls.jsonl"
    path.write_text(text, encoding="utf-8")
    return list(read_calls(path))


def test_lines_of_our_own(tmp_path):
    full, least, late = read(
        tmp_path, "\n".join(map(json.dumps, [LINE, {"tool": "x"}, {"tool": "y", "time": 5.5}])) + "\n\n"
    )
    assert full == RecordedCall("pay", {"n": 1}, 1_767_225_600.0, "s", "g", "c", "ok")
    assert least == RecordedCall("x", None)
    assert late.time == 5.5
    assert read(tmp_path, "") == []
    assert read(tmp_path, json.dumps([LINE, LINE], indent=1)) == [full, full]
    assert read(tmp_path, json.dumps(LINE | {"outcome": "suspended"}))[0].untold


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"tool": "a"}\n{"tool": }', "line 2 cannot be read as JSON"),
        ('{"tool": "a"}\n\n5', "line 3: a call is a JSON object"),
        ('{"tool": "a", "agrs": {}}', "line 1: 'agrs' says nothing of a call"),
        ('{"args": {}}', "line 1: a call names its tool"),
        ('{"tool": "a", "args": "{}"}', "line 1: args is an object"),
        ('{"tool": "a", "session": 5}', "line 1: session is a text"),
        ('{"tool": "a", "time": "soon"}', "line 1: time is seconds since the epoch"),
        ('{"tool": "a", "time": 1e300}', "line 1: time is"),
        ('{"tool": "a", "time": true}', "line 1: time is"),
        ('{"tool": "a", "outcome": "fine"}', "line 1: 'fine' is no outcome"),
        ('{"tool": "a", "tool": "b"}', "line 1 cannot be read as JSON: the key"),
        ('{"tool": "a", "args": {"n": NaN}}', "NaN is no JSON number"),
        ('{\n "tool": "a"', "line 1 cannot be read as JSON"),
    ],
)
def test_a_line_that_is_no_call_is_named(tmp_path, text, said):
    with pytest.raises(GuardError) as refused:
        read(tmp_path, text)
    assert said in str(refused.value)


def test_files_that_cannot_be_read(tmp_path):
    (tmp_path / "calls.jsonl").write_bytes(b"\xff\xfe")
    for path in (tmp_path / "none.jsonl", tmp_path, tmp_path / "calls.jsonl"):
        with pytest.raises(GuardError):
            list(read_calls(path))


def attribute(key, value):
    kind = "stringValue" if type(value) is str else "intValue" if type(value) is int else "kvlistValue"
    said = {"values": [attribute(*one) for one in value.items()]} if type(value) is dict else str(value)
    return {"key": key, "value": {kind: said}}


def otlp(**attributes):
    told = [attribute(key.replace("__", "."), value) for key, value in attributes.items()]
    span = {"traceId": "t1", "startTimeUnixNano": "1767225600500000000", "attributes": told}
    return {"resourceSpans": [{"scopeSpans": [{"spans": [span, {"name": "chat"}]}]}]}


def test_spans_of_otlp(tmp_path):
    named = {"gen_ai__operation__name": "execute_tool", "gen_ai__tool__name": "pay"}
    texts = [
        otlp(
            **named, gen_ai__tool__call__arguments='{"n": 1}', gen_ai__conversation__id="s", gen_ai__tool__call__id="c"
        ),
        otlp(**named, gen_ai__tool__call__arguments={"n": 2}),
        otlp(**named, error__type="TimeoutError"),
        otlp(gen_ai__operation__name="chat"),
    ]
    first, second, failed = read(tmp_path, "\n".join(map(json.dumps, texts)))
    assert first == RecordedCall("pay", {"n": 1}, 1_767_225_600.5, "s", id="c")
    assert (second.args, second.session) == ({"n": 2}, "t1")
    assert (failed.args, failed.outcome, failed.names) == (None, "error", None)
    assert read(tmp_path, json.dumps(texts[0], indent=2)) == [first]


def test_the_spans_of_a_guard_as_the_console_exporter_prints_them(tmp_path):
    printed = io.StringIO()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(ConsoleSpanExporter(out=printed)))
    policy = {"version": "1", "default": "deny", "tools": {"pay": {}}}
    guard = memory_guard(policy, observers=[to_opentelemetry(tracer_provider=provider)])
    guard.call(ToolCall("pay", {"n": 1, "to": "x"}, "s", "g", "c1"), lambda _: "done")
    with pytest.raises(ToolDenied):
        guard.call(ToolCall("drop", {}, "s", None, "c2"), lambda _: "done")
    provider.shutdown()
    paid, dropped = read(tmp_path, printed.getvalue())
    assert (paid.tool, paid.args, paid.names, paid.session, paid.grant, paid.id) == (
        "pay",
        None,
        ("n", "to"),
        "s",
        "g",
        "c1",
    )
    assert (paid.outcome, dropped.outcome, dropped.rule) == ("ok", "denied", "(default deny)")
    assert paid.time > 1_700_000_000


def run(**more):
    return {"id": "1", "name": "pay", "run_type": "tool", "start_time": "2026-01-01T00:00:00", "trace_id": "t1"} | more


def test_runs_of_langsmith(tmp_path):
    refused = {
        "artifact": {"denied": True, "outcome": "limited", "rule": "/tools/pay/limits/n", "reason": "full"},
        "tool_call_id": "c9",
    }
    runs = [
        run(inputs={"n": 1}, extra={"metadata": {"thread_id": "s"}}, outputs={"output": "sent"}),
        run(inputs={"input": "{'n': 2, 'note': None}"}, error="Timeout"),
        run(inputs={"input": '{"n": true}'}),
        run(inputs={"input": "a question"}),
        run(inputs={"input": "{'n': object()}"}),
        run(inputs={"n": 3}, outputs={"output": {"kwargs": refused}}),
        run(run_type="llm"),
    ]
    one, two, three, four, five, six = read(tmp_path, "\n".join(map(json.dumps, runs)))
    assert one == RecordedCall("pay", {"n": 1}, 1_767_225_600.0, "s", outcome="ok")
    assert (two.args, two.session, two.outcome) == ({"n": 2, "note": None}, "t1", "error")
    assert (three.args, four.args, five.args) == ({"n": True}, {"input": "a question"}, None)
    assert (six.id, six.outcome, six.rule, six.message) == ("c9", "limited", "/tools/pay/limits/n", "full")


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(
            ["resourceSpans", "scopeSpans", "spans", "attributes", "key", "value", "run_type", "inputs", "input", "name",
             "extra", "metadata", "outputs", "output", "kwargs", "context", "start_time", "stringValue", "kvlistValue"]
        ),
        inner,
        max_size=5,
    ),
    max_leaves=12,
)  # fmt: skip


@given(anything)
def test_no_export_stops_the_reading(value):
    for export in (
        {"resourceSpans": value},
        run(inputs=value, outputs=value, extra=value),
        {"context": value, "attributes": value},
    ):
        assert calls_of(export) is not None


def shelf_of(*calls):
    shelf = Shelf()
    shelf.fill(calls)
    return shelf


def test_a_shelf_puts_calls_in_the_order_of_time():
    shelf = shelf_of(
        RecordedCall("b", {}, 20.0), RecordedCall("c", None), RecordedCall("a\ud800", {"x": "\ud800"}, 10.0, outcome="error"),
        RecordedCall("d", {}, 30.0, outcome="denied", rule="/x"), RecordedCall("e", {}, 40.0, untold=True),
    )  # fmt: skip
    events = [(event.kind, event.tool, event.outcome) for event in shelf.events()]
    assert events == [
        ("admitted", "a\ud800", "error"), ("settled", "a\ud800", "error"), ("admitted", "b", ""), ("settled", "b", "ok"),
        ("admitted", "c", ""), ("settled", "c", "ok"), ("refused", "d", "denied"), ("made", "e", ""),
    ]  # fmt: skip
    assert (shelf.filled, shelf.untimed) == (5, 1)
    assert [event.complete for event in shelf.events() if event.tool in "bc"] == [True, True, False, False]


def test_an_artifact_of_a_tools_own_is_no_refusal(tmp_path):
    """Those of a guard say besides whether the call was denied."""
    won = run(outputs={"output": {"kwargs": {"artifact": {"outcome": "won", "rule": "offside"}}}})
    (call,) = read(tmp_path, json.dumps(won))
    assert (call.outcome, call.rule) == ("ok", "")


def test_what_names_no_tool_is_no_call_of_one():
    """The agent's own model, and the question whether it may spend more: a guard's spans tell of both."""
    shelf = shelf_of(RecordedCall(BUDGET_CALL, {}), RecordedCall("pay", {}), RecordedCall(MODEL_CALL, {}))
    assert [event.tool for event in shelf.events()] == ["pay", "pay"]
    assert shelf.filled == 1


def test_arguments_are_joined_by_session_id_and_tool_and_never_guessed():
    shelf = shelf_of(
        RecordedCall("pay", {"n": 1, "extra": 2}, session="s", id="c1"),
        RecordedCall("pay", {"n": 2}, session="s", id="twice"), RecordedCall("pay", {"n": 3}, session="s", id="twice"),
        RecordedCall("pay", {"n": 4}, session="s", id="same"), RecordedCall("pay", {"n": 4}, session="s", id="same"),
    )  # fmt: skip

    def joined(**more):
        event = RecordedEvent("admitted", 1.0, "pay", "s", "k", call_id="c1", names=("filled", "n"))._replace(**more)
        joining = Joined([event], shelf)
        (found,) = joining
        return found.args, joining.found

    assert joined() == ({"n": 1}, 1)  # what was filled in on the way nobody wrote down
    assert joined(args={"filled": 5}) == ({"n": 1, "filled": 5}, 1)
    assert joined(call_id="twice") == ({}, 0)
    assert joined(call_id="same", names=("n",)) == ({"n": 4}, 1)
    for other in ({"session": "t"}, {"tool": "read"}, {"call_id": None}, {"call_id": "none"}):
        assert joined(**other) == ({}, 0)
    assert joined(edited=("args.n[0]",)) == ({}, 1)
    assert joined(edited=("args",)) == ({}, 1)
    assert joined(edited=("args.n",), kind="asked") == ({"n": 1}, 1)
    assert joined(names=None)[0] == {"n": 1, "extra": 2}


def test_a_policy_judges_calls_of_a_file(cli, tmp_path):
    policy = {
        "version": "1",
        "default": "deny",
        "tools": {"pay": {"limits": [{"counter": "n", "max": 3, "window": 60, "count": "args.n"}]}},
    }
    Policy.model_validate(policy)
    (tmp_path / "policy.json").write_text(json.dumps(policy))
    lines = [{"tool": "pay", "args": {"n": n}, "time": 100 + n} for n in (2, 1, 3)] + [
        {"tool": "drop"},
        {"tool": "pay"},
    ]
    (tmp_path / "calls.jsonl").write_text("\n".join(map(json.dumps, lines)))
    ran = cli("replay", "policy.json", "--calls", "calls.jsonl", "--json")
    assert ran.code == 0
    assert ran.json["counts"] | {"same": 2, "newly_denied": 2, "unjudged": 1} == ran.json["counts"]
    assert any("2 calls have no time" in remark for remark in ran.json["remarks"])
    assert cli("replay", "policy.json", "--calls", "none.jsonl").code == 2
