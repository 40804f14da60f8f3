"""What a schema is put together from and names as defaults: as a search from each argument finds it, and in bounded time."""

from collections import Counter
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guarded_tools.policy import Policy, decide
from guarded_tools.policy.paths import UNDECIDED
from guarded_tools.policy.schema_parts import UNSAID, Parts, parts_of
from guarded_tools.policy.shapes import Shape
from guarded_tools.values import ToolCall

NAMES = st.sampled_from(["a", "b", "c"])
DEFAULTS = st.sampled_from([1, 1.0, "1", True, None, {"x": 1}, {"x": 1.0}, []])


def parts(inner):
    reference = st.builds("#/$defs/{}".format, NAMES)
    several = st.lists(inner, max_size=3)
    return st.fixed_dictionaries(
        {},
        optional={
            "$ref": reference,
            "default": DEFAULTS,
            "anyOf": several,
            "oneOf": several,
            "allOf": several,
            "if": inner,
            "then": inner,
            "dependentSchemas": st.dictionaries(NAMES, inner, max_size=2),
            "properties": st.dictionaries(NAMES, inner, max_size=3),
        },
    )


PART = st.recursive(st.just({}), parts, max_leaves=8)
SCHEMA = st.builds(
    lambda part, shelves: {**part, "$defs": shelves}, parts(PART), st.dictionaries(NAMES, parts(PART), max_size=3)
)


def searched(schemas, root):
    """What is left out, as a search from these schemas tells it."""
    said = [schema["default"] for schema in schemas if "default" in schema]
    said = said or [part["default"] for part in parts_of(schemas, root) if "default" in part]
    texts = {repr(default) for default in said}
    return UNSAID if not said else said[0] if len(texts) == 1 else UNDECIDED


@given(SCHEMA)
def test_a_default_is_what_a_search_finds(schema):
    known = Parts(schema)
    every = parts_of([schema, *schema["$defs"].values()], schema)
    for part in every:
        for schemas in ([part], [part, schema], []):
            found = known.default(schemas)
            assert repr(found) == repr(searched(schemas, schema))
    names_some = "'default'" in repr(schema)
    assert known.name_defaults == names_some


@given(SCHEMA)
def test_an_argument_is_its_default_wherever_it_is_listed(schema):
    shape = Shape([schema], Parts(schema), {})
    for key in shape.names:
        listed = [part["properties"][key] for part in parts_of([schema], schema) if key in part.get("properties", {})]
        assert repr(shape.defaults.get(key, UNSAID)) == repr(searched(listed, schema))


class Counted(dict[str, Any]):
    """A part of a schema that counts how often it is read."""

    read: ClassVar[Counter[str]] = Counter()

    def get(self, key, default=None):
        Counted.read[key] += 1
        return super().get(key, default)


def crossed(arguments, size, default):
    """So many arguments that refer to one definition of so many parts."""
    inner = [Counted(title="x", **default) for _ in range(size)]
    properties = {f"p{number}": Counted({"$ref": "#/$defs/d"}) for number in range(arguments)}
    return Counted(type="object", properties=properties, **{"$defs": {"d": Counted(allOf=inner), "e": {"default": 1}}})


@pytest.mark.parametrize("default", [{}, {"default": 1}], ids=["none in reach", "in every part"])
def test_every_part_is_read_once_however_many_ways_lead_to_it(default):
    schema = crossed(300, 300, default)
    Counted.read.clear()
    shape = Shape([schema], Parts(schema), {})
    assert len(shape.defaults) == (300 if default else 0)
    for key in shape.names:
        assert not shape.under(key).names
    assert Counted.read["anyOf"] <= 300 + 300 + 3
    assert Counted.read["$ref"] <= 300 + 300 + 3


def test_different_defaults_stay_undecided_however_many_there_are():
    schema = crossed(3, 3, {})
    for number, part in enumerate(schema["$defs"]["d"]["allOf"]):
        part["default"] = number
    assert set(Shape([schema], Parts(schema), {}).defaults.values()) == {UNDECIDED}
    schema["properties"]["p1"]["default"] = "its own"
    assert Shape([schema], Parts(schema), {}).defaults["p1"] == "its own"


def test_a_crossed_schema_is_decided():
    policy = Policy.model_validate(
        {
            "version": "1",
            "default": "allow",
            "tools": {"t": {"deny_if": [{"path": "args.p7", "op": "eq", "value": 1}]}},
        }
    )
    assert decide(policy, ToolCall("t", {"p7": 2}), crossed(900, 900, {})).effect == "allow"
    assert decide(policy, ToolCall("t", {}), crossed(900, 900, {"default": 1})).effect == "deny"


def test_what_cannot_be_linear_is_bounded_also_where_no_schema_is_checked(monkeypatch):
    monkeypatch.setattr("guarded_tools.policy.schema_parts._MOST_READ", 100_000)
    policy = Policy.model_validate(
        {
            "version": "1",
            "default": "allow",
            "schema": "off",
            "tools": {"t": {"deny_if": [{"path": "args.p7.q", "op": "eq", "value": 1}]}},
        }
    )
    object_ = {"properties": {"q": {}}}  # each argument is an object by that definition
    args = {f"p{number}": {} for number in range(300)}
    schema = crossed(300, 400, object_)
    for _ in range(2):
        decision = decide(policy, ToolCall("t", args), schema)
        assert (decision.effect, decision.rule) == ("deny", "/schema")
        assert "too often" in decision.message
    assert decide(policy, ToolCall("t", args), crossed(300, 200, object_)).effect == "allow"
