from __future__ import annotations

import pytest

from guarded_tools.authoring.policy_cases import Cases
from guarded_tools.authoring.policy_tests import run
from guarded_tools.errors import PolicyError
from guarded_tools.policy import Policy

POLICY = {
    "version": "1",
    "default": "deny",
    "server": "things",
    "hide": ["drop_thing"],
    "all_tools": {
        "deny_if": [{"path": "args.big", "op": "eq", "value": True}],
        "approval": {"when": [{"path": "args.ask", "op": "eq", "value": True}]},
    },
    "tools": {
        "get_thing": {},
        "put_thing": {
            "deny_if": [{"path": "args.size", "op": "gt", "value": 9, "on_deny": "Too big."}],
            "limits": [{"counter": "puts", "window": "minute", "max": 3, "on_deny": "Enough for now."}],
        },
        "sell_thing": {
            "approval": True,
            "limits": [{"counter": "sales", "window": "hour", "max": 1, "scope": "grant"}],
        },
        "try_thing": {"shadow": True, "limits": [{"counter": "tries", "window": "minute", "max": 1}]},
        "tried_thing": {"shadow": True, "limits": [{"counter": "tries", "window": "minute", "max": 1}]},
        "ask_thing": {"approval": {"remember": "tool", "message": "really?"}},
        "daily_thing": {"limits": [{"counter": "days", "window": "day", "max": 1, "align": "utc"}]},
    },
}
TOOLS = ["tried_thing", "ask_thing", "get_thing", "put_thing", "sell_thing", "drop_thing", "try_thing", "daily_thing"]


@pytest.fixture
def results(tmp_path):
    def results(text, *, schemas=None, tools=TOOLS):
        path = tmp_path / "cases.yaml"
        path.write_text(text, encoding="utf-8")
        cases = Cases.from_file(path, tools)
        return list(run(Policy.model_validate(POLICY), cases, schemas=schemas or {}))

    return results


@pytest.fixture
def problems(tmp_path):
    def problems(text):
        path = tmp_path / "cases.yaml"
        path.write_text(text, encoding="utf-8")
        with pytest.raises(PolicyError) as caught:
            Cases.from_file(path, TOOLS)
        return [str(problem).removeprefix(f"{tmp_path}/") for problem in caught.value.problems]

    return problems


def test_every_kind_of_expectation_can_hold(results):
    passed = results("""
cases:
  - {name: reading, tool: get_thing, expect: allow}
  - {name: hidden, tool: drop_thing, expect: {effect: deny, rule: (hidden)}}
  - {name: unknown, tool: nothing_thing, expect: {effect: deny, rule: (default deny)}}
  - name: too big
    tool: put_thing
    args: {size: 10}
    expect: {effect: deny, rule: /tools/put_thing/deny_if/args.size-gt, message: big}
  - name: three a minute, and again a minute later
    steps:
      - {tool: put_thing, times: 3, expect: allow}
      - {tool: put_thing, after: 20s, expect: {effect: deny, rule: /tools/put_thing/limits/puts, message: Enough, retry_after: 40}}
      - {tool: put_thing, session: other, expect: allow}
      - {tool: put_thing, after: 40, times: 3, expect: allow}
  - name: a sale is asked, counts once approved, and is refused unasked when it would not fit
    steps:
      - {tool: sell_thing, grant: a, approved: false, expect: ask}
      - {tool: sell_thing, grant: a, expect: {effect: ask, rule: /tools/sell_thing/approval}}
      - {tool: sell_thing, grant: a, expect: {effect: deny, rule: /tools/sell_thing/limits/sales}}
      - {tool: sell_thing, grant: b, expect: ask}
  - name: a rule on trial stops nothing
    steps:
      - {tool: try_thing, expect: {effect: allow, shadow: allow}}
      - {tool: try_thing, expect: {effect: allow, shadow: deny}}
  - name: a calendar day ends at midnight
    at: 2026-03-01T23:59:30Z
    steps:
      - {tool: daily_thing, expect: allow}
      - {tool: daily_thing, expect: deny}
      - {tool: daily_thing, after: 30s, expect: allow}
""")
    assert [result.case.name for result in passed if result.failure] == []
    assert [result.calls for result in passed] == [1, 1, 1, 1, 8, 4, 2, 3]


@pytest.mark.parametrize(
    ("step", "part"),
    [
        ("{tool: get_thing, expect: deny}", "effect"),
        ("{tool: get_thing, expect: {effect: allow, rule: /tools/put_thing}}", "rule"),
        ("{tool: put_thing, args: {size: 10}, expect: {effect: deny, message: small}}", "message"),
        ("{tool: put_thing, times: 4, expect: allow}", "effect"),
        ("{tool: try_thing, expect: {effect: allow, shadow: deny}}", "shadow"),
    ],
)
def test_a_case_that_does_not_hold_fails_and_says_where(results, step, part):
    (result,) = results(f"cases: [{{name: x, steps: [{{tool: get_thing, expect: allow}}, {step}]}}]")
    failure = result.failure
    assert failure is not None
    assert failure.step == 2
    assert [name for name, _, _ in failure.expected.differences(failure.seen)] == [part]


def test_what_did_not_run_is_not_on_trial_either(results):
    (result,) = results("""
cases:
  - name: as in the guard, a call that nobody approved takes nothing from a limit on trial
    steps:
      - {tool: tried_thing, args: {ask: true}, approved: false, times: 9, expect: {effect: ask, shadow: allow}}
      - {tool: tried_thing, args: {big: true}, times: 9, expect: {effect: deny, shadow: allow}}
      - {tool: tried_thing, args: {ask: true}, expect: {effect: ask, shadow: allow}}
      - {tool: tried_thing, args: {ask: true}, expect: {effect: ask, shadow: deny}}
      - {tool: tried_thing, args: {big: true}, expect: {effect: deny, shadow: deny}}
""")
    assert result.failure is None, result.failure


def test_what_the_guard_refuses_to_judge_is_refused_in_a_test():
    nested = []
    for _ in range(101):
        nested = [nested]
    case = {"name": "x", "tool": "get_thing", "args": {"a": nested}, "expect": "allow"}
    (result,) = run(Policy.model_validate(POLICY), Cases.model_validate({"cases": [case]}), schemas={})
    assert result.failure.seen.effect == "deny"
    assert "nested deeper" in result.failure.seen.message


def test_a_human_in_a_test_has_no_end_of_patience(results):
    (result,) = results("""
cases:
  - name: hundreds of questions, none of them remembered and none too many
    steps:
      - {tool: ask_thing, times: 200, expect: {effect: ask, message: really}}
      - {tool: ask_thing, times: 200, approved: false, expect: ask}
""")
    assert result.failure is None, result.failure


def test_a_failure_is_explained_with_the_counters_as_its_call_met_them(tmp_path):
    file = tmp_path / "cases.yaml"
    file.write_text("""
cases:
  - name: x
    steps:
      - {tool: put_thing, times: 2, expect: allow}
      - {tool: put_thing, after: 10s, times: 2, expect: {effect: allow, message: nothing like this}}
""")

    def look(call, store, now):
        return call, [usage.used for usage in store.usage(None, now)], now

    policy = Policy.model_validate(POLICY)
    (result,) = run(policy, Cases.from_file(file, TOOLS), schemas={}, explain=look)
    call, used, now = result.failure.explained
    assert (call.tool, used, now - result.case.at) == ("put_thing", [2], 10)
    assert (result.failure.step, result.failure.call) == (2, 1)


def test_a_wrong_wait_fails(results):
    (result,) = results("""
cases:
  - name: x
    steps:
      - {tool: put_thing, times: 3, expect: allow}
      - {tool: put_thing, expect: {effect: deny, retry_after: 59}}
""")
    assert result.failure.seen.retry_after == 60


def test_the_failing_call_is_counted_from_one(results):
    (result,) = results("cases: [{name: x, tool: put_thing, times: 5, expect: allow}]")
    assert (result.failure.step, result.failure.call, result.calls) == (1, 4, 4)


def test_schemas_are_checked_where_they_are_known(results):
    schema = {"type": "object", "required": ["uid"]}
    (result,) = results("cases: [{name: x, tool: get_thing, expect: allow}]", schemas={"get_thing": schema})
    assert result.failure.seen.rule == "/schema"


def test_cases_know_nothing_of_each_other(results):
    first, second = results("""
cases:
  - {name: first, tool: put_thing, times: 3, expect: allow}
  - {name: second, tool: put_thing, times: 3, expect: allow}
""")
    assert first.failure is None
    assert second.failure is None


def test_a_broken_file_lists_every_problem_with_its_place(problems):
    found = problems("""
cases:
  - {name: a, tool: get_thing, expect: alow}
  - {name: a, tol: get_thing, expect: allow}
  - name: c
    steps:
      - {tool: get_thing, after: soon, expect: {effect: deny, rul: x}}
""")
    text = "\n".join(found)
    assert "cases.yaml:3:40: /cases/0/expect" in text
    assert "cases.yaml:4:15: /cases/1/tol: unknown key 'tol' (did you mean tool?)" in text
    assert "/cases/1/tool: tool is required" in text
    assert "cases.yaml:7:34: /cases/2/steps/0/after" in text
    assert "unknown key 'rul' (did you mean rule?)" in text


def test_a_misspelt_tool_is_not_a_passing_test(problems):
    (found,) = problems("cases: [{name: a, tool: gett_thing, expect: deny}]")
    assert "did you mean get_thing?" in found


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("cases: []", "must not be empty"),
        ("cases: [{name: a, steps: []}]", "must not be empty"),
        ("case: []", "unknown key 'case'"),
        ("cases: [{name: a, tool: get_thing, expect: allow}, {name: a, tool: get_thing, expect: allow}]", "two cases"),
        ("cases: [{name: a, tool: get_thing, times: 0, expect: allow}]", "at least 1"),
        ("cases: [{name: a, at: noon, tool: get_thing, expect: allow}]", "not a point in time"),
        ("cases: [{name: a, at: 1e300, tool: get_thing, expect: allow}]", "write one from 1970 to 9999"),
        ("cases: [{name: a, at: .nan, tool: get_thing, expect: allow}]", "write one from 1970 to 9999"),
        ('cases: [{name: a, at: "0001-01-01", tool: get_thing, expect: allow}]', "write one from 1970 to 9999"),
        ("cases: [{name: a, name: b, tool: get_thing, expect: allow}]", "twice"),
        ("{", "not YAML"),
    ],
)
def test_a_file_that_tests_nothing_or_something_else_is_refused(problems, text, says):
    assert says in "\n".join(problems(text))


def test_each_name_that_stands_twice_is_pointed_at(problems):
    case = "tool: get_thing, expect: allow"
    text = f"cases:\n- {{name: a, {case}}}\n- {{name: a, {case}}}\n- {{name: b, {case}}}\n- {{name: b, {case}}}\n"
    found = problems(text)
    assert [line.partition(": ")[0].rpartition("/")[2] for line in found] == ["cases.yaml:3:10", "cases.yaml:5:10"]


def test_a_number_that_is_not_json_is_refused_in_cases_too(tmp_path):
    file = tmp_path / "cases.json"
    file.write_text('{"cases": [{"name": "a", "tool": "get_thing", "args": {"n": NaN}, "expect": "allow"}]}')
    with pytest.raises(PolicyError, match="NaN is not JSON") as raised:
        Cases.from_file(file)
    assert [(problem.pointer, problem.column) for problem in raised.value.problems] == [("/cases/0/args/n", 61)]


RESULTS = """
cases:
  - {name: as it is, tool: read, result: [fine], expect: {effect: allow, result: unchanged}}
  - {name: a key, tool: read, result: {a: sk-ant-api03-abcdefghijklmnop}, expect: {effect: allow, result: redacted}}
  - {name: long, tool: read, result: aaaa bbbb cccc dddd eeee ffff gggg hhhh iiii jjjj kkkk, expect: {effect: allow, result: cut}}
  - {name: kept back, tool: order, result: {structured_content: {id: 1}}, expect: {effect: allow, result: withheld}}
  - {name: asked, tool: ask, result: a@b.co, expect: {effect: ask, result: withheld}}
  - {name: wrong, tool: read, result: fine, expect: {effect: allow, result: redacted}}
  - {name: never ran, tool: ask, result: fine, approved: false, expect: {effect: ask, result: unchanged}}
"""


def test_what_becomes_of_a_result_can_be_expected(tmp_path):
    path = tmp_path / "cases.yaml"
    path.write_text(RESULTS, encoding="utf-8")
    tools = {
        "read": {"result": {"redact": ["secrets"], "max_chars": 40}},
        "order": {"result": {"schema": "strict"}},
        "ask": {"approval": True, "result": {"redact": ["emails"], "on_breach": "deny"}},
    }
    policy = Policy.model_validate({"version": "1", "default": "deny", "tools": tools})
    found = list(run(policy, Cases.from_file(path), schemas={}))
    assert [result.failure and list(result.failure.expected.differences(result.failure.seen)) for result in found] == [
        *[None] * 5, [("result", "redacted", "unchanged")], [("result", "unchanged", None)],
    ]  # fmt: skip


def test_a_result_is_expected_only_where_one_is_given(problems):
    (problem,) = problems("cases: [{name: a, tool: get_thing, expect: {effect: allow, result: cut}}]")
    assert "nothing is given back of which this could be expected" in problem
