"""Arguments that are one thing to the guard and another to the body, or that take forever to look at."""

from __future__ import annotations

import time
from collections import deque
from decimal import Decimal
from typing import Annotated, Any

import pytest
from langchain_core.messages import AIMessage
from langchain_core.tools import BaseTool, InjectedToolArg, InjectedToolCallId, tool
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import InjectedState, ToolNode, ToolRuntime
from pydantic import AliasChoices, BaseModel, ConfigDict, Field, Secret, SecretStr
from pydantic.dataclasses import dataclass as checked_dataclass

from guarded_tools.approval.remembered import remembered
from guarded_tools.approvers.terminal import TerminalApprover
from guarded_tools.errors import ToolDenied
from guarded_tools.flow import run
from guarded_tools.values import ToolCall, Verdict

ASK = {"version": "1", "default": "deny", "tools": {"*": {"action": "approve"}}}


class Place(BaseModel):
    path: str


def class_based(annotation: Any, default: Any = None, name: str = "root") -> BaseTool:
    """A tool whose schema says nothing of a parameter of its body."""

    class Read(BaseTool):
        name: str = "read"
        description: str = "Read a file."
        args_schema: Any = Place
        ran: list[Any] = Field(default_factory=list)

        def _run(self, path: str, **rest: Any) -> str:
            raise NotImplementedError

    def _run(self: Read, path: str, root: Any = default) -> str:
        self.ran.append((path, root))
        return "ok"

    def _run_with_id(self: Read, path: str, tool_call_id: Any = default) -> str:
        self.ran.append((path, tool_call_id))
        return "ok"

    run = _run if name == "root" else _run_with_id
    run.__annotations__ = {"path": str, name: annotation, "return": str}
    return type("Read", (Read,), {"_run": run})()


def through_tool_node(guarded: BaseTool, **args: Any) -> str:
    graph = StateGraph(MessagesState).add_node("tools", ToolNode([guarded])).add_edge(START, "tools").compile()
    call = {"name": guarded.name, "args": args, "id": "call-1"}
    return str(graph.invoke({"messages": [AIMessage("", tool_calls=[call])]})["messages"][-1].content)


@pytest.mark.parametrize("annotation", [Annotated[str, InjectedToolArg], Annotated[dict, InjectedState], ToolRuntime])
def test_what_a_model_writes_for_an_injected_parameter_is_judged_where_nobody_strips_it(make_guard, annotation):
    """LangChain hands it on by the signature of ``_run``; ``ToolNode`` strips only what the schema names."""
    seen = []
    read = class_based(annotation)
    guard = make_guard(ASK, approver=lambda request: seen.append(dict(request.args)) or False)
    [guarded] = guard.wrap([read])
    through_tool_node(guarded, path="x", root="/etc")
    assert seen == [{"path": "x", "root": "/etc"}]
    assert read.ran == []


def test_the_id_of_the_call_itself_is_no_argument_and_a_forged_one_is(make_guard):
    seen = []
    read = class_based(Annotated[str, InjectedToolCallId], name="tool_call_id")
    guard = make_guard(ASK, approver=lambda request: seen.append(dict(request.args)) or True)
    [guarded] = guard.wrap([read])
    assert through_tool_node(guarded, path="x") == "ok"
    assert through_tool_node(guarded, path="x", tool_call_id="forged") == "ok"
    assert seen == [{"path": "x"}, {"path": "x", "tool_call_id": "forged"}]
    assert read.ran == [("x", "call-1"), ("x", "forged")]


class Aliased(BaseModel):
    model_config = ConfigDict(extra="allow")
    amount: int = Field(alias="amt")


class AliasedToRead(BaseModel):
    model_config = ConfigDict(extra="allow")
    amount: int = Field(validation_alias=AliasChoices("amountCents", "cents"))


@checked_dataclass(config=ConfigDict(extra="allow"))
class Open:
    to: str


class Partly(BaseModel):
    name: str
    path: str = Field("/safe", exclude=True)


def takes(annotation: Any, read: Any = lambda value: value) -> tuple[BaseTool, list[Any]]:
    ran = []

    def body(value: Any) -> str:
        ran.append(read(value))
        return "ok"

    body.__annotations__["value"] = annotation
    return tool("pay", description="Pay.")(body), ran


@pytest.mark.parametrize("annotation", [Aliased, AliasedToRead])
@pytest.mark.parametrize("alias", ["amt", "amountCents"])
def test_an_extra_key_cannot_stand_in_for_the_field_of_its_name(make_guard, annotation, alias):
    pay, ran = takes(annotation, lambda value: value.amount)
    [guarded] = make_guard(ASK, approver=lambda request: True).wrap([pay])
    try:
        said = guarded.invoke({"value": {alias: 1_000_000, "amount": 1}})
    except ValueError:
        said = "DENIED"  # by pydantic: the other model's alias
    assert said.startswith("DENIED")
    assert ran == []


@pytest.mark.parametrize(
    ("annotation", "sent", "shown"),
    [
        (Open, {"to": "a", "bcc": "evil"}, {"to": "a", "bcc": "evil"}),
        (deque[Partly], [{"name": "x", "path": "/etc"}], [{"name": "x", "path": "/etc"}]),
        (deque[SecretStr], ["evil"], ["evil"]),
        (Secret[str], "evil", "evil"),
        (dict[SecretStr, int], {"evil": 1}, {"evil": 1}),
        (dict[Secret[str], int], {"evil": 1}, {"evil": 1}),
        (dict[Decimal, int], {"1.50": 1}, {"1.5": 1}),
    ],
)
def test_what_a_serializer_would_hide_is_shown(make_guard, annotation, sent, shown):
    seen = []
    pay, ran = takes(annotation)
    guard = make_guard(ASK, approver=lambda request: seen.append(dict(request.args)) or True)
    [guarded] = guard.wrap([pay])
    assert guarded.invoke({"value": sent}) == "ok"
    assert seen == [{"value": shown}]
    assert len(ran) == 1


def test_two_keys_that_look_alike_once_they_are_unveiled(make_guard):
    class Key:
        def __str__(self) -> str:
            return "a"

    pay, ran = takes(Any)
    [guarded] = make_guard(ASK, approver=lambda request: True).wrap([pay])
    for value in ({1: "x", "1": "y"}, {Key(): 1}, {"a": Key()}, {SecretStr("a"): 1, "a": 2}):
        assert guarded.invoke({"value": value}).startswith("DENIED")
    assert ran == []


@pytest.mark.parametrize("text", ["1e1000000", "-1e99999999", "1e-99999999", "9" * 5000])
def test_a_number_that_nobody_could_write_out(make_guard, text):
    pay, ran = takes(Decimal)
    [guarded] = make_guard(ASK, approver=lambda request: True).wrap([pay])
    began = time.thread_time()
    assert guarded.invoke({"value": text}).startswith("DENIED")
    assert time.thread_time() - began < 5, "it was written out"
    assert ran == []


def nested(levels: int, inner: Any = 0) -> Any:
    for at in range(levels):
        inner = [inner] if at % 2 else {"k": inner}
    return inner


@pytest.mark.parametrize("levels", [100, 300, 700, 900])
def test_what_is_nested_too_deep_to_be_shown_is_not_asked_about(make_guard, levels):
    """One such question would end whatever lists the others."""
    asked, ran = [], []
    guard = make_guard(ASK, approver=lambda request: asked.append(1) or True)
    with pytest.raises(ToolDenied, match="nested deeper than 100 levels"):
        guard.call(ToolCall("t", {"x": nested(levels)}), ran.append)
    assert (asked, ran) == ([], [])
    guard.call(ToolCall("t", {"x": nested(99), "wide": [{}] * 500}), ran.append)
    assert len(ran) == 1


def test_a_secret_is_not_kept_with_an_approval(make_guard):
    policy = {"version": "1", "default": "deny", "tools": {"t": {"risk": "read", "approval": {"remember": "same"}}}}
    guard = make_guard(policy, approver=lambda request: Verdict.approve("same"))
    for password in ("hunter2hunter2", "another", "hunter2hunter2"):
        guard.call(ToolCall("t", {"password": password, "key": "sk-ant-REALSECRET1234567890"}), lambda args: None)
    kept = run(remembered(guard.store))
    assert [entry.args for entry in kept] == ['{"key":"sk-ant-***","password":"***"}'] * 2
    assert not any(b"hunter2" in value or b"REALSECRET" in value for _, value in guard.store.scan(""))


def test_an_edit_that_the_tools_own_types_refuse_is_denied_by_the_schema(make_guard):
    events = []
    pay, ran = takes(int)
    guard = make_guard(ASK, approver=lambda request: Verdict.edit({"value": "many"}), observers=[events.append])
    [guarded] = guard.wrap([pay])
    assert guarded.invoke({"value": 1}).startswith("DENIED: pay did not run. Rule: /schema.")
    assert (events[-1].kind, events[-1].outcome, events[-1].rule) == ("refused", "denied", "/schema")
    assert ran == []


@pytest.mark.parametrize("approver", [TerminalApprover, 5, "terminal"])
def test_what_is_no_approver_is_refused_at_once(make_guard, approver):
    with pytest.raises(TypeError, match="approver must be a function"):
        make_guard(ASK, approver=approver)
