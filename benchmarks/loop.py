"""What the guard adds on an event loop: to one call, to two hundred at once, and to the loop's longest step."""

from __future__ import annotations

import asyncio
import gc
import statistics
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, Self

from benchmarks import floors
from benchmarks.common import BLOCK, RATIO, Row, ratio
from benchmarks.guarded import ARGS, awaited, guard_of

CALLS = 200

Call = Callable[[], Awaitable[object]]


def rows(folder: Path) -> Iterator[Row]:
    """One call and many, guarded, over the raw tool with the floor in a thread before it and after it."""
    guard = guard_of(folder / "loop", "noop")
    raw = awaited()
    (guarded,) = guard.wrap([raw])
    asyncio.run(guarded.ainvoke(ARGS))
    begin, end = floors.call(folder / "loop" / "floor", folder / "loop" / "counters", folder / "loop" / "audit.jsonl")

    async def bare() -> None:
        await asyncio.to_thread(begin)
        await raw.ainvoke(ARGS)
        await asyncio.to_thread(end)

    yield from asyncio.run(_measured(bare, lambda: guarded.ainvoke(ARGS)))


async def _measured(bare: Call, guarded: Call) -> list[Row]:
    base, more = await _in_turns(bare, guarded)
    note = f"{statistics.median(more):.0f} µs over {statistics.median(base):.0f} µs a call"
    one = Row("awaited guarded call, over raw and its floor in a thread", ratio(base, more), RATIO, 1.6, note)
    bursts = [(await burst(bare), await burst(guarded)) for _ in range(12)][2:]
    base, more = ([each[side].seconds / CALLS * 1e6 for each in bursts] for side in (0, 1))
    note = f"{statistics.median(more):.0f} µs over {statistics.median(base):.0f} µs a call"
    many = Row(
        f"{CALLS} awaited calls at once, over raw and their floors in threads", ratio(base, more), RATIO, 1.6, note
    )
    # The burst that the machine's other work disturbed least: what the code itself does shows in every one. A step may
    # be kept waiting by any thread for as long as the interpreter lets that run, whoever's it is: that is the measure.
    floor, step = (min(each[side].step for each in bursts) for side in (0, 1))
    turn = sys.getswitchinterval()
    note = f"{step * 1000:.2f} ms, raw and floors {floor * 1000:.2f} ms; a thread's turn is {turn * 1000:.0f} ms"
    name = f"{CALLS} awaited calls at once, the loop's longest step, over a thread's turn in the interpreter"
    return [one, many, Row(name, step / turn, RATIO, 1.0, note)]


async def _in_turns(*calls: Call, blocks: int = 40) -> list[list[float]]:
    """The microseconds a call took in each block of :data:`BLOCK` calls, one after the other."""
    taken: list[list[float]] = [[] for _ in calls]
    for block in range(blocks + 1):
        for call, times in zip(calls, taken, strict=True):
            start = time.perf_counter()
            for _ in range(BLOCK):
                await call()
            if block:  # the first is for warming up
                times.append((time.perf_counter() - start) / BLOCK * 1e6)
    return taken


class Burst(NamedTuple):
    """How long all calls took together, the loop's longest step, and how late a timer was at the worst; in seconds."""

    seconds: float
    step: float
    lag: float


async def burst(call: Call) -> Burst:
    """Make :data:`CALLS` calls at once."""
    lags: list[float] = []

    async def beat() -> None:
        while True:
            due = time.perf_counter() + 0.001
            await asyncio.sleep(0.001)
            lags.append(time.perf_counter() - due)

    beating = asyncio.create_task(beat())
    gc.collect()
    gc.disable()  # a full collection alone takes longer than all else, whoever's turn it is
    try:
        with Longest() as longest:
            start = time.perf_counter()
            answers = await asyncio.wait_for(asyncio.gather(*(call() for _ in range(CALLS))), 60)
            seconds = time.perf_counter() - start
            await asyncio.sleep(0.01)
    finally:
        gc.enable()
        beating.cancel()
    assert not [answer for answer in answers if "DENIED" in str(answer)]
    return Burst(seconds, longest.seconds, max(lags))


class Longest:
    """Watches for how long one step of a loop keeps all others waiting, where asyncio's own debug mode watches."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._run: Any = asyncio.Handle._run  # noqa: SLF001

    def __enter__(self) -> Self:
        def measured(handle: asyncio.Handle) -> None:
            start = time.perf_counter()
            self._run(handle)
            if asyncio.get_running_loop() is loop:
                self.seconds = max(self.seconds, time.perf_counter() - start)

        loop = asyncio.get_running_loop()
        setattr(asyncio.Handle, "_run", measured)  # noqa: B010 - no type checker lets a method be assigned
        return self

    def __exit__(self, *_: object) -> None:
        setattr(asyncio.Handle, "_run", self._run)  # noqa: B010
