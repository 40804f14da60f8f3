"""Spellings that read as a forbidden word and are not equal to it."""

from __future__ import annotations

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
