"""``guarded-tools audit``: the question it answers at a glance, and its exit codes."""

import csv
import io
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from guarded_tools.audit import AuditLog
from guarded_tools.cli import audit_view
from guarded_tools.cli.app import main
from guarded_tools.stores import open_store
from guarded_tools.values import AuditEvent
from tests import forked

EVENTS = (
    AuditEvent("admitted", tool="list_things", session="ann", key="1"),
    AuditEvent("settled", tool="list_things", session="ann", key="1", outcome="ok"),
    *(
        AuditEvent(
            "refused",
            tool="track",
            session="ann",
            grant="acme",
            key=f"l{number}",
            outcome="limited",
            rule="/tools/track/limits/rate",
            message="a limit of 30 in a minute is used up",
        )
        for number in range(10)
    ),
    AuditEvent("refused", tool="delete_it", session="bob", key="3", outcome="denied", rule="(hidden)"),
    AuditEvent("shadow", tool="list_things", session="ann", key="4", outcome="denied", rule="/new", message="too much"),
)


@pytest.fixture
def state(tmp_path, monkeypatch):
    monkeypatch.setenv("GUARDED_TOOLS_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("COLUMNS", "120")
    with AuditLog(tmp_path / "home" / "audit.jsonl") as log:
        for event in EVENTS:
            log.write(event)
    return tmp_path / "home"


@pytest.fixture
def run(capsys):
    def call(*arguments):
        with pytest.raises(SystemExit) as ended:
            main(["audit", *map(str, arguments)])
        said = capsys.readouterr()
        return ended.value.code or 0, said.out, said.err

    return call


def test_it_says_who_was_refused_what_and_why(state, run):
    code, out, _ = run()
    assert code == 0
    assert "12 calls 10 limited, 1 ok, 1 denied" in out
    words = " ".join(out.split())
    assert "ann for acme 10 track limited" in words
    assert "a limit of 30 in a minute is used up /tools/track/limits/rate" in words
    assert "bob 1 delete_it denied" in words
    assert "too much" not in out


def test_refusals_are_grouped_by_rule_or_by_who_was_refused(tmp_path, monkeypatch, run):
    monkeypatch.setenv("GUARDED_TOOLS_HOME", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "120")
    with AuditLog(tmp_path / "audit.jsonl") as log:
        for number in range(30):
            said = {"rule": "/r", "outcome": "denied", "message": "too much"}
            log.write(AuditEvent("refused", tool="t", session=f"s{number % 3}", key=str(number), **said))
    assert "3 sessions 30 t denied" in " ".join(run()[1].split())
    by_session = " ".join(run("--by", "session")[1].split())
    assert all(f"s{number} 10 t denied" in by_session for number in range(3))
    assert run("--by", "day")[0] == 2


def test_each_refusal_is_told_for_its_own_reason(tmp_path, monkeypatch, run):
    monkeypatch.setenv("GUARDED_TOOLS_HOME", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "120")
    with AuditLog(tmp_path / "audit.jsonl") as log:
        for number, (cause, why) in enumerate((("timeout", "nobody came"), ("changed", "it was altered"))):
            approval = {"verdict": "reject", "cause": cause}
            said = {"rule": "/r", "outcome": "unanswered", "message": why, "approval": approval}
            log.write(AuditEvent("refused", tool="t", session="s", key=str(number), **said))
    words = " ".join(run()[1].split())
    assert "s 1 t unanswered (timeout)" in words
    assert "s 1 t unanswered (changed)" in words
    assert "nobody came" in words
    assert "it was altered" in words


def test_filters_narrow_it(state, run):
    assert "1 call 1 denied" in run("--session", "bob")[1]
    assert "10 calls 10 limited" in run("--outcome", "limited")[1]
    assert "1 call 1 ok" in run("--tool", "list*")[1]
    assert "12 calls" in run("--since", "1h")[1]
    assert "No call matches." in run("--since", "2999-01-01")[1]
    assert "Nobody was refused anything." in run("--outcome", "ok")[1]


def test_shadow_says_what_would_have_been_refused(state, run):
    _, out, _ = run("--shadow")
    assert "Who would have been refused what, and why" in out
    assert "too much" in out
    assert "track" not in out


def test_json_prints_the_records_as_they_are(state, run):
    _, out, _ = run("--json", "--session", "ann", "--outcome", "limited")
    records = [json.loads(line) for line in out.splitlines()]
    assert [record["key"] for record in records] == [f"l{number}" for number in range(10)]
    assert all(record["hash"] for record in records)


def test_another_file_and_another_state(state, run, tmp_path, monkeypatch):
    monkeypatch.setenv("GUARDED_TOOLS_HOME", str(tmp_path / "other"))
    assert run()[0] == 2
    assert "12 calls" in run("--state", state)[1]
    assert "12 calls" in run("--file", state / "audit.jsonl")[1]


def test_without_an_audit_it_says_so(tmp_path, run):
    code, _, err = run("--state", tmp_path / "new")
    assert code == 2
    assert "no guard has written there yet" in err


def test_in_a_pipe_no_name_is_cut_in_two(state, run, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    tool, rule = "a_tool_" * 10, "/tools/" + "rule/" * 30
    with AuditLog(state / "audit.jsonl") as log:
        log.write(
            AuditEvent("refused", tool=tool, session="ann", outcome="denied", rule=rule, message="too much " * 20)
        )
    out = run()[1]
    assert tool in out
    assert rule in out


@pytest.mark.parametrize("command", [(), ("verify",), ("export", "-")])
def test_a_directory_is_no_audit(tmp_path, run, command):
    code, _, err = run(*command, "--file", tmp_path)
    assert code == 2
    assert "Is a directory" in err


@pytest.mark.parametrize("text", ["", "hello\n", '{"a": 1}\n', "\x00\xff"])
@pytest.mark.parametrize("command", [(), ("verify",), ("export", "-")])
def test_a_file_without_a_record_is_no_audit(tmp_path, run, command, text):
    (tmp_path / "notes").write_text(text)
    code, out, err = run(*command, "--file", tmp_path / "notes")
    assert (code, out) == (2, "")
    assert "is no audit" in err


def test_a_log_that_was_overwritten_is_still_found_out_by_its_head(state, run):
    (state / "audit.jsonl").write_text("hello\n")
    code, out, _ = run("verify")
    assert code == 1
    assert "whole" not in out


def test_an_outcome_that_is_none_is_refused(state, run):
    for command in ((), ("export", "-")):
        code, _, err = run(*command, "--outcome", "bogus")
        assert code == 2
        assert "failed_closed" in err
    assert run("--outcome", "open")[0] == 0


def test_export_overwrites_nothing(state, run, tmp_path):
    (tmp_path / "mine.csv").write_text("precious")
    code, _, err = run("export", tmp_path / "mine.csv")
    assert code == 2
    assert "there already" in err
    assert (tmp_path / "mine.csv").read_text() == "precious"


@pytest.mark.parametrize("since", ["soon", "", "9999999d", "9" * 30 + "s", "9" * 5000 + "w", "2026-13-01"])
def test_a_time_that_is_none_is_refused(state, run, since):
    code, _, err = run("--since", since)
    assert code == 2
    assert "neither an age such as 10m" in err


def test_names_cannot_move_the_cursor(state, run):
    nasty = "\x1b[2J\x1b]0;owned\x07\r\u202eevil[red]markup[/]"
    with AuditLog(state / "audit.jsonl") as log:
        log.write(
            AuditEvent("refused", tool=nasty, session=nasty, grant=nasty, rule=nasty, message=nasty, outcome="denied")
        )
        log.write(AuditEvent("control", rule=nasty, message=nasty))
    _, out, _ = run()
    assert not {"\x1b", "\x07", "\r", "\u202e"} & set(out)
    assert "[red]markup[/]" in out.replace("\n", "")


def test_a_whole_log_verifies(state, run):
    code, out, _ = run("verify")
    assert code == 0
    assert "The audit is whole" in out
    last = json.loads((state / "audit.jsonl").read_bytes().splitlines()[-1])
    assert f"The last record is {last['seq']}, with hash {last['hash']}." in out


def edit(file):
    file.write_bytes(file.read_bytes().replace(b'"bob"', b'"eve"'))


def test_an_edited_log_does_not_and_it_says_where(state, run):
    edit(state / "audit.jsonl")
    code, out, _ = run("verify")
    assert code == 1
    assert "audit.jsonl:13: edited: record 13 is not what its own hash says" in out


def test_findings_as_json(state, run):
    edit(state / "audit.jsonl")
    code, out, _ = run("verify", "--json")
    assert code == 1
    (finding,) = json.loads(out)
    assert (finding["fault"], finding["file"], finding["line"], finding["tolerated"]) == (
        "edited",
        "audit.jsonl",
        13,
        False,
    )


def test_a_torn_line_is_named_and_tolerated(state, run):
    with (state / "audit.jsonl").open("ab") as file:
        file.write(b'{"seq":')
    code, out, _ = run("verify")
    assert code == 0
    assert "audit.jsonl:15: torn" in out


def test_the_store_beside_the_log_is_asked_for_its_head(tmp_path, run):
    home = tmp_path / "state"
    store = open_store(f"disk://{home}")
    with AuditLog(home / "audit.jsonl", store=store) as log:
        for event in EVENTS:
            log.write(event)
    store.close()
    assert "and the store" in run("verify", "--state", home)[1]
    (home / "audit.jsonl").unlink()
    (home / "audit.head").unlink()
    for store in ([], ["--store", f"disk://{home}"]):
        code, out, _ = run("verify", "--state", home, *store)
        assert code == 1, out
        assert "records 1 to 14 are cut off the end" in out
    assert run("verify", "--state", home, "--store", "memory://")[0] == 2


def test_the_store_that_the_environment_names_is_asked_for_its_head(tmp_path, run, monkeypatch):
    home, fleet = tmp_path / "state", f"disk://{tmp_path / 'fleet'}"
    store = open_store(fleet)
    with AuditLog(home / "audit.jsonl", store=store) as log:
        log.write(EVENTS[0])
    store.close()
    assert "no store keeps its head" in run("verify", "--state", home)[1]
    monkeypatch.setenv("GUARDED_TOOLS_STORE", fleet)
    assert "and the store" in run("verify", "--state", home)[1]


def test_export_writes_csv(state, run, tmp_path):
    code, out, _ = run("export", tmp_path / "out.csv", "--outcome", "limited")
    assert (code, out) == (0, f"10 records written to {tmp_path / 'out.csv'}\n")
    rows = list(csv.DictReader((tmp_path / "out.csv").open(newline="")))
    assert {row["rule"] for row in rows} == {"/tools/track/limits/rate"}
    assert len(list(csv.DictReader(io.StringIO(run("export", "-")[1])))) == 14
    assert run("export", tmp_path / "no" / "out.csv")[0] == 2


def test_export_writes_calls_and_parquet(state, run, tmp_path):
    code, out, _ = run("export", tmp_path / "calls.csv", "--calls", "--session", "ann")
    assert (code, out) == (0, f"11 calls written to {tmp_path / 'calls.csv'}\n")
    (limited, ok) = sorted({row["outcome"] for row in csv.DictReader((tmp_path / "calls.csv").open(newline=""))})
    assert (limited, ok) == ("limited", "ok")
    for options, count in ((("--calls", "--outcome", "ok"), 1), ((), 14)):
        target = tmp_path / f"{count}.parquet"
        assert run("export", target, *options)[0] == 0
        assert pq.read_table(target).num_rows == count
        assert run("export", target, *options)[0] == 2


def test_following_prints_calls_as_they_end(state):
    environment = os.environ | {"GUARDED_TOOLS_HOME": str(state)}
    command = [sys.executable, "-m", "guarded_tools.cli", "audit", "--follow", "--outcome", "denied", "-n", "0"]
    with forked.Popen(command, stdout=forked.PIPE, env=environment) as process:
        for line in process.stdout:
            if "(hidden)" in line:
                break
        with AuditLog(state / "audit.jsonl") as log:
            log.write(AuditEvent("refused", tool="fresh_one", session="eve", key="9", outcome="denied", rule="/why"))
        line = next(line for line in process.stdout if "fresh_one" in line)
        assert "eve" in line
        assert "/why" in line
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 0


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a device that is always full")
@pytest.mark.parametrize("command", [(), ("--json",), ("export", "-"), ("--help",)])
def test_an_output_that_is_full_is_said_in_one_line(state, command):
    environment = os.environ | {"GUARDED_TOOLS_HOME": str(state)}
    with Path("/dev/full").open("w") as full:
        arguments = [forked.PYTHON, "-m", "guarded_tools.cli", "audit", *command]
        ended = subprocess.run(arguments, stdout=full, stderr=subprocess.PIPE, text=True, env=environment, check=False)
    assert ended.returncode == 2
    assert ended.stderr == "error: the output cannot be written: no space left on the device\n"


def test_the_latest_calls_alone(state, run):
    code, out, err = run("--latest", "-n", "2", "--outcome", "limited")
    assert (code, err) == (0, "")
    assert out.count("limited") == 2
    assert "refused what" not in out
    assert "No call matches." in run("--latest", "--session", "nobody")[1]


def test_of_many_kinds_of_refusal_the_most_frequent_are_listed(state, run):
    out = run("--most", "1")[1]
    assert "track" in out
    assert "1 more row, each as frequent or less" in out
    table = out.split("Latest calls")[0]
    assert "bob" not in table
    assert "bob" in run()[1].split("Latest calls")[0]


def test_a_bar_comes_only_where_reading_takes_a_while(state, monkeypatch, capsys):
    monkeypatch.setenv("FORCE_COLOR", "1")  # as at a terminal
    for after, shown in ((3600.0, False), (0.0, True)):
        monkeypatch.setattr(audit_view, "_A_WHILE", after)
        with pytest.raises(SystemExit):
            main(["audit"])
        said = capsys.readouterr()
        assert ("Reading the audit" in said.err) == shown
        assert "12 calls" in said.out
