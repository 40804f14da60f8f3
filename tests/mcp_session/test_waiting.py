"""A wait for another thread hears a signal that interrupts nothing: here it is delivered to a thread that does not wait."""

import os
import signal
import subprocess
import threading
from concurrent.futures import CancelledError, Future

import pytest

from guarded_tools.mcp_session.waiting import as_they_end, result_of
from tests import forked


@pytest.mark.parametrize("wait", [result_of, lambda future: next(as_they_end([future]))])
def test_a_signal_that_does_not_wake_the_waiting_thread_is_heard(wait):
    future, heard = Future(), threading.Event()

    def interrupt():
        signal.pthread_kill(threading.get_ident(), signal.SIGINT)
        if not heard.wait(30):
            future.set_result("missed")

    other = threading.Thread(target=interrupt)
    with pytest.raises(KeyboardInterrupt):  # noqa: PT012 - the signal may come before the wait
        other.start()
        wait(future)
    heard.set()
    other.join()
    assert not future.done()


def test_results_and_errors_come_as_they_are():
    good, bad, gone = Future(), Future(), Future()
    good.set_result(1)
    bad.set_exception(TimeoutError("its own"))
    gone.cancel()
    assert result_of(good) == 1
    with pytest.raises(TimeoutError, match="its own"):
        result_of(bad)
    with pytest.raises(CancelledError):
        result_of(gone)
    assert set(as_they_end([good, bad])) == {good, bad}


def test_what_ends_while_it_is_waited_for_is_returned():
    futures = [Future() for _ in range(20)]

    def end():
        for future in futures:
            future.set_result(os.getpid())

    threading.Thread(target=end).start()
    assert [result_of(future) for future in futures] == [os.getpid()] * 20
    assert len(list(as_they_end(futures))) == 20


def test_what_a_loop_needs_is_imported_before_there_is_one():
    program = """
import sys
from guarded_tools.mcp_session.streams import load_sdk
load_sdk()
before = set(sys.modules)
import anyio
anyio.run(anyio.sleep, 0)
print([name for name in set(sys.modules) - before if name.startswith("anyio")])
"""
    done = subprocess.run([forked.PYTHON, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
