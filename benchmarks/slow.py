"""The same floors and the same bounds where every system call costs about three times as much.

Such a machine is made by the kernel's own means: a seccomp filter, a program that the kernel runs before each system
call of a thread and of all its children. Ours lets every call through, after some four thousand instructions that read
the call's arguments (so that the kernel cannot remember the answer by the call's number). Filters are added until a
bare ``flock`` takes :data:`DEARER` times what it took; computing stays as fast as it was. It needs Linux and no rights,
and lasts as long as the process, so this suite is the last thing that its process does.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import struct
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks import audit, crowd, loop, overhead, stores
from benchmarks.common import RATIO, Row, p50_us, table

DEARER = 3.0

_FILTERS = 7  # the kernel takes no more instructions than that many hold
_LENGTH = 4094
_INSTRUCTION = struct.Struct("HBBI")
_LOAD_ARGUMENT, _RETURN, _ALLOW = 0x20, 0x06, 0x7FFF0000
_FIRST_ARGUMENT = 16
_SET_NO_NEW_PRIVILEGES, _SET_SECCOMP, _FILTER = 38, 22, 2


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_void_p))


def rows(quick: bool = False) -> Iterator[Row]:
    """Measure again what is made of system calls. Nothing where there is no seccomp."""
    if not sys.platform.startswith("linux"):
        return
    try:
        before, after = make_calls_dearer()
    except OSError as error:
        print(f"system calls cannot be made dearer here: {error}", file=sys.stderr)
        return
    yield Row(
        "a bare flock, over what it took before", after / before, RATIO, note=f"{before:.2f} µs to {after:.2f} µs"
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        yield from overhead.around_a_tool(folder)
        yield from loop.rows(folder)
        yield from stores.one_process(folder, 10 if quick else 40)
        yield from audit.lines(folder, 8 if quick else 30)
        yield from crowd.saturated(folder / "crowd", 3 if quick else 8)


def make_calls_dearer() -> tuple[float, float]:
    """Add filters to this thread and what it starts; returns a ``flock``'s microseconds before and after.

    Raises:
        OSError: the kernel takes no filter.
    """
    with tempfile.TemporaryFile() as file:
        descriptor = os.dup(file.fileno())
    before = after = _flock_us(descriptor)
    for _ in range(_FILTERS):
        if after >= DEARER * before:
            break
        _add_filter()
        after = _flock_us(descriptor)
    os.close(descriptor)
    return before, after


def _add_filter() -> None:
    load = _INSTRUCTION.pack(_LOAD_ARGUMENT, 0, 0, _FIRST_ARGUMENT)
    code = ctypes.create_string_buffer(load * _LENGTH + _INSTRUCTION.pack(_RETURN, 0, 0, _ALLOW))
    program = _Program(_LENGTH + 1, ctypes.addressof(code))
    library = ctypes.CDLL(None, use_errno=True)
    if library.prctl(_SET_NO_NEW_PRIVILEGES, 1, 0, 0, 0) or library.prctl(
        _SET_SECCOMP, _FILTER, ctypes.byref(program), 0, 0
    ):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def _flock_us(descriptor: int) -> float:
    return p50_us(lambda: fcntl.flock(descriptor, fcntl.LOCK_EX), rounds=5000)


if __name__ == "__main__":
    print(table(rows()))
