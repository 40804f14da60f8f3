"""``guarded-tools replay``: what it says, its exit codes, and that a filter changes no limit."""

from __future__ import annotations

import json
from contextlib import suppress

import pytest

from guarded_tools import AuditLog, Guard, Policy, ToolCall, ToolDenied
from guarded_tools.testing import FrozenClock

OLD = {"version": "1", "default": "deny", "tools": {"pay": {"rate_limit": "3/hour"}, "read": {}}}
NARROW = OLD | {"tools": {"pay": {"rate_limit": "2/hour"}, "read": {"approval": True}}}
WIDE = OLD | {"default": "allow", "tools": {"pay": {}, "read": {}}}
READS = OLD | {"tools": {"pay": {"deny_if": [{"path": "args.amount", "op": "gt", "value": 5}]}, "read": {}}}


@pytest.fixture
def home(tmp_path):
    clock = FrozenClock()
    (tmp_path / "home").mkdir(mode=0o700)
    audit = AuditLog(tmp_path / "home" / "audit.jsonl", clock=clock)
    guard = Guard(Policy.model_validate(OLD), state=tmp_path / "home", audit=audit, clock=clock)
    for session, tool in [
        ("ann", "pay"),
        ("bob", "read"),
        ("ann", "pay"),
        ("ann", "pay"),
        ("ann", "pay"),
        ("ann", "evil\x1b[2Jtool"),
    ]:
        clock.advance(60)
        with suppress(ToolDenied):
            guard.call(ToolCall(tool, {"amount": 5}, session), lambda _: "done")
    guard.store.close()
    audit.close()
    for name, policy in {"old": OLD, "narrow": NARROW, "wide": WIDE, "reads": READS}.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(policy))
    return tmp_path / "home"


def test_the_same_policy_changes_nothing(cli, home):
    ran = cli("replay", "old.json", "--state", home)
    assert ran.code == 0
    assert ran.out.startswith("6 calls from 20")
    assert ran.out.splitlines()[0].endswith(": 6 the same")
    assert "not checked against their tools' schemas (no schemas are known" in ran.out


def test_what_is_newly_denied_says_over_which_limit(cli, home):
    ran = cli("replay", "narrow.json", "--audit", home / "audit.jsonl", "--json")
    assert ran.code == 0
    told = ran.json
    assert told["counts"]["newly_denied"] == told["counts"]["newly_asked"] == 1
    assert told["over_limits"] == [{"rule": "/tools/pay/rate_limit", "counter": "/pay/rate_limit", "calls": 1}]
    (denied,) = told["examples"]["newly_denied"]
    assert (denied["session"], denied["tool"], denied["before"]["effect"]) == ("ann", "pay", "allow")
    shown = cli("replay", "narrow.json", "--state", home).out
    assert "1  /tools/pay/rate_limit  over the limit /pay/rate_limit" in shown
    assert "allow /tools/pay → deny /tools/pay/rate_limit: a limit of 2 in an hour is used up (2 used)" in shown


def test_what_is_newly_allowed_fails_unless_it_may(cli, home):
    ran = cli("replay", "wide.json", "--state", home)
    assert ran.code == 1
    assert "2 calls are held less than before" in ran.out
    assert "\x1b" not in ran.out
    assert cli("replay", "wide.json", "--state", home, "--allow-widening").code == 0
    only = cli("replay", "wide.json", "--state", home, "--session", "bob")
    assert (only.code, only.out.splitlines()[0][-10:]) == (0, "1 the same")


def test_a_filter_changes_no_limit(cli, home):
    every = cli("replay", "narrow.json", "--state", home, "--json").json
    picked = cli("replay", "narrow.json", "--state", home, "--json", "--tool", "p*", "--session", "ann").json
    assert picked["examples"]["newly_denied"] == every["examples"]["newly_denied"]
    assert picked["calls"] == 4
    assert cli("replay", "narrow.json", "--state", home, "--since", "1m").out.startswith("No call matches.")
    assert cli("replay", "narrow.json", "--state", home, "--json", "-n", "0").json["examples"] == {}


def test_what_cannot_be_judged_fails_only_if_it_is_to(cli, home):
    ran = cli("replay", "reads.json", "--state", home, "--allow-widening")
    assert ran.code == 0
    assert "4  /tools/pay/deny_if/args.amount-gt  args.amount was not recorded" in ran.out
    assert cli("replay", "reads.json", "--state", home, "--allow-widening", "--strict").code == 1


def test_a_base_stands_in_for_the_record(cli, home):
    told = cli("replay", "wide.json", "--state", home, "--base", "narrow.json", "--json").json
    assert told["counts"]["newly_allowed"] == 4  # two payments, the read that would be asked about, the unlisted tool
    assert cli("replay", "narrow.json", "--state", home, "--base", "narrow.json").code == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["old.json", "--state", "nowhere"], "there is no audit at"),
        (["nothing.json"], "nothing.json"),
        (["old.json", "--audit", "old.json"], "is no audit: there is no record in it"),
        (["old.json", "--audit", "."], "cannot be read as an audit's file"),
        (["old.json", "--state", "home", "--base", "gone.json"], "gone.json"),
    ],
)
def test_what_cannot_be_read_is_said(cli, home, words, said):
    ran = cli("replay", *words)
    assert ran.code == 2
    assert said in ran.err
    assert not (home.parent / "nowhere").exists()


def test_calls_without_times_are_given_none(cli, home):
    (home.parent / "calls.jsonl").write_text('{"tool": "drop"}\n')
    ran = cli("replay", "old.json", "--calls", "calls.jsonl")
    assert ran.code == 0
    assert "1 call without times: 1 newly denied" in ran.out
    assert "1970" not in ran.out
    assert "  no time  default drop  allow" in ran.out


def test_torn_lines_are_told(cli, home):
    path = home / "audit.jsonl"
    path.write_bytes(path.read_bytes()[:-40] + b"\n{}\n")
    ran = cli("replay", "old.json", "--state", home)
    assert ran.code == 0
    assert "2 lines are no records and were passed over" in ran.out
