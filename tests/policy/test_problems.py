"""Everything that can be wrong with a policy is said, all at once, with its pointer and what to write instead."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest
import yaml

from guarded_tools.errors import PolicyError
from guarded_tools.policy import Policy
from tests.cases import every_case

BASE = {"version": "1", "default": "deny"}


@cache
def table():
    return yaml.load(Path(__file__).with_name("problems.yaml").read_text(encoding="utf-8"), Loader=yaml.SafeLoader)


def document(row):
    if "whole" in row:
        return row["whole"]
    if "rules" in row:
        return {**BASE, "tools": {"t": {"rules": row["rules"]}}}
    if "t" in row:
        return {**BASE, "tools": {"t": row["t"]}}
    return {**BASE, **row["policy"]}


def test_problems():
    with every_case() as case:
        for number, row in enumerate(table(), 1):
            with case(f"row {number}"):
                check(row)


def check(row):
    with pytest.raises(PolicyError) as raised:
        Policy.model_validate(document(row))
    problems = {problem.pointer: f"{problem.message} ({problem.hint})" for problem in raised.value.problems}
    assert problems.keys() == row["problems"].keys(), problems
    for at, said in row["problems"].items():
        assert said in problems[at]
    assert raised.value.unreadable is False


def test_all_problems_come_at_once():
    wrong = {"version": "1", "default": "deny", "tools": {}}
    expected = set()
    for row in table():
        if "t" in row:
            name = f"t{len(wrong['tools'])}"
            wrong["tools"][name] = row["t"]
            expected |= {at.replace("/tools/t/", f"/tools/{name}/") for at in row["problems"]}
    with pytest.raises(PolicyError) as raised:
        Policy.model_validate(wrong)
    assert {problem.pointer for problem in raised.value.problems} == expected


def test_a_broken_rule_of_the_second_dialect_hides_no_problem_of_the_others():
    rules = [
        {"name": "a", "rate_limit": "5/week"},
        {"name": "b", "conditions": [{"path": "args.a", "op": "regex", "value": "("}]},
        {"name": "c", "conditions": [{"path": "state.t.n", "op": "lt", "value": 5}]},
        {"name": "d", "rate_limit": "5/hour", "state": {"counter": "n", "window": "day"}},
    ]
    with pytest.raises(PolicyError) as raised:
        Policy.model_validate({**BASE, "tools": {"t": {"rules": rules}}})
    assert [problem.pointer for problem in raised.value.problems] == [
        "/tools/t/rules/0/rate_limit",
        "/tools/t/rules/2/conditions/0/path",
        "/tools/t/rules/3/state",
        "/tools/t/rules/1/conditions/0/value",
    ]


@pytest.mark.parametrize("data", [None, [], "deny", 5, True])
def test_what_is_no_object_is_no_policy(data):
    with pytest.raises(PolicyError, match="a policy is an object"):
        Policy.model_validate(data)
