"""A schema that nothing can be checked against: named with its place, refused for arguments, and no end of a result."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guarded_tools.policy import Policy, decide
from guarded_tools.policy.schema_check import flaw_of, misfit, misfit_of_result
from guarded_tools.values import ToolCall, ToolInfo

OPENAPI = "https://spec.openapis.org/oas/3.0/schema/2019-04-02#/definitions/Schema"
A = {"a": {"type": "string"}}
FLAWED = {
    "openapi dialect": ({"$schema": OPENAPI, "properties": A}, "$schema"),
    "unused reference": ({"properties": {**A, "screen": {"$ref": "#/$defs/Screen"}}}, "/$defs/Screen"),
    "draft 4 by habit": ({"properties": {**A, "ttl": {"exclusiveMinimum": True}}}, "/properties/ttl/exclusiveMinimum"),
    "required by habit": ({"properties": {"a": {"type": "string", "required": True}}}, "/properties/a/required"),
    "unknown type": ({"properties": {"a": {"type": "any"}}}, "/properties/a/type"),
    "broken pattern": ({"properties": {"a": {"pattern": "("}}}, "/properties/a/pattern"),
    "elsewhere": ({"properties": {**A, "b": {"$ref": "http://localhost/x.json"}}}, "http://localhost/x.json"),
    "a list": ({"properties": []}, "/properties"),
    "multiplying": (
        {"$defs": {"b0": {}, **{f"b{n}": {"allOf": [{"$ref": f"#/$defs/b{n - 1}"}] * 2} for n in range(1, 40)}}, "$ref": "#/$defs/b39"},
        "too often",
    ),
}  # fmt: skip
NAMED = ["Page[Item]", "List<Item>", "Optional[str] | None", "Käse", "a b", "a%20b", 'x"y', "{id}", "^a"]


@pytest.mark.parametrize(("schema", "where"), FLAWED.values(), ids=FLAWED)
def test_a_flaw_is_named_with_its_place_and_the_way_out(schema, where):
    policy = Policy.model_validate({"version": "1", "default": "allow"})
    assert where in flaw_of(schema)
    decision = decide(policy, ToolCall("t", {"a": "x"}), schema)
    assert (decision.effect, decision.rule) == ("deny", "/schema")
    assert where in decision.message
    assert '"schema": "off"' in decision.message
    [told] = policy.check_schemas(
        [ToolInfo("t", schema=schema), ToolInfo("u", schema={"properties": A}), ToolInfo("v")]
    )
    assert where in told.message
    assert '"schema": "off"' in told.hint


@pytest.mark.parametrize(("schema", "where"), FLAWED.values(), ids=FLAWED)
def test_a_result_is_not_lost_over_a_schema_that_nothing_can_be_checked_against(schema, where):
    del where
    assert misfit_of_result(schema, {"a": 1}) is None


@pytest.mark.parametrize("name", NAMED)
def test_a_definition_may_be_called_what_its_author_likes(name):
    reference = "#/$defs/" + name.replace("%", "%25").replace("~", "~0").replace("/", "~1")
    schema = {"$defs": {name: {"type": "string"}}, "properties": {"a": {"$ref": reference}, "$ref": {"type": "string"}}}
    assert flaw_of(schema) == ""
    assert misfit(schema, {"a": "x", "$ref": "Page[Item]"}) is None
    assert "/a" in (misfit(schema, {"a": 1}) or "")
    assert "/a" in (misfit_of_result(schema, {"a": 1}) or "")


def test_a_constant_that_looks_like_a_reference_stays_what_it_is():
    schema = {"properties": {"a": {"const": {"$ref": "#/x[y]"}}, "b": {"enum": [{"$ref": "x y"}]}}}
    assert misfit(schema, {"a": {"$ref": "#/x[y]"}, "b": {"$ref": "x y"}}) is None
    assert misfit(schema, {"a": {"$ref": "#/x%5By%5D"}}) is not None


def test_a_tool_may_go_unchecked_and_only_it():
    flawed = FLAWED["unused reference"][0]
    tools = {"t": {"schema": "off"}, "u": {}, "v": {"schema": "off", "shadow": True}, "s_*": {"schema": "off"}}
    policy = Policy.model_validate({"version": "1", "default": "deny", "tools": tools})
    infos = [ToolInfo(name, schema=flawed) for name in ("t", "u", "v", "s_1", "S_1")]
    assert decide(policy, ToolCall("t", {"a": 1}), flawed).effect == "allow"
    assert decide(policy, ToolCall("s_1", {"a": 1}), flawed).effect == "allow"
    assert decide(policy, ToolCall("u", {}), flawed).rule == "/schema"
    assert decide(policy, ToolCall("v", {}), flawed).rule == "/schema", "an entry on trial loosens nothing"
    assert decide(policy, ToolCall("T", {}), flawed).effect == "deny"
    assert [told.pointer for told in policy.check_schemas(infos)] == ["/tools/u", "/tools/v", "/tools/s_*"]


def test_a_tool_may_be_checked_where_others_are_not():
    policy = Policy.model_validate(
        {"version": "1", "default": "allow", "schema": "off", "tools": {"t": {"schema": "strict"}}}
    )
    assert decide(policy, ToolCall("t", {"a": 1}), {"properties": A}).rule == "/schema"
    assert decide(policy, ToolCall("u", {"a": 1}), {"properties": A}).effect == "allow"


def test_a_policy_that_does_not_speak_of_it_keeps_its_fingerprint():
    policy = Policy.model_validate({"version": "1", "default": "deny", "tools": {"t": {}}})
    assert policy.fingerprint == "95449259e541a2c6c8e765f2796ce1b573ab485d4e85473da37f841802ba88c8"
    off = Policy.model_validate({"version": "1", "default": "deny", "tools": {"t": {"schema": "off"}}})
    assert off.fingerprint != policy.fingerprint


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.sampled_from(["#", "#/x", "[", "\ud800", "object", OPENAPI]) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(["$ref", "$id", "$schema", "$defs", "properties", "items", "type", "pattern", "allOf", "\ud800"]), inner, max_size=4
    ),
    max_leaves=10,
)  # fmt: skip


@given(JUNK, JUNK | st.just(float("nan")) | st.just(object()))
def test_whatever_a_server_calls_a_schema_a_result_survives_it(schema, content):
    flaw = flaw_of(schema)
    assert flaw.isprintable()
    assert flaw == "" or misfit_of_result(schema, content) is None


def test_a_result_that_certainly_does_not_fit_is_told_and_one_too_large_to_tell_is_not():
    schema = {"properties": {"n": {"items": {"not": {"anyOf": [{"const": i} for i in range(4000)]}}}}}
    assert misfit_of_result(schema, {"n": [5]}) is not None
    assert misfit_of_result(schema, {"n": [5] * 30_000}) is None
    assert misfit_of_result(schema, {"n": float("inf")}) is None
