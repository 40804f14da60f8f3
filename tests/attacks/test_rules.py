"""Spellings that read as a forbidden word and are not equal to it."""

from __future__ import annotations

import time

import pytest

from guarded_tools.policy import Policy, decide, folding
from guarded_tools.values import ToolCall
from tests.cases import every_case

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
def test_what_draws_nothing_hides_no_forbidden_word(place: str, rule: dict[str, object]) -> None:
    policy = Policy.model_validate({"version": "1", "default": "deny", "tools": {"t": rule}})
    assert decide(policy, ToolCall("t", {"x": "test"})).effect == "allow"
    with every_case() as case:
        for unseen in UNSEEN:
            with case(ascii(unseen)):
                assert decide(policy, ToolCall("t", {"x": place.format(unseen)})).effect == "deny"


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


GROWING = ["\ufdfa", "\ufdfb", "\u3316", "\u33af", "\u1e9b\u0323", "\U0001d5ba", "\ufb03", "\u00e9", "\u0390"]
FORBIDDEN = ["alpha", "beta", "gamma", "delta", "prod", "secret", "internal", "confidential"]


@pytest.mark.parametrize("grain", [1, 10, 300_000], ids=["single letters", "words", "one text"])
@pytest.mark.parametrize("char", GROWING, ids=ascii)
def test_many_rules_about_much_text_take_the_time_of_one(char: str, grain: int) -> None:
    """Folding is linear and done once for a call, and no text grows beyond measure."""
    whole = char * (100_000 // len(char))
    texts = [whole[at : at + grain] for at in range(0, len(whole), grain)] if grain > 1 else list(whole[:10_000])
    rules = [{"path": "args.x[*]", "op": "contains", "value": word} for word in FORBIDDEN]
    policy = Policy.model_validate({"version": "1", "default": "deny", "tools": {"t": {"deny_if": rules}}})
    began = time.thread_time()
    decision = decide(policy, ToolCall("t", {"x": texts}))
    assert time.thread_time() - began < 1.5, "it was 7 s"
    assert decision.effect == "allow" or "whole phrases" in decision.message
    assert decide(policy, ToolCall("t", {"x": [*texts, "PROD"]})).effect == "deny"


def test_a_text_with_a_few_phrases_is_read() -> None:
    rules = [{"path": "args.x", "op": "contains", "value": "\u0635\u0644\u0649 \u0627\u0644\u0644\u0647"}]
    policy = Policy.model_validate(
        {"version": "1", "default": "deny", "hide": ["x"], "tools": {"t": {"deny_if": rules}}}
    )
    assert decide(policy, ToolCall("t", {"x": "a" * 5_000 + "\ufdfa"})).effect == "deny", (
        "it is the same, but for width"
    )
    assert decide(policy, ToolCall("t", {"x": "a" * 5_000 + "\ufdfb"})).effect == "allow"
    assert decide(policy, ToolCall("\ufdfa" * 10_000, {})).rule == "(default deny)"


def test_no_text_of_a_call_is_kept() -> None:
    rules = [{"path": "args.x", "op": "contains", "value": "prod"}]
    policy = Policy.model_validate({"version": "1", "default": "deny", "tools": {"t": {"deny_if": rules}}})
    decide(policy, ToolCall("t", {"x": "\u00e9" * 10_000}))
    assert folding.folded_texts == {}
