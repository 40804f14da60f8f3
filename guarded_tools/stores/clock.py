"""Reading the time, so that a step of the wall clock can be told from time passing."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple, TypeAlias

SECOND = 1_000_000

_BOOTTIME: int | None = getattr(time, "CLOCK_BOOTTIME", None)
# A thread that lost the processor between two readings reads again.
_APART_NS = 200_000


class Clock(NamedTuple):
    """A reading of the clock, in whole microseconds since the epoch.

    ``offset`` is wall time less the time since boot, and ``boot`` names the boot; 0 where either is not known.
    """

    wall: int
    offset: int = 0
    boot: int = 0


ReadClock: TypeAlias = Callable[[], Clock]


def at(now: float) -> Clock:
    """Make a reading of a clock that somebody else owns; ``now`` is in seconds since the epoch."""
    return Clock(round(now * SECOND))


def system_clock() -> Clock:
    """Read the wall clock and, on Linux, the time since boot."""
    boot = _boot()
    if _BOOTTIME is None or not boot:
        return Clock(time.time_ns() // 1000)
    while True:
        before = time.clock_gettime_ns(_BOOTTIME)
        wall = time.time_ns()
        if time.clock_gettime_ns(_BOOTTIME) - before < _APART_NS:
            return Clock(wall // 1000, (wall - before) // 1000, boot)


@lru_cache(maxsize=1)
def _boot() -> int:
    """Name this boot; a time namespace has a boot clock of its own, so it counts as another boot."""
    try:
        boot_id = Path("/proc/sys/kernel/random/boot_id").read_bytes()
    except OSError:
        return 0
    try:
        namespace = os.stat("/proc/self/ns/time").st_ino  # noqa: PTH116 - a link that must be followed into the kernel
    except OSError:
        namespace = 0
    return int.from_bytes(hashlib.blake2b(b"%s/%d" % (boot_id, namespace), digest_size=7).digest(), "little")
