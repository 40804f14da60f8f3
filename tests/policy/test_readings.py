"""What a server may make of the arguments: keys in other letters, and defaults for what is left out."""

from __future__ import annotations

import copy
import threading
import unicodedata
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guarded_tools.policy import Policy, decide
from guarded_tools.policy.explain import explain
from guarded_tools.values import ToolCall

PAY = {
    "require": [{"path": "args.amountCents", "op": "lte", "value": 100}],
    "limits": [{"counter": "paid", "window": "day", "max": 500, "count": "args.amountCents"}],
    "approval": {"when": [{"path": "args.amountCents", "op": "gt", "value": 50}]},
}
NUMBER = {"type": "number"}
AMOUNT = {"type": "object", "properties": {"amountCents": NUMBER}, "required": ["amountCents"]}


def judge(rules, args, schema=None):
    policy = Policy.model_validate({"version": "1", "default": "deny", "tools": {"t": rules}})
    decision = decide(policy, ToolCall("t", args), schema)
    assert explain(policy, ToolCall("t", args), schema).decision == decision
    return decision


@pytest.mark.parametrize("schema", [None, AMOUNT, {}, {"properties": []}], ids=["unknown", "known", "empty", "broken"])
@pytest.mark.parametrize(
    "key", ["amountcents", "AmountCents", "amount\u200bCents", "ａmountCents", "amountCents ", "\0amountCents"]
)
def test_a_key_in_other_letters_is_denied_beside_the_real_one_and_alone(key, schema):
    for kind in ("require", "deny_if", "limits", "approval"):
        rules = {"require": PAY["require"], "limits": PAY["limits"], "approval": PAY["approval"]}
        rules["deny_if"] = [{"path": "args.amountCents", "op": "gt", "value": 100}]
        for args in ({"amountCents": 5, key: 999}, {key: 999}):
            assert judge({kind: rules[kind]}, args, schema).effect == "deny", kind


def test_nothing_given_is_said_and_on_deny_is():
    rule = {"path": "args.amountCents", "op": "lte", "value": 100, "on_deny": "too much"}
    message = judge({"require": [rule]}, {"amountCents": 5, "AMOUNTCENTS": 7}).message
    assert message.startswith("too much (cannot be judged: a key differs from amountCents only by case")
    said = judge({"require": PAY["require"]}, {"amountCents": 5, "AMOUNTCENTS": 7}).message
    assert "amountCents" in said
    assert "AMOUNTCENTS" not in said


def test_below_lists_and_objects_too():
    rules = {"deny_if": [{"path": "args.items[*].to.env", "op": "eq", "value": "prod"}]}
    assert judge(rules, {"items": [{"to": {"env": "dev"}}]}).effect == "allow"
    for item in ({"to": {"env": "dev", "ENV": "prod"}}, {"To": {"env": "prod"}}):
        assert (
            judge(rules, {"items": [{"to": {"env": "dev"}}, item]}).rule == "/tools/t/deny_if/args.items[*].to.env-eq"
        )
    assert judge(rules, {"items": [], "note": {"ENV": "prod"}}).effect == "allow"


def test_two_keys_that_the_schema_lists_are_two():
    schema = {"properties": {"id": {}, "ID": {}}}
    rules = {"require": [{"path": "args.id", "op": "eq", "value": 1}]}
    assert judge(rules, {"id": 1, "ID": 2}, schema).effect == "allow"
    assert judge(rules, {"id": 1, "Id": 2}, schema).effect == "deny"
    assert judge(rules, {"id": 1, "ID": 2}, {"properties": {"id": {}}}).effect == "deny"


def test_keys_like_one_of_the_schema_are_denied_where_rules_read_arguments_and_only_there():
    schema = {"properties": {"env": {}, "n": NUMBER}}
    assert (
        judge({"require": [{"path": "args.n", "op": "lt", "value": 5}]}, {"n": 1, "Env": 2}, schema).rule == "/schema"
    )
    assert judge({"rate_limit": "5/hour"}, {"n": 1, "Env": 2}, schema).effect == "allow"


DEPLOY = {"properties": {"env": {"type": "string", "default": "prod"}, "replicas": {"type": "integer", "default": 500}}}


@pytest.mark.parametrize("switch", ["strict", "off"])
def test_what_is_left_out_is_judged_as_the_default(switch):
    def decided(rules, args=None):
        return judge({**rules, "schema": switch}, args or {}, DEPLOY)

    assert decided({"deny_if": [{"path": "args.env", "op": "eq", "value": "prod"}]}).effect == "deny"
    assert decided({"approval": {"when": [{"path": "args.replicas", "op": "gt", "value": 10}]}}).effect == "ask"
    assert decided({"require": [{"path": "args.env", "op": "in", "value": ["prod"]}]}).effect == "allow"
    assert decided({"require": [{"path": "args.env", "op": "in", "value": ["dev"]}]}).effect == "deny"
    limit = {"counter": "c", "window": "day", "max": 999, "count": "args.replicas"}
    assert decided({"limits": [limit]}).charges[0].amount == 500
    assert decided({"limits": [limit]}, {"replicas": 2}).charges[0].amount == 2


INNER = {"type": "object", "properties": {"env": {"default": "prod"}}}
NESTED = {
    "a member of an object": ({"o": {}}, {"properties": {"o": INNER}}, "args.o.env"),
    "an element of a list": ({"o": [{}]}, {"properties": {"o": {"items": INNER}}}, "args.o[*].env"),
    "an object by default": ({}, {"properties": {"o": {**INNER, "default": {}}}}, "args.o.env"),
    "an optional object": ({}, {"properties": {"o": INNER}}, "args.o.env"),
    "null for left out": ({"o": {"env": None}}, {"properties": {"o": INNER}}, "args.o.env"),
    "by reference": ({"o": {}}, {"$defs": {"I": INNER}, "properties": {"o": {"$ref": "#/$defs/I"}}}, "args.o.env"),
    "an alternative": ({"o": {}}, {"properties": {"o": {"anyOf": [INNER, {"type": "null"}]}}}, "args.o.env"),
    "a member of any name": ({"o": {"x": {}}}, {"properties": {"o": {"additionalProperties": INNER}}}, "args.o.x.env"),
    "one of several defaults": (
        {"o": {}},
        {"properties": {"o": {"anyOf": [INNER, {"properties": {"env": {"default": "dev"}}}]}}},
        "args.o.env",
    ),
}


@pytest.mark.parametrize(("args", "schema", "path"), NESTED.values(), ids=NESTED)
def test_defaults_are_found_where_they_stand(args, schema, path):
    rules = {"deny_if": [{"path": path, "op": "eq", "value": "prod"}]}
    before = copy.deepcopy(args)
    assert judge(rules, args, schema).effect == "deny"
    assert args == before


def test_what_a_server_only_may_do_lets_nothing_through():
    rules = {"require": [{"path": "args.o.env", "op": "eq", "value": "prod"}]}
    assert judge(rules, {}, {"properties": {"o": INNER}}).effect == "deny"


def test_defaults_without_end_are_refused_and_circles_are_not():
    rules = {"deny_if": [{"path": "args.x", "op": "exists"}]}
    endless = {
        "$defs": {"n": {"properties": {k: {"$ref": "#/$defs/n", "default": {}} for k in "ab"}}},
        "$ref": "#/$defs/n",
    }
    assert judge(rules, {}, endless).rule == "/schema"
    circle = {"$defs": {"n": {"properties": {"a": {"$ref": "#/$defs/n"}, "s": {"default": 1}}}}, "$ref": "#/$defs/n"}
    assert judge(rules, {"a": {"a": {}}}, circle).effect == "allow"


def test_keys_that_were_let_through_before_open_no_way_for_others():
    rules = {"deny_if": [{"path": "args.items[*].env", "op": "eq", "value": "prod"}]}
    policy = Policy.model_validate({"version": "1", "default": "deny", "tools": {"t": rules}})

    def effect(item, schema=None):
        return decide(policy, ToolCall("t", {"items": [{}, item]}), schema).effect

    schema = {"properties": {"items": {"items": {"properties": {"env": {}, "note": {}}}}}}
    for number in range(100):
        assert effect({"env": "dev", f"k{number}": 1}) == "allow"
        assert effect({"k0": 1, "ENV": 1}) == "deny"
        assert effect({f"k{number}": 1, "NOTE": 1}) == "allow"
        assert effect({f"k{number}": 1, "NOTE": 1}, schema) == "deny"
    assert effect({1: 2, None: 3}) == "allow"


def test_two_threads_with_two_schemas_are_told_apart():
    rules = {"deny_if": [{"path": "args.a.b.c", "op": "eq", "value": 1}]}
    policy = Policy.model_validate({"version": "1", "default": "deny", "tools": {"t": {**rules, "schema": "off"}}})
    inner = {"properties": {"c": {"default": 1}}}
    schemas = [{"properties": {"a": {"properties": {"b": one}}}} for one in (inner, {"properties": {"d": {}}})]
    start = threading.Barrier(4)

    def run(place):
        schema = schemas[place % 2]
        start.wait()
        return [decide(policy, ToolCall("t", {"a": {"b": {}}}), schema).effect for _ in range(200)]

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(run, range(4)))
    assert found == [["deny"] * 200, ["allow"] * 200] * 2


LETTERS = st.sampled_from(["a", "A", "ａ", "b", "B", "c"])


@given(st.recursive(st.integers(0, 1), lambda inner: st.lists(inner) | st.dictionaries(LETTERS, inner), max_leaves=20))
def test_every_place_that_a_rule_names_is_compared_and_no_other(inner):
    # What a rule names at each place: args.a, args.a.b, args.c, args.c[*].b and what is in that.
    named = {"a": {"b": {}}, "c": {"*": {"b": {"a": {}}}}}

    def is_like_one(value, names):
        if isinstance(value, list):
            return any(is_like_one(one, names.get("*", {})) for one in value)
        if not isinstance(value, dict):
            return False
        return any(
            (key not in names and unicodedata.normalize("NFKC", key).casefold() in names)
            or is_like_one(one, names.get(key, {}))
            for key, one in value.items()
        )

    paths = ("args.a.b", "args.c[*].b.a")
    rules = {"deny_if": [{"path": path, "op": "eq", "value": "never"} for path in paths], "schema": "off"}
    decision = judge(rules, {"a": inner, "c": [inner], "x": inner})
    says = "differs from" in decision.message
    assert says == is_like_one({"a": inner, "c": [inner], "x": inner}, named)


JSON = st.recursive(
    st.none() | st.integers() | st.sampled_from(["#", "#/a", "#/9" + "9" * 5000, "x"]),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(["a", "A", "default", "properties", "items", "anyOf", "$ref", "additionalProperties"]), inner, max_size=4
    ),
    max_leaves=12,
)  # fmt: skip


@given(
    st.dictionaries(st.sampled_from(["a", "A", "b"]), JSON, max_size=3),
    st.dictionaries(st.sampled_from(["properties", "$ref", "anyOf", "default"]), JSON),
)
def test_whatever_is_called_a_schema_the_call_is_decided_and_the_arguments_stay(args, schema):
    before = copy.deepcopy(args)
    rules = {
        "deny_if": [{"path": "args.a", "op": "exists"}, {"path": "args.b[*].a", "op": "eq", "value": 1}],
        "schema": "off",
    }
    decision = judge(rules, args, schema)
    assert decision.effect in ("allow", "deny")
    assert args == before
    if "A" in args or args.get("a") is not None:
        listed = schema.get("properties")
        assert (
            decision.effect == "deny"
            or (isinstance(listed, dict) and {"a", "A"} <= listed.keys())
            or "$ref" in schema
            or "anyOf" in schema
        )
