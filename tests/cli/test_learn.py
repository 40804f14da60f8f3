"""``guarded-tools learn``: what it writes where, its exit codes, and that it overwrites nothing."""

from __future__ import annotations

import json

import pytest

from guarded_tools import AuditLog, Guard, Policy, ToolCall
from guarded_tools.testing import FrozenClock

BASE = {"version": "1", "default": "deny", "tools": {"pay": {"rate_limit": "9/hour"}, "re*": {}, "wipe": {}}}


@pytest.fixture
def calls(tmp_path):
    path = tmp_path / "calls.jsonl"
    lines = [
        {"tool": "pay", "args": {"amount": 5, "to": "x\x1b[2J"}, "time": 1_767_225_600 + 60 * n, "session": f"s{n % 9}"}
        for n in range(36)
    ]
    path.write_text("\n".join(map(json.dumps, lines)))
    (tmp_path / "base.json").write_text(json.dumps(BASE))
    return path


def test_the_draft_goes_out_and_the_numbers_beside_it(cli, calls):
    ran = cli("learn", "--calls", calls)
    assert ran.code == 0
    assert ran.out.startswith("# A draft for 1 tools, learnt from 36 recorded calls")
    assert "# the busiest hour of a session had 4; this would never have bound" in ran.out
    assert "deny 0 (0.0 %)" in ran.err
    assert "teaches that misuse" in ran.err
    assert "\x1b" not in ran.out + ran.err
    assert cli("learn", "--calls", calls).out == ran.out


def test_what_is_written_is_a_policy_and_overwrites_nothing(cli, calls):
    for name in ("draft.yaml", "draft.json"):
        assert cli("learn", "--calls", calls, "-o", name).code == 0
        assert cli("validate", name).code == 0
    again = cli("learn", "--calls", calls, "-o", "draft.yaml")
    assert (again.code, "is there already" in again.err) == (2, True)
    assert cli("learn", "--calls", calls, "-o", "draft.yaml", "--force", "--headroom", "3").code == 0
    assert "max: 12" in (calls.parent / "draft.yaml").read_text()


def test_json_holds_everything(cli, calls):
    told = cli("learn", "--calls", calls, "--json").json
    assert Policy.model_validate(told["policy"]).tools.keys() == {"pay"}
    assert told["tools"]["pay"]["calls"] == 36
    assert told["hold_out"]["would"]["deny"] == 0
    assert told["hold_out"]["trained_on_sessions"] + told["hold_out"]["judged_sessions"] == 9


def test_a_hold_out_that_denies_fails_unless_it_is_tolerated(cli, calls):
    with calls.open("a") as file:
        for n in range(9):
            file.write("\n" + json.dumps({"tool": f"only_s{n}", "args": {}, "time": 1_767_300_000, "session": f"s{n}"}))
    ran = cli("learn", "--calls", calls)
    assert ran.code == 1
    assert "the hold-out denies more than 5 %" in ran.err
    assert cli("learn", "--calls", calls, "--tolerate", "50").code == 0


def test_no_hold_out_is_said_and_fails(cli, calls):
    calls.write_text(json.dumps({"tool": "pay", "args": {}}))
    ran = cli("learn", "--calls", calls)
    assert ran.code == 1
    assert "NO HOLD-OUT RESULT: 1 sessions are too few" in ran.err
    assert cli("learn", "--calls", calls, "--allow-no-hold-out").code == 0


def test_a_base_is_only_tightened(cli, calls):
    told = cli("learn", "--calls", calls, "--base", "base.json", "--json").json["policy"]
    assert told["tools"].keys() == {"pay"}
    assert told["tools"]["pay"]["rate_limit"] == {"max": 6, "window": "hour"}
    assert told["tools"]["pay"]["approval"] is True
    calls.write_text(json.dumps({"tool": "pictify_list_templates", "args": {}}))
    ran = cli("learn", "--calls", calls, "--base", "standard", "--allow-no-hold-out", "-o", "tight.yaml")
    assert ran.code == 0
    assert cli("validate", "tight.yaml").code == 0


def test_an_audit_teaches_without_values(cli, tmp_path):
    clock = FrozenClock()
    (tmp_path / "home").mkdir(mode=0o700)
    audit = AuditLog(tmp_path / "home" / "audit.jsonl", clock=clock)
    guard = Guard(Policy.model_validate(BASE), state=tmp_path / "home", audit=audit, clock=clock)
    for n in range(6):
        clock.advance(60)
        guard.call(ToolCall("pay", {"amount": 5}, f"s{n}"), lambda _: "done")
    guard.store.close()
    audit.close()
    ran = cli("learn", "--state", "home", "--allow-no-hold-out")
    assert ran.code == 0
    assert "arguments were not recorded whole" in ran.err
    assert "require" not in ran.out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--calls", "gone.jsonl"], "cannot be read"),
        (["--calls", "base.json"], "says nothing of a call"),
        (["--calls", "calls.jsonl", "--headroom", "0.5"], "--headroom is a number from 1"),
        (["--calls", "calls.jsonl", "--headroom", "x"], "--headroom is a number from 1"),
        (["--calls", "calls.jsonl", "--base", "gone.json"], "gone.json"),
        (["--calls", "empty.jsonl"], "nothing to learn from"),
    ],
)
def test_what_cannot_be_used_is_said(cli, calls, words, said):
    (calls.parent / "empty.jsonl").write_text("")
    ran = cli("learn", *words)
    assert (ran.code, ran.out) == (2, "")
    assert said in ran.err
