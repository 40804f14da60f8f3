"""Views for sessions share what a guarded tool is made of, and nothing that tells one session from another."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import pytest
from langchain_core.tools import BaseTool, StructuredTool, tool

from guarded_tools.adapters.wrap import guards

ONCE = {"version": "1", "default": "deny", "tools": {"add": {"limits": [{"counter": "n", "window": "hour", "max": 1}]}}}


def made(name: str = "add") -> StructuredTool:
    return StructuredTool.from_function(
        lambda n: n + 1,
        name=name,
        description="Add.",
        infer_schema=False,
        args_schema={"type": "object", "properties": {"n": {"type": "integer"}}},
    )


class Own(BaseTool):
    name: str = "add"
    description: str = "Add."

    def _run(self, n: int) -> int:
        return n + 1


@pytest.mark.parametrize("make", [made, Own])
def test_each_view_counts_in_its_own_session(make_guard: Any, make: Any) -> None:
    guard, raw = make_guard(ONCE, session="a"), make()
    (a,), (b,), (again,) = guard.wrap([raw]), guard.for_session("b").wrap([raw]), guard.for_session("b").wrap([raw])
    assert (a.invoke({"n": 1}), b.invoke({"n": 1})) == (2, 2)
    assert "DENIED" in a.invoke({"n": 1})
    assert "DENIED" in again.invoke({"n": 1})
    assert [guards(each)[-1].named_session for each in (a, b, again)] == ["a", "b", "b"]


def test_a_wrapped_tool_and_copies_of_it_go_to_the_view_that_asks(make_guard: Any) -> None:
    guard = make_guard(ONCE, session="a")
    (a,) = guard.wrap([made()])
    (b,) = guard.for_session("b").wrap([a])
    assert b.model_copy().invoke({"n": 1}) == 2
    assert "DENIED" in b.invoke({"n": 1})
    assert a.invoke({"n": 1}) == 2
    assert type(b) is type(a)  # it was not made anew: nothing of it had changed


def test_a_tool_that_is_another_by_now_is_not_taken_for_what_it_was(make_guard: Any) -> None:
    guard, raw = make_guard({"version": "1", "default": "allow"}), made()
    (first,) = guard.wrap([raw])
    raw.func = lambda n: -n
    raw.args_schema = {"type": "object", "properties": {"n": {"type": "integer", "maximum": 3}}}
    (second,) = guard.for_session("b").wrap([raw])
    assert (first.invoke({"n": 1}), second.invoke({"n": 1})) == (2, -1)
    assert "DENIED" in second.invoke({"n": 4})
    raw.name = "drop"
    denying = {
        "version": "1",
        "default": "allow",
        "tools": {"drop": {"require": [{"path": "args.n", "op": "gt", "value": 100}]}},
    }
    strict = make_guard(denying)
    assert "DENIED" in strict.for_session("b").wrap([raw])[0].invoke({"n": 1})


def test_a_guarded_tool_that_was_renamed_goes_by_the_name_of_its_policy_in_every_view(make_guard: Any) -> None:
    guard = make_guard(
        {
            "version": "1",
            "default": "allow",
            "tools": {"add": {"require": [{"path": "args.n", "op": "gt", "value": 100}]}},
        }
    )
    (a,) = guard.for_session("a").wrap([made()])
    a.name = "plus"
    (b,) = guard.for_session("b").wrap([a])
    assert "DENIED: add" in b.invoke({"n": 1})


def test_two_guards_around_one_tool_both_count_in_every_view(make_guard: Any) -> None:
    inner, outer = make_guard(ONCE, session="i"), make_guard(ONCE, session="o")
    raw = inner.wrap([made()])
    (a,), (b,) = outer.for_session("a").wrap(raw), outer.for_session("b").wrap(raw)
    assert [each.named_session for each in guards(b)] == ["i", "b"]
    assert a.invoke({"n": 1}) == 2
    assert "DENIED" in b.invoke({"n": 1})  # by the inner one, whose session is the same


def test_what_views_share_goes_with_the_guard_and_is_bounded(make_guard: Any) -> None:
    @tool
    def add(n: int) -> int:
        """Add."""
        return n + 1

    guard = make_guard({"version": "1", "default": "allow"})
    for _ in range(520):
        guard.wrap([add.model_copy()])
    assert len(guard.moulds) <= 500
    kind = type(guard.wrap([add])[0])
    assert type(guard.for_session("b").wrap([add])[0]) is kind
    gone = weakref.ref(kind)
    del guard, kind
    gc.collect()
    assert gone() is None
