"""Spellings that read as a forbidden word and are not equal to it."""

from __future__ import annotations

import time

import pytest

from guarded_tools.policy import Policy, decide
from guarded_tools.values import ToolCall

UNSEEN = [
    "\0",
    "\x08",
    "\x7f",
    "\x9b",
    "\ud800",
    "\u034f",
    "\ufe0f",
    "\u3164",
    "\uffa0",
    "\u2800",
    "\u180b",
    "\U000e0101",
    "\u2065",
    "\U000e0080",
]
PLACES = ["{}prod", "pr{}od", "prod{}"]


@pytest.mark.parametrize("unseen", UNSEEN, ids=ascii)
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(
    "rule",
    [
        {"require": [{"path": "args.x", "op": "not_in", "value": ["prod"]}]},
        {"require": [{"path": "args.x", "op": "neq", "value": "prod"}]},
        {"deny_if": [{"path": "args.x", "op": "contains", "value": "prod"}]},
        {"deny_if": [{"path": "args.x", "op": "eq", "value": "prod", "fold": True}]},
    ],
)
def test_what_draws_nothing_hides_no_forbidden_word(unseen: str, place: str, rule: dict[str, object]) -> None:
    policy = Policy.model_validate({"version": "1", "default": "deny", "tools": {"t": rule}})
    assert decide(policy, ToolCall("t", {"x": place.format(unseen)})).effect == "deny"
    assert decide(policy, ToolCall("t", {"x": "test"})).effect == "allow"


@pytest.mark.parametrize("unseen", UNSEEN, ids=ascii)
def test_what_draws_nothing_makes_no_other_tool(unseen: str) -> None:
    policy = Policy.model_validate({"version": "1", "default": "allow", "hide": ["delete"], "tools": {"pay": {}}})
    assert decide(policy, ToolCall(f"delete{unseen}", {})).rule == "(hidden)"
    assert decide(policy, ToolCall(f"p{unseen}ay", {})).effect == "deny"


@pytest.mark.parametrize("between", ["\u200d", "\u034f", "\u2065", "\u00ad"], ids=ascii)
def test_what_draws_nothing_parts_no_letter_from_its_mark(between: str) -> None:
    rules = {"require": [{"path": "args.x", "op": "not_in", "value": ["caf\u00e9"]}]}
    tools = {"t": rules, "l\u00f6schen": {"action": "deny"}}
    policy = Policy.model_validate({"version": "1", "default": "allow", "hide": ["f\u00fcr"], "tools": tools})
    assert decide(policy, ToolCall("t", {"x": f"cafe{between}\u0301"})).effect == "deny"
    assert decide(policy, ToolCall(f"lo{between}\u0308schen", {})).rule == "/tools/l\u00f6schen"
    assert decide(policy, ToolCall(f"fu{between}\u0308r", {})).rule == "(hidden)"


@pytest.mark.serial
def test_marks_without_end_take_no_time_without_end() -> None:
    """Normalising sorts the marks on a letter, in time that grows with the square of their number."""
    rules = {"deny_if": [{"path": "args.x", "op": "contains", "value": "prod"}]}
    policy = Policy.model_validate({"version": "1", "default": "deny", "tools": {"t": rules}, "hide": ["x"]})
    marks = "a" + "\u0301\u0316" * 100_000
    began = time.monotonic()
    assert decide(policy, ToolCall("t", {"x": marks})).effect == "allow"
    assert decide(policy, ToolCall("t", {"x": marks + "PROD"})).effect == "deny"
    assert decide(policy, ToolCall(marks, {})).effect == "deny"
    assert time.monotonic() - began < 5, "it was 20 s for each"
