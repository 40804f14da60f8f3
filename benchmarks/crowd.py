"""Eight processes at once on one store: what they get through, and how long one of them waits."""

from __future__ import annotations

import contextlib
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks import floors
from benchmarks.common import RATIO, Row, number, table
from benchmarks.guarded import SETTLED_S
from guarded_tools.stores.disk.store import DiskStore
from guarded_tools.values import Charge

PROCESSES = 8
THINK_S = 0.01
PHASE_S = 0.5
_SCOPE = "session:s"
_ADMITTED = [Charge(_SCOPE, "pictify/t/c0", 1, 10**9, 3600, "/limits")]
_REFUSED = [Charge("session:full", "pictify/t/c0", 1, 1, 3600, "/limits")]


class Crowd(NamedTuple):
    """Calls a second of all together; what 99 of 100 calls took less than, and the longest one; in milliseconds."""

    rate: float
    p99: float
    worst: float


def saturated(folder: Path, rounds: int) -> Iterator[Row]:
    """Processes that call in a loop, against bare ones that take turns in the same way."""
    folder.mkdir(parents=True)
    with contextlib.closing(DiskStore(folder)) as store:
        store.reserve(_REFUSED)
        store.reserve(_ADMITTED)
    loud = together(folder, ("nothing", "sqlite", "bare", "admitted", "reading", "refused"), rounds)
    calm = together(folder, ("bare", "admitted"), rounds, THINK_S)
    name = f"of {PROCESSES} saturated processes"
    rate, p99, worst = (partial(_row, measure=measure) for measure in ("rate", "p99", "worst"))
    yield rate(f"admitted {name}, over bare transactions", loud["admitted"], loud["bare"], 0.2)
    yield rate(f"refused {name}, over bare reads", loud["refused"], loud["reading"], 0.15)
    yield p99(f"p99 wait {name}, over bare transactions", loud["admitted"], loud["bare"], 5)
    yield worst(f"worst wait {name}, over SQLite's own way to wait", loud["admitted"], loud["sqlite"], 1)
    yield worst("worst wait of a refusal, over as many that only add numbers", loud["refused"], loud["nothing"], 4)
    name = f"admitted of {PROCESSES} processes that think for 10 ms, over bare transactions"
    yield rate(name, calm["admitted"], calm["bare"], 0.75)


def _row(name: str, ours: list[Crowd], floor: list[Crowd], bound: float, *, measure: str) -> Row:
    """The median of the rounds' ratios, and the medians of both sides for information."""
    pairs = [(getattr(one, measure), getattr(other, measure)) for one, other in zip(ours, floor, strict=True)]
    unit = "/s" if measure == "rate" else " ms"
    note = " over ".join(f"{number(statistics.median(side))}{unit}" for side in zip(*pairs, strict=True))
    ratio = statistics.median(one / other for one, other in pairs)
    return Row(name, ratio, RATIO, bound, note, at_least=measure == "rate")


def together(folder: Path, kinds: Sequence[str], rounds: int, think: float = 0.0) -> dict[str, list[Crowd]]:
    """Have eight processes do one kind of thing after the other, round after round, all from the same moment on."""
    context = multiprocessing.get_context("spawn")
    ready, told = context.Barrier(PROCESSES), context.Queue()
    processes = [
        context.Process(target=_work, args=(kinds, rounds, str(folder), think), kwargs={"ready": ready, "told": told})
        for _ in range(PROCESSES)
    ]
    for process in processes:
        process.start()
    each = [told.get(timeout=300) for _ in processes]
    for process in processes:
        process.join()
    crowds: dict[str, list[Crowd]] = {kind: [] for kind in kinds}
    for kind, all_of_them in zip(list(kinds) * rounds, zip(*each, strict=True), strict=True):
        counts, p99s, worsts = zip(*all_of_them, strict=True)
        crowds[kind].append(Crowd(sum(counts) / PHASE_S, statistics.median(p99s), max(worsts)))
    return crowds


def _work(kinds: Sequence[str], rounds: int, folder: str, think: float, *, ready: Any, told: Any) -> None:
    bodies = [_body(kind, Path(folder)) for kind in kinds]
    for body in bodies:
        body()
    ready.wait(120)
    time.sleep(SETTLED_S)
    found = []
    for body in bodies * rounds:
        took: list[float] = []
        ready.wait(120)
        end = time.perf_counter() + PHASE_S
        while (began := time.perf_counter()) < end:
            body()
            took.append(time.perf_counter() - began)
            if think:
                time.sleep(think)
        took.sort()
        found.append((len(took), took[len(took) * 99 // 100] * 1000, took[-1] * 1000))
    told.put(found)


def _body(kind: str, folder: Path) -> Callable[[], object]:
    if kind == "nothing":
        return lambda: sum(range(500))
    store = DiskStore(folder)
    if kind == "admitted":
        return lambda: store.reserve(_ADMITTED)
    if kind == "refused":
        return lambda: store.reserve(_REFUSED)
    row = {_SCOPE.encode(): floors.rows_of(folder)[_SCOPE.encode()]}
    database = floors.Database(folder / "bare.db", row, timeout=5.0 if kind == "sqlite" else 0.0)
    return database.reading(*row) if kind == "reading" else database.transaction(*row)


def rows(quick: bool = False) -> Iterator[Row]:
    """Measure in a folder of its own."""
    with tempfile.TemporaryDirectory() as name:
        yield from saturated(Path(name) / "crowd", 3 if quick else 8)


if __name__ == "__main__":
    print(table(rows()))
