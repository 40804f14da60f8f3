"""What a policy says across the calls of a session: what a call leaves behind, and what it has to find."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guarded_tools.marks import Mark, brought
from guarded_tools.policy import Policy, decide
from guarded_tools.values import ToolCall, ToolInfo

S = "session:s"
LOOKS = {"labels": ["untrusted"], "then": "approve"}


def policy(tools, **more):
    return Policy.model_validate({"version": "1", "default": "deny", "tools": tools, **more})


def judged(rules, tool, args=None, risk=None, **more):
    return decide(rules, ToolCall(tool, args or {}, "s", **more), None, risk)


def test_what_says_nothing_across_calls_asks_the_store_for_nothing():
    said = judged(policy({"a": {}}), "a")
    assert (said.across, said.succeeded) == (None, ())


def test_a_label_is_left_in_the_session_and_secret_is_private():
    said = judged(policy({"a": {"labels": ["untrusted", "secret", "mine"]}}), "a")
    assert said.effect == "allow"
    assert said.across.marks == tuple(
        Mark(S, "label", name, "a") for name in ("mine", "private", "secret", "untrusted")
    )
    assert brought(said.across) == ("mine", "private", "secret", "untrusted")


def test_a_label_with_when_is_brought_where_any_predicate_holds():
    when = [{"path": "args.box", "op": "eq", "value": "in"}, {"path": "args.all", "op": "eq", "value": True}]
    rules = policy({"a": {"labels": [{"label": "untrusted", "when": when}]}})
    assert brought(judged(rules, "a", {"box": "in"}).across) == ("untrusted",)
    assert brought(judged(rules, "a", {"box": "out", "all": True}).across) == ("untrusted",)
    assert judged(rules, "a", {"box": "out"}).across is None
    assert judged(rules, "a").across is None
    denied = judged(rules, "a", {"box": ["in"]})
    assert (denied.effect, denied.rule) == ("deny", "/tools/a/labels/0/when/args.box-eq")


def test_after_looks_for_all_labels_or_any_tool_in_its_scope():
    rules = policy(
        {
            "read": {"labels": ["untrusted", "private"]},
            "send": {
                "after": [
                    {"labels": ["untrusted", "private"], "then": "approve"},
                    {"tools": ["read", "del_*"], "then": "deny", "within": "1h", "scope": "grant", "message": "no"},
                ]
            },
            "del_a": {},
        }
    )
    asks, denies = judged(rules, "send", grant="ann").across.conditions
    assert (asks.scope, asks.kind, asks.names, asks.every, asks.then) == (
        S,
        "label",
        ("untrusted", "private"),
        True,
        "ask",
    )
    assert (denies.scope, denies.kind, denies.every, denies.then) == ("grant:ann", "admitted", False, "deny")
    assert (denies.within, denies.rule, denies.message) == (3600, "/tools/send/after/1", "no")
    # What it looks for is left where it looks.
    assert judged(rules, "del_a", grant="ann").across.marks == (Mark("grant:ann", "admitted", "del_*", "del_a"),)
    assert Mark("grant:ann", "admitted", "read", "read") in judged(rules, "read", grant="ann").across.marks
    # Without a grant, that is the session.
    assert judged(rules, "del_a").across.marks == (Mark(S, "admitted", "del_*", "del_a"),)


def test_an_after_with_when_speaks_of_calls_where_any_predicate_holds():
    when = [
        {"path": "args.to[*]", "op": "not_in", "value": ["ann", "bob"]},
        {"path": "args.amount", "op": "gt", "value": 50},
    ]
    rules = policy({"read": {"labels": ["untrusted"]}, "send": {"after": [LOOKS | {"when": when}]}})
    assert judged(rules, "send", {"to": ["ann", "bob"], "amount": 50}).across is None
    assert judged(rules, "send", {}).across is None
    for args in ({"to": ["ann", "eve"]}, {"to": ["ann"], "amount": 51}, {"to": ["eve"], "amount": 1}):
        (condition,) = judged(rules, "send", args).across.conditions
        assert (condition.rule, condition.scope) == ("/tools/send/after/0", S)


@pytest.mark.parametrize("args", [{"to": "eve"}, {"to": ["ann"], "amount": "51"}, {"to": [["ann"]]}])
def test_an_after_whose_when_cannot_be_judged_denies(args):
    when = [
        {"path": "args.to[*]", "op": "not_in", "value": ["ann", "bob"]},
        {"path": "args.amount", "op": "gt", "value": 50},
    ]
    rules = policy({"read": {"labels": ["untrusted"]}, "send": {"after": [LOOKS | {"when": when}]}})
    said = judged(rules, "send", args)
    assert said.effect == "deny"
    assert said.rule.startswith("/tools/send/after/0/when/args.")


def test_an_after_on_trial_looks_at_the_arguments_too():
    looks = LOOKS | {"when": [{"path": "args.to", "op": "eq", "value": "eve"}]}
    rules = policy({"read": {"labels": ["untrusted"]}, "send": {"shadow": True, "after": [looks]}})
    said = judged(rules, "send", {"to": "eve"})
    assert said.across is None
    assert [condition.scope for condition in said.shadow.across.conditions] == [f"shadow:{S}"]
    assert judged(rules, "send", {"to": "ann"}).shadow.across is None


def test_labels_go_where_rules_look_for_them():
    after = [{"labels": ["x"], "then": "deny", "scope": "grant"}]
    rules = policy({"read": {"labels": ["x", "y"]}, "send": {"after": after}})
    assert {(mark.scope, mark.name) for mark in judged(rules, "read", grant="ann").across.marks} == {
        (S, "x"),
        ("grant:ann", "x"),
        (S, "y"),
    }


def test_a_need_looks_for_a_success_with_the_same_values():
    rules = policy(
        {
            "create": {},
            "start": {"needs": [{"tool": "create", "same": {"args.id": "args.experiment"}, "within": "1d"}]},
        }
    )
    (done,) = judged(rules, "create", {"id": 7}).succeeded
    assert (done.scope, done.kind, done.name, done.tool) == (S, "succeeded", "create", "create")

    def same(value):
        (need,) = judged(rules, "start", {"experiment": value}).across.conditions
        assert (need.then, need.kind, need.names, need.within) == ("need", "succeeded", ("create",), 86_400)
        return need.same

    assert same(7) == done.same
    assert len({same(value) for value in (7, 7.0, "7", [7], {"a": 7}, True, 1)}) == 7
    assert "7" not in {done.same, same("7")}
    for missing in ({}, {"experiment": None}):
        denied = judged(rules, "start", missing)
        assert (denied.effect, denied.rule) == ("deny", "/tools/start/needs/0")
    assert judged(rules, "create").succeeded == ()


@given(
    st.dictionaries(st.sampled_from("abc"), st.integers(0, 2)),
    st.dictionaries(st.sampled_from("abc"), st.integers(0, 2)),
)
def test_values_are_the_same_exactly_where_they_are(earlier, later):
    pairs = {"args.a": "args.b", "args.c": "args.c"}
    rules = policy({"one": {}, "two": {"needs": [{"tool": "one", "same": pairs}]}})
    done = {mark.same for mark in judged(rules, "one", earlier).succeeded}
    said = judged(rules, "two", later)
    wanted = set() if said.effect == "deny" else {each.same for each in said.across.conditions}
    alike = {"a", "c"} <= earlier.keys() and (earlier.get("a"), earlier.get("c")) == (later.get("b"), later.get("c"))
    assert bool(done & wanted) == alike


def test_what_a_rule_for_many_tools_needs_may_come_first():
    rules = policy({"login": {}, "x_a": {}, "x_b": {}}, all_tools={"needs": [{"tool": "login"}]})
    assert judged(rules, "login").across is None
    assert [mark.name for mark in judged(rules, "login").succeeded] == ["login"]
    assert judged(rules, "x_a").across.conditions[0].names == ("login",)


@pytest.mark.parametrize("needed", [["login", "x_a"], ["x_*"], "x_*"])
def test_what_a_tool_needs_by_its_own_entry_it_needs_whatever_that_names(needed):
    rules = policy({"login": {}, "x_a": {"needs": [{"tool": needed}]}, "x_b": {}})
    (need,) = judged(rules, "x_a").across.conditions
    assert need.then == "need"
    assert {mark.name for mark in judged(rules, "x_a").succeeded} == {name for name in need.names if name != "login"}


def test_what_many_tools_need_may_be_one_of_them():
    rules = policy({"x_*": {"needs": [{"tool": "x_a"}]}})
    assert judged(rules, "x_a").across is None
    assert judged(rules, "x_b").across.conditions[0].names == ("x_a",)


def test_what_changed_state_is_outward_for_an_after_that_looks_for_it():
    tools = {**READS, "post": {"risk": "write", "labels": []}, "get": {"risk": "read", "labels": []}}
    drop = {"after": [{"labels": ["outward"], "then": "deny"}]}
    rules = policy({**tools, "drop": drop}, flow="trifecta")
    assert brought(judged(rules, "post").across) == ("outward",)
    assert brought(judged(rules, "get").across) == ()
    assert brought(judged(policy(tools, flow="trifecta"), "post").across) == ()  # nobody looks for it


@pytest.mark.parametrize("scope", ["session", "grant"])
@pytest.mark.parametrize("both", [False, True])
def test_a_rule_on_trial_finds_what_any_entry_brings_in_its_scope(scope, both):
    after = [{"labels": ["x"], "then": "deny", "scope": scope}]
    rules = policy({"read": {"labels": ["x"], "shadow": both}, "send": {"shadow": True, "after": after}})
    (looked_for,) = judged(rules, "send", grant="ann").shadow.across.conditions
    said = judged(rules, "read", grant="ann")
    marks = [mark for each in (said, said.shadow) if each and each.across for mark in each.across.marks]
    assert looked_for.scope in {mark.scope for mark in marks}
    assert not any(mark.scope.startswith("shadow:shadow:") for mark in marks)


@pytest.mark.parametrize(
    "right",
    [
        {"flow": "trifecta", "tools": {"a": {"labels": ["untrusted"], "shadow": True}, "b": {"labels": []}}},
        {"tools": {"a": {"shadow": True, "needs": [{"tool": "b"}]}, "b": {"needs": [{"tool": "a"}]}}},
        {"tools": {"a": {"labels": ["x"]}, "b": {"shadow": True, "after": [{"labels": ["x"], "then": "deny"}]}}},
        {"shadow": True, "tools": {"a": {"labels": ["x"]}, "b": {"after": [{"labels": ["x"], "then": "deny"}]}}},
        {"tools": {"a_*": {}, "b": {"needs": [{"tool": "*_x"}]}}},
        {"tools": {"x_*": {"needs": [{"tool": "x_a"}]}}},
    ],
)
def test_a_policy_that_may_bind_is_right(right):
    assert policy(**right)


READS = {"inbox": {"labels": ["untrusted"], "risk": "read"}, "crm": {"labels": ["private"], "risk": "read"}}


def test_the_trifecta_asks_about_what_leaves_or_changes_state():
    tools = {
        **READS,
        "mail": {"labels": ["outward"], "risk": "read"},
        "save": {"labels": [], "risk": "write"},
        "sum": {"labels": [], "risk": "read"},
        "odd": {},
    }
    rules = policy(tools, flow="trifecta")
    for tool in ("mail", "save", "odd"):
        (asks,) = judged(rules, tool).across.conditions
        assert (asks.rule, asks.then, asks.every, set(asks.names)) == ("/flow", "ask", True, {"untrusted", "private"})
    assert judged(rules, "sum").across is None
    assert judged(rules, "inbox").across.conditions == judged(rules, "crm").across.conditions == ()
    # What nobody labelled counts as all that it may be; of a known risk, only that it changes nothing is believed.
    assert brought(judged(rules, "odd").across) == ("private", "untrusted")
    assert judged(rules, "odd", risk="read").across.conditions == ()
    assert brought(judged(rules, "odd", risk="read").across) == ("private", "untrusted")


def test_the_rule_of_two_asks_about_the_third():
    tools = {**READS, "mail": {"labels": [], "risk": "write"}, "sum": {"labels": [], "risk": "read"}, "odd": {}}
    rules = policy(tools, flow="rule_of_two")
    wanted = {
        "inbox": {"private", "outward"},
        "crm": {"untrusted", "outward"},
        "mail": {"untrusted", "private"},
    }
    for tool, names in wanted.items():
        (asks,) = judged(rules, tool).across.conditions
        assert set(asks.names) == names
    assert brought(judged(rules, "mail").across) == ("outward",)
    assert judged(rules, "sum").across is None
    said = judged(rules, "odd")
    assert (said.effect, said.rule, said.ask.remember) == ("ask", "/flow", "never")
    assert judged(rules, "odd", risk="read").effect == "allow"


def test_a_trial_looks_at_marks_of_its_own_and_loosens_nothing():
    after = [{"labels": ["untrusted"], "then": "deny"}]
    tools = {"inbox": {"labels": ["untrusted"]}, "mail": {"shadow": True, "after": after, "labels": ["x"]}}
    rules = policy(tools)
    said = judged(rules, "mail")
    assert said.across is None
    assert said.shadow.across.conditions[0].scope == f"shadow:{S}"
    assert said.shadow.across.marks == (Mark(f"shadow:{S}", "label", "x", "mail"),)
    assert {mark.scope for mark in judged(rules, "inbox").across.marks} == {S, f"shadow:{S}"}
    # The labels of an entry on trial do not make its tool a labelled one.
    strict = policy({**READS, "odd": {"shadow": True, "labels": []}}, flow="trifecta")
    assert brought(judged(strict, "odd").across) == ("private", "untrusted")
    assert judged(strict, "odd").across.conditions != ()


def test_a_policy_on_trial_leaves_and_finds_everything_apart():
    tools = {**READS, "mail": {"needs": [{"tool": "crm"}]}}
    rules = policy(tools, flow="trifecta", shadow=True)
    said = judged(rules, "mail")
    assert (said.across, said.succeeded) == (None, ())
    assert {each.scope for each in said.shadow.across.conditions} == {f"shadow:{S}"}
    assert [mark.scope for mark in judged(rules, "crm").shadow.succeeded] == [f"shadow:{S}"]


@pytest.mark.parametrize("key", ["ID", "iD", "ｉd"])
def test_a_correlated_argument_in_other_letters_cannot_be_told(key):
    rules = policy({"a": {}, "b": {"needs": [{"tool": "a", "same": "args.id"}]}})
    assert judged(rules, "b", {"id": 1, key: 2}).effect == "deny"
    assert judged(rules, "a", {"id": 1, key: 2}).effect == "deny"


def test_a_policy_without_such_rules_keeps_its_fingerprint():
    plain = policy({"a": {"limits": [{"counter": "n", "window": 60, "max": 1}]}})
    assert (
        plain.fingerprint
        == policy({"a": {"limits": [{"counter": "n", "window": 60, "max": 1}], "after": []}}).fingerprint
    )
    assert (
        plain.fingerprint
        != policy({"a": {"limits": [{"counter": "n", "window": 60, "max": 1}], "labels": []}}).fingerprint
    )


def test_what_rules_across_calls_name_is_held_against_the_servers_tools():
    rules = policy(
        {
            "create": {"labels": [{"label": "x", "when": [{"path": "args.knid", "op": "eq", "value": 1}]}]},
            "start": {
                "needs": [{"tool": "creat*", "same": {"args.id": "args.experimentId"}}],
                "after": [{"labels": ["x"], "then": "deny"}],
            },
        },
        default="allow",
        all_tools={"after": [{"tools": ["delte"], "then": "deny"}], "needs": [{"tool": ["log_in", "creat*"]}]},
    )
    infos = [
        ToolInfo("create", schema={"properties": {"kind": {}}, "additionalProperties": False}),
        ToolInfo("start", schema={"properties": {"experiment": {}}, "additionalProperties": False}),
        ToolInfo("delete"),
    ]
    found = {problem.pointer: problem.hint for problem in rules.check_tools(infos)}
    assert found == {
        "/all_tools/after/0/tools": "did you mean delete?",
        "/all_tools/needs/0/tool": "",
        "/tools/create/labels/0/when/0/path": "did you mean kind?",
        "/tools/start/needs/0/same": "did you mean experiment?",
    }


def test_a_notebook_shows_what_a_policy_says_across_calls():
    tools = {
        **READS,
        "mail": {"after": [{"labels": ["private"], "then": "deny", "within": "1h"}], "labels": []},
        "start": {"needs": [{"tool": ["crm", "mail"], "same": "args.id"}], "labels": []},
        "pay": {"after": [LOOKS | {"when": [{"path": "args.amount", "op": "gt", "value": 50}]}], "labels": []},
    }
    page = policy(tools, flow="trifecta")._repr_html_()
    for words in (
        "flow: trifecta",
        "brings: untrusted",
        "brings: nothing",
        "denied after private within 1 hour, per session",
        "asked after untrusted when args.amount gt 50, per session",
        "needs: crm or mail, args.id = args.id, per session",
    ):
        assert words in page
