"""A program that ends leaves its state to the next one, whichever of its threads wrote."""

import subprocess

from tests import forked

PROGRAM = """
import sys, threading, time
from guarded_tools.stores import open_store

store = open_store(f"disk://{sys.argv[1]}")

def work():
    store.put("k", b"v", 60)
    wrote.set()
    time.sleep(60)

wrote = threading.Event()
threading.Thread(target=work, daemon=True).start()
wrote.wait(10)
"""


def test_a_thread_that_wrote_and_still_lives_at_the_end_does_not_lose_the_state(tmp_path):
    for _ in range(2):
        ended = subprocess.run(
            [forked.PYTHON, "-c", PROGRAM, str(tmp_path / "state")],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        assert ended.returncode == 0, ended.stderr


BUSY_TO_THE_END = """
import sys, threading
from guarded_tools.stores import open_store

store = open_store(f"disk://{sys.argv[1]}")

def look():
    while True:
        store.get("head")
        looked.set()

looked = threading.Event()
threading.Thread(target=look, daemon=True).start()
looked.wait(10)
"""


def test_a_thread_that_still_asks_after_the_end_does_not_open_the_store_anew(tmp_path):
    for _ in range(4):
        ended = subprocess.run(
            [forked.PYTHON, "-c", BUSY_TO_THE_END, str(tmp_path / "state")],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        assert ended.returncode == 0, ended.stderr
        assert "Traceback" not in ended.stderr or "StateLost" not in ended.stderr
