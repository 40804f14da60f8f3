"""What a session carries, as people see it and end it: ``session``, ``status``, ``explain --session``, ``test``."""

from __future__ import annotations

import json

import pytest

from guarded_tools import Guard, Policy, ToolCall

POLICY = {
    "version": "1",
    "default": "deny",
    "flow": "trifecta",
    "tools": {
        "inbox": {"risk": "read", "labels": ["untrusted"], "rate_limit": "9/hour"},
        "crm": {"risk": "read", "labels": ["private"]},
        "mail": {"risk": "write", "labels": ["outward"]},
        "drop": {"labels": [], "risk": "write", "after": [{"labels": ["untrusted"], "then": "deny"}]},
        "start": {"labels": [], "risk": "write", "needs": [{"tool": "crm", "same": "args.id"}]},
    },
}


@pytest.fixture
def home(tmp_path):
    """A state in which the session ``s`` read untrusted and private content."""
    home = tmp_path / "home"
    guard = Guard(Policy.model_validate(POLICY), state=home, session="s")
    for tool in ("inbox", "crm"):
        guard.call(ToolCall(tool, {"id": 1}, "s"), lambda args: "there")
    guard.store.close()
    guard.audit.close()
    (tmp_path / "policy.json").write_text(json.dumps(POLICY))
    return home


def test_session_shows_what_it_carries_and_what_brought_it(cli, home):
    shown = cli("session", "s", "--state", home)
    assert shown.code == 0
    for word in ("untrusted", "inbox", "private", "crm", "succeeded"):
        assert word in shown.out
    carried = cli("session", "s", "--state", home, "--json").json["carried"]
    assert [(one["kind"], one["name"], one["tool"]) for one in carried] == [
        ("label", "untrusted", "inbox"),
        ("label", "private", "crm"),
        ("succeeded", "crm", "crm"),
    ]
    assert "carries nothing" in cli("session", "t", "--state", home).out
    assert "No guard has used" in cli("session", "t", "--state", home.parent / "other").out


def test_a_human_takes_a_label_away_once_and_the_audit_says_so(cli, home):
    assert cli("session", "s", "--clear", "untrusted", "--state", home).code == 2
    assert cli("session", "s", "--clear", "untrusted", "--by", "ann", "--state", home).code == 2
    words = ("--by", "ann", "--why", "it was ours", "--state", home)
    assert "no longer carries untrusted" in cli("session", "s", "--clear", "untrusted", *words).out
    again = cli("session", "s", "--clear", "untrusted", *words)
    assert (again.code, "does not carry untrusted" in again.err) == (2, True)
    lines = [json.loads(line) for line in (home / "audit.jsonl").read_text().splitlines()]
    (cleared,) = [line for line in lines if line["kind"] == "control"]
    assert cleared["rule"] == "(clear)"
    assert cleared["message"] == "clears the label 'untrusted' of session:s by ann: it was ours"
    assert cli("audit", "verify", "--state", home).code == 0


@pytest.mark.parametrize("words", [(), ("s", "--grant", "g")])
def test_a_session_or_a_grant_is_named(cli, words):
    assert cli("session", *words).code == 2


def test_status_names_the_labels(cli, home):
    shown = cli("status", "--state", home)
    assert "session:s" in shown.out
    assert "carries untrusted (inbox, " in shown.out
    assert "private (crm, " in shown.out
    labels = cli("status", "--state", home, "--json").json["labels"]
    assert [(one["name"], one["scope"]) for one in labels] == [("untrusted", "session:s"), ("private", "session:s")]
    assert "carries untrusted" in cli("status", "--session", "s", "--state", home).out
    assert "carries" not in cli("status", "--session", "t", "--state", home).out


def test_explain_says_what_a_call_would_meet_in_a_session(cli, home):
    policy = home.parent / "policy.json"
    asked = cli("explain", policy, "mail", "--session", "s", "--state", home)
    assert "ask  mail" in asked.out
    assert "this session read untrusted content (inbox, " in asked.out
    assert "/flow" in asked.out
    assert "brings into the session: outward" in asked.out
    denied = cli("explain", policy, "drop", "--session", "s", "--state", home, "--json").json
    assert denied["would_run"] is False
    deny, ask = denied["across"]
    assert (deny["rule"], deny["then"], deny["binds"]) == ("/tools/drop/after/0", "deny", True)
    assert [found["tool"] for found in deny["found"]] == ["inbox"]
    assert (ask["rule"], ask["binds"]) == ("/flow", True)
    fresh = cli("explain", policy, "drop", "--session", "t", "--state", home, "--json").json
    assert [each["binds"] for each in fresh["across"]] == [False, False]
    assert fresh["would_run"] is True
    met = cli("explain", policy, "start", "--args", '{"id": 1}', "--session", "s", "--state", home).out
    assert "needs succeeded crm: it does not bind" in met
    nowhere = cli("explain", policy, "start", "--args", '{"id": 1}', "--state", home.parent / "other")
    assert "deny  start" in nowhere.out
    assert "crm has not succeeded with the same values" in nowhere.out
    assert not (home.parent / "other").exists()


def test_explain_shows_what_decides_whether_a_label_is_brought(cli, tmp_path):
    when = [{"path": "args.folder", "op": "neq", "value": "public"}]
    tools = {
        "read": {"labels": [{"label": "private", "when": when}]},
        "send": {"after": [{"labels": ["private"], "when": when, "then": "deny"}]},
    }
    (tmp_path / "p.json").write_text(json.dumps({"version": "1", "default": "deny", "tools": tools}))
    read = cli("explain", tmp_path / "p.json", "read", "--args", '{"folder": "mine"}').out
    assert "brings it if: args.folder neq" in read
    assert "brings into the session: private" in read
    public = cli("explain", tmp_path / "p.json", "read", "--args", '{"folder": "public"}').out
    assert "brings into the session" not in public
    assert "speaks of it if: args.folder neq" in cli("explain", tmp_path / "p.json", "send", "--args", "{}").out
    unclear = cli("explain", tmp_path / "p.json", "read", "--args", '{"folder": []}', "--json").json
    assert unclear["decision"]["rule"] == "/tools/read/labels/0/when/args.folder-neq"
    (seen,) = unclear["predicates"]
    assert (seen["kind"], seen["answer"], seen["refuses"]) == ("label", "unjudgeable", True)


CASES = """
cases:
  - {name: alone, tool: mail, expect: allow}
  - {name: after both, history: [inbox, crm], tool: mail, expect: {effect: ask, rule: /flow, message: read untrusted content}}
  - name: needs
    history: [{tool: crm, args: {id: 1}}]
    steps:
      - {tool: start, args: {id: 1}, expect: allow}
      - {tool: start, args: {id: 2}, expect: {effect: deny, rule: /tools/start/needs/0}}
      - {tool: inbox, expect: allow}
      - {tool: start, args: {id: 1}, expect: ask}
      - {tool: drop, expect: deny}
"""


def test_cases_have_a_history(cli, home, tmp_path):
    (tmp_path / "cases.yaml").write_text(CASES)
    passed = cli("test", tmp_path / "policy.json", tmp_path / "cases.yaml")
    assert (passed.code, passed.out.count("ok  ")) == (0, 3), passed.out


def test_a_history_that_did_not_run_fails_its_case(cli, home, tmp_path):
    (tmp_path / "cases.yaml").write_text(
        "cases: [{name: a, history: [{tool: start, args: {id: 3}}], tool: mail, expect: allow}]"
    )
    failed = cli("test", tmp_path / "policy.json", tmp_path / "cases.yaml")
    assert failed.code == 1
    assert "step 0, call 1: start" in failed.out


def test_a_wrong_history_is_told_with_its_place(cli, home, tmp_path):
    (tmp_path / "cases.yaml").write_text("cases:\n  - {name: a, history: [{tol: x}], tool: mail, expect: allow}\n")
    wrong = cli("test", tmp_path / "policy.json", tmp_path / "cases.yaml")
    assert wrong.code != 0
    assert "did you mean tool?" in wrong.err
    assert "cases.yaml:2:" in wrong.err


def test_what_is_on_trial_is_explained_and_ended_as_what_is_in_force(cli, tmp_path):
    home, path = tmp_path / "home", tmp_path / "policy.json"
    path.write_text(json.dumps(POLICY | {"shadow": True}))
    guard = Guard(Policy.model_validate(POLICY | {"shadow": True}), state=home, session="s")
    for tool in ("inbox", "crm"):
        guard.call(ToolCall(tool, {"id": 1}, "s"), lambda args: "there")

    def told(tool):
        return cli("explain", path, tool, "--session", "s", "--state", home, "--json").json["decision"]["shadow"]

    assert told("mail") == {"effect": "ask", "rule": "/flow"}
    assert told("drop") == {"effect": "deny", "rule": "/tools/drop/after/0"}
    shown = cli("explain", path, "mail", "--session", "s", "--state", home).out
    assert "on trial: ask by /flow: this session read untrusted content (inbox" in shown
    words = ("--by", "ann", "--why", "it was ours", "--state", home)
    assert "no longer carries private" in cli("session", "s", "--clear", "private", *words).out
    assert told("mail") == {"effect": "allow", "rule": "/tools/mail"}
    assert guard.clear_label("untrusted", session="s", by="ann", why="ours")
    assert told("drop") == {"effect": "allow", "rule": "/tools/drop"}
    assert guard.clear_label("untrusted", session="s", by="ann", why="ours") is False
    guard.store.close()
    guard.audit.close()
