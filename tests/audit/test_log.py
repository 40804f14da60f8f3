"""What one process writes: the lines, their chain, their files, and what happens when they cannot be written."""

import gc
import hashlib
import json
import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from guarded_tools.audit import AuditLog, audit_path, read, verify
from guarded_tools.audit.head import head_path
from guarded_tools.audit.log import _close_all as close_all
from guarded_tools.errors import AuditError
from guarded_tools.values import AuditEvent


def test_a_line_holds_what_the_event_says_and_nothing_that_is_unset(make_log, lines):
    make_log().write(
        AuditEvent(
            "settled",
            tool="t",
            session="s",
            key="k",
            outcome="never_ran",
            rule="/tools/t",
            args=("a", "b"),
            charges=(("session:s", "srv/t/rate", 2, 30, 60),),
            refunded=1,
            guard_ms=0.1234567,
            tool_ms=0.0,
            trace={"run": "r"},
        )
    )
    (line,) = lines()
    assert line.pop("prev") == "0" * 64
    assert len(line.pop("hash")) == 64
    assert line == {
        "seq": 1,
        "time": "2023-11-14T22:13:21.000000Z",
        "kind": "settled",
        "tool": "t",
        "session": "s",
        "key": "k",
        "outcome": "never_ran",
        "rule": "/tools/t",
        "args": ["a", "b"],
        "charges": [["session:s", "srv/t/rate", 2, 30, 60]],
        "refunded": 1,
        "guard_ms": 0.123,
        "tool_ms": 0.0,
        "trace": {"run": "r"},
    }


def test_each_line_names_the_hash_of_the_one_before_and_anyone_can_compute_it(written):
    raw = written.read_bytes().splitlines()
    before = "0" * 64
    for number, line in enumerate(raw, 1):
        record = json.loads(line)
        hashed, _, _ = line.rpartition(b',"hash":')
        assert record["seq"] == number
        assert record["prev"] == before
        assert record["hash"] == hashlib.sha256(hashed).hexdigest()
        before = record["hash"]


def test_a_second_log_on_the_same_path_continues_the_chain(written, make_log, event):
    make_log().write(event(11))
    assert [record["seq"] for record in read(written)] == list(range(1, 12))
    assert verify(written) == []


def test_a_closed_log_can_be_used_again(make_log, event, path):
    log = make_log()
    log.write(event())
    log.close()
    log.write(event())
    assert verify(path) == []
    assert len(list(read(path))) == 2


def test_only_the_owner_can_read_it(written):
    assert stat.S_IMODE(written.stat().st_mode) == 0o600
    assert stat.S_IMODE(head_path(written).stat().st_mode) == 0o600
    assert stat.S_IMODE(written.parent.stat().st_mode) == 0o700


def test_a_file_that_others_could_read_is_closed_to_them(make_log, event, path):
    path.parent.mkdir(mode=0o700)
    path.touch(mode=0o644)
    make_log().write(event())
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_the_umask_does_not_open_it(make_log, event, path):
    before = os.umask(0)
    try:
        make_log().write(event())
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("name", ["audit.jsonl", "audit.head"])
@pytest.mark.parametrize("plant", ["link", "pipe", "directory"])
def test_what_was_planted_under_its_name_is_not_written_to(make_log, event, path, name, plant):
    path.parent.mkdir(mode=0o700)
    victim = path.with_name("victim")
    victim.write_text("mine")
    planted = path.with_name(name)
    if plant == "link":
        planted.symlink_to(victim)
    elif plant == "pipe":
        os.mkfifo(planted)
    else:
        planted.mkdir()
    with pytest.raises(AuditError, match="the call is refused"):
        make_log().write(event())
    assert victim.read_text() == "mine"


def test_a_relative_path_stays_where_it_was(tmp_path, monkeypatch, event):
    monkeypatch.chdir(tmp_path)
    with AuditLog("here/audit.jsonl") as log:
        (tmp_path / "elsewhere").mkdir()
        monkeypatch.chdir(tmp_path / "elsewhere")
        log.write(event())
    assert (tmp_path / "here" / "audit.jsonl").exists()


def test_the_state_directorys_audit_has_a_name(tmp_path):
    assert audit_path(tmp_path) == tmp_path / "audit.jsonl"


def test_an_unwritable_directory_refuses(tmp_path, event):
    (tmp_path / "file").write_text("")
    with pytest.raises(AuditError, match="cannot be written"):
        AuditLog(tmp_path / "file" / "audit.jsonl").write(event())


def test_a_full_disk_refuses_leaves_no_half_line_and_recovers(tmp_path, event):
    """A limit on the file's size stands for the disk: the kernel cuts the write short, then refuses it."""
    code = f"""
import resource, signal, sys
from guarded_tools.audit import AuditLog
from guarded_tools.errors import AuditError
from guarded_tools.values import AuditEvent
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
log = AuditLog({str(tmp_path / "audit.jsonl")!r})
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
refused = 0
for n in range(10):
    try:
        log.write(AuditEvent("settled", tool=f"t{{n}}"))
    except AuditError as error:
        refused += 1
resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
log.write(AuditEvent("settled", tool="after"))
print(refused)
"""
    refused = int(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout)
    records = list(read(tmp_path / "audit.jsonl"))
    assert refused > 0
    assert len(records) == 10 - refused + 1
    assert records[-1]["tool"] == "after"
    assert verify(tmp_path / "audit.jsonl") == []


def test_eight_threads_lose_nothing_and_keep_the_order(make_log, event, path):
    log = make_log()
    threads = [
        threading.Thread(target=lambda name=name: [log.write(event(n, session=str(name))) for n in range(100)])
        for name in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert verify(path) == []
    for name in range(8):
        assert [r["tool"] for r in read(path, session=str(name))] == [f"tool_{n}" for n in range(100)]


# Rotation


def test_a_full_file_is_renamed_and_the_chain_runs_on(make_log, event, path):
    log = make_log(max_bytes=1000)
    for number in range(20):
        log.write(event(number))
    names = sorted(file.name for file in path.parent.iterdir())
    assert names[:4] == ["audit.head", "audit.jsonl", "audit.jsonl.1", "audit.jsonl.2"]
    assert all(file.stat().st_size <= 1000 for file in path.parent.iterdir())
    assert [record["tool"] for record in read(path)] == [f"tool_{number}" for number in range(20)]
    assert verify(path) == []


def test_rotated_files_are_read_by_number_not_by_name(make_log, event, path):
    log = make_log(max_bytes=300)
    for number in range(25):
        log.write(event(number))
    assert path.with_name("audit.jsonl.12").exists()
    assert [record["seq"] for record in read(path)] == list(range(1, 26))


def test_a_number_is_not_used_again_when_its_file_was_archived(make_log, event, path):
    log = make_log(max_bytes=300)
    for number in range(5):
        log.write(event(number))
    last = max(int(file.suffix[1:]) for file in path.parent.glob("audit.jsonl.[0-9]*"))
    for file in path.parent.glob("audit.jsonl.[0-9]*"):
        file.unlink()
    log.write(event(5))
    assert [file.name for file in path.parent.glob("audit.jsonl.[0-9]*")] == [f"audit.jsonl.{last + 1}"]
    assert verify(path, first=5) == []


def test_one_log_notices_that_another_rotated(make_log, event, path):
    one, other = make_log(max_bytes=1000), make_log(max_bytes=1000)
    for number in range(30):
        (one, other)[number % 2].write(event(number))
    assert [record["seq"] for record in read(path)] == list(range(1, 31))
    assert verify(path) == []


def test_a_line_longer_than_a_file_is_written_all_the_same(make_log, event, path):
    log = make_log(max_bytes=10)
    log.write(event(1))
    log.write(event(2))
    assert len(list(read(path))) == 2
    assert verify(path) == []


# Crashes


def test_a_torn_last_line_is_passed_over(written, make_log, event):
    with written.open("ab") as file:
        file.write(b'{"seq":11,"time":"2023-11-14T22:1')
    make_log().write(event(11))
    assert [record["seq"] for record in read(written)] == list(range(1, 12))
    (finding,) = verify(written)
    assert finding.fault == "torn"
    assert finding.tolerated
    assert finding.line == 11


def test_a_line_whose_writer_died_before_noting_it_is_taken_over(written, make_log, event):
    head = head_path(written)
    before = head.read_bytes()
    with make_log() as log:
        log.write(event(11))
        log.write(event(12))
    head.write_bytes(before)
    make_log().write(event(13))
    assert [record["seq"] for record in read(written)] == list(range(1, 14))
    assert verify(written) == []


def test_a_death_right_after_a_rotation_costs_nothing(make_log, event, path):
    with make_log() as log:
        for number in range(3):
            log.write(event(number))
    path.rename(path.with_name("audit.jsonl.1"))
    make_log().write(event(3))
    assert [record["seq"] for record in read(path)] == [1, 2, 3, 4]
    assert verify(path) == []


@pytest.mark.parametrize("done", [False, True], ids=["before", "after"])
def test_a_death_within_a_rotation_splits_no_writers(make_log, event, path, monkeypatch, done):
    one, other, third = (make_log(max_bytes=2000) for _ in range(3))
    for number, log in enumerate((one, other, one, other)):
        log.write(event(number))

    def die(file, target):
        if done:
            file.replace(target)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", die)
        with pytest.raises(KeyboardInterrupt):
            one.write(event(4, message="x" * 900))
    # At once: nobody has had time to look whether the file it has open still has its name. Short lines would fit there.
    for number, log in enumerate((other, third, other, one), 4):
        log.write(event(number))
    assert [record["seq"] for record in read(path)] == list(range(1, 9))
    assert verify(path) == []


def test_a_rotation_that_fails_refuses_and_leaves_all_as_it_was(make_log, event, path, monkeypatch):
    log = make_log(max_bytes=300)
    log.write(event(1))

    def fail(_file, _target):
        raise OSError(28, "No space left on device")

    head = head_path(path).read_bytes()
    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", fail)
        with pytest.raises(AuditError, match="No space left"):
            log.write(event(2))
    assert head_path(path).read_bytes() == head
    log.write(event(3))
    assert [record["tool"] for record in read(path)] == ["tool_1", "tool_3"]
    assert verify(path) == []


def test_a_head_of_which_half_was_written_is_not_taken_for_one(make_log, event, path, monkeypatch):
    log = make_log()
    log.write(event(1))
    pwrite = os.pwrite
    with monkeypatch.context() as patched:
        patched.setattr(os, "pwrite", lambda file, data, place: pwrite(file, data[:60], place))
        with pytest.raises(AuditError, match="no space left"):
            log.write(event(2))
    log.write(event(3))
    assert [record["tool"] for record in read(path)] == ["tool_1", "tool_3"]
    assert verify(path) == []


@pytest.mark.parametrize("damage", [b"", b"garbage", b"0" * 112, b"\0" * 4096])
def test_a_damaged_head_is_found_again_in_the_lines(written, make_log, event, damage, caplog):
    head_path(written).write_bytes(damage)
    make_log().write(event(11))
    assert [record["seq"] for record in read(written)] == list(range(1, 12))
    assert verify(written) == []
    assert "gone or damaged" in caplog.text


def test_a_lost_head_right_after_a_rotation_is_found_in_the_full_file(written, make_log, event):
    written.rename(written.with_name("audit.jsonl.1"))
    head_path(written).unlink()
    make_log().write(event(11))
    assert [record["seq"] for record in read(written)] == list(range(1, 12))
    assert verify(written) == []


def test_a_file_deleted_under_a_running_log_is_noticed(make_log, event, path, monkeypatch):
    log = make_log()
    log.write(event(1))
    path.unlink()
    log._look_again = 0.0
    log.write(event(2))
    assert [record["seq"] for record in read(path)] == [2]
    assert [(f.fault, f.seq) for f in verify(path)] == [("removed", 1)]


def test_a_head_deleted_under_a_running_log_does_not_split_the_writers(make_log, event, path):
    one, other = make_log(), make_log()
    one.write(event(1))
    head_path(path).unlink()
    other.write(event(2))
    one._look_again = 0.0
    one.write(event(3))
    other.write(event(4))
    assert verify(path) == []
    assert len(list(read(path))) == 4


# What cannot be put into a line as it is


def test_control_characters_stay_within_their_line(make_log, path):
    nasty = 'a\n{"seq":99}\r\x1b[2J\u2028\x00\u202e'
    make_log().write(
        AuditEvent("refused", tool=nasty, session=nasty, rule=nasty, message=nasty, args=(nasty,), call_id=nasty)
    )
    raw = path.read_bytes()
    assert raw.count(b"\n") == 1
    assert all(32 <= byte < 127 for byte in raw[:-1])
    (record,) = read(path)
    assert record["tool"] == record["message"] == record["args"][0] == nasty


def test_lone_surrogates_and_numbers_that_are_not_json_are_written_somehow(make_log, event, path):
    log = make_log()
    log.write(event(message="\ud800"))
    log.write(event(values={"amount": float("nan")}))
    log.write(event(values={"when": object()}))
    assert len(list(read(path))) == 3
    assert verify(path) == []


def test_a_structure_too_deep_to_write_is_written_as_such(make_log, event, path):
    deep = {}
    for _ in range(100_000):
        deep = {"x": deep}
    make_log().write(event(values=deep))
    assert [record["values"] for record in read(path)] == [{"cut": "(not JSON)"}]


def test_what_is_too_long_is_cut_and_says_so(make_log, event, path):
    log = make_log()
    log.write(event(message="m" * 1_000_000, values={"html": "v" * 1_000_000}, args=("n" * 1_000_000,) * 1000))
    (record,) = read(path)
    assert path.stat().st_size < 100_000
    assert record["args"][0].endswith("… (999000 characters more)")
    assert record["message"].endswith("… (999000 characters more)")
    assert record["args"][-1] == "… (950 more)"
    assert record["values"]["cut"].endswith("characters more)")
    assert verify(path) == []


def test_an_event_of_the_wrong_types_refuses(make_log, event):
    with pytest.raises(AuditError, match="cannot be put into a line"):
        make_log().write(event(args=5))


def test_options_are_checked(path):
    with pytest.raises(ValueError, match="fsync"):
        AuditLog(path, fsync="sometimes")
    with pytest.raises(ValueError, match="max_bytes"):
        AuditLog(path, max_bytes=0)


# fsync


@pytest.fixture
def synced(monkeypatch, path):
    found = []
    real = os.fsync

    def fsync(descriptor):
        found.append(os.path.samestat(os.fstat(descriptor), path.stat()) if path.exists() else False)
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    return found


def test_never_means_never(make_log, event, synced):
    with make_log(fsync="never", max_bytes=500) as log:
        for number in range(5):
            log.write(event(number))
    assert synced == []


def test_always_means_each_line_before_write_returns(make_log, event, synced):
    log = make_log(fsync="always")
    for number in range(5):
        log.write(event(number))
        assert synced.count(True) == number + 1


def test_a_second_means_in_the_background_and_at_the_end(make_log, event, synced):
    with make_log(fsync="second") as log:
        for number in range(100):
            log.write(event(number))
    assert 1 <= synced.count(True) < 10


def test_an_fsync_that_fails_refuses_and_takes_the_line_back(make_log, event, path, monkeypatch):
    log = make_log(fsync="always")
    log.write(event(1))

    def fail(_):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(AuditError, match="Input/output error"):
        log.write(event(2))
    monkeypatch.undo()
    log.write(event(3))
    assert [record["tool"] for record in read(path)] == ["tool_1", "tool_3"]
    assert verify(path) == []


def test_a_close_that_cannot_reach_the_disk_lets_go_all_the_same(make_log, event, path, store, monkeypatch):
    first, second = (make_log(path=path.with_name(name), fsync="always", store=store) for name in ("a", "b"))
    for number, log in enumerate((first, second)):
        log.write(event(number))

    def fail(_descriptor):
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", fail)
        with pytest.raises(OSError, match="Input/output"):
            first.close()
        close_all()
    assert all(b'"seq": 1' in kept for kept in store.kept.values())
    assert not [file for file in Path("/proc/self/fd").iterdir() if str(file.resolve()).startswith(str(path.parent))]


def test_logs_that_are_dropped_leave_no_descriptors(tmp_path):
    before = len(list(Path("/proc/self/fd").iterdir()))
    for number in range(50):
        AuditLog(tmp_path / f"{number}.jsonl").write(AuditEvent("control"))
    gc.collect()
    assert len(list(Path("/proc/self/fd").iterdir())) <= before + 2


def test_the_pattern_of_a_log_and_its_full_files_catches_lines_alone(tmp_path):
    with AuditLog(tmp_path / "audit.jsonl", max_bytes=600) as log:
        for _ in range(4):
            log.write(AuditEvent("refused", tool="t", session="s"))
    caught = sorted(tmp_path.glob("audit.jsonl*"))
    assert len(caught) > 1
    assert all(json.loads(line)["seq"] for file in caught for line in file.read_text().splitlines())
    assert len(list(tmp_path.iterdir())) == len(caught) + 1


def test_a_log_that_has_its_head_under_the_former_name_goes_on_with_it(tmp_path):
    path = tmp_path / "audit.jsonl"
    with AuditLog(path) as log:
        log.write(AuditEvent("refused", tool="t", session="s"))
    former = head_path(path).rename(tmp_path / "audit.jsonl.head")
    with AuditLog(path) as log:
        log.write(AuditEvent("refused", tool="t", session="s"))
    assert head_path(path) == former
    assert not (tmp_path / "audit.head").exists()
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:-1]))
    assert [finding.fault for finding in verify(path)] == ["cut"]
