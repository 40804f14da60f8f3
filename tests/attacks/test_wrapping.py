"""Ways to end up with a tool that looks guarded and is not, or that counts for somebody else."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.tools import BaseTool, StructuredTool, tool

from guarded_tools.values import ApprovalRequest, Verdict

DENY = {"version": "1", "default": "deny", "tools": {}}
ONE_EACH = {"version": "1", "default": "deny", "tools": {"send": {"rate_limit": "1/hour"}}}


class Delete(BaseTool):
    name: str = "delete"
    description: str = "Delete."

    def _run(self, n: int) -> str:
        return "ran"


@tool
def send(n: int) -> str:
    """Send."""
    return "ran"


class Send(BaseTool):
    name: str = "send"
    description: str = "Send."

    def _run(self, n: int) -> str:
        return "ran"


@pytest.mark.parametrize("method", ["_run", "_arun", "invoke", "run", "_to_args_and_kwargs"])
def test_a_method_replaced_on_the_instance_would_come_before_the_guard_and_is_refused(
    make_guard: Any, method: str
) -> None:
    patched = Delete()
    object.__setattr__(patched, method, lambda *args, **kwargs: "ran")
    with pytest.raises(TypeError, match=f"{method}.. was replaced"):
        make_guard(DENY).wrap([patched])


@pytest.mark.parametrize("make", [lambda: send, Send])
def test_a_view_counts_in_its_own_session_also_where_the_tools_were_wrapped_before(make_guard: Any, make: Any) -> None:
    guard = make_guard(ONE_EACH)
    shared = guard.wrap([make()])
    alice, bob = (guard.for_session(name).wrap(shared)[0] for name in ("alice", "bob"))
    bob_through_alice = guard.for_session("bob").wrap([alice])[0]
    assert [alice.invoke({"n": 1}), bob.invoke({"n": 1})] == ["ran", "ran"]
    assert "DENIED" in alice.invoke({"n": 1})
    assert "DENIED" in bob_through_alice.invoke({"n": 1})
    assert {usage.scope: usage.used for usage in guard.usage()} == {"session:alice": 1, "session:bob": 1}


def test_what_one_session_approved_is_asked_in_another_also_where_the_tools_were_wrapped_before(
    make_guard: Any,
) -> None:
    asked: list[str] = []

    def approve(request: ApprovalRequest) -> Verdict:
        asked.append(request.session)
        return Verdict.approve("tool")

    policy = {
        "version": "1",
        "default": "deny",
        "tools": {"send": {"risk": "write", "approval": {"remember": "tool"}}},
    }
    guard = make_guard(policy, approver=approve)
    shared = guard.wrap([send])
    for session in ("alice", "alice", "bob"):
        assert guard.for_session(session).wrap(shared)[0].invoke({"n": 1}) == "ran"
    assert asked == ["alice", "bob"]


def test_wrapping_for_a_session_opens_nothing_that_was_closed(make_guard: Any) -> None:
    guard = make_guard({"version": "1", "default": "deny", "tools": {"read": {}}})

    def body(n: int) -> str:
        return "ran"

    (closed,) = guard.wrap([StructuredTool.from_function(body, name="delete", description="d")])
    renamed = closed.model_copy(update={"name": "read"})
    (view,) = guard.for_session("alice").wrap([renamed])
    assert view.name == "read"
    assert "DENIED: delete" in view.invoke({"n": 1})


def test_a_guard_without_a_session_of_its_own_leaves_a_views_tool_alone(make_guard: Any) -> None:
    guard = make_guard(ONE_EACH)
    (alice,) = guard.for_session("alice").wrap([send])
    assert guard.wrap([alice])[0] is alice


def test_another_guard_around_it_stays_around_it(make_guard: Any) -> None:
    inner, outer = make_guard(ONE_EACH), make_guard(DENY)
    both = outer.wrap(inner.wrap([send]))
    assert "DENIED" in inner.for_session("alice").wrap(both)[0].invoke({"n": 1})
