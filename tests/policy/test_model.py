"""A policy is a value: it does not change, is equal to itself in another format, and knows its own names."""

from __future__ import annotations

import copy
import json
import pickle
import threading
import warnings

import pytest
from pydantic import ValidationError

from guarded_tools.errors import PolicyError
from guarded_tools.policy import Policy, decide
from guarded_tools.policy.engine import CompiledPolicy
from guarded_tools.policy.explain import explain
from guarded_tools.values import ToolCall, ToolInfo

BASE = {"version": "1", "default": "deny"}


def test_nothing_of_it_can_be_replaced():
    policy = Policy.model_validate({**BASE, "hide": ["x"], "tools": {"t": {"rate_limit": "5/hour"}}})
    with pytest.raises(ValidationError):
        policy.default = "allow"
    with pytest.raises(ValidationError):
        policy.tools["t"].rate_limit.max = 500
    with pytest.raises(TypeError):
        policy.tools["u"] = policy.tools["t"]
    with pytest.raises(AttributeError):
        policy.hide.append("y")


def test_data_that_changes_afterwards_changes_no_policy():
    values = ["ann"]
    nested = {"k": [1]}
    data = {**BASE, "tools": {"t": {"require": [{"path": "args.a", "op": "in", "value": values}],
                                    "deny_if": [{"path": "args.b", "op": "eq", "value": nested}]}}}  # fmt: skip
    policy = Policy.model_validate(data)
    before = policy.fingerprint
    values.append("eve")
    nested["k"].append(2)
    data["tools"]["u"] = {}
    data["default"] = "allow"
    assert decide(policy, ToolCall("t", {"a": "eve"})).effect == "deny"
    assert decide(policy, ToolCall("t", {"a": "ann", "b": {"k": [1]}})).effect == "deny"
    assert decide(policy, ToolCall("u", {})).effect == "deny"
    assert (
        policy.fingerprint
        == before
        == Policy.model_validate(policy.model_dump(by_alias=True, exclude_none=True)).fingerprint
    )


def test_a_copy_with_a_change_is_decided_by_the_change():
    policy = Policy.model_validate({**BASE, "tools": {"t": {}}})
    before = policy.fingerprint, decide(policy, ToolCall("u", {})).effect
    open_one = policy.model_copy(update={"default": "allow"})
    assert decide(open_one, ToolCall("u", {})).effect == "allow"
    assert open_one.fingerprint != before[0]
    assert (policy.fingerprint, decide(policy, ToolCall("u", {})).effect) == before


def test_it_can_be_copied_and_pickled(tmp_path):
    file = tmp_path / "p.json"
    file.write_text(json.dumps({**BASE, "tools": {"t": {"rate_limit": "5/hour"}}}))
    policy = Policy.from_file(file)
    assert policy == Policy.model_validate(json.loads(file.read_text()))
    decide(policy, ToolCall("t", {}))
    for twin in (copy.copy(policy), copy.deepcopy(policy), pickle.loads(pickle.dumps(policy))):
        assert twin == policy
        assert hash(twin) == hash(policy)
        assert twin.fingerprint == policy.fingerprint
        assert decide(twin, ToolCall("t", {})) == decide(policy, ToolCall("t", {}))


def test_the_fingerprint_is_of_what_it_says(tmp_path):
    first = Policy.model_validate({**BASE, "tools": {"t": {"rate_limit": "5/hour"}}})
    for same in (
        {**BASE, "tools": {"t": {"rate_limit": {"max": 5, "window": 3600}}}},
        {
            **BASE,
            "tools": {"t": {"rate_limit": {"max": 5, "window": "1h"}}},
            "description": "words",
            "$schema": "x.json",
        },
    ):
        assert Policy.model_validate(same).fingerprint == first.fingerprint
    for other in (
        {**BASE, "tools": {"t": {"rate_limit": "6/hour"}}},
        {**BASE, "tools": {"t": {"rate_limit": "5/hour"}}, "server": "s"},
        {**BASE, "tools": {"t": {"rate_limit": "5/hour"}}, "schema": "off"},
        {**BASE, "tools": {"t": {"rate_limit": "5/hour"}, "u": {}}},
    ):
        assert Policy.model_validate(other).fingerprint != first.fingerprint


def test_the_order_of_globs_is_part_of_what_it_says():
    one = Policy.model_validate({**BASE, "tools": {"get_*": {}, "*_all": {"action": "deny"}}})
    two = Policy.model_validate({**BASE, "tools": {"*_all": {"action": "deny"}, "get_*": {}}})
    assert decide(one, ToolCall("get_all", {})).effect != decide(two, ToolCall("get_all", {})).effect
    assert one.fingerprint != two.fingerprint


def test_a_policy_is_taken_as_it_is():
    policy = Policy.model_validate(BASE)
    assert Policy.model_validate(policy) is policy


def test_hides():
    policy = Policy.model_validate({**BASE, "hide": ["drop", "old_*"], "tools": {"Drop": {}}})
    assert [name for name in ("drop", "DROP", "Drop", "old_x", "dropped", "ｄrop") if policy.hides(name)] == [
        "drop", "DROP", "old_x", "ｄrop",
    ]  # fmt: skip


def test_a_missing_default_warns_where_the_file_is_read(tmp_path):
    file = tmp_path / "p.yaml"
    file.write_text('version: "1"\ntools: {a: {rules: []}}\n')
    with pytest.warns(UserWarning, match=r"p.yaml:2:8: /tools: default is missing") as caught:
        policy = Policy.from_file(file)
    assert caught[0].filename == __file__
    assert policy.default == "allow"
    assert [problem.pointer for problem in policy.warnings] == ["/tools"]
    file.write_text('version: "1"\ndefault: allow\ntools: {a: {rules: []}}\n')
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert Policy.from_file(file).warnings == ()


@pytest.mark.parametrize("op", ["gt", "eq", "in"])
def test_a_number_that_no_message_could_hold_is_refused(op):
    long = 10**5000
    predicate = {"path": "args.a", "op": op, "value": [1, -long] if op == "in" else long}
    with pytest.raises(PolicyError, match=r"/tools/t/require/0/value: .*too long"):
        Policy.model_validate({**BASE, "tools": {"t": {"require": [predicate]}}})


def test_limits_of_questions_have_defaults_and_can_be_set():
    assert tuple(Policy.model_validate(BASE).approvals.model_dump().values()) == (5, 20, 600, 3, False)
    policy = Policy.model_validate({**BASE, "approvals": {"max_pending": 1, "window": "1h"}})
    assert (policy.approvals.max_pending, policy.approvals.window, policy.approvals.max_asks) == (1, 3600, 20)


SCHEMA = {
    "type": "object",
    "properties": {
        "amount": {"type": "number"},
        "open": {"type": "object", "additionalProperties": True, "properties": {"a": {}}},
        "events": {"type": "array", "items": {"$ref": "#/$defs/event"}},
        "any": True,
        "loop": {"$ref": "#/$defs/loop"},
        "either": {"anyOf": [{"type": "null"}, {"type": "object", "properties": {"x": {}}}]},
    },
    "$defs": {
        "loop": {"anyOf": [{"$ref": "#/$defs/loop"}]},
        "event": {"type": "object", "properties": {"kind": {}, "next": {"$ref": "#/$defs/event"}}},
    },
}


@pytest.mark.parametrize(
    ("path", "hint"),
    [
        ("args.amount", None),
        ("args.amuont", "did you mean amount?"),
        ("args.events[*].kind", None),
        ("args.events[*].knd", "did you mean kind?"),
        ("args.events[0].next.next.kind", None),
        ("args.events[0].next.nxt", "did you mean next?"),
        ("args.events.length", None),
        ("args.open.anything", None),
        ("args.either.x", None),
        ("args.either.yy", "there are x"),
        ("args.amount.deeper", None),
        ("args.any.thing", None),
        ("args.loop.x", None),
    ],
)
def test_a_path_that_the_schema_does_not_have_is_found(path, hint):
    for kind in ("require", "deny_if"):
        policy = Policy.model_validate({**BASE, "tools": {"pay": {kind: [{"path": path, "op": "exists"}]}}})
        found = policy.check_tools([ToolInfo("pay", schema=SCHEMA)])
        assert [problem.hint for problem in found] == ([] if hint is None else [hint])
        assert all(problem.pointer == f"/tools/pay/{kind}/0/path" for problem in found)
        assert policy.check_tools(["pay"]) == ()


def test_a_path_across_calls_that_the_schema_does_not_have_is_found():
    when = [{"path": "args.amuont", "op": "exists"}]
    rules = {"labels": [{"label": "x", "when": when}], "after": [{"labels": ["x"], "when": when, "then": "deny"}]}
    found = Policy.model_validate({**BASE, "tools": {"pay": rules}}).check_tools([ToolInfo("pay", schema=SCHEMA)])
    assert [(problem.pointer, problem.hint) for problem in found] == [
        ("/tools/pay/labels/0/when/0/path", "did you mean amount?"),
        ("/tools/pay/after/0/when/0/path", "did you mean amount?"),
    ]


@pytest.mark.parametrize(
    "more",
    [
        {"if": {"properties": {"amount": {"const": 1}}}, "then": {"properties": {"note": {}}}},
        {"else": {"properties": {"note": {}}}},
        {"dependentSchemas": {"amount": {"properties": {"note": {}}}}},
        {"allOf": [{"if": {}, "then": {"$ref": "#/$defs/more"}}], "$defs": {"more": {"properties": {"note": {}}}}},
    ],
)
def test_a_path_that_only_some_calls_have_is_there(more):
    policy = Policy.model_validate({**BASE, "tools": {"pay": {"deny_if": [{"path": "args.note", "op": "exists"}]}}})
    assert policy.check_tools([ToolInfo("pay", schema={"properties": {"amount": {}}, **more})]) == ()


@pytest.mark.parametrize(
    "more", [{"anyOf": 5, "$ref": "#/anyOf/0"}, {"anyOf": [{"$ref": "#/$defs/x"}] * 9}, {"dependentSchemas": [1]}]
)
def test_no_schema_keeps_or_breaks_the_search_for_a_path(more):
    schema = {"properties": {"amount": {}}, "$defs": {"x": {"allOf": [{"$ref": "#/$defs/x"}] * 9}}, **more}
    policy = Policy.model_validate({**BASE, "tools": {"pay": {"deny_if": [{"path": "args.amuont", "op": "exists"}]}}})
    assert policy.check_tools([ToolInfo("pay", schema=schema)])[0].hint == "did you mean amount?"


@pytest.mark.parametrize(
    "reference", ["#", "#/allOf/0", "#more", "https://example.com/more.json", {"not": "a text"}], ids=str
)
def test_a_path_that_may_be_behind_a_reference_is_there(reference):
    # Such a policy could not be used: every start compares it with what the servers list.
    child = {"anyOf": [{"$ref": reference}, {"type": "object", "properties": {"leaf": {}}}]}
    more = {"$anchor": "more", "type": "object", "properties": {"note": {}}}
    schema = {"properties": {"note": {}, "child": child}, "allOf": [more]}
    for path, found in (("args.child.note", True), ("args.child.leaf", True), ("args.nte", False)):
        policy = Policy.model_validate({**BASE, "tools": {"pay": {"deny_if": [{"path": path, "op": "exists"}]}}})
        assert (policy.check_tools([ToolInfo("pay", schema=schema)]) == ()) is found


def test_where_a_tool_takes_nothing_that_is_what_is_said():
    policy = Policy.model_validate({**BASE, "tools": {"pay": {"deny_if": [{"path": "args.a", "op": "exists"}]}}})
    assert policy.check_tools([ToolInfo("pay", schema={"properties": {}})])[0].hint == "nothing is known there"


def test_a_path_for_many_tools_is_there_if_one_of_them_has_it():
    rule = {"require": [{"path": "args.amount", "op": "exists"}]}
    policy = Policy.model_validate(
        {**BASE, "tools": {"pay_*": rule}, "all_tools": {"deny_if": [{"path": "args.zz", "op": "exists"}]}}
    )
    other = {"type": "object", "properties": {"x": {}}}
    found = policy.check_tools([ToolInfo("pay_a", schema=SCHEMA), ToolInfo("pay_b", schema=other)])
    assert [problem.pointer for problem in found] == ["/all_tools/deny_if/0/path"]


def test_counts_and_conditions_of_questions_are_looked_up_too():
    tool = {
        "limits": [{"counter": "c", "window": "day", "max": 9, "count": "args.amuont"}],
        "approval": {"when": [{"path": "args.amuont", "op": "gt", "value": 5}]},
    }
    policy = Policy.model_validate({**BASE, "tools": {"pay": tool}})
    assert [problem.pointer for problem in policy.check_tools([ToolInfo("pay", schema=SCHEMA)])] == [
        "/tools/pay/approval/when/0/path",
        "/tools/pay/limits/0/count",
    ]


@pytest.mark.parametrize(
    ("rules", "told"),
    [
        ({"tools": {"drop": {"approval": {"remember": "same"}}}}, ["/tools/drop/approval/remember"]),
        ({"tools": {"drop": {"approval": {"remember": "never"}}}}, []),
        ({"tools": {"drop": {"approval": {"remember": "same"}, "risk": "write"}}}, []),
        ({"tools": {"*_page": {"approval": {"remember": "tool"}}}}, []),
        ({"tools": {"drop*": {"approval": {"remember": "tool"}}}}, ["/tools/drop*/approval/remember"]),
        ({"tools": {"*": {}}, "all_tools": {"approval": {"remember": "tool"}}}, []),
        ({"tools": {"*": {"risk": "financial"}}, "all_tools": {"approval": {"remember": "tool"}}}, ["/all_tools/approval/remember"]),
    ],
)  # fmt: skip
def test_a_memory_that_the_risk_of_the_tools_forbids_is_found(rules, told):
    risks = {"drop": "destructive", "drop_page": "financial", "get_page": "read"}
    tools = [ToolInfo(name, risk=risk) for name, risk in risks.items()]
    policy = Policy.model_validate({**BASE, **rules})
    assert [problem.pointer for problem in policy.check_tools(tools)] == told
    assert all("is never remembered" in problem.message for problem in policy.check_tools(tools))


def test_keys_globs_and_hidden_names_without_a_tool_are_found(tmp_path):
    file = tmp_path / "p.yaml"
    file.write_text(
        'version: "1"\ndefault: deny\nhide: [drop_al, "*"]\ntools:\n  get_pge: {}\n  "set_*": {}\n  "get_*": {}\n'
    )
    found = Policy.from_file(file).check_tools(["get_page", "drop_all"])
    assert [(problem.line, problem.pointer, problem.hint) for problem in found] == [
        (3, "/hide/0", "did you mean drop_all?"),
        (5, "/tools/get_pge", "did you mean get_page?"),
        (6, "/tools/set_*", ""),
    ]


def test_names_without_end_do_not_fill_the_memory():
    policy = Policy.model_validate({**BASE, "default": "allow"})
    for number in range(10_000):
        decide(policy, ToolCall(f"invented_{number}", {}))
    assert isinstance(policy.compiled, CompiledPolicy)
    assert len(policy.compiled) < 5_000


def test_many_threads_decide_alike():
    tools = {f"tool_{number}": {"require": [{"path": "args.n", "op": "eq", "value": number}]} for number in range(200)}
    policy = Policy.model_validate({**BASE, "tools": tools})
    wrong = []

    def work():
        wrong.extend(
            number
            for number in range(200)
            for n in (number, number + 1)
            if (decide(policy, ToolCall(f"tool_{number}", {"n": n})).effect == "allow") is not (n == number)
        )

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_deciding_leaves_the_arguments_alone():
    tool = {
        "deny_if": [{"path": "args.a[*].b", "op": "eq", "value": 9}],
        "limits": [{"counter": "c", "window": 60, "max": 9, "count": "args.a.length"}],
    }
    policy = Policy.model_validate({**BASE, "tools": {"t": tool}})
    args = {"a": [{"b": 1}, {"b": 2}]}
    before = copy.deepcopy(args)
    decide(policy, ToolCall("t", args), {"type": "object"})
    explain(policy, ToolCall("t", args), {"type": "object"})
    assert args == before


def test_values_to_log_are_read_by_path():
    policy = Policy.model_validate(
        {**BASE, "log_values": ["args.to", "args.rows[*].id", "args.none", "args.to.deeper"]}
    )
    assert policy.logged({"to": "ann", "rows": [{"id": 1}, {}, {"id": 3}]}) == {
        "args.to": "ann",
        "args.rows[*].id": [1, 3],
    }
    assert Policy.model_validate(BASE).logged({"to": "ann"}) is None


def test_the_risk_of_a_tool_is_that_of_the_entry_that_speaks_for_it():
    policy = Policy.model_validate(
        {**BASE, "tools": {"pay": {"risk": "financial"}, "get_*": {"risk": "read"}, "x": {}}}
    )
    assert [policy.risk(name) for name in ("pay", "get_a", "x", "y", "PAY")] == ["financial", "read", None, None, None]


@pytest.mark.parametrize("key", [5, None, b"x", ("a", "b"), True])
def test_a_tools_name_that_is_no_text_is_a_problem_of_the_policy(key):
    with pytest.raises(PolicyError, match=r"a tool's name is a text"):
        Policy.model_validate({**BASE, "tools": {"t": {}, key: {}}})


@pytest.mark.parametrize("known", [True, False])
def test_a_length_that_would_read_a_key_of_the_tool_is_told(known):
    box = {"type": "object", "properties": {"length" if known else "width": {}}}
    schema = {
        "properties": {"boxes": {"items": box}, "password": {"type": "string"}, **({"length": {}} if known else {})}
    }
    rules = [
        {"path": path, "op": "lte", "value": 9}
        for path in ("args.boxes[*].length", "args.length", "args.password.length", "args.boxes.length")
    ]
    policy = Policy.model_validate({"version": "1", "default": "deny", "tools": {"t": {"require": rules}}})
    found = policy.check_tools([ToolInfo("t", schema=schema)])
    assert [problem.pointer for problem in found] == [f"/tools/t/require/{n}/path" for n in (0, 1) if known]
    assert all('write ["length"]' in problem.hint for problem in found)
