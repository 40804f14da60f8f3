"""status, reset, prune, halt and resume as commands of their own process, beside a guard that goes on working."""

import json
import os
import shlex
import sys

import pytest

from guarded_tools import Guard, Policy, ToolCall, ToolDenied, open_store
from guarded_tools.values import Charge
from tests import forked

POLICY = Policy.model_validate(
    {
        "version": "1",
        "default": "deny",
        "tools": {"t": {"limits": [{"counter": "c", "window": "hour", "max": 3}]}},
    }
)


@pytest.fixture
def home(tmp_path):
    return tmp_path / "home"


@pytest.fixture
def command(home):
    def run(*words, code=0):
        done = forked.run(
            [sys.executable, "-m", "guarded_tools.cli", *words],
            env={**os.environ, "GUARDED_TOOLS_HOME": str(home), "COLUMNS": "120"},
            timeout=60,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    return run


@pytest.fixture
def guard(home):
    guard = Guard(POLICY, state=home)
    yield guard
    guard.store.close()
    guard.audit.close()


def call(guard, session="s1"):
    return guard.call(ToolCall("t", {}, session), lambda _: "ran")


def test_status_says_what_is_used_and_when_it_frees(guard, command):
    assert "No limit is in use" in command("status")
    call(guard, "quiet")
    for _ in range(3):
        call(guard, "busy")
    out = command("status")
    assert out.index("session:busy") < out.index("session:quiet")
    assert "3 of 3" in out
    assert "frees in 60 min" in out or "frees in 61 min" in out  # to the next minute of the window
    found = json.loads(command("status", "--session", "busy", "--json"))["limits"]
    assert [(one["scope"], one["used"], one["max"], one["window"]) for one in found] == [("session:busy", 3, 3, 3600)]
    assert 3500 < found[0]["frees_in"] <= 3660
    out = command("status", "--most", "1")
    assert "session:busy" in out
    assert "session:quiet" not in out
    assert "and more" in out
    assert "and more" not in command("status", "--most", "2")
    assert [one["scope"] for one in json.loads(command("status", "--most", "1", "--json"))["limits"]] == [
        "session:busy"
    ]
    (own,) = guard.usage("busy")
    assert (own.used, own.max) == (3, 3)


def test_reset_needs_a_word_and_then_frees_one_session_or_all(guard, command):
    for session in ("a", "b"):
        for _ in range(3):
            call(guard, session)
    assert "--confirm" in command("reset", "--session", "a", code=1)
    with pytest.raises(ToolDenied):
        call(guard, "a")
    command("reset", "--session", "a", "--confirm")
    assert call(guard, "a") == "ran"
    with pytest.raises(ToolDenied):
        call(guard, "b")
    command("reset", "--confirm")
    assert call(guard, "b") == "ran"
    assert "(reset)" in guard.audit.path.read_text()


def test_reset_of_a_session_is_one_of_what_it_counts_on_trial_as_well(guard, command):
    guard.store.reserve([Charge(f"shadow:{scope}", "/t/n", 1, 3, 60, "/r") for scope in ("session:a", "session:b")])
    command("reset", "--session", "a", "--confirm")
    assert [usage.scope for usage in guard.store.usage()] == ["shadow:session:b"]


def test_lost_counters_refuse_everything_until_a_reset_is_confirmed(guard, command, home):
    for _ in range(3):
        call(guard)
    guard.store.close()
    (home / "counters" / "cache.db").unlink()
    with pytest.raises(ToolDenied, match="reset --confirm"):
        call(guard)
    assert "lost" in command("status", code=2)
    assert "--confirm" in command("reset", code=1)
    assert "all counters can start anew" in command("reset", "--session", "s1", "--confirm", code=1)
    command("reset", "--confirm")
    assert call(guard) == "ran"


def test_prune_forgets_only_what_changes_no_answer(home, command):
    store = open_store(f"disk://{home}")
    store.put("gone", b"x", -90_000)
    store.close()
    guard = Guard(POLICY, state=home)
    call(guard)
    assert command("prune").startswith("1 ")
    assert guard.usage("s1")[0].used == 1


def test_the_stop_button_reaches_a_running_guard_and_names_calls_in_flight(guard, command):
    seen = []

    def body(_):
        seen.append(command("halt", "--reason", "smoke"))
        return "ran"

    assert guard.call(ToolCall("t", {}, "s1"), body) == "ran"
    assert "Halted: global" in seen[0]
    assert "s1" in seen[0]
    for session in ("s1", "s2"):
        with pytest.raises(ToolDenied, match="smoke"):
            call(guard, session)
    assert "HALTED global: smoke" in command("status")
    assert "Resumed" in command("resume")
    assert call(guard, "s2") == "ran"
    assert "was not halted" in command("resume", code=2)


def test_halting_one_session_or_grant_leaves_the_others(guard, command):
    command("halt", "--session", "s1", "--reason", "odd")
    with pytest.raises(ToolDenied, match="odd"):
        call(guard, "s1")
    assert call(guard, "s2") == "ran"
    command("halt", "--grant", "alice", "--reason", "left")
    with pytest.raises(ToolDenied, match="left"):
        guard.call(ToolCall("t", {}, "s2", grant="alice"), lambda _: "ran")
    assert "Still halted: session:s1" in command("resume", "--grant", "alice")


def test_in_a_pipe_no_name_is_cut_in_two(home, command):
    store = open_store(f"disk://{home}")
    store.reserve([Charge("session:" + "long-" * 30, "counter-" * 20, 1, 2, 60, "/limits/0")])
    store.close()
    assert "counter-" * 20 in command("status")
    assert "session:" + "long-" * 30 in command("status")


@pytest.mark.parametrize("unsaid", [(), ("--reason", " ")])
def test_a_stop_button_is_pressed_in_panic_so_it_needs_no_reason(command, unsaid):
    command("halt", *unsaid)
    assert "no reason given" in command("status")


def test_two_scopes_at_once_are_an_error(command):
    assert "exclude each other" in command("status", "--session", "a", "--grant", "b", code=2)


@pytest.mark.parametrize("scope", [(), ("--session", "s 1"), ("--grant", "alice")])
def test_the_command_that_halt_names_undoes_it(guard, command, home, scope):
    said = command("halt", *scope, "--reason", "odd", "--state", str(home))
    assert f", in {home}. " in said
    assert "warning" not in said
    undo = shlex.split(next(line for line in said.splitlines() if line.startswith("  guarded-tools resume")))
    assert "Resumed" in command(*undo[1:])
    assert call(guard) == "ran"


def test_a_halt_of_a_store_that_no_guard_uses_says_so(command, tmp_path):
    for _ in range(2):
        assert f"no guard has used {tmp_path / 'typo'} yet" in command(
            "halt", "--reason", "x", "--state", str(tmp_path / "typo")
        )
    assert "HALTED global: x" in command("status", "--state", str(tmp_path / "typo"))
    assert f"not halted in {tmp_path / 'other'}" in command("resume", "--state", str(tmp_path / "other"), code=2)
    assert not (tmp_path / "other").exists()


def test_status_makes_no_store_to_look_at(command, tmp_path):
    nowhere = tmp_path / "no" / "dir"
    assert f"No guard has used {nowhere} yet" in command("status", "--state", str(nowhere))
    assert json.loads(command("status", "--state", str(nowhere), "--json")) == {
        "limits": [],
        "halted": [],
        "labels": [],
    }
    assert not nowhere.parent.exists()
    (tmp_path / "file").touch()
    assert "Not a directory" in command("status", "--state", str(tmp_path / "file"), code=2)


def test_a_password_is_not_printed():
    from guarded_tools.cli.options import store_name
    from guarded_tools.cli.state import _undone_by

    url = "redis://me:secret@host/1?namespace=n"
    assert store_name(url, None) == "redis://host:6379/1?namespace=n"
    assert _undone_by(None, None, None, url) == "guarded-tools resume --store 'redis://me:***@host/1?namespace=n'"
