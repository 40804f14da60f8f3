"""A history that was made up anew is found by the head that the store keeps, however long the log goes on after it."""

import hashlib
import os
import time

import pytest

from guarded_tools import Guard, Policy, ToolCall, open_store
from guarded_tools.audit import AuditLog, head, verify
from guarded_tools.audit.head import Head, head_path, still_holds
from guarded_tools.audit.kept_head import EVERY, kept_head
from guarded_tools.audit.rotation import rotated
from guarded_tools.errors import AuditError, ToolDenied
from guarded_tools.values import AuditEvent


def until(condition):
    deadline = time.monotonic() + 20 * EVERY
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def write(log, *tools):
    for tool in tools:
        log.write(AuditEvent("admitted", tool))


def rewrite(path):
    """What whoever may write the log and its head, but not the store, can do: another history, chained anew."""
    prev, out = "0" * 64, []
    for line in path.read_bytes().splitlines():
        body = line.replace(b"wire_money", b"read").rsplit(b',"prev":"', 1)[0] + b',"prev":"' + prev.encode() + b'"'
        prev = hashlib.sha256(body).hexdigest()
        out.append(body + b',"hash":"' + prev.encode() + b'"}\n')
    path.write_bytes(b"".join(out))
    head = b"%018d %b %018d %08d\n" % (len(out), prev.encode(), path.stat().st_size, 0)
    head_path(path).write_bytes(head)


def begun(path, store, *tools, **options):
    log = AuditLog(path, store=store, **options)
    write(log, *tools)
    return log


def faults(path, store):
    return [finding.fault for finding in verify(path, store)]


def test_a_rewritten_history_is_found_after_the_log_went_on(tmp_path, caplog):
    store, path = open_store("memory://"), tmp_path / "a.jsonl"
    begun(path, store, "read", "wire_money", "read").close()
    assert kept_head(store, path).seq == 3
    assert verify(path, store) == []
    rewrite(path)
    log = begun(path, store, "read", "read")
    until(lambda: "was rewritten" in caplog.text)
    log.close()
    assert kept_head(store, path).seq == 3, "the store keeps what contradicts the log"
    assert "edited" in faults(path, store)


@pytest.mark.parametrize("store", ["memory://", None])
@pytest.mark.parametrize("closed", [False, True], ids=["open", "closed"])
@pytest.mark.parametrize("more", [0, 1, 3], ids="and {} more".format)
def test_a_process_that_runs_goes_on_in_no_history_but_its_own(tmp_path, caplog, store, closed, more):
    store, path = store and open_store(store), tmp_path / "a.jsonl"
    log = begun(path, store, "read", "wire_money", "read")
    if closed:
        log.close()
    rewrite(path)
    if more:
        begun(path, None, *["read"] * more).close()  # somebody goes on with it
    assert faults(path, None) == []
    write(log, "read")  # the line that shows it
    for _ in range(2):
        refused(log)
    assert path.read_bytes().count(b"\n") == 3 + more + 1
    said = [record for record in caplog.records if "record 3 is not the one that this process" in record.getMessage()]
    assert [record.levelname for record in said] == ["ERROR"]
    log.close()
    refused(log)
    # Whoever goes on with it, and verifies without the store: it stays to be seen.
    begun(path, None, "read").close()
    assert faults(path, None) == ["edited"]


def refused(log):
    with pytest.raises(AuditError, match=r"record \d is not the one that this process .* audit verify"):
        write(log, "read")


def test_each_of_several_processes_says_so_once(tmp_path):
    path = tmp_path / "a.jsonl"
    logs = [begun(path, None, "wire_money") for _ in range(3)]
    rewrite(path)
    for log in logs:
        write(log, "read")
        refused(log)
    assert "edited" in faults(path, None)
    assert path.read_bytes().count(b"\n") == 6


def test_what_it_saw_of_others_counts_as_well(tmp_path):
    stuck = []

    def clock():
        if stuck:
            raise OSError("no line can be written")
        return 0.0

    path = tmp_path / "a.jsonl"
    log, other = AuditLog(path, clock=clock), AuditLog(path)
    write(log, "read")
    write(other, "wire_money", "read")
    stuck.append(True)
    with pytest.raises(AuditError):
        write(log, "read")  # it looks, and writes nothing
    stuck.clear()
    rewrite(path)
    write(log, "read")
    refused(log)
    assert faults(path, None) == ["edited"]


def test_calls_are_refused(tmp_path):
    policy = Policy.model_validate({"version": "1", "default": "deny", "tools": {"*": {"rate_limit": "9/hour"}}})
    guard = Guard(policy, store="memory://", audit=tmp_path / "a.jsonl")
    for tool in ("read", "wire_money"):
        guard.call(ToolCall(tool, {}, "s"), lambda _: "done")
    rewrite(tmp_path / "a.jsonl")
    assert guard.call(ToolCall("write", {}, "s"), lambda _: "done") == "done"
    assert faults(tmp_path / "a.jsonl", None) == ["edited"]
    with pytest.raises(ToolDenied, match="cannot be written") as denied:
        guard.call(ToolCall("read", {}, "s"), lambda _: pytest.fail("ran"))
    assert denied.value.outcome == "failed_closed"
    assert sum(usage.used for usage in guard.usage("s") if "/read/" in usage.counter) == 1


def test_lines_that_come_together_are_all_refused(tmp_path):
    path = tmp_path / "a.jsonl"
    log = begun(path, None, "read", "wire_money", "read")
    rewrite(path)
    write(log, "read")
    answers = log.write_together([(AuditEvent("admitted", "read"),)] * 3)
    assert [type(answer) for answer in answers] == [AuditError] * 3
    assert path.read_bytes().count(b"\n") == 4


def test_a_child_knows_what_its_parent_wrote(tmp_path):
    path = tmp_path / "a.jsonl"
    log = begun(path, None, "read", "wire_money", "read")
    rewrite(path)
    child = os.fork()
    if not child:
        try:
            write(log, "read")
            write(log, "read")
        except AuditError:
            os._exit(0)
        os._exit(1)
    assert os.waitpid(child, 0)[1] == 0


@pytest.mark.parametrize("size", [400, 700, 64 << 20], ids="{} bytes a file".format)
@pytest.mark.parametrize("archived", [False, True])
def test_honest_writers_take_each_others_lines_for_good(tmp_path, size, archived):
    """Also through rotations, after a pause over many of them, and where full files were archived meanwhile."""
    path = tmp_path / "a.jsonl"
    logs = [AuditLog(path, max_bytes=size) for _ in range(3)]
    for turn in range(12):
        for log in logs[turn % 3 :]:
            write(log, *["read"] * (1 + turn % 4))
        if archived:
            for full in tmp_path.glob("a.jsonl.[0-9]*"):
                full.unlink()
    for log in logs:
        log.close()
    assert {finding.fault for finding in verify(path)} <= ({"removed"} if archived else set())


def cut(path, to):
    lines = path.read_bytes().splitlines(keepends=True)[:to]
    path.write_bytes(b"".join(lines))
    head = b"%018d %b %018d %08d\n" % (to, lines[-1][-67:-3], path.stat().st_size, 0)
    head_path(path).write_bytes(head)


def test_a_tail_that_was_cut_stays_a_gap_that_everybody_writes_after(tmp_path):
    path = tmp_path / "a.jsonl"
    log, other = begun(path, None, "read"), AuditLog(path)
    write(other, "read", "read", "read")
    cut(path, 2)
    write(other, "read")
    write(log, "read")
    write(other, "read")
    assert faults(path, None) == ["removed"]


def test_of_a_cut_tail_whoever_wrote_the_part_that_nobody_else_saw_says_so(tmp_path):
    path = tmp_path / "a.jsonl"
    log, other = begun(path, None, "read"), AuditLog(path)
    write(other, "read", "read")
    write(log, "wire_money")
    cut(path, 2)
    write(other, "read")  # it had not seen record 4, and writes another one
    write(log, "read")
    refused(log)
    assert "edited" in faults(path, None)


def test_the_head_goes_on_over_honest_lines_rotations_and_starts(tmp_path, caplog):
    store, path = open_store("memory://"), tmp_path / "a.jsonl"
    for turn in range(1, 4):
        with AuditLog(path, store=store, max_bytes=700) as log:
            write(log, *["read"] * 10)
        assert kept_head(store, path).seq == 10 * turn
    assert verify(path, store) == []
    assert "rewritten" not in caplog.text


def test_a_file_whose_turn_comes_while_the_log_is_looked_through_is_not_missed(tmp_path, monkeypatch):
    path = tmp_path / "a.jsonl"
    with AuditLog(path) as log:
        write(log, "read", "read")
    last = head.peek(head.head_path(path))

    def listed_just_before(path):
        found = rotated(path)
        path.rename(path.with_name(f"{path.name}.1"))
        return found

    monkeypatch.setattr(head, "rotated", listed_just_before)
    assert still_holds(path, last)


def test_what_the_log_holds_of_a_head(tmp_path):
    path = tmp_path / "a.jsonl"
    with AuditLog(path, max_bytes=700) as log:
        write(log, *["read"] * 20)
    lines = [
        line
        for file in sorted(tmp_path.glob("a.jsonl.[0-9]*"), key=lambda f: int(f.suffix[1:]))
        for line in file.open("rb")
    ]
    lines += path.read_bytes().splitlines(keepends=True)
    heads = [Head(seq, line[-67:-3].decode()) for seq, line in enumerate(lines, 1)]
    assert all(still_holds(path, one) for one in heads)
    assert not any(still_holds(path, one._replace(hash="f" * 64)) for one in heads)
    assert not still_holds(path, Head(99, "f" * 64))
    (tmp_path / "a.jsonl.1").unlink()
    assert still_holds(path, heads[0]), "archived: it cannot be told"
