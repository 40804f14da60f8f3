"""Limits on what only a result tells, and on money: the estimate is reserved, the truth counts."""

import asyncio
import json
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.messages import ToolMessage
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode
from langgraph.types import Command, interrupt
from mcp.types import CallToolResult, TextContent

from guarded_tools import Guard, Policy, ToolCall, ToolDenied, decide
from guarded_tools.errors import PolicyError
from guarded_tools.pipeline.truth import truth_of
from guarded_tools.policy.limit import exact_amount
from guarded_tools.stores.memory import MemoryStore
from guarded_tools.values import Charge
from tests.fakes import T0, FrozenClock

TOKENS = {"counter": "tokens", "window": "hour", "max": 1000, "count": "result.usage.total", "estimate": 100}
SPENT = {"counter": "spent", "window": "day", "max": "5.00", "unit": "USD", "count": "result.cost", "estimate": "0.50"}


def policy(*limits):
    tools = {"ask": {"limits": list(limits)}}
    return Policy.model_validate({"version": "1", "default": "deny", "tools": tools})


class Line:
    """A guard on a store in memory, whose tool gives what it is told to."""

    def __init__(self, folder, *limits, **options):
        self.store, self.path = MemoryStore(), folder / "audit.jsonl"
        options = {"clock": FrozenClock(T0)} | options
        self.guard = Guard(policy(*limits), store=self.store, audit=self.path, session="s", **options)

    def __call__(self, result=None, **args):
        def body(given):
            if isinstance(result, Exception):
                raise result
            return result

        return self.guard.call(ToolCall("ask", args, "s"), body)

    @property
    def used(self):
        return [usage.used for usage in self.store.usage("session:s", T0)]

    @property
    def settled(self):
        return [line for line in map(json.loads, self.path.read_text().splitlines()) if line["kind"] == "settled"][-1]


def said(amount):
    return {"usage": {"total": amount}}


def test_the_truth_takes_the_place_of_the_estimate(tmp_path):
    line = Line(tmp_path, TOKENS)
    line(said(30))
    line(said(250))
    assert line.used == [280]
    assert [charge[2] for charge in line.settled["charges"]] == [250]
    assert "message" not in line.settled


def test_an_over_run_is_kept_and_refuses_the_next_call(tmp_path):
    line = Line(tmp_path, TOKENS)
    line(said(5000))
    with pytest.raises(
        ToolDenied, match=r"1000 in an hour is used up .5000 used, this call would take about 100."
    ) as no:
        line(said(1))
    assert no.value.retry_after > 0
    assert line.used == [5000]


@pytest.mark.parametrize(
    "result",
    [None, {}, "no JSON", said(None), said(-1), said("many"), said(float("nan")), said(True), said([1]), ValueError()],
    ids=repr,
)
def test_what_cannot_be_told_leaves_the_estimate_and_says_so(tmp_path, result):
    line = Line(tmp_path, TOKENS)
    if isinstance(result, Exception):
        with pytest.raises(ValueError):
            line(result)
    else:
        assert line(result) is result, "the result is the tool's own"
        assert "result.usage.total" in line.settled["message"]
        assert "the estimate stands" in line.settled["message"]
    assert line.used == [100]


@pytest.mark.parametrize(
    "result",
    [
        said(7),
        json.dumps(said(7)),
        (["text"], {"structured_content": said(7)}),
        ("text", said(7)),
        [{"type": "text", "text": json.dumps(said(7))}],
        ToolMessage("text", tool_call_id="1", artifact={"structured_content": said(7)}),
        ToolMessage(json.dumps(said(7)), tool_call_id="1"),
        CallToolResult(content=[TextContent(type="text", text="text")], structuredContent=said(7)),
        CallToolResult(content=[TextContent(type="text", text=json.dumps(said(7)))]),
    ],
    ids=lambda result: type(result).__name__,
)
def test_wherever_a_result_says_it(result):
    charge = Charge("session:s", "/ask/tokens", 100, 1000, 60, "/r", result="result.usage.total")
    assert truth_of([charge], result) == ((7,), ())


def test_many_parts_of_a_result_add_up():
    charge = Charge("session:s", "/ask/tokens", 100, 1000, 60, "/r", result="result.rows[*].cost")
    assert truth_of([charge], {"rows": [{"cost": 1}, {"cost": 2.5}]}).amounts == (4,)
    assert truth_of([charge], {"rows": [{"cost": 1}, {}]}).amounts == (100,), "one that is missing is not free"


def test_of_a_call_that_never_ran_all_is_given_back(tmp_path):
    line = Line(tmp_path, TOKENS)
    with pytest.raises(ConnectionRefusedError):
        line.guard.call(
            ToolCall("ask", {}, "s"),
            lambda _: (_ for _ in ()).throw(ConnectionRefusedError()),
            judge=lambda _: "never_ran",
        )
    assert line.used == [0]


def test_money_is_counted_exactly_and_shown_as_money(tmp_path):
    line = Line(tmp_path, SPENT)
    for _ in range(10):
        line({"cost": 0.1})
    assert line.used == [1_000_000]
    line({"cost": "3.999999"})
    with pytest.raises(
        ToolDenied, match=r"a limit of 5 USD in a day is used up \(4.999999 USD used, .* about 0.50 USD\)"
    ):
        line({"cost": 1})
    (usage,) = line.guard.usage()
    assert usage.counter == "/ask/spent/USD"
    assert "4.999999 of 5 USD" in line.guard.usage()._repr_html_()


def test_async_and_with_a_store_that_fails_the_answer_is_owed(tmp_path, caplog):
    line = Line(tmp_path, TOKENS)
    line.store.asettle = line.store.settle = lambda *_: (_ for _ in ()).throw(OSError("gone"))

    async def body(given):
        return said(5)

    assert asyncio.run(line.guard.acall(ToolCall("ask", {}, "s"), body)) == said(5)
    assert line.used == [100]
    assert "could not be settled" in caplog.text


def test_an_execution_that_paused_counts_what_it_took_beyond_the_estimate(tmp_path):
    line = Line(tmp_path, TOKENS, SPENT)

    @tool
    def ask() -> dict:
        """Ask."""
        interrupt("really?")
        return {"usage": {"total": 150}, "cost": "0.20"}

    graph = StateGraph(MessagesState)
    graph.add_node("tools", ToolNode(line.guard.wrap([ask])))
    graph.add_edge(START, "tools")
    graph.add_edge("tools", END)
    agent = graph.compile(InMemorySaver())
    call = {"name": "ask", "args": {}, "id": "1", "type": "tool_call"}
    config = {"configurable": {"thread_id": "s"}}
    agent.invoke({"messages": [{"role": "assistant", "content": "", "tool_calls": [call]}]}, config)
    assert line.used == [100, 500_000]
    agent.invoke(Command(resume="yes"), config)
    assert line.used == [150, 500_000], "nobody knows the slot any more: what is less is not given back"


@given(st.decimals(0, 10**9, allow_nan=False, places=8), st.integers(0, 6))
@settings(max_examples=200)
def test_amounts_are_exact_and_round_up(amount, scale):
    exact = Decimal(exact_amount(format(amount, "f"), scale)) / 10**6
    assert 0 <= exact - amount < Decimal(1).scaleb(-scale)
    assert exact == exact.quantize(Decimal(1).scaleb(-scale))


@pytest.mark.parametrize("written", [0.1, "0.1", "0.10"])
def test_a_tenth_is_a_tenth(written):
    decision = decide(_priced(), ToolCall("ask", {"price": written}))
    assert decision.charges[0].amount == 100_000


def _priced():
    return policy({"counter": "spent", "window": "day", "max": "5.00", "unit": "USD", "count": "args.price"})


@pytest.mark.parametrize("price", ["-1", "NaN", "Infinity", "", "1,5", "1" * 50, None, True, [], -0.5, float("inf")])
def test_what_is_no_price_denies(price):
    decision = decide(_priced(), ToolCall("ask", {"price": price}))
    assert decision.effect == "deny"
    assert "cannot be counted" in decision.message


@pytest.mark.parametrize("price", ["1e400", "9" * 40, 10**30])
def test_a_price_beyond_everything_never_fits(tmp_path, price):
    line = Line(tmp_path, {"counter": "spent", "window": "day", "max": "5.00", "unit": "USD", "count": "args.price"})
    with pytest.raises(ToolDenied, match="a limit allows 5 USD in a day"):
        line(None, price=price)


def test_a_flat_price_is_no_number_of_calls():
    decision = decide(
        policy({"counter": "spent", "window": "day", "max": "1", "unit": "USD", "count": 0.02}), ToolCall("ask", {})
    )
    assert (decision.charges[0].amount, decision.charges[0].max) == (20_000, 1_000_000)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"estimate": None}, "null says nothing|whole number"),
        ({"count": "args.n"}, "an estimate stands for what only the result tells"),
        ({"max": "5.00"}, "without quotes"),
        ({"max": 99}, "the estimate is more than max"),
        ({"count": "result"}, None),
        ({"count": "results.n"}, "a path begins with args"),
        ({"scale": 2}, 'say "unit"'),
        ({"unit": "US$"}, "not a unit"),
        ({"unit": "USD", "max": 5.5}, "in quotes"),
        ({"unit": "USD", "max": "0.00"}, "can never bind"),
        ({"unit": "USD", "max": "100000000000"}, "cannot be counted"),
        ({"unit": "USD", "scale": 7}, "scale"),
        ({"count": "0.5"}, "of nobody knows what"),
    ],
    ids=str,
)
def test_mistakes_are_told(tmp_path, change, told):
    (tmp_path / "p.json").write_text(
        json.dumps({"version": "1", "default": "deny", "tools": {"ask": {"limits": [TOKENS | change]}}})
    )
    if told is None:
        Policy.from_file(tmp_path / "p.json")
        return
    with pytest.raises(PolicyError, match=told):
        Policy.from_file(tmp_path / "p.json")


def test_without_an_estimate_a_result_cannot_be_counted():
    limit = {key: value for key, value in TOKENS.items() if key != "estimate"}
    with pytest.raises(PolicyError, match="an estimate is missing"):
        policy(limit)
