"""What other processes, and signals, do to a disk store in the middle of its work."""

import os
import subprocess
import sys
import time

import pytest

from guarded_tools.errors import StoreError
from guarded_tools.stores.disk.store import DiskStore
from guarded_tools.values import Reservation
from tests import forked


def used(store, scope="session:s"):
    return {usage.counter: usage.used for usage in store.usage(scope)}


HOLDER = """
import sqlite3, sys, time
db = sqlite3.connect(sys.argv[1], isolation_level=None)
db.execute("BEGIN IMMEDIATE")
print("held", flush=True)
time.sleep(float(sys.argv[2]))
db.execute("ROLLBACK")
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that holds the database's lock."""
    held = []

    def hold(seconds):
        path = str(tmp_path / "state/counters/cache.db")
        process = forked.Popen([sys.executable, "-c", HOLDER, path, str(seconds)], stdout=forked.PIPE)
        assert process.stdout.readline() == "held\n"
        held.append(process)
        return process

    yield hold
    for process in held:
        process.kill()
        process.wait()
        process.stdout.close()


def test_readers_do_not_wait_for_a_writer(tmp_path, holder, charge):
    store = DiskStore(tmp_path / "state", timeout=0.2)
    store.reserve([charge()])
    holder(5)
    assert store.peek([charge()]) is None
    assert store.get("nothing") is None
    assert used(store) == {"pictify/render/calls": 1}


def test_a_child_that_outlives_its_parent_keeps_the_log(tmp_path):
    """A child that goes on alone must not lose its log to the parent's checkpoint."""
    code = """
import os, sys, time
from guarded_tools.stores import open_store
from guarded_tools.values import Charge
store = open_store(f"disk://{sys.argv[1]}")
one = [Charge("session:s", "c", 1, 100, 3600, "/r")]
store.reserve(one)
if os.fork():
    store.reserve(one)
    sys.exit()
time.sleep(0.3)
for _ in range(5): store.reserve(one)
"""
    subprocess.run([forked.PYTHON, "-c", code, str(tmp_path / "state")], check=True, timeout=30)
    deadline = time.monotonic() + 10
    store = DiskStore(tmp_path / "state")
    while used(store) != {"c": 7} and time.monotonic() < deadline:
        time.sleep(0.05)
    assert used(store) == {"c": 7}


def test_a_fork_behind_pythons_back_is_refused(tmp_path, charge, monkeypatch):
    store = DiskStore(tmp_path / "state")
    monkeypatch.setattr(os, "getpid", lambda: 1)
    with pytest.raises(StoreError, match="forked"):
        store.reserve([charge()])


def test_an_interrupt_in_the_middle_leaves_nothing_half_done(tmp_path, charge):
    """Ctrl-C anywhere inside a reserve: neither a lock that stays, nor a transaction that others join."""
    code = """
import os, random, signal, sys, threading, time
from guarded_tools.stores import open_store
from guarded_tools.values import Charge, Reservation
store = open_store(f"disk://{sys.argv[1]}")
charges = [Charge("session:s", "c", 1, 10**9, 3600, "/r"), Charge("global", "c", 1, 10**9, 3600, "/r")]
done = interrupted = 0
main = threading.main_thread()
def poke():
    while True:
        time.sleep(random.uniform(0.0005, 0.003))
        signal.pthread_kill(main.ident, signal.SIGINT)
signal.signal(signal.SIGINT, lambda *_: None)
threading.Thread(target=poke, daemon=True).start()
end = time.monotonic() + 1.5
while time.monotonic() < end:
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        store.reserve(charges)
        done += 1
    except KeyboardInterrupt:
        interrupted += 1
    finally:
        while True:
            try:
                signal.signal(signal.SIGINT, signal.SIG_IGN); break
            except KeyboardInterrupt: pass
print(done, interrupted, flush=True)
os._exit(0)
"""
    out = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "state")], check=True, timeout=60, capture_output=True, text=True
    ).stdout
    done, interrupted = map(int, out.split())
    store = DiskStore(tmp_path / "state")
    assert interrupted > 50
    session, everyone = used(store)["c"], used(store, "global")["c"]
    assert session == everyone
    assert done <= session <= done + interrupted
    assert isinstance(store.reserve([charge()]), Reservation)
