"""The arguments that are tried: they hit the bounds of every operator, fit the schema where they can, and stay few."""

import json
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guarded_tools.authoring.candidates import candidates, put
from guarded_tools.authoring.pattern_samples import samples
from guarded_tools.policy import Policy, decide
from guarded_tools.policy.operators import compile_regex
from guarded_tools.policy.paths import MISSING, parse_path
from guarded_tools.policy.schema_check import misfit
from guarded_tools.values import ToolCall, canonical
from tests.cases import every_case


def policy(**tool):
    return Policy.model_validate({"version": "1", "default": "deny", "tools": {"pay": tool}})


def tried(judged, schema=None, **options):
    return list(candidates([judged.compiled.rules("pay")], schema, **options))


EVERY_OPERATOR = {
    "eq": 5,
    "neq": "main",
    "in": ["EUR", "USD"],
    "not_in": ["root", 0],
    "lt": 10,
    "lte": 2.5,
    "gt": -1,
    "gte": 10**400,
    "regex": "^tpl_[a-z0-9]{6}$",
    "contains": "drop",
    "exists": True,
    "url_host": ["*.example.com", "192.0.2.0/24", "2001:db8::1"],
    "segment": True,
}


def test_of_every_operator_both_sides_are_tried():
    with every_case() as case:
        for op, value in EVERY_OPERATOR.items():
            with case(op):
                judged = policy(require=[{"path": "args.a", "op": op, "value": value}])
                effects = {decide(judged, ToolCall("pay", args)).effect for args in tried(judged)}
                assert effects == {"allow", "deny"}


def test_paths_of_every_form_are_filled():
    paths = ["args.a", "args.a.b", "args.a[*]", "args.a[*].b", "args.a[2].b", "args.a.length", 'args["x y"].length']
    with every_case() as case:
        for path in paths:
            with case(path):
                value = 3 if path.endswith("length") else "v"
                judged = policy(require=[{"path": path, "op": "eq", "value": value}])
                assert any(decide(judged, ToolCall("pay", args)).effect == "allow" for args in tried(judged))


def test_two_arguments_change_together():
    judged = policy(
        deny_if=[{"path": "args.a", "op": "eq", "value": 1}], require=[{"path": "args.b", "op": "gt", "value": 5}]
    )
    assert {"a": 1, "b": 6} in tried(judged)
    assert {"a": 1, "b": 5} in tried(judged)


def test_a_call_that_passes_all_rules_comes_first():
    rules = [{"path": f"args.a{n}", "op": "eq", "value": n} for n in range(6)]
    judged = policy(require=rules)
    assert decide(judged, ToolCall("pay", tried(judged)[0])).effect == "allow"


SCHEMA = {
    "type": "object",
    "properties": {
        "amount": {"type": "integer", "minimum": 1, "maximum": 900},
        "currency": {"$ref": "#/$defs/currency"},
        "to": {"type": "array", "minItems": 2, "items": {"type": "object", "required": ["iban"]}},
    },
    "required": ["amount", "currency", "to"],
    "additionalProperties": False,
    "$defs": {"currency": {"enum": ["EUR", "USD"]}},
}


def test_arguments_fit_the_schema_and_its_bounds_are_tried():
    judged = policy(require=[{"path": "args.amount", "op": "lte", "value": 500}])
    found = tried(judged, SCHEMA)
    assert misfit(SCHEMA, found[0]) is None
    fitting = [args["amount"] for args in found if misfit(SCHEMA, args) is None]
    assert {1, 500, 501, 900} <= set(fitting)


def test_a_length_is_tried_as_a_list_or_a_text_and_never_beyond_measure():
    limit = {"counter": "c", "window": "hour", "max": 1000, "count": "args.items.length"}
    found = tried(policy(limits=[limit]))
    assert {1000, 1001} <= {len(args.get("items", ())) for args in found}
    huge = tried(policy(limits=[{**limit, "max": 2**53}]))
    assert sum(len(json.dumps(args)) for args in huge) < 5_000_000
    assert len(put({"html": "ab"}, parse_path("args.html.length"), 7)["html"]) == 7


def test_what_cannot_be_placed_is_told():
    for path, value in [("args.a.length", -1), ("args.a.length", 10**9), ("args.a[99999999]", 1)]:
        with pytest.raises(ValueError, match=re.escape(path)):
            put({}, parse_path(path), value)
    assert put({"a": 1}, parse_path("args.a"), MISSING) == {}


def test_the_paths_asked_for_come_first_and_there_is_an_end():
    rules = [{"path": f"args.a{n}", "op": "in", "value": list(range(30))} for n in range(40)]
    judged = policy(deny_if=rules)
    found = tried(judged, first={"args.a39"}, most=500)
    assert len(found) == 500
    assert any("a39" in args for args in found[:8])


def test_rules_on_trial_and_across_calls_are_read_too():
    judged = policy(
        shadow=True,
        require=[{"path": "args.a", "op": "eq", "value": "on trial"}],
        labels=[{"label": "private", "when": [{"path": "args.b", "op": "eq", "value": "labelled"}]}],
        after=[{"labels": ["private"], "then": "deny", "when": [{"path": "args.c", "op": "eq", "value": "after"}]}],
    )
    text = canonical(tried(judged))
    assert all(word in text for word in ("on trial", "labelled", "after"))


def test_samples_match():
    patterns = ["^tpl_[a-z0-9]{6}$", "@example\\.com$", "(?i)drop\\s+table", "^a(b|c)*d{2,}$", "\\d+-[^a]"]
    assert all(map(samples, patterns))


def test_of_what_is_not_read_there_are_no_samples():
    assert [samples(pattern) for pattern in ("a{500}", "(?P<", "[", "a**", "(" * 5000, "a$b")] == [()] * 6


@settings(max_examples=60, deadline=None)
@given(st.text("ab.*+?()[]{}|^$\\d1,-", max_size=12))
def test_every_sample_of_any_pattern_is_found_by_it(pattern):
    for text in samples(pattern):
        assert compile_regex(pattern, fold_case=False).search(text) is not None


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=40, deadline=None)
@given(json_values)
def test_any_schema_is_survived(schema):
    judged = policy(require=[{"path": "args.a[*].b", "op": "in", "value": ["x", 1]}])
    odd = {
        "properties": {"a": schema, "b": {"$ref": "#/properties/b"}},
        "required": ["a", "b"],
        "allOf": [{"$ref": "#"}],
    }
    assert list(candidates([judged.compiled.rules("pay")], odd, most=50))
