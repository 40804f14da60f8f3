"""A walk through the core: load, decide, name the rule."""

from __future__ import annotations

import json

import pytest

from guarded_tools.errors import PolicyError
from guarded_tools.policy import Policy, decide
from guarded_tools.policy.explain import explain
from guarded_tools.values import ToolCall

EVENTS = {
    "version": "1",
    "default": "deny",
    "server": "pictify",
    "hide": ["cancel"],
    "tools": {
        "track": {
            "require": [{"path": "args.events[*].event", "op": "in", "value": ["click", "view"]}],
            "deny_if": [{"path": "args.events.length", "op": "gt", "value": 2, "on_deny": "too many"}],
            "limits": [
                {"counter": "calls", "window": "minute", "max": 30, "scope": "grant"},
                {"counter": "events", "window": "10m", "max": 3000, "count": "args.events.length"},
            ],
        }
    },
}


@pytest.fixture
def policy():
    return Policy.model_validate(EVENTS)


def test_an_allowed_call_yields_its_charges(policy):
    decision = decide(policy, ToolCall("track", {"events": [{"event": "click"}, {"event": "view"}]}, "s1", "g1"))
    assert (decision.effect, decision.rule) == ("allow", "/tools/track")
    calls, events = decision.charges
    assert (calls.scope, calls.counter, calls.amount, calls.window) == ("grant:g1", "pictify/track/calls", 1, 60)
    assert (events.scope, events.counter, events.amount, events.window) == (
        "session:s1",
        "pictify/track/events",
        2,
        600,
    )
    assert events.rule == "/tools/track/limits/events"


def test_a_denied_call_names_the_rule_and_takes_nothing(policy):
    decision = decide(policy, ToolCall("track", {"events": [{"event": "click"}, {"event": "buy"}]}))
    assert decision[:2] == ("deny", "/tools/track/require/args.events[*].event-in")
    assert decision.charges == ()
    decision = decide(policy, ToolCall("track", {"events": [{"event": "click"}] * 3}))
    assert decision[:3] == ("deny", "/tools/track/deny_if/args.events.length-gt", "too many")


def test_no_policy_denies():
    assert decide(None, ToolCall("track", {}))[:2] == ("deny", "(no policy)")


def test_every_problem_is_told_at_once_with_its_place(tmp_path):
    file = tmp_path / "policy.json"
    file.write_text('{\n  "version": "1",\n  "defualt": "deny",\n  "tools": {"x": {"limit": []}}\n}\n')
    with pytest.raises(PolicyError) as raised:
        Policy.from_file(file)
    told = {str(problem).removeprefix(str(file)) for problem in raised.value.problems}
    assert ":3:3: /defualt: unknown key 'defualt' (did you mean default?)" in told
    assert ":4:19: /tools/x/limit: unknown key 'limit' (did you mean limits?)" in told
    assert any("/default: default is required" in line for line in told)


def test_json_and_yaml_of_one_content_have_one_fingerprint(tmp_path, policy):
    (tmp_path / "p.yaml").write_text(json.dumps(EVENTS))
    assert Policy.from_file(tmp_path / "p.yaml").fingerprint == policy.fingerprint
    assert Policy.model_validate({**EVENTS, "default": "allow"}).fingerprint != policy.fingerprint


def test_whose_word_gives_charges_back_is_said_per_tool_and_shown():
    entry = {"limits": [{"counter": "n", "window": "hour", "max": 2}], "refunds": "reported"}
    tools = {"get_*": entry, "pay": {**entry, "refunds": "certain"}, "new": {**entry, "shadow": True}, "other": {}}
    policy = Policy.model_validate({"version": "1", "default": "allow", "tools": tools})
    said = {name: policy.refunds(name) for name in ("get_a", "GET_a", "pay", "new", "other", "unheard_of")}
    assert said == {**dict.fromkeys(said, "certain"), "get_a": "reported"}
    assert explain(policy, ToolCall("get_a", {})).refunds == "reported"
    assert explain(policy, ToolCall("pay", {})).refunds == "certain"
    assert policy._repr_html_().count("server&#x27;s word") == 2


def test_where_no_schema_is_checked_it_is_shown_and_explained():
    schema = {"properties": {"n": {"type": "integer"}}}
    tools = {
        "off": {"schema": "off"},
        "trial": {"schema": "off", "shadow": True},
        "own": {"schema": "strict"},
        "plain": {},
    }
    base = {"version": "1", "default": "allow", "hide": ["gone"], "tools": tools}
    for whole, unchecked in (("strict", {"off"}), ("off", {"off", "trial", "plain", "unheard_of"})):
        policy = Policy.model_validate({**base, "schema": whole})
        for name in (*tools, "unheard_of", "gone"):
            found = explain(policy, ToolCall(name, {"n": "x"}), schema)
            assert found.schema == ("off" if name in unchecked else "strict"), name
            assert (found.decision.effect == "allow") == (name in unchecked)
    assert Policy.model_validate(base)._repr_html_().count("schema: off") == 2
    page = Policy.model_validate({**base, "schema": "off"})._repr_html_()
    assert (page.count("schema: off"), page.count("schema: strict")) == (3, 1)


@pytest.mark.parametrize(
    ("rules", "args", "said"),
    [
        (
            {"require": [{"path": "args.to", "op": "eq", "value": "x", "on_deny": "own"}]},
            {},
            "own (args.to is missing)",
        ),
        ({"deny_if": [{"path": "args.n", "op": "gt", "value": 1, "on_deny": "own"}]}, {"n": "many"}, "own (args.n "),
        (
            {"limits": [{"counter": "n", "window": "hour", "max": 1, "count": "args.n", "on_deny": "own"}]},
            {"n": -1},
            "own (args.n cannot be counted: it is negative)",
        ),
        ({"needs": [{"tool": "a", "same": {"args.n": "args.n"}, "message": "own"}]}, {"n": float("nan")}, "own ("),
    ],
)
def test_what_a_policy_says_never_hides_why_a_call_could_not_be_judged(rules, args, said):
    policy = Policy.model_validate({"version": "1", "default": "deny", "tools": {"a": {}, "t": rules}})
    decision = decide(policy, ToolCall("t", args))
    assert decision.effect == "deny"
    assert decision.message.startswith(said)
