"""Ctrl-C at any moment of a call: nothing runs uncounted, and the next call is served."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PROGRAM = """
import random, signal, sys, time
from guarded_tools.errors import ToolDenied
from guarded_tools.guard import Guard
from guarded_tools.policy import Policy
from guarded_tools.values import ToolCall

policy = {"version": "1", "default": "deny", "tools": {"t": {"rate_limit": "1000000/hour"}}}
guard = Guard(Policy.model_validate(policy), state=sys.argv[1])
guard.store.peek(())
armed, ran, interrupts = False, 0, 0

def interrupt(*_):
    global armed
    if armed:
        armed = False
        raise KeyboardInterrupt

def body(_):
    global ran
    ran += 1

signal.signal(signal.SIGALRM, interrupt)
end = time.monotonic() + 3
while time.monotonic() < end:
    try:
        try:
            armed = True
            signal.setitimer(signal.ITIMER_REAL, random.random() * 0.0009 + 1e-6)
            guard.call(ToolCall("t", {}), body)
        finally:
            armed = False
    except (KeyboardInterrupt, ToolDenied) as stopped:
        # Below SQLite or weakref an interrupt turns into an error of theirs, and the call is refused.
        assert getattr(stopped, "outcome", "failed_closed") == "failed_closed", stopped
        interrupts += 1
    signal.setitimer(signal.ITIMER_REAL, 0)
guard.call(ToolCall("t", {}), body)
(usage,) = guard.usage()
print(interrupts, ran, usage.used)
"""


def test_an_interrupt_at_any_moment_leaves_no_lock_behind_and_nothing_uncounted(tmp_path: Path) -> None:
    state = tmp_path / "state"
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(state)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout, done.stderr[-2000:]
    interrupts, ran, used = map(int, done.stdout.split())
    assert interrupts > 100
    assert 0 < ran <= used
