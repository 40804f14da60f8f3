"""Several processes on one log: nothing lost, one order, whatever dies or forks in between."""

import os
import random
import signal
import subprocess
import sys
import threading
import time

import pytest

from guarded_tools.audit import AuditLog, read, verify
from guarded_tools.audit.head import head_path
from guarded_tools.errors import AuditError
from tests import forked

WRITER = """
import sys
from guarded_tools.audit import AuditLog
from guarded_tools.values import AuditEvent
path, name, count, max_bytes = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
log = AuditLog(path, max_bytes=max_bytes)
print("ready", flush=True)
sys.stdin.readline()
for number in range(count):
    log.write(AuditEvent("settled", tool=f"tool_{number}", session=name))
"""


HOLDER = """
import fcntl, sys, time
held = open(sys.argv[1])
fcntl.flock(held, fcntl.LOCK_EX)
print(flush=True)
time.sleep(60)
"""


def start(path, name, count, max_bytes=1 << 26):
    words = [sys.executable, "-c", WRITER, str(path), name, str(count), str(max_bytes)]
    return forked.Popen(words, stdin=forked.PIPE, stdout=forked.PIPE)


def release(*processes):
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.stdin.write("\n")
        process.stdin.flush()


@pytest.mark.parametrize("max_bytes", [1 << 26, 20_000])
def test_four_processes_lose_nothing_and_keep_the_order(path, max_bytes):
    processes = [start(path, str(name), 500, max_bytes) for name in range(4)]
    release(*processes)
    assert [process.wait(30) for process in processes] == [0] * 4
    assert verify(path) == []
    records = list(read(path))
    assert [record["seq"] for record in records] == list(range(1, 2001))
    for name in range(4):
        own = [record["tool"] for record in records if record["session"] == str(name)]
        assert own == [f"tool_{number}" for number in range(500)]


def test_killed_writers_leave_a_chain_that_holds(path):
    chance = random.Random(7)
    for round_ in range(12):
        processes = [start(path, f"{round_}.{name}", 10**9, 200_000) for name in range(2)]
        release(*processes)
        time.sleep(0.15 + chance.random() * 0.1)
        for process in processes:
            process.send_signal(signal.SIGKILL)
            process.wait(10)
    records = [record["seq"] for record in read(path)]
    assert records == list(range(1, len(records) + 1))
    assert len(records) > 1000
    assert [finding for finding in verify(path) if not finding.tolerated] == []
    print(f"24 kills, {len(records)} lines, none lost or doubled")


def test_a_fork_writes_under_a_lock_of_its_own(make_log, event, path):
    log = make_log()
    log.write(event(0))
    children = []
    for child in range(3):
        pid = os.fork()
        if pid == 0:
            try:
                for number in range(200):
                    log.write(event(number, session=f"child {child}"))
                os._exit(0)
            finally:
                os._exit(1)
        children.append(pid)
    for number in range(200):
        log.write(event(number, session="parent"))
    assert [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children] == [0, 0, 0]
    assert len(list(read(path))) == 801
    assert verify(path) == []


def test_a_fork_while_threads_write_does_not_hang(make_log, event, path, store):
    log = make_log(store=store)
    stop = threading.Event()

    def work():
        while not stop.is_set():
            log.write(event())

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(20):
            pid = os.fork()
            if pid == 0:
                signal.alarm(10)
                log.write(event(session="child"))
                os._exit(0)
            assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert len(list(read(path, session="child"))) == 20
    assert verify(path) == []


def test_a_process_that_stopped_with_the_lock_in_hand_refuses_the_others(make_log, event, path, monkeypatch):
    monkeypatch.setattr("guarded_tools.audit.log.PATIENCE", 0.2)
    log = make_log()
    log.write(event(1))
    holder = forked.Popen([sys.executable, "-c", HOLDER, str(head_path(path))], stdout=forked.PIPE)
    holder.stdout.readline()
    try:
        with pytest.raises(AuditError, match="another process has held its lock"):
            log.write(event(2))
    finally:
        holder.kill()
        holder.wait()
    log.write(event(3))
    assert [record["tool"] for record in read(path)] == ["tool_1", "tool_3"]


def test_the_head_reaches_the_store_when_a_process_ends_without_closing(tmp_path, path):
    code = f"""
from pathlib import Path
from guarded_tools.audit import AuditLog
from guarded_tools.values import AuditEvent
class Files:
    def get(self, key):
        file = Path({str(tmp_path)!r}, key.replace(":", "-"))
        return file.read_bytes() if file.exists() else None
    def put(self, key, value, ttl=None):
        Path({str(tmp_path)!r}, key.replace(":", "-")).write_bytes(value)
log = AuditLog({str(path)!r}, store=Files())
for number in range(50):
    log.write(AuditEvent("settled", tool="t"))
"""
    subprocess.run([forked.PYTHON, "-c", code], check=True)
    kept = list(tmp_path.glob("audit-head-*"))
    assert kept
    assert all(b'"seq": 50' in copy.read_bytes() for copy in kept)


def test_a_log_that_is_dropped_ends_its_thread(path, event, store):
    before = threading.active_count()
    log = AuditLog(path, store=store)
    log.write(event())
    assert threading.active_count() == before + 1
    del log
    deadline = time.monotonic() + 5
    while threading.active_count() > before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert threading.active_count() == before


def test_a_line_written_while_the_program_ends_is_out_all_the_same(path, store, event, monkeypatch):
    def cannot(_):
        raise RuntimeError("can't create new thread at interpreter shutdown")

    monkeypatch.setattr(threading.Thread, "start", cannot)
    log = AuditLog(path, store=store)
    log.write(event(1))
    log.write(event(2))
    log.close()
    assert len(list(read(path))) == 2
