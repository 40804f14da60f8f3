"""What only a store in memory has to get right."""

import os
import signal
import threading

import pytest

from guarded_tools.stores.clock import Clock
from guarded_tools.stores.memory import MemoryStore
from guarded_tools.values import Full, Reservation


def test_a_child_that_is_forked_while_threads_count_can_count_itself(charge):
    store, over = MemoryStore(), threading.Event()

    def count():
        while not over.is_set():
            store.reserve([charge(max=10**9)])

    threads = [threading.Thread(target=count) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(100):
            child = os.fork()
            if not child:
                signal.alarm(10)
                os._exit(isinstance(store.reserve([charge("own", max=0)]), Full))
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1
    finally:
        over.set()
        for thread in threads:
            thread.join()


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
