"""What the clock of a server can show at most, going by what it showed before."""

from __future__ import annotations

import time
from collections.abc import Callable

_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
# A server's clock may be this many times slower to drift than it is to run: a thousand parts in a million.
_DRIFT = 1000


def elapsed() -> int:
    """Tell the time since some moment of this machine, sleep included, in microseconds. It knows no steps."""
    return time.clock_gettime_ns(_CLOCK) // 1000


class ServerTime:
    """Tells a step of the server's clock from time passing: what passed here cannot be less than what passed there.

    Kept as the time of the last answer and when its question was asked, which is before the server read its clock. So
    what is expected is never too early by what the network takes; an answer that is delayed by more than two seconds
    looks like a step, and holds what is counted for as much longer. Any thread may ask and answer.
    """

    def __init__(self, elapsed: Callable[[], int] = elapsed) -> None:
        self._elapsed = elapsed
        self._last = (0, 0)

    def ask(self) -> tuple[int, bytes]:
        """Say when this is asked, and what to tell the server: nothing, or what its clock can show at most."""
        asked = self._elapsed()
        before, shown = self._last
        passed = asked - before
        return asked, b"<%d" % (shown + passed + passed // _DRIFT) if shown else b""

    def answered(self, asked: int, shown: int) -> None:
        """Note what the server's clock showed to what was asked then; 0 where it was not read."""
        if shown:
            self._last = (asked, shown)
