"""A history that was made up anew is found by the head that the store keeps, however long the log goes on after it."""

import hashlib
import time

import pytest

from guarded_tools import open_store
from guarded_tools.audit import AuditLog, verify
from guarded_tools.audit.head import Head
from guarded_tools.audit.kept_head import EVERY, kept_head, still_holds
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
    path.with_name(path.name + ".head").write_bytes(head)


@pytest.mark.parametrize("again", [False, True], ids=["the same process", "a process that starts"])
def test_a_rewritten_history_is_found_after_the_log_went_on(tmp_path, caplog, again):
    store, path = open_store("memory://"), tmp_path / "a.jsonl"
    log = AuditLog(path, store=store)
    write(log, "read", "wire_money", "read")
    log.close()
    assert kept_head(store, path).seq == 3
    assert verify(path, store) == []
    rewrite(path)
    log = AuditLog(path, store=store) if again else log
    write(log, "read", "read")
    until(lambda: "was rewritten" in caplog.text)
    log.close()
    assert kept_head(store, path).seq == 3, "the store keeps what contradicts the log"
    assert "edited" in [finding.fault for finding in verify(path, store)]


def test_the_head_goes_on_over_honest_lines_rotations_and_starts(tmp_path, caplog):
    store, path = open_store("memory://"), tmp_path / "a.jsonl"
    for turn in range(1, 4):
        with AuditLog(path, store=store, max_bytes=700) as log:
            write(log, *["read"] * 10)
        assert kept_head(store, path).seq == 10 * turn
    assert verify(path, store) == []
    assert "rewritten" not in caplog.text


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
    assert all(still_holds(path, head) for head in heads)
    assert not any(still_holds(path, head._replace(hash="f" * 64)) for head in heads)
    assert not still_holds(path, Head(99, "f" * 64))
    (tmp_path / "a.jsonl.1").unlink()
    assert still_holds(path, heads[0]), "archived: it cannot be told"
