"""What observers tell to logging, LangChain and OpenTelemetry; and that none of them can change a decision."""

import asyncio
import json
import logging
import subprocess
from typing import TypedDict

import pytest
from langchain_core.callbacks import AsyncCallbackHandler, BaseCallbackHandler
from langchain_core.runnables import RunnableLambda
from langchain_core.tools import tool as make_tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, StateGraph
from langgraph.types import Command, interrupt
from opentelemetry import trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from guarded_tools import Guard, Policy, Verdict
from guarded_tools.audit import AuditLog, read
from guarded_tools.errors import ToolDenied
from guarded_tools.stores import open_store
from guarded_tools.telemetry import as_dict, to_langchain, to_logging, to_opentelemetry, trace_ids
from guarded_tools.values import AuditEvent, ToolCall, ToolInfo
from tests import forked

POLICY = Policy.model_validate(
    {
        "version": "1",
        "default": "deny",
        "server": "srv",
        "tools": {
            "ping": {"limits": [{"counter": "n", "window": "minute", "max": 3, "scope": "session"}]},
            "ask_me": {"action": "approve"},
            "outer": {},
        },
    }
)
PING = ToolInfo("ping", server="srv", schema=None)
SECRET = "ghp_" + "aB3dE5fG7hJ9kL1mN3pQ5rS7tU9vW1xY3z"


@pytest.fixture
def make_guard(tmp_path):
    def make(*observers, **options):
        log = AuditLog(tmp_path / "audit.jsonl")
        return Guard(POLICY, store=open_store("memory://"), audit=log, observers=observers, **options)

    return make


@pytest.fixture
def otel():
    class Otel:
        def __init__(self):
            self.exporter = InMemorySpanExporter()
            self.tracers = TracerProvider()
            self.tracers.add_span_processor(SimpleSpanProcessor(self.exporter))
            self.reader = InMemoryMetricReader()
            self.observer = to_opentelemetry(self.tracers, MeterProvider(metric_readers=[self.reader]))
            self.tracer = self.tracers.get_tracer("test")

        def spans(self):
            return {span.name: span for span in self.exporter.get_finished_spans()}

        def points(self, name):
            data = self.reader.get_metrics_data()  # None, where nothing was measured
            return [
                point
                for resource in (data.resource_metrics if data else ())
                for scope in resource.scope_metrics
                for metric in scope.metrics
                if metric.name == name
                for point in metric.data.data_points
            ]

    return Otel()


def test_what_an_observer_raises_changes_no_decision(make_guard, caplog):
    def broken(event):
        raise RuntimeError("observer down")

    seen = []
    guard = make_guard(broken, seen.append)
    assert guard.call(ToolCall("ping", {}), lambda _: "pong") == "pong"
    with pytest.raises(ToolDenied):
        guard.call(ToolCall("nope", {}), lambda _: "ran")
    assert [event.kind for event in seen] == ["admitted", "settled", "refused"]
    assert "observer down" in caplog.text


def test_an_observer_hears_only_of_what_was_written(tmp_path):
    (tmp_path / "file").touch()
    seen = []
    guard = Guard(POLICY, store=open_store("memory://"), audit=tmp_path / "file" / "a.jsonl", observers=[seen.append])
    with pytest.raises(ToolDenied):
        guard.call(ToolCall("ping", {}), lambda _: "ran")
    assert seen == []


def test_nothing_optional_is_imported_unless_it_is_asked_for():
    code = (
        "import sys, guarded_tools, guarded_tools.guard, guarded_tools.telemetry as t\n"
        "before = {m for m in sys.modules if m.startswith('opentelemetry')}\n"
        "t.trace_ids()\n"
        "assert {m for m in sys.modules if m.startswith('opentelemetry')} == before\n"
        "print([m for m in sys.modules if m.startswith('guarded_tools.telemetry.')])"
    )
    said = subprocess.run([forked.PYTHON, "-c", code], check=True, capture_output=True, text=True).stdout
    assert said == "['guarded_tools.telemetry.events']\n"


def test_an_event_as_a_dictionary_is_json_without_secrets():
    event = AuditEvent(
        "refused", tool="t", message=f"see {SECRET}", args=("a",), guard_ms=0.0, charges=(("s", "c", 1, 9, 60),)
    )
    assert json.loads(json.dumps(as_dict(event))) == {
        "kind": "refused",
        "tool": "t",
        "message": "see ghp_***",
        "args": ["a"],
        "charges": [["s", "c", 1, 9, 60]],
        "guard_ms": 0.0,
    }


# Logging


def test_logging_tells_refusals_from_the_rest(make_guard, caplog):
    guard = make_guard(to_logging())
    with caplog.at_level(logging.INFO, "guarded_tools.calls"):
        guard.call(ToolCall("ping", {}), lambda _: "pong")
        with pytest.raises(ToolDenied):
            guard.call(ToolCall("nope\nforged line", {}), lambda _: "ran")
    records = [record for record in caplog.records if record.name == "guarded_tools.calls"]
    assert [(record.levelname, record.guarded_tools["kind"]) for record in records] == [
        ("INFO", "admitted"),
        ("INFO", "settled"),
        ("WARNING", "refused"),
    ]
    assert records[2].getMessage().startswith(r"refused nope\nforged line session=default outcome=denied rule=(default")


def test_a_call_of_unknown_outcome_is_a_warning(make_guard, caplog):
    def body(_):
        raise TimeoutError

    guard = make_guard(to_logging("mine"))
    with caplog.at_level(logging.INFO, "mine"), pytest.raises(TimeoutError):
        guard.call(ToolCall("ping", {}), body)
    assert [r.levelname for r in caplog.records if r.name == "mine"] == ["INFO", "WARNING"]


def test_a_logger_that_is_off_costs_no_dictionary(make_guard, monkeypatch):
    monkeypatch.setattr("guarded_tools.telemetry.logs.as_dict", lambda event: pytest.fail("made for nobody"))
    logging.getLogger("off").setLevel(logging.CRITICAL)
    make_guard(to_logging("off")).call(ToolCall("ping", {}), lambda _: "pong")


# LangChain


@make_tool
def ping(x: int = 1) -> str:
    """Answer."""
    return "pong"


@make_tool
async def aping(x: int = 1) -> str:
    """Answer."""
    return "pong"


aping.name = "ping"


def test_a_callback_hears_of_decisions_within_the_tools_run(make_guard, tmp_path):
    heard = []

    class Handler(BaseCallbackHandler):
        def on_tool_start(self, *args, run_id, **kwargs):
            heard.append(("start", run_id))

        def on_custom_event(self, name, data, *, run_id, **kwargs):
            heard.append((name, data["kind"], run_id))

    (guarded,) = make_guard(to_langchain()).wrap([ping])
    guarded.invoke({"x": 1}, config={"callbacks": [Handler()]})
    run = heard[0][1]
    assert heard == [("start", run), ("guarded_tools", "admitted", run), ("guarded_tools", "settled", run)]
    assert {record["trace"]["run"] for record in read(tmp_path / "audit.jsonl")} == {str(run)}


async def test_astream_events_carries_them(make_guard):
    (guarded,) = make_guard(to_langchain("decisions")).wrap([aping])
    events = [event async for event in guarded.astream_events({"x": 1}, version="v2")]
    custom = [event for event in events if event["event"] == "on_custom_event"]
    assert [(event["name"], event["data"]["kind"]) for event in custom] == [
        ("decisions", "admitted"),
        ("decisions", "settled"),
    ]


async def test_a_callback_that_waits_holds_up_no_event_loop(make_guard, caplog):
    heard = []

    class Slow(AsyncCallbackHandler):
        async def on_custom_event(self, name, data, **kwargs):
            await asyncio.sleep(0.02)
            heard.append(data["kind"])

    (guarded,) = make_guard(to_langchain()).wrap([aping])
    turns = 0

    async def turn():
        nonlocal turns
        while True:
            await asyncio.sleep(0.001)
            turns += 1

    beside = asyncio.ensure_future(turn())
    assert await guarded.ainvoke({"x": 1}, config={"callbacks": [Slow()]}) == "pong"
    beside.cancel()
    assert heard == ["admitted", "settled"]
    assert turns > 2
    assert caplog.text == ""


def test_outside_of_a_run_there_is_nobody_to_tell(make_guard, caplog):
    assert make_guard(to_langchain()).call(ToolCall("ping", {}), lambda _: "pong") == "pong"
    assert caplog.text == ""


# OpenTelemetry


def test_a_call_is_a_span_around_its_body(make_guard, otel, tmp_path):
    def body(_):
        with otel.tracer.start_as_current_span("inside"):
            return "pong"

    guard = make_guard(otel.observer)
    with otel.tracer.start_as_current_span("agent"):
        guard.call(ToolCall("ping", {"x": 1}, session="s", id="call_1"), body, info=PING)
        assert trace.get_current_span().name == "agent"
    spans = otel.spans()
    span = spans["execute_tool ping"]
    assert spans["inside"].parent.span_id == span.context.span_id
    assert span.parent.span_id == spans["agent"].context.span_id
    assert span.status.is_ok or span.status.status_code.name == "UNSET"
    attributes = dict(span.attributes)
    assert attributes.pop("guarded_tools.guard_ms") > 0
    key = attributes.pop("guarded_tools.key")
    assert attributes.pop("guarded_tools.policy")
    assert attributes.pop("guarded_tools.rule")
    assert attributes == {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": "ping",
        "gen_ai.tool.type": "extension",
        "gen_ai.tool.call.id": "call_1",
        "gen_ai.conversation.id": "s",
        "mcp.method.name": "tools/call",
        "guarded_tools.outcome": "ok",
        "guarded_tools.server": "srv",
        "guarded_tools.arguments": ("x",),
    }
    settled = next(read(tmp_path / "audit.jsonl", kind="settled"))
    assert settled["trace"] == {
        "trace": format(span.context.trace_id, "032x"),
        "span": format(spans["agent"].context.span_id, "016x"),
    }
    assert settled["key"] == key


def test_a_refused_call_is_a_span_with_the_outcome_as_its_error(make_guard, otel):
    guard = make_guard(otel.observer)
    with pytest.raises(ToolDenied):
        guard.call(ToolCall("ask_me", {}), lambda _: "ran")
    span = otel.spans()["execute_tool ask_me"]
    assert span.attributes["error.type"] in {"unanswered", "rejected", "denied"}
    assert span.status.status_code.name == "ERROR"
    assert span.end_time >= span.start_time


def test_a_body_that_raises_ends_its_span(make_guard, otel):
    def body(_):
        raise TimeoutError

    with pytest.raises(TimeoutError):
        make_guard(otel.observer).call(ToolCall("ping", {}), body)
    assert otel.spans()["execute_tool ping"].attributes["error.type"] == "unknown"
    assert not trace.get_current_span().get_span_context().is_valid


def test_a_guarded_call_within_a_guarded_call_nests(make_guard, otel):
    guard = make_guard(otel.observer)
    guard.call(ToolCall("outer", {}), lambda _: guard.call(ToolCall("ping", {}), lambda _: "pong"))
    spans = otel.spans()
    assert spans["execute_tool ping"].parent.span_id == spans["execute_tool outer"].context.span_id
    assert spans["execute_tool outer"].parent is None


async def test_concurrent_calls_keep_their_spans_apart(make_guard, otel):
    guard = make_guard(otel.observer)

    async def body(args):
        with otel.tracer.start_as_current_span(f"inside {args['n']}"):
            await asyncio.sleep(0.01)

    with otel.tracer.start_as_current_span("agent"):
        await asyncio.gather(*(guard.acall(ToolCall("outer", {"n": n}, id=str(n)), body) for n in range(20)))
    finished = otel.exporter.get_finished_spans()
    calls = {span.context.span_id: span.attributes["gen_ai.tool.call.id"] for span in finished if "tool" in span.name}
    inner = [span for span in finished if span.name.startswith("inside")]
    assert len(inner) == 20
    assert all(calls[span.parent.span_id] == span.name.split()[1] for span in inner)


def test_money_is_told_in_its_unit_once_a_call(make_guard, otel, tmp_path):
    limits = [
        {"counter": f"spent_{scope}", "window": "day", "max": "5", "unit": "USD", "count": "result.cost",
         "estimate": "1", "scope": scope}
        for scope in ("session", "global")
    ]  # fmt: skip
    policy = {"version": "1", "default": "deny", "tools": {"buy": {"limits": limits}}}
    guard = Guard(Policy.model_validate(policy), store="memory://", audit=tmp_path / "a", observers=[otel.observer])
    for cost in ("0.25", "0.5"):
        guard.call(ToolCall("buy", {}), lambda _, cost=cost: {"cost": cost})
    [point] = otel.points("guarded_tools.spent")
    assert (point.value, point.attributes["guarded_tools.unit"], point.attributes["gen_ai.tool.name"]) == (
        0.75,
        "USD",
        "buy",
    )
    assert otel.exporter.get_finished_spans()[-1].attributes["guarded_tools.spent"] == ("0.50 USD",)


def test_metrics_count_what_became_of_calls(make_guard, otel):
    guard = make_guard(otel.observer, approver=lambda request: Verdict.reject("no"))
    for _ in range(3):
        guard.call(ToolCall("ping", {}), lambda _: "pong", info=PING)
    for name in ("ping", "ask_me", "invented_1", "invented_2"):
        with pytest.raises(ToolDenied):
            guard.call(ToolCall(name, {}), lambda _: "ran")
    counts = {
        (point.attributes["gen_ai.tool.name"], point.attributes["guarded_tools.outcome"]): point.value
        for point in otel.points("guarded_tools.calls")
    }
    assert counts == {("ping", "ok"): 3, ("ping", "limited"): 1, ("ask_me", "rejected"): 1, ("_OTHER", "denied"): 2}
    (executions,) = otel.points("gen_ai.execute_tool.duration")
    assert executions.count == 3
    assert executions.explicit_bounds == tuple(0.01 * 2**power for power in range(14))
    (operations,) = otel.points("mcp.client.operation.duration")
    assert operations.explicit_bounds == (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 120, 300)
    assert operations.attributes["mcp.method.name"] == "tools/call"
    (approvals,) = otel.points("guarded_tools.approval.duration")
    assert approvals.attributes["guarded_tools.verdict"] == "reject"


class Trip(TypedDict, total=False):
    trip: int
    booked: str


class Booking:
    """A graph of one task, whose guarded body asks two questions of its own before it is done."""

    def __init__(self, make_guard, otel, body=None, **options):
        self.heard = []
        self.guard = make_guard(otel.observer, self.heard.append, **options)
        self.otel = otel
        graph = StateGraph(Trip)
        graph.add_node("book", RunnableLambda(self.node, self.anode))
        graph.add_edge(START, "book")
        self.graph = graph.compile(checkpointer=InMemorySaver())
        self.config = {"configurable": {"thread_id": "thread"}}
        self.body = body or self.ask_twice
        self.call = ToolCall("ping", {}, id="call_1")

    def ask_twice(self, _args):
        with self.otel.tracer.start_as_current_span("inside"):
            return interrupt("seat?") + interrupt("meal?")

    def node(self, _state):
        return {"booked": self.guard.call(self.call, self.body, info=PING)}

    async def anode(self, _state):
        async def body(args):
            return self.body(args)

        return {"booked": await self.guard.acall(self.call, body, info=PING)}

    def go(self, given, asynchronous):
        if asynchronous:
            return asyncio.run(self.graph.ainvoke(given, self.config))
        return self.graph.invoke(given, self.config)

    def kinds(self):
        return [event.kind for event in self.heard]


@pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])
def test_an_execution_that_pauses_is_counted_once_at_its_end(make_guard, otel, tmp_path, asynchronous):
    booking = Booking(make_guard, otel)
    booking.go({"trip": 1}, asynchronous)
    assert otel.points("guarded_tools.calls") == []
    booking.go(Command(resume="window "), asynchronous)
    (paused,) = otel.points("guarded_tools.pauses")
    assert (paused.value, dict(paused.attributes)) == (2, {"gen_ai.tool.name": "ping"})
    assert otel.points("guarded_tools.calls") == otel.points("gen_ai.execute_tool.duration") == []
    assert booking.go(Command(resume="fish"), asynchronous)["booked"] == "window fish"

    (call,) = otel.points("guarded_tools.calls")
    assert (call.value, call.attributes["guarded_tools.outcome"]) == (1, "ok")
    for name in ("gen_ai.execute_tool.duration", "mcp.client.operation.duration"):
        (duration,) = otel.points(name)
        assert duration.count == 1
        assert "error.type" not in duration.attributes
    assert otel.points("guarded_tools.pauses")[0].value == 2
    assert booking.kinds() == ["admitted", "paused", "resumed", "paused", "resumed", "settled"]
    assert [record["kind"] for record in read(tmp_path / "audit.jsonl")] == ["admitted", "settled"]


@pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])
def test_its_pauses_are_spans_that_end_and_hold_the_bodys(make_guard, otel, asynchronous):
    booking = Booking(make_guard, otel)
    for given in ({"trip": 1}, Command(resume="window "), Command(resume="fish")):
        booking.go(given, asynchronous)
    spans = otel.exporter.get_finished_spans()
    stretches = [span for span in spans if span.name == "execute_tool ping"]
    inside = [span for span in spans if span.name == "inside"]
    assert [span.attributes["guarded_tools.outcome"] for span in stretches] == ["suspended", "suspended", "ok"]
    assert len({span.attributes["guarded_tools.key"] for span in stretches}) == 1
    assert [span.parent.span_id for span in inside] == [span.context.span_id for span in stretches]
    assert all(span.status.status_code.name == "UNSET" for span in stretches)
    assert not any("error.type" in span.attributes for span in stretches)
    assert not trace.get_current_span().get_span_context().is_valid


def test_an_execution_that_paused_and_fails_is_counted_as_that(make_guard, otel):
    def body(_args):
        interrupt("seat?")
        raise TimeoutError

    booking = Booking(make_guard, otel, body)
    booking.go({"trip": 1}, False)
    with pytest.raises(TimeoutError):
        booking.go(Command(resume="window"), False)
    (call,) = otel.points("guarded_tools.calls")
    assert (call.value, call.attributes["guarded_tools.outcome"]) == (1, "unknown")
    (duration,) = otel.points("gen_ai.execute_tool.duration")
    assert (duration.count, duration.attributes["error.type"]) == (1, "unknown")


def test_an_execution_that_may_not_go_on_is_counted_as_refused(make_guard, otel):
    booking = Booking(make_guard, otel)
    booking.go({"trip": 1}, False)
    booking.guard.store.halt("global", "stop")
    with pytest.raises(ToolDenied):
        booking.go(Command(resume="window"), False)
    (call,) = otel.points("guarded_tools.calls")
    assert (call.value, call.attributes["guarded_tools.outcome"]) == (1, "denied")
    assert booking.kinds() == ["admitted", "paused", "refused"]


def test_logging_tells_of_pauses(make_guard, otel, caplog):
    booking = Booking(make_guard, otel)
    booking.guard.observers += (to_logging("pauses"),)
    with caplog.at_level(logging.INFO, "pauses"):
        booking.go({"trip": 1}, False)
    records = [record for record in caplog.records if record.name == "pauses"]
    assert [(r.levelname, r.getMessage().split()[0]) for r in records] == [("INFO", "admitted"), ("INFO", "paused")]


async def test_a_call_whose_caller_left_before_its_body_is_counted(make_guard, otel):
    """Its end is told by the store's thread, where nothing of what began in its task is known."""
    begun, ended = [], asyncio.Event()
    loop = asyncio.get_running_loop()

    def leave(event):
        if event.kind == "admitted":
            begun.append(event.key)
            asyncio.current_task().cancel()
        elif event.kind == "settled":
            loop.call_soon_threadsafe(ended.set)

    guard = make_guard(otel.observer, leave)

    async def body(_args):
        raise AssertionError("ran")

    task = asyncio.ensure_future(guard.acall(ToolCall("ping", {}, id="call_1"), body))
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.wait_for(ended.wait(), 10)
    (call,) = otel.points("guarded_tools.calls")
    assert (call.value, call.attributes["guarded_tools.outcome"]) == (1, "never_ran")
    assert otel.spans()["execute_tool ping"].attributes["guarded_tools.key"] == begun[0]


def test_no_secret_leaves_through_a_span(make_guard, otel):
    guard = make_guard(otel.observer)
    with pytest.raises(ToolDenied):
        guard.call(ToolCall(SECRET, {SECRET: 1}, session=SECRET, id=SECRET), lambda _: "ran")
    assert SECRET not in "".join(span.to_json() for span in otel.exporter.get_finished_spans())


def test_without_the_api_it_says_what_to_install():
    code = (
        "import sys; sys.modules['opentelemetry'] = None\n"
        "from guarded_tools.telemetry import to_opentelemetry\n"
        "try: to_opentelemetry()\n"
        "except Exception as error: print(type(error).__name__, error)"
    )
    said = subprocess.run([forked.PYTHON, "-c", code], check=True, capture_output=True, text=True).stdout
    assert said == "GuardError OpenTelemetry's API is not installed: pip install 'guarded-tools[otel]'\n"


def test_without_any_trace_there_are_no_ids():
    assert trace_ids() is None
