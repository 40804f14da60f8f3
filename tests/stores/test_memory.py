"""What only a store in memory has to get right."""

import subprocess

import pytest

from guarded_tools.stores.clock import Clock
from guarded_tools.stores.memory import MemoryStore
from guarded_tools.values import Full, Reservation
from tests import forked

FORKS = """
import os, signal, threading
from guarded_tools.stores.memory import MemoryStore
from guarded_tools.values import Charge, Full

def charge(counter, most):
    return Charge("session:s", counter, 1, most, 3600, "/r")

store, over = MemoryStore(), threading.Event()

def count():
    while not over.is_set():
        store.reserve([charge("c", 10**9)])

threads = [threading.Thread(target=count) for _ in range(2)]
for thread in threads:
    thread.start()
try:
    for _ in range(100):
        child = os.fork()
        if not child:
            signal.alarm(10)
            os._exit(isinstance(store.reserve([charge("own", 0)]), Full))
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
finally:
    over.set()
    for thread in threads:
        thread.join()
"""


def test_a_child_that_is_forked_while_threads_count_can_count_itself():
    """In a program of little memory, for a fork of the tests' own takes a tenth of a second."""
    ended = subprocess.run([forked.PYTHON, "-c", FORKS], capture_output=True, text=True, timeout=120, check=False)
    assert ended.stdout.split() == ["1"] * 100, ended.stderr


@pytest.mark.parametrize("behind", [3, 3_600, 12 * 3_600, 86_400])
def test_a_clock_that_was_behind_runs_no_day_twice(charge, behind):
    """Time since boot tells that it was set right, not that hours passed."""
    day, midnight = 86_400, 1_800_000_000 - 1_800_000_000 % 86_400
    now = midnight + 3_600
    shown = [now - behind]
    store = MemoryStore(clock=lambda: Clock(shown[0] * 1_000_000, (shown[0] - now) * 1_000_000, 7))
    daily = charge(max=3, window=day, align="utc")
    while isinstance(store.reserve([daily]), Reservation):
        pass
    while now < midnight + day:
        shown[0] = now
        full = store.reserve([daily])
        assert isinstance(full, Full), (now - midnight) / 3_600
        assert (now + full.retry_after) % day == 0
        now += 1_800
