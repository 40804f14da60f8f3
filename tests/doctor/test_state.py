"""What is said of a state directory: really broken ones, and what cannot be had here from facts that are made up."""

from __future__ import annotations

import contextlib
import os
import random
import re
import shlex
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
import typer

from guarded_tools import Guard, Policy, StoreError, ToolCall, ToolDenied, open_store
from guarded_tools.approvers.inbox import _OPEN, Question
from guarded_tools.approvers.protocol import who
from guarded_tools.audit.head import head_path
from guarded_tools.cli.app import _app
from guarded_tools.doctor.gathered_state import gathered
from guarded_tools.doctor.state import Examined, Locks, Owned, PlaceFacts, StoreFacts, judge_state
from guarded_tools.values import ApprovalRequest
from tests import forked

POLICY = Policy.model_validate({"version": "1", "default": "deny", "tools": {"t": {"rate_limit": "5/hour"}}})
ROOT = pytest.mark.skipif(os.getuid() != 0, reason="only root can give files away and mount")


@pytest.fixture
def path(tmp_path):
    """A state directory that a guard used, and left as it should."""
    path = tmp_path / "state"
    used(path)
    return path


def used(path, **options):
    with Guard(POLICY, state=path, session="s", **options) as guard:
        for _ in range(2):
            guard.call(ToolCall("t", {}, session="s"), lambda _: "ran")
        with contextlib.suppress(ToolDenied):
            guard.call(ToolCall("nobody", {}, session="s"), lambda _: "ran")


def looked(path, *, url="", now=time.time):
    return judge_state(gathered(path, url or f"disk://{path}", str(path), f" --state {path}", now))


def found(remarks, about):
    return [one for one in remarks if one.about == about]


def pictured(path):
    """All that a look could change, but for when files were last read."""
    return {
        str(each): (each.lstat().st_ino, each.lstat().st_mode, each.lstat().st_mtime_ns, each.lstat().st_ctime_ns)
        for each in (path, *sorted(path.rglob("*")))
    }


def test_a_directory_that_is_fine(path):
    before = pictured(path)
    remarks = looked(path)
    assert {one.level for one in remarks} == {"ok"}
    assert [one.about for one in remarks] == ["state", "disk", "counters", "audit"]
    assert pictured(path) == before


def test_a_directory_that_is_not_there_is_not_made(tmp_path):
    remarks = looked(tmp_path / "a" / "b")
    assert [(one.level, one.about) for one in remarks] == [("ok", "state"), ("ok", "disk"), ("ok", "counters")]
    assert "the first guard makes it" in remarks[0].said
    assert list(tmp_path.iterdir()) == []


def test_a_directory_in_use_stays_as_it_is_and_its_users_are_named(path):
    code = f"""
import sys
from guarded_tools import open_store
from guarded_tools.values import Charge
store = open_store("disk://{path}")
store.reserve([Charge("c", "session:s", 60, 5, 1, "/c")])
print("in", flush=True)
sys.stdin.read()
"""
    with forked.Popen([sys.executable, "-c", code], stdin=forked.PIPE, stdout=forked.PIPE) as process:
        assert process.stdout.readline() == "in\n"
        before = pictured(path)
        remarks = looked(path)
        assert pictured(path) == before
        process.kill()
    assert {one.level for one in remarks} == {"ok"}
    (users,) = found(remarks, "in use by")
    assert str(process.pid) in users.said
    # Killed: the log stays, and all that was counted is in it.
    assert (path / "counters" / "cache.db-wal").exists()
    before = pictured(path)
    assert {one.level for one in looked(path)} == {"ok"}
    assert pictured(path) == before


def _delete(name):
    return lambda path: (path / "counters" / name).unlink()


def _truncate(path):
    file = path / "counters" / "cache.db"
    os.truncate(file, file.stat().st_size // 3)


def _garble(path):
    with (path / "counters" / "cache.db").open("r+b") as file:
        file.seek(4096)
        file.write(random.Random(1).randbytes(20_000))


def _of_another_version(path):
    database = sqlite3.connect(path / "counters" / "cache.db")
    database.execute("PRAGMA user_version = 99")
    database.close()


def _older(path):
    kept = (path / "counters" / "cache.db").read_bytes()
    used(path)
    (path / "counters" / "cache.db").write_bytes(kept)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (_delete("cache.db"), "the database is gone"),
        (_truncate, "damaged"),
        (_garble, "damaged"),
        (_older, "older than its last use"),
        (_of_another_version, "has schema 99"),
        (lambda path: (path / "counters" / "store.json").write_text("{"), "store.json cannot be read"),
    ],
)
def test_counters_that_a_guard_refuses_are_wrong_for_the_same_reason(path, damage, said):
    damage(path)
    before = pictured(path)
    (counters,) = found(looked(path), "counters")
    assert pictured(path) == before
    assert counters.level == "wrong"
    assert said in counters.said
    with pytest.raises(StoreError) as refused:
        open_store(f"disk://{path}")
    assert str(refused.value) == counters.said
    lost = "reset --confirm" in counters.said
    assert counters.next == f"guarded-tools {'reset --confirm' if lost else 'status'} --state {path}"


def test_a_torn_line_is_a_warning_and_an_edited_one_is_wrong(path):
    audit = path / "audit.jsonl"
    lines = audit.read_text()
    audit.write_text(lines + '{"seq":9,"ti')
    (torn,) = found(looked(path), "audit")
    assert (torn.level, torn.next) == ("warning", f"guarded-tools audit verify --state {path}")
    assert "1 piece of a line, as a crash leaves it" in torn.said
    audit.write_text(lines.replace('"tool":"nobody"', '"tool":"nothing"'))
    (edited,) = found(looked(path), "audit")
    assert edited.level == "wrong"
    assert "not what its own hash says" in edited.said


def test_an_audit_whose_end_was_cut_off_is_wrong_by_the_stores_copy_of_its_head(path):
    """A copy of the counters tells as much as they do."""
    for file in (path / "audit.jsonl", head_path(path / "audit.jsonl")):
        file.unlink()
    remarks = found(looked(path), "audit")
    assert remarks
    assert remarks[0].level == "wrong"


def test_a_clock_that_was_set_back(path):
    assert found(looked(path), "clock") == []
    (clock,) = found(looked(path, now=lambda: time.time() - 7200), "clock")
    assert clock.level == "warning"
    assert re.search("(120 minutes|2 hours) from now", clock.said)
    assert "the clock was set back" in clock.said


def test_what_is_halted_and_who_waits(path):
    store = open_store(f"disk://{path}")
    store.halt("session:it's", "too fast")
    question = Question.ask(ApprovalRequest("refund", {}, "s", "d", "/r"))
    gone = question._replace(asker=who(), pid=2**22 + 1)
    store.put(f"{_OPEN}{gone.id}", gone.dump())
    remarks = looked(path)
    (halted,) = found(remarks, "stop button")
    assert halted.level == "warning"
    assert "too fast" in halted.said
    assert shlex.split(halted.next) == ["guarded-tools", "resume", "--session", "it's", "--state", str(path)]
    (waiting,) = found(remarks, "questions")
    assert waiting.level == "warning"
    assert "1 question open, 1 of them from a process that is gone; refund" in waiting.said
    store.close()


def test_a_lock_that_is_held(path):
    with (path / "counters" / "lock").open("r+") as held:
        code = (
            f"import fcntl, sys; fcntl.flock({held.fileno()}, fcntl.LOCK_EX); print('in', flush=True); sys.stdin.read()"
        )
        process = subprocess.Popen(
            [forked.PYTHON, "-c", code], pass_fds=[held.fileno()], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        try:
            assert process.stdout.readline() == b"in\n"
            (lock,) = found(looked(path), "lock")
        finally:
            process.kill()
            process.communicate()
    assert (lock.level, lock.next) == ("warning", f"ps -fp {process.pid}")
    assert str(process.pid) in lock.said


@pytest.mark.parametrize(
    ("damage", "said", "command"),
    [
        (lambda path: path.chmod(0o777), "others may write into", "chmod 700 {path}"),
        (lambda path: (path / "counters").chmod(0o770), "others may write into", "chmod 700 {path}/counters"),
        (
            lambda path: [(path / "audit.jsonl").unlink(), (path / "audit.jsonl").symlink_to("/etc/hostname")],
            "neither a file nor a directory",
            "ls -la {path}",
        ),
        (
            lambda path: [path.rename(path.with_name("old")), path.write_text("")],
            "is not a directory",
            "export GUARDED_TOOLS_HOME=~/.guarded-tools",
        ),
        pytest.param(
            lambda path: os.chown(path, 65534, 65534),
            "belongs to another user",
            "sudo chown -R {we} {path}",
            marks=ROOT,
        ),
        pytest.param(
            lambda path: os.chown(path / "audit.jsonl", 65534, 65534),
            "of another user, and refused",
            "sudo chown -R {we} {path}",
            marks=ROOT,
        ),
    ],
)
def test_a_place_that_guards_refuse(path, damage, said, command):
    damage(path)
    wrong = [one for one in looked(path) if one.level == "wrong" and one.about in {"state", "files"}]
    assert len(wrong) == 1, wrong
    assert said in wrong[0].said
    assert wrong[0].next == command.format(path=path, we=os.getuid())
    with pytest.raises((StoreError, ToolDenied)):
        used(path)


def test_a_draft_of_a_killed_process(path):
    draft = path / "counters" / ".store.json.0123abcd"
    draft.write_text("{")
    assert found(looked(path), "leftovers") == []  # somebody may be writing it
    os.utime(draft, (0, 0))
    (left,) = found(looked(path), "leftovers")
    assert (left.level, left.next) == ("warning", f"rm {draft}")


@ROOT
def test_a_full_disk_and_one_that_is_read_only(tmp_path):
    path = tmp_path / "small"
    path.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m,mode=700", "tmpfs", str(path)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("no file system can be mounted here")
    try:
        used(path)
        (tight,) = found(looked(path), "disk")
        assert tight.level == "warning"
        with (path / "filler").open("wb", buffering=0) as file:
            try:
                while file.write(b"x" * 4096):
                    pass
            except OSError:
                pass
        remarks = looked(path)
        (full,) = found(remarks, "disk")
        assert (full.level, full.next) == ("wrong", f"df -h {path}")
        assert "no space left on the disk: calls are refused" in full.said
        assert found(remarks, "counters")[0].level == "ok"
        subprocess.run(["mount", "-o", "remount,ro", str(path)], check=True)
        (place,) = found(looked(path), "state")
        assert (place.level, place.next) == ("wrong", f"findmnt -T {path}")
    finally:
        subprocess.run(["umount", str(path)], check=True)


@ROOT
def test_who_may_not_write_or_look_is_told_so():
    """As somebody whom file modes bind, in a folder that is not the tests' own, which is closed to others."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        path = Path(folder, "state")
        used(path)
        for each in (path, *path.rglob("*")):
            os.chown(each, 65534, 65534)
        code = f"""
import os
from pathlib import Path
from tests.doctor.test_state import found, looked
path = Path({str(path)!r})
looked(path)  # imports what it needs as long as it may read it
os.setgroups([]); os.setgid(65534); os.setuid(65534)
for mode in (0o700, 0o500, 0):
    path.chmod(mode)
    print([(one.level, one.said, one.next) for one in looked(path) if one.about == "state"])
"""
        done = forked.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2])
    assert done.returncode == 0, done.stderr
    fine, unwritable, unlisted = done.stdout.splitlines()
    assert "yours alone" in fine
    assert "may not be written to" in unwritable
    assert "cannot be looked into: Permission denied" in unlisted
    assert f"'chmod 700 {path}'" in unlisted


FACTS = Examined(
    PlaceFacts(Path("/s"), Owned(Path("/s"), "d", 7, 0o700), Path("/s"), True, False, 2**40, 2**20, "ext4"),
    Locks(),
    StoreFacts("/s"),
    None,
    7,
    1_700_000_000.0,
)


@pytest.mark.parametrize(
    ("changed", "about", "level", "said"),
    [
        ({"file_system": "nfs4"}, "file system", "wrong", "is on nfs4, which machines share"),
        ({"file_system": "fuse.sshfs"}, "file system", "wrong", "limits may be exceeded"),
        ({"inodes": 0}, "disk", "wrong", "no files left on the disk"),
        ({"top": None, "writable": False, "nearest": Path("/")}, "state", "wrong", "/ may not be written to"),
    ],
)
def test_what_cannot_be_had_here(changed, about, level, said):
    remarks = judge_state(FACTS._replace(place=FACTS.place._replace(**changed)))
    (remark,) = found(remarks, about)
    assert remark.level == level
    assert said in remark.said
    assert remark.next


def test_a_store_that_is_not_on_disk(path):
    (counters,) = found(looked(path, url="redis://127.0.0.1:1"), "counters")
    assert counters.level == "wrong"
    assert "127.0.0.1:1" in counters.said


def test_every_next_command_of_ours_is_one(path):
    _truncate(path)
    (path / "audit.jsonl").write_text("{}\nno\n")
    store = FACTS.store._replace(fault="counters were lost: `guarded-tools reset --confirm`")
    remarks = [*looked(path), *judge_state(FACTS._replace(store=store)), *judge_state(FACTS)]
    commands = [shlex.split(one.next) for one in remarks if one.next.startswith("guarded-tools ")]
    assert len(commands) >= 3
    for _, name, *words in commands:
        command = typer.main.get_command(_app([name])).commands[name]
        if words and hasattr(command, "commands") and not words[0].startswith("-"):
            command = command.commands[words[0]]
        options = {option for parameter in command.params for option in parameter.opts} | {"--state"}
        assert {word for word in words if word.startswith("-")} <= options
