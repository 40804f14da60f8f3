"""What a model is told acts on no terminal, and says what helps."""

import pytest

from guarded_tools import Guard, Policy, ToolCall, ToolDenied, ToolInfo

EVIL = "\x1b[2J\x1b[Hall is well\n\u202e"


def refused(schema, args, policy=None):
    guard = Guard(
        Policy.model_validate(policy or {"version": "1", "default": "deny", "tools": {"t": {}}}),
        session="s",
        store="memory://",
    )
    with pytest.raises(ToolDenied) as denied:
        guard.call(ToolCall("t", args, "s"), lambda _: None, info=ToolInfo("t", "s", "", schema))
    return str(denied.value)


@pytest.mark.parametrize(
    ("schema", "args"),
    [
        ({"type": "object", "additionalProperties": {"type": "integer"}}, {EVIL: "x"}),
        ({"type": "object", "properties": {}, "additionalProperties": False}, {EVIL: "x"}),
        ({"type": "object", "propertyNames": {"maxLength": 2}}, {EVIL: "x"}),
        ({"type": "object", "required": [EVIL]}, {}),
        ({"type": "object", "properties": {"a": {"enum": [EVIL]}}}, {"a": 1}),
    ],
)
def test_nothing_of_a_name_acts(schema, args):
    assert refused(schema, args).isprintable()


def test_a_misfit_is_to_be_corrected_and_what_cannot_be_checked_is_not():
    said = refused({"type": "object", "properties": {"n": {"type": "integer"}}}, {"n": "3"})
    assert said.endswith("The arguments do not fit the tool's schema: correct them and call the tool again.")
    assert "do not repeat" in refused({"type": "object", "properties": {"n": {"type": "nonsense"}}}, {"n": "3"})
    assert "do not repeat" in refused(None, {}, {"version": "1", "default": "deny"})
