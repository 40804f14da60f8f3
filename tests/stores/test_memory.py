"""What only a store in memory has to get right."""

import os
import signal
import threading

from guarded_tools.stores.memory import MemoryStore
from guarded_tools.values import Full


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
