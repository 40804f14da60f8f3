"""One call on its way: what cannot be judged, and what a body raises, are told apart from what the guard refuses."""

from __future__ import annotations

from typing import Any

import pytest
from langchain.agents.middleware import AgentMiddleware
from langchain_core.messages import ToolMessage
from langchain_core.tools import tool
from langgraph.prebuilt.tool_node import ToolCallRequest

from guarded_tools.errors import ToolDenied
from guarded_tools.values import Decision

DENY = {"version": "1", "default": "deny", "tools": {}}
WRITES = {"version": "1", "default": "deny", "tools": {"act": {"risk": "write"}}}
ELSEWHERE = ToolDenied("DENIED: another call", Decision("deny", "/elsewhere"), "denied")


class Stubborn:
    """Lets nobody copy it."""

    def __init__(self, said: Any) -> None:
        self.said = said

    def __deepcopy__(self, memo: Any) -> Any:
        raise RuntimeError(self.said)


class MuteError(Exception):
    def __str__(self) -> str:
        raise ValueError("no words")


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("it is open", "RuntimeError: it is open"),
        ("a\nb\x1b[2J", r"RuntimeError: a\nb\x1b[2J"),
        (MuteError(), "RuntimeError"),
        ("key sk-abcdefghijklmnopqrstuv", "RuntimeError: key sk-***"),
        ("x" * 10_000, "RuntimeError: " + "x" * 400),
    ],
)
def test_arguments_that_cannot_be_copied_are_refused_and_recorded(
    said: Any, told: str, make_guard: Any, events: Any
) -> None:
    arrived = []

    @tool
    def act(value: Any, more: int = 1) -> str:
        """Act."""
        arrived.append(value)
        return "done"

    (guarded,) = make_guard(WRITES).wrap([act])
    answer = guarded.invoke({"value": Stubborn(said), "more": 2})
    assert answer.startswith("DENIED: act did not run.")
    assert f"the arguments cannot be judged: {told}" in answer
    assert len(answer) < 1000
    assert arrived == []
    (event,) = events
    assert (event.kind, event.outcome, event.args) == ("refused", "failed_closed", ("more", "value"))


def run_middleware(guard: Any, body: Any) -> Any:
    """Run ``body`` in the place of a tool that the agent does not know."""
    asked = {"name": "act", "args": {}, "id": "c1", "type": "tool_call"}
    request = ToolCallRequest(tool_call=asked, tool=None, state={}, runtime=None)  # type: ignore[arg-type]
    middleware: AgentMiddleware[Any, Any, Any] = guard.middleware()

    def execute(_: ToolCallRequest) -> Any:
        return body()

    return middleware.wrap_tool_call(request, execute)


def raises(error: Exception) -> Any:
    def body() -> Any:
        raise error

    return body


@pytest.mark.parametrize("on_denied", ["return", "raise"])
def test_a_refusal_that_a_body_met_elsewhere_is_its_error_in_every_adapter(
    on_denied: str, make_guard: Any, outcomes: Any
) -> None:
    guard = make_guard(WRITES, on_denied=on_denied)

    @tool
    def act() -> str:
        """Act."""
        raise ELSEWHERE

    (guarded,) = guard.wrap([act])
    with pytest.raises(ToolDenied) as caught:
        guarded.invoke({})
    assert caught.value is ELSEWHERE
    with pytest.raises(ToolDenied) as caught:
        run_middleware(guard, raises(ELSEWHERE))
    assert caught.value is ELSEWHERE
    assert [outcome for *_, outcome in outcomes()] == [None, "error"] * 2


def test_the_guards_own_refusal_is_raised_only_where_it_was_told_to(make_guard: Any) -> None:
    returning, raising = make_guard(DENY), make_guard(DENY, on_denied="raise")
    answer = run_middleware(returning, lambda: "never")
    assert isinstance(answer, ToolMessage)
    assert (answer.status, answer.tool_call_id) == ("error", "c1")
    with pytest.raises(ToolDenied):
        run_middleware(raising, lambda: "never")


@pytest.mark.parametrize("risk", ["read", "write"])
def test_an_open_outcome_is_said_in_every_adapter_unless_the_tool_only_reads(
    risk: str, make_guard: Any, outcomes: Any
) -> None:
    guard = make_guard({"version": "1", "default": "deny", "server": "pictify", "tools": {"act": {"risk": risk}}})

    @tool
    def act() -> str:
        """Act."""
        raise TimeoutError("too slow")

    (guarded,) = guard.wrap([act])
    said = []
    with pytest.raises(TimeoutError) as caught:
        guarded.invoke({})
    said.append(str(caught.value))
    with pytest.raises(TimeoutError) as caught:
        run_middleware(guard, raises(TimeoutError("too slow")))
    said.append(str(caught.value))
    assert [("UNKNOWN OUTCOME" in text) for text in said] == [risk == "write"] * 2
    assert [outcome for *_, outcome in outcomes()] == [None, "unknown"] * 2
