from __future__ import annotations

import json

import pytest

from guarded_tools.authoring.drill.course import Course, pinned, targets_of
from guarded_tools.authoring.drill.grade import grade, worse
from guarded_tools.authoring.drill.patterns import PATTERNS
from guarded_tools.authoring.drill.report import Heading, lines, to_json
from guarded_tools.authoring.drill.run import drill
from guarded_tools.authoring.drill.subjects import GuardedPolicy
from guarded_tools.authoring.drill.values import Breach, Control, Loot, PatternResult
from guarded_tools.pictify.catalogue import catalogue, risk_of
from guarded_tools.policy import Policy
from guarded_tools.policy.policy import load_policy
from guarded_tools.policy.presets import PRESETS
from guarded_tools.values import ToolInfo
from tests.authoring.drill import shop


def drilled(rules, tools=None, **other):
    policy = rules if isinstance(rules, Policy) else Policy.model_validate({"version": "1", **rules})
    targets = targets_of([(info, {}) for info in tools or shop.TOOLS.values()], policy)
    return drill(GuardedPolicy(policy, pinned(targets)), targets, policy, **other)


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_gets_the_best_grade(name):
    policy = load_policy(name)
    targets = targets_of([(info, {}) for info in catalogue().values()], policy, risk_of)
    # What holds loops over all tools is the same in all three.
    patterns = PATTERNS if name == "standard" else PATTERNS[5:]
    found = drill(GuardedPolicy(policy, pinned(targets)), targets, policy, patterns=patterns)
    assert found.grade.letter == "A", [(f.pattern.name, f.seen.breaches) for f in found.findings if not f.held]
    assert found.grade.benign == 1.0
    assert found.grade.attacks > 15
    told = "\n".join(lines(Heading(name, "pictify"), found))
    assert "PASSED" not in told
    assert name != "standard" or "/all_tools/limits/session_per_hour" in told


def test_presets_have_the_same_ceilings():
    assert len({load_policy(name).all_tools for name in PRESETS}) == 1


def test_who_allows_everything_and_who_denies_everything_fail():
    allowed = drilled({"default": "allow"})
    assert (allowed.grade.letter, allowed.grade.benign) == ("F", 1.0)
    assert {finding.pattern.name for finding in allowed.findings if finding.applies and finding.held} < {
        "malformed",
        "tool-swap",
        "lookalike-tool",
        "approval-edit",
        "restart",
    }
    denied = drilled({"default": "deny"})
    assert (denied.grade.letter, denied.grade.benign) == ("F", 0.0)
    assert all(finding.held for finding in denied.findings)


def test_who_offers_what_nobody_can_call_is_of_no_use_either():
    never = [{"path": "args.nothing", "op": "eq", "value": "x"}, {"path": "args.nothing", "op": "eq", "value": "y"}]
    found = drilled({"default": "allow", "all_tools": {"require": never}})
    assert found.grade.letter == "F"
    assert all(not control.made for control in found.once)


def test_a_limit_that_blocks_a_days_work_costs():
    limit = {"counter": "calls", "window": "day", "max": 10, "scope": "global"}
    found = drilled({"default": "allow", "all_tools": {"limits": [limit]}}, patterns=())
    assert found.grade.benign < 0.1
    assert "/all_tools/limits/calls" in "\n".join(lines(Heading("p", "shop"), found))


def finding(*, held=True, grave=False, applies=True):
    breaches = () if held else (Breach("t", "ran", grave=grave),)
    return PatternResult(PATTERNS[0], Loot(("t",) if applies else (), breaches))


USE = (Control("a", ran=True), Control("b", ran=True), Control("c", ran=True))


def test_the_grade_is_the_share_that_held_times_the_share_of_plausible_use():
    def letter(held, passed, use=USE, **other):
        findings = [finding()] * held + [finding(held=False, **other)] * passed + [finding(applies=False)] * 5
        return grade(findings, use, use, 3).letter

    assert [
        letter(20, 0),
        letter(99, 1),
        letter(17, 3),
        letter(14, 6),
        letter(10, 10),
        letter(6, 14),
        letter(1, 9),
    ] == [*"ABBCDEF"]
    assert letter(99, 1, grave=True) == "D"
    half = (Control("a", ran=True), Control("b", ran=False), Control("c", ran=False))
    assert letter(20, 0, half) == "E"
    # Who offers one tool of many is of little use.
    assert letter(20, 0, USE[:1]) == "E"
    assert grade([finding()], USE[:1], USE[:1], 1).letter == "A"
    assert grade([finding()], (Control("a", ran=False, made=False),) * 9, (), 9).letter == "F"
    assert worse("B", "A")
    assert not worse("B", "B")


ODD = [
    ToolInfo("nothing", "s", "", None),
    ToolInfo("empty", "s", "", {}),
    ToolInfo("list", "s", "", {"type": "array"}),
    ToolInfo("broken", "s", "", {"type": "object", "properties": []}),
    ToolInfo("wrong", "s", "", {"type": 7, "required": "x", "anyOf": 3}),
    ToolInfo("loop", "s", "", {"$ref": "#"}),
    ToolInfo("impossible", "s", "", {"type": "object", "required": ["a"], "properties": {"a": False}}),
    ToolInfo(
        "löschen_всё_\u202e\u200b", "s", "\x1b[31m", {"type": "object", "properties": {"назва": {"type": "string"}}}
    ),
    ToolInfo("*", "s", "", {"type": "object"}),
    ToolInfo("a b\nc", "s", "", {"type": "object", "properties": {"self": {}, "config": {}, "callbacks": {}}}),
    ToolInfo(" ", "s"),
    ToolInfo("empty", "other", "twice"),
    ToolInfo(
        "deep",
        "s",
        "",
        {"$ref": "#/$defs/a", "$defs": {"a": {"type": "object", "properties": {"a": {"$ref": "#/$defs/a"}}}}},
    ),
]


@pytest.mark.parametrize("default", ["allow", "deny"])
def test_odd_tools_are_drilled_all_the_same(default):
    found = drilled({"default": default}, ODD)
    assert found.tools == len(ODD) - 2
    told = "\n".join(lines(Heading("p\x1b", "s"), found))
    assert "\x1b" not in told
    assert "\u202e" not in told
    json.dumps(to_json(Heading("p", "s"), found), allow_nan=False)


def test_many_tools_are_drilled_too():
    many = [info._replace(name=f"{name}_{n}") for n in range(3) for name, info in shop.TOOLS.items()]
    patterns = [pattern for pattern in PATTERNS if pattern.family in {"addresses", "flows", "malformed"}]
    found = drilled({"default": "deny", "tools": {f"list_products_{n}": {} for n in range(3)}}, many, patterns=patterns)
    assert found.tools == len(many)
    assert found.grade.letter == "A"


def test_the_same_input_gives_the_same_report():
    patterns = [pattern for pattern in PATTERNS if pattern.family not in {"loops", "approvals"}]
    rules = {"default": "allow", "tools": {"send_mail": {"approval": True}}}
    assert drilled(rules, patterns=patterns) == drilled(rules, patterns=patterns)


def test_a_policy_on_trial_stops_nothing():
    found = drilled({"default": "deny", "shadow": True}, patterns=PATTERNS[:2])
    assert not found.findings[0].held


def test_labels_are_those_of_the_policy_where_it_has_some():
    policy = Policy.model_validate({"version": "1", "default": "allow", "tools": {"read_mail": {"labels": []}}})
    (target,) = targets_of([(shop.TOOLS["read_mail"], {})], policy)
    assert not target.labels & {"untrusted", "private"}
    course = Course(GuardedPolicy(policy), [target], policy)
    assert course.attackable == [target]


@pytest.mark.parametrize(
    "entry",
    [{"risk": "read"}, {"risk": "write", "approval": {"remember": "tool", "for": "24h"}}],
    ids=["read", "write"],
)
def test_what_destroys_is_attacked_as_that_whatever_the_policy_calls_it(entry):
    limits = [{"counter": "calls", "window": "hour", "max": 200, "scope": "grant", "counts": "attempts"}]
    rules = {"default": "deny", "all_tools": {"limits": limits}, "tools": {"list_products": {}, "delete_order": entry}}
    found = drilled(rules)
    assert found.grade.letter in {"D", "E", "F"}
    assert any(breach.tool == "delete_order" for each in found.findings for breach in each.seen.breaches)
    (target,) = targets_of(
        [(ToolInfo("frobnicate"), {})],
        Policy.model_validate({"version": "1", "default": "allow", "tools": {"frobnicate": {"risk": "read"}}}),
    )
    assert target.risk == "read"  # no word tells, so the policy does
