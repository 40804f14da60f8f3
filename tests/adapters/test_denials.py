"""What comes back when a call is refused, edited, or answered by a human."""

from __future__ import annotations

import asyncio
import datetime as dt
import gc
import math
from decimal import Decimal
from typing import Annotated, Any

import pytest
from langchain_core.messages import ToolMessage
from langchain_core.tools import InjectedToolArg, StructuredTool, Tool, tool
from langgraph.prebuilt import ToolRuntime
from pydantic import BaseModel, Field, SecretStr

from guarded_tools.errors import ToolDenied
from guarded_tools.values import Verdict

DENY = {"version": "1", "default": "deny", "tools": {}}


def call(name: str, **args: Any) -> dict[str, Any]:
    return {"type": "tool_call", "id": "call-1", "name": name, "args": args}


@pytest.fixture
def ran() -> list[Any]:
    return []


@pytest.fixture
def charge(ran: list[Any]) -> StructuredTool:
    @tool
    def charge(amount: int, currency: str = "EUR") -> str:
        """Take money."""
        ran.append((amount, currency))
        return f"charged {amount} {currency}"

    return charge  # type: ignore[return-value]


def asking(approver: Any, **entry: Any) -> dict[str, Any]:
    policy = {"version": "1", "default": "deny", "tools": {"charge": {"approval": True, **entry}}}
    return {"policy": policy, "approver": approver}


def test_a_denial_is_an_error_message_that_a_model_and_a_program_can_read(
    make_guard: Any, charge: Any, ran: Any
) -> None:
    (guarded,) = make_guard(DENY).wrap([charge])
    answer = guarded.invoke(call("charge", amount=1))
    assert isinstance(answer, ToolMessage)
    assert (answer.status, answer.tool_call_id, answer.name) == ("error", "call-1", "charge")
    assert str(answer.content).startswith("DENIED: charge did not run. Rule: (default deny). Reason: ")
    assert answer.artifact["denied"] is True
    assert answer.artifact["outcome"] == "denied"
    assert answer.artifact["rule"] == "(default deny)"
    assert answer.artifact["retry_after"] is None
    assert ran == []


def test_without_a_call_id_a_denial_is_its_text(make_guard: Any, charge: Any) -> None:
    (guarded,) = make_guard(DENY).wrap([charge])
    assert guarded.invoke({"amount": 1}).startswith("DENIED: charge")
    assert asyncio.run(guarded.ainvoke({"amount": 1})).startswith("DENIED: charge")


def test_a_denial_of_a_tool_with_artifacts_has_one(make_guard: Any) -> None:
    @tool(response_format="content_and_artifact")
    def pair(n: int) -> tuple[str, int]:
        """Give both."""
        return "x", n

    (guarded,) = make_guard(DENY).wrap([pair])
    assert guarded.invoke({"n": 1}).startswith("DENIED")
    assert guarded.invoke(call("pair", n=1)).artifact["rule"] == "(default deny)"
    content, artifact = guarded.func(n=1)
    assert content.startswith("DENIED")
    assert artifact["denied"] is True


def test_a_full_limit_says_how_many_seconds_to_wait(make_guard: Any, charge: Any, ran: Any) -> None:
    limit = {"counter": "rate", "window": "minute", "max": 1, "scope": "session"}
    policy = {"version": "1", "default": "deny", "tools": {"charge": {"limits": [limit]}}}
    (guarded,) = make_guard(policy, clock=lambda: 1_000_000.0).wrap([charge])
    guarded.invoke({"amount": 1})
    answer = guarded.invoke(call("charge", amount=2))
    assert 59 <= answer.artifact["retry_after"] <= 61
    assert f"Retry after {math.ceil(answer.artifact['retry_after'] * 1000) / 1000:g} seconds" in answer.content
    assert answer.artifact["outcome"] == "limited"
    assert len(ran) == 1


@pytest.mark.parametrize("awaited", [False, True])
def test_on_denied_raise_raises(make_guard: Any, charge: Any, awaited: bool) -> None:
    (guarded,) = make_guard(DENY, on_denied="raise").wrap([charge])
    with pytest.raises(ToolDenied, match="DENIED: charge") as caught:
        asyncio.run(guarded.ainvoke({"amount": 1})) if awaited else guarded.invoke({"amount": 1})
    assert caught.value.decision.rule == "(default deny)"


def test_a_denial_met_inside_a_body_belongs_to_the_body(make_guard: Any, charge: Any, ran: Any) -> None:
    inner_guard = make_guard(DENY, on_denied="raise")
    (inner,) = inner_guard.wrap([charge])

    @tool
    def outer(amount: int) -> str:
        """Charge through another guard."""
        return inner.invoke({"amount": amount})

    (guarded,) = make_guard().wrap([outer])
    with pytest.raises(ToolDenied, match="charge"):
        guarded.invoke({"amount": 1})


@pytest.mark.parametrize("awaited", [False, True])
def test_what_a_human_answers_in_place_is_a_success(make_guard: Any, charge: Any, ran: Any, awaited: bool) -> None:
    (guarded,) = make_guard(**asking(lambda _: Verdict.respond("use the other account"))).wrap([charge])
    run = (lambda value: asyncio.run(guarded.ainvoke(value))) if awaited else guarded.invoke
    answer = run(call("charge", amount=1))
    told = "NOTE: charge did not run. A human answered in its place:\nuse the other account"
    assert (answer.content, answer.status) == (told, "success")
    assert run({"amount": 1}) == "use the other account"
    assert ran == []


def test_an_answer_in_place_is_not_raised_either(make_guard: Any, charge: Any) -> None:
    options = asking(lambda _: Verdict.respond("no need"))
    (guarded,) = make_guard(**options, on_denied="raise").wrap([charge])
    assert guarded.invoke({"amount": 1}) == "no need"


def test_an_edit_runs_as_the_tool_parses_it(make_guard: Any, charge: Any, ran: Any) -> None:
    (guarded,) = make_guard(**asking(lambda _: Verdict.edit({"amount": "7"}))).wrap([charge])
    assert guarded.invoke({"amount": 1, "currency": "USD"}) == "charged 7 EUR"
    assert ran == [(7, "EUR")]


def test_an_edit_is_judged_as_the_body_receives_it(make_guard: Any, ran: Any) -> None:
    @tool
    def charge(amount: int = 100_000) -> str:
        """Take money; by default a lot."""
        ran.append(amount)
        return "charged"

    too_much = [{"path": "args.amount", "op": "gt", "value": 10}]
    (guarded,) = make_guard(**asking(lambda _: Verdict.edit({}), deny_if=too_much)).wrap([charge])
    assert "DENIED" in guarded.invoke({"amount": 1})
    assert ran == []


def test_an_edit_that_the_tool_does_not_take_is_refused(make_guard: Any, charge: Any, ran: Any) -> None:
    (guarded,) = make_guard(**asking(lambda _: Verdict.edit({"amount": "many"}))).wrap([charge])
    answer = guarded.invoke({"amount": 1})
    assert "DENIED" in answer
    assert "amount" in answer
    assert ran == []


def test_an_edit_keeps_what_was_injected(make_guard: Any, ran: Any) -> None:
    @tool
    def charge(amount: int, user: Annotated[str, InjectedToolArg]) -> str:
        """Take money."""
        ran.append((amount, user))
        return "charged"

    (guarded,) = make_guard(**asking(lambda _: Verdict.edit({"amount": 2, "user": "mallory"}))).wrap([charge])
    guarded.invoke({"amount": 1, "user": "alice"})
    assert ran == [(2, "alice")]


def test_an_edit_keeps_what_toolnode_filled_in_by_name(make_guard: Any, ran: Any) -> None:
    @tool
    def charge(amount: int, runtime: Any = None) -> str:
        """Take money."""
        ran.append((amount, runtime))
        return "charged"

    runtime: Any = ToolRuntime(state={}, context=None, config={}, stream_writer=print, tool_call_id=None, store=None)
    (guarded,) = make_guard(**asking(lambda _: Verdict.edit({"amount": 2, "runtime": "mine"}))).wrap([charge])
    guarded.invoke({"amount": 1, "runtime": runtime})
    assert ran == [(2, runtime)]


def test_an_edit_reaches_a_tool_with_a_dict_schema_unchanged(make_guard: Any, ran: Any) -> None:
    async def body(**kwargs: Any) -> str:
        ran.append(kwargs)
        return "done"

    schema = {"type": "object", "properties": {"amount": {"type": "integer"}}, "required": ["amount"]}
    charge = StructuredTool(name="charge", description="d", args_schema=schema, coroutine=body)
    (guarded,) = make_guard(**asking(lambda _: Verdict.edit({"amount": 3}))).wrap([charge])
    assert asyncio.run(guarded.ainvoke({"amount": 1})) == "done"
    (refused,) = make_guard(**asking(lambda _: Verdict.edit({"amount": "3"}))).wrap([charge])
    assert "DENIED" in asyncio.run(refused.ainvoke({"amount": 1}))
    assert ran == [{"amount": 3}]


def test_an_edit_of_a_tool_with_one_input_reaches_it(make_guard: Any, ran: Any) -> None:
    (guarded,) = make_guard(**asking(lambda _: Verdict.edit({"tool_input": "b"}))).wrap(
        [Tool(name="charge", description="d", func=lambda text: ran.append(text) or "done")]
    )
    assert guarded.invoke("a") == "done"
    assert ran == ["b"]


def test_what_a_dict_schema_refuses_does_not_run(make_guard: Any, ran: Any) -> None:
    async def body(**kwargs: Any) -> str:
        ran.append(kwargs)
        return "done"

    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    (guarded,) = make_guard().wrap([StructuredTool(name="t", description="d", args_schema=schema, coroutine=body)])
    for args in ({"n": "1"}, {}, {"n": 1.5}):
        assert "DENIED" in asyncio.run(guarded.ainvoke(args))
    assert asyncio.run(guarded.ainvoke({"n": 1})) == "done"
    assert ran == [{"n": 1}]


def test_arguments_changed_while_a_human_looks_do_not_run(make_guard: Any, ran: Any) -> None:
    args = {"amount": 1, "more": [1]}

    def approve(_: Any) -> Verdict:
        args["amount"] = 9999
        args["more"].append(9999)  # type: ignore[attr-defined]
        return Verdict.approve()

    def body(**kwargs: Any) -> str:
        ran.append(kwargs)
        return "done"

    (guarded,) = make_guard(**asking(approve)).wrap(
        [StructuredTool(name="charge", description="d", args_schema={"type": "object", "properties": {}}, func=body)]
    )
    guarded.invoke(args)
    guarded.func(**args)
    assert ran[0] == {"amount": 1, "more": [1]}
    assert ran[1]["more"] == [1, 9999]


def test_a_body_that_changes_its_arguments_changes_nothing_outside(make_guard: Any) -> None:
    def body(items: list[int]) -> str:
        items.append(2)
        return "done"

    (guarded,) = make_guard().wrap([StructuredTool.from_function(body, description="d")])
    mine = [1]
    guarded.func(items=mine)
    assert mine == [1]


class Amount(BaseModel):
    value: Decimal
    hidden: int = Field(default=0, exclude=True)
    key: SecretStr = SecretStr("")


@pytest.mark.parametrize(
    ("args", "runs"),
    [
        ({"amount": {"value": "9.99"}}, True),
        ({"amount": {"value": "10.01"}}, False),
        ({"amount": {"value": 11}}, False),
        ({"amount": {"value": "1.00000000000000000000000000001"}}, False),  # no JSON number is exactly this
        ({"amount": {"value": "NaN"}}, False),
        ({"amount": {"value": 1, "hidden": 11}}, False),
        ({"amount": {"value": 1, "key": "forbidden"}}, False),
    ],
)
def test_rules_see_what_serializers_hide(make_guard: Any, args: Any, runs: bool) -> None:
    @tool
    def pay(amount: Amount) -> str:
        """Pay."""
        return "paid"

    deny_if = [
        {"path": "args.amount.value", "op": "gt", "value": 10},
        {"path": "args.amount.hidden", "op": "gt", "value": 10},
        {"path": "args.amount.key", "op": "eq", "value": "forbidden"},
    ]
    (guarded,) = make_guard({"version": "1", "default": "deny", "tools": {"pay": {"deny_if": deny_if}}}).wrap([pay])
    try:
        answer = guarded.invoke(args)
    except ValueError:  # pydantic's own refusal of NaN
        answer = "DENIED"
    assert ("DENIED" not in answer) is runs


@pytest.mark.parametrize(
    "value", [object(), {1: "a", "1": "b"}, iter([1]), float("nan"), b"\xff", [[object()]], {"a": {1, object()}}]
)
def test_what_is_not_json_is_refused_and_recorded(make_guard: Any, outcomes: Any, value: Any) -> None:
    def body(thing: Any) -> str:
        return "ran"

    (guarded,) = make_guard().wrap([StructuredTool.from_function(body, description="d")])
    assert "DENIED" in guarded.invoke({"thing": value})
    assert outcomes() == [("refused", "body", "failed_closed")]


def test_a_cycle_is_refused(make_guard: Any, outcomes: Any) -> None:
    def body(thing: Any) -> str:
        return "ran"

    cycle: list[Any] = []
    cycle.append(cycle)
    (guarded,) = make_guard().wrap([StructuredTool.from_function(body, description="d")])
    gc.disable()  # a finalizer of anybody's that runs where the stack is full would fail
    try:
        assert "DENIED" in guarded.func(thing=cycle)
    finally:
        gc.enable()
    assert outcomes() == [("refused", "body", "failed_closed")]


def test_what_is_json_at_heart_is_judged_as_such(make_guard: Any) -> None:
    @tool
    def plan(at: dt.datetime, tags: set[str], amount: Decimal) -> str:
        """Plan."""
        return "planned"

    shown: list[Any] = []

    def approver(request: Any) -> bool:
        shown.append(dict(request.args))
        return True

    policy = {"version": "1", "default": "deny", "tools": {"plan": {"approval": True}}}
    (guarded,) = make_guard(policy, approver=approver).wrap([plan])
    args = {"at": "2026-01-02T03:04:05Z", "tags": ["b", "a"], "amount": "2.50"}
    assert guarded.invoke(args) == "planned"
    assert shown == [{"at": "2026-01-02T03:04:05Z", "tags": ["a", "b"], "amount": 2.5}]
