"""Policies and arguments of every kind: no crash, no hang, and no decision but allow, ask or deny."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from contextlib import suppress
from types import MappingProxyType

import jsonschema_rs
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from guarded_tools.errors import PolicyError
from guarded_tools.policy import Policy, decide
from guarded_tools.policy.explain import explain
from guarded_tools.policy.globs import covers, matches
from guarded_tools.policy.operators import OPERATORS
from guarded_tools.policy.reading.json_schema import shipped
from guarded_tools.values import MOST_TOLD, Charge, ToolCall

WORDS = ["a", "b", "length", "event", "prod", "Prod", "x y", "", "é", "\ud800", "*"]
KEYS = st.sampled_from(["a", "b", "length", "a.b", "events", "\ud800"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(WORDS) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=8,
)
FOREIGN = st.sampled_from([b"x", 1j, object(), {1, 2}, (1,), {1: 2}, float("nan"), ValueError])
ARGS = st.dictionaries(KEYS, VALUES | FOREIGN, max_size=4)
STEPS = st.sampled_from([".a", ".b", ".length", "[*]", "[0]", "[7]", '["a.b"]', ".events"])
PATHS = st.lists(STEPS, min_size=1, max_size=3).map(lambda steps: "args" + "".join(steps))
URLS = st.text(alphabet="htps:/.@\\0x1%e[]:é。-_#?\t ", max_size=20).map(lambda rest: f"http://{rest}")


@st.composite
def predicates(draw):
    op = draw(st.sampled_from(OPERATORS))
    scalars = st.none() | st.booleans() | st.integers() | st.sampled_from(["prod", "a", ""])
    value = {
        "in": st.lists(scalars, min_size=1, max_size=3),
        "not_in": st.lists(scalars, min_size=1, max_size=3),
        "url_host": st.just(["example.com", "*.io", "10.0.0.0/8"]),
        "regex": st.sampled_from(["^a", "(a|b)*c", "[^x]+$", ""]),
        "exists": st.booleans(),
        "segment": st.booleans(),
        "contains": st.integers() | st.sampled_from(["a", "prod"]) | st.booleans(),
        "eq": VALUES.filter(lambda value: "NaN" not in repr_of(value) and "Infinity" not in repr_of(value)),
        "neq": scalars,
    }.get(op, st.integers() | st.floats(allow_nan=False, allow_infinity=False))
    found = {"path": draw(PATHS), "op": op, "value": draw(value)}
    if op in {"eq", "neq", "in", "not_in", "regex", "contains"} and draw(st.booleans()):
        found["fold"] = draw(st.booleans())
    return found


def repr_of(value):
    return json.dumps(value, ensure_ascii=True)


LISTS_OF_PREDICATES = st.lists(predicates(), max_size=2)
LIMITS = st.builds(
    lambda count, scope, align: {
        "counter": "c", "window": "minute", "max": 100, "count": count, "scope": scope, "align": align,
    },
    st.just(1) | PATHS, st.sampled_from(["session", "grant", "global"]), st.sampled_from(["rolling", "utc"]),
)  # fmt: skip
TOOLS = st.fixed_dictionaries(
    {},
    optional={
        "require": LISTS_OF_PREDICATES,
        "deny_if": LISTS_OF_PREDICATES,
        "limits": st.lists(LIMITS, max_size=1),
        "approval": st.just(True) | st.builds(lambda when: {"when": when}, st.lists(predicates(), min_size=1, max_size=2)),
        "shadow": st.booleans(),
    },
)  # fmt: skip
NAMES = st.sampled_from(["t", "t", "t", "T", "t*", "u", "t?"])
POLICIES = st.fixed_dictionaries(
    {
        "version": st.just("1"),
        "default": st.sampled_from(["allow", "deny"]),
        "tools": st.builds(lambda tool, more: {"t": tool, **more}, TOOLS, st.dictionaries(NAMES, TOOLS, max_size=1)),
    },
    optional={"hide": st.lists(NAMES, unique=True, max_size=1), "shadow": st.booleans()},
)
QUIET = settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much], deadline=2000)


def sane(decision):
    assert decision.effect in ("allow", "ask", "deny")
    assert decision.rule
    assert (decision.ask is not None) == (decision.effect == "ask")
    if decision.effect == "deny":
        assert decision.message
        assert decision.charges == ()
    for charge in decision.charges:
        assert type(charge) is Charge
        assert 1 <= charge.amount <= MOST_TOLD


# Everything that an entry may hold, so that every part of it is put to the test of being something else.
FULL = {
    "action": "approve", "reason": "r", "risk": "read", "shadow": False,
    "require": [{"path": "args.a", "op": "eq", "value": "x", "fold": True, "on_deny": "d"}],
    "rate_limit": {"max": 1, "window": 1},
    "limits": [
        {"counter": "c", "window": "day", "max": 9, "count": 1, "scope": "grant", "counts": "attempts", "align": "utc"},
        {"counter": "d", "window": "day", "max": 9, "count": 1, "scope": "grant", "counts": "attempts", "align": "utc"},
    ],
    "approval": {"remember": "same", "for": "1h", "timeout": 5, "message": "m"},
}  # fmt: skip
RULE = {
    "name": "r", "action": "evaluate", "on_deny": "d",
    "conditions": [{"path": "state.t.n", "op": "lt", "value": 5}, {"path": "args.a", "op": "eq", "value": 1}],
    "state": {"counter": "n", "window": "day", "increment": 1},
}  # fmt: skip


def places(part, above=()):
    for key, inner in part.items() if isinstance(part, dict) else enumerate(part):
        yield (*above, key)
        if isinstance(inner, dict | list):
            yield from places(inner, (*above, key))


@pytest.mark.parametrize("junk", [[], {}, [[]], {"a": {}}, None, True, 1.5, "", "x"], ids=repr)
@pytest.mark.parametrize("entry", [FULL, {"rules": [RULE]}], ids=["ours", "intercept"])
def test_a_part_that_is_something_else_is_a_problem_or_fine_and_never_a_crash(entry, junk):
    whole = {"version": "1", "default": "deny", "all_tools": FULL, "tools": {"t": entry, "u": FULL}, "hide": ["v"]}
    for place in places(whole):
        document = json.loads(json.dumps(whole))
        part = document
        for step in place[:-1]:
            part = part[step]
        part[place[-1]] = junk
        with suppress(PolicyError):
            Policy.model_validate(document)


@QUIET
@given(POLICIES, NAMES, ARGS)
def test_any_call_under_any_policy_is_decided(document, tool, args):
    try:
        policy = Policy.model_validate(document)
    except PolicyError:
        return
    decision = decide(policy, ToolCall(tool, args))
    sane(decision)
    if decision.shadow:
        sane(decision.shadow)
        assert all(charge.scope.startswith("shadow:") for charge in decision.shadow.charges)
    assert explain(policy, ToolCall(tool, args)).decision == decision
    assert policy.fingerprint == Policy.model_validate(document).fingerprint


@QUIET
@given(POLICIES, VALUES)
def test_arguments_that_are_no_object_are_denied_or_unread(document, args):
    try:
        policy = Policy.model_validate(document)
    except PolicyError:
        return
    sane(decide(policy, ToolCall("t", args)))


@QUIET
@given(ARGS, VALUES)
def test_any_arguments_under_any_schema_are_decided(args, schema):
    policy = Policy.model_validate({"version": "1", "default": "allow"})
    fixed = {
        "type": "object",
        "properties": {"a": {"type": "array", "items": {"type": "number"}}, "b": {"format": "uri"}},
    }
    for judged in (fixed, schema if isinstance(schema, dict) else {"properties": {"a": schema}}):
        sane(decide(policy, ToolCall("t", args), judged))


@QUIET
@given(URLS | st.text(max_size=30))
def test_any_url_is_judged_or_refused(url):
    rules = {"require": [{"path": "args.u", "op": "url_host", "value": ["example.com", "127.0.0.1"]}]}
    policy = Policy.model_validate({"version": "1", "default": "deny", "tools": {"t": rules}})
    sane(decide(policy, ToolCall("t", {"u": url})))


SCHEMA = jsonschema_rs.validator_for(json.loads(shipped()))


@QUIET
@given(POLICIES, st.data())
def test_any_document_is_a_policy_or_has_problems_and_the_json_schema_agrees(document, data):
    # One part of a sound policy replaced by anything.
    place = data.draw(st.sampled_from(sorted(_places(document))))
    where = document
    for step in place[:-1]:
        where = where[step]
    if place and data.draw(st.booleans()):
        where[place[-1]] = data.draw(VALUES)
    try:
        Policy.model_validate(document)
    except PolicyError as error:
        told = error.problems
    else:
        # What the model takes, an editor must not mark.
        assert SCHEMA.is_valid(document), document
        return
    assert told
    assert all(problem.message for problem in told)


def _places(value, at=()):
    yield at
    if isinstance(value, (dict, list)):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _places(inner, (*at, key))


@QUIET
@given(st.text(alphabet="ab*?", max_size=6), st.text(alphabet="ab*?", max_size=6), st.text(alphabet="ab", max_size=6))
@example("?", "*", "")
def test_a_glob_covers_what_it_says(wide, narrow, name):
    if covers(wide, narrow) and matches(narrow, name):
        assert matches(wide, name)


@pytest.mark.parametrize(
    ("rule", "value"),
    [
        ({"op": "regex", "value": "(a+)+$"}, "a" * 500_000 + "b"),
        ({"op": "regex", "value": "^(([a-z])+.)+[A-Z]([a-z])+$"}, "a" * 500_000),
        ({"op": "contains", "value": "needle"}, "NeedlE" * 80_000),
        ({"op": "eq", "value": "x"}, "\u1e9b\u0323" * 200_000),
        ({"op": "url_host", "value": ["example.com"]}, "http://" + "a." * 200_000),
        ({"op": "url_host", "value": ["example.com"]}, "http://" + "1" * 400_000),
        ({"op": "url_host", "value": ["example.com"]}, "http://" + "é" * 200_000),
        ({"op": "url_host", "value": ["example.com"]}, "http://xn--" + "a" * 200_000),
        ({"op": "url_host", "value": ["example.com"]}, "http://" + "@" * 400_000),
        ({"op": "url_host", "value": ["example.com"]}, "http://[" + ":" * 400_000 + "]"),
        ({"op": "url_host", "value": ["example.com"]}, "http://h:" + "9" * 400_000),
    ],
)
def test_no_argument_makes_a_rule_slow(rule, value):
    policy = Policy.model_validate(
        {"version": "1", "default": "deny", "tools": {"t": {"deny_if": [{"path": "args.a", **rule}]}}}
    )
    start = time.thread_time()
    sane(decide(policy, ToolCall("t", {"a": value})))
    # Half a megabyte; quadratic work would take minutes.
    assert time.thread_time() - start < 3


def test_padding_does_not_get_past_a_regex():
    policy = Policy.model_validate(
        {"version": "1", "default": "deny", "tools": {"t": {"deny_if": [{"path": "args.a", "op": "regex", "value": "drop"}]}}}
    )  # fmt: skip
    for value in (" " * 100_000 + "drop", "\n" * 100_000 + "drop" + "\0" * 100_000):
        assert decide(policy, ToolCall("t", {"a": value})).effect == "deny"


def test_a_name_made_of_stars_is_matched_in_time():
    policy = Policy.model_validate({"version": "1", "default": "deny", "tools": {"*a" * 30 + "b": {}}})
    start = time.thread_time()
    assert decide(policy, ToolCall("a" * 5_000, {})).effect == "deny"
    assert time.thread_time() - start < 3


def test_deep_and_circular_arguments_are_decided():
    deep = []
    for _ in range(100_000):
        deep = [deep]
    circular = {}
    circular["a"] = circular
    policy = Policy.model_validate(
        {"version": "1", "default": "deny", "tools": {"t": {"deny_if": [{"path": "args.a", "op": "eq", "value": [[1]]}]}}}
    )  # fmt: skip
    for args in ({"a": deep}, circular):
        for schema in (None, {}, {"properties": {"a": {"$ref": "#/properties/a"}}}):
            sane(decide(policy, ToolCall("t", args), schema))


class Hostile(Mapping):
    def __getitem__(self, key):
        raise RuntimeError("no")

    def __iter__(self):
        raise RuntimeError("no")

    def __len__(self):
        return 1


def test_a_mapping_that_fails_is_denied():
    policy = Policy.model_validate({"version": "1", "default": "allow"})
    assert decide(policy, ToolCall("t", Hostile())).effect == "deny"
    assert decide(policy, ToolCall("t", MappingProxyType({"a": 1}))).effect == "allow"
