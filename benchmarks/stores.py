"""What counting costs: reserve, peek and refuse on disk, one process and eight, a thousand sessions and a million."""

from __future__ import annotations

import contextlib
import gc
import json
import multiprocessing
import random
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from benchmarks import crowd, floors, marks
from benchmarks import redis as fleet
from benchmarks.common import RATIO, Row, table
from guarded_tools.stores.disk.store import DiskStore
from guarded_tools.values import Charge, Full

PROCESSES = 8
LIVE = 30
LIMIT = 300
NO_LIMIT = 10**9
THINK_S = 0.01
# A directory that was changed less than two seconds ago is looked at more closely by every call.
SETTLED_S = 2.1

Body = Callable[[], object]


def _charges(scopes: Sequence[str], limit: int = NO_LIMIT) -> list[Charge]:
    return [Charge(scope, f"pictify/t/c{n}", 1, limit, 3600, "/limits") for n, scope in enumerate(scopes)]


CALLS = {
    "1 charge": _charges(["session:s"]),
    "2 charges": _charges(["session:s"] * 2),
    "4 charges": _charges(["session:s"] * 4),
    "4 charges over three scopes": _charges(["session:s", "session:s", "grant:g", "global"]),
}
REFUSED = _charges(["session:full"], 1)


def _filled(path: Path, *, durability: str = "process") -> DiskStore:
    """A store whose counters hold thirty live entries each, as in the middle of a busy hour."""
    store = DiskStore(path, durability="power" if durability == "power" else "process")
    now = time.time()
    for entry in range(LIVE):
        for charges in CALLS.values():
            store.reserve(charges, now - 3000 + entry * 100)
    store.reserve(REFUSED)
    return store


def _interleaved(bodies: dict[str, Body], blocks: int, size: int = 50) -> dict[str, tuple[float, float]]:
    """The p50 and p99 of each in microseconds, in blocks that take turns, so that all see the same machine."""
    clock = time.perf_counter_ns
    samples: dict[str, list[int]] = {name: [] for name in bodies}
    gc.collect()
    gc.disable()
    try:
        for _ in range(blocks):
            for name, body in bodies.items():
                for _ in range(5):
                    body()
                for _ in range(size):
                    start = clock()
                    body()
                    samples[name].append(clock() - start)
    finally:
        gc.enable()
    return {
        name: (statistics.median(taken) / 1000, statistics.quantiles(taken, n=100)[98] / 1000)
        for name, taken in samples.items()
    }


def rows(quick: bool = False) -> list[Row]:
    """Measure; ``quick`` takes a tenth of the samples and a tenth of the sessions."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        return [
            *one_process(folder, 10 if quick else 100),
            *crowd.saturated(folder / "crowd", 3 if quick else 8),
            *marks.rows(folder, 40 if quick else 200),
            *_many_sessions(folder, 100_000 if quick else 1_000_000, 10 if quick else 60),
            *_many_sessions(folder, 100_000 if quick else 1_000_000, 10 if quick else 60, labels=True),
            *_admitted(folder),
            *fleet.rows(quick),
        ]


def one_process(folder: Path, blocks: int) -> Iterator[Row]:
    """Reserve, peek and refuse, each over its floor."""
    store, stopped = _filled(folder / "one"), _filled(folder / "stopped")
    stopped.halt("session:somebody", "else")
    time.sleep(SETTLED_S)
    bodies: dict[str, Body] = {}
    for name, charges in CALLS.items():
        scopes = {charge.scope.encode() for charge in charges}
        home = folder / f"bare {name}"
        home.mkdir()
        rows = {key: row for key, row in floors.rows_of(folder / "one").items() if key in scopes}
        bodies[f"bare {name}"] = floors.Database(home / "bare.db", rows).transaction(*rows)
        bodies[name] = lambda charges=charges: store.reserve(charges)  # type: ignore[misc]
    database = floors.Database(folder / "reads.db", floors.rows_of(folder / "one"))
    bodies |= {f"bare read of {key}": database.reading(key.encode()) for key in ("session:s", "session:full")}
    bodies["peek"] = lambda: store.peek(CALLS["1 charge"])
    bodies["refusal"] = lambda: store.reserve(REFUSED)
    bodies["halted"] = lambda: stopped.reserve(CALLS["1 charge"])
    bodies |= _others(folder)
    took = _interleaved(bodies, blocks)

    def row_of(label: str, body: str, floor: str, bound: float) -> Row:
        (p50, p99), (least, _) = took[body], took[floor]
        note = f"p50 {p50:.1f} µs, p99 {p99:.0f} µs; floor p50 {least:.1f} µs"
        return Row(label, p50 / least, RATIO, bound, note)

    for name in CALLS:
        yield row_of(f"reserve {name}, over a bare transaction", name, f"bare {name}", 5 if "scopes" in name else 4)
    yield row_of("peek, over a bare read of the row", "peek", "bare read of session:s", 4)
    yield row_of("refusal, over a bare read of the row", "refusal", "bare read of session:full", 4)
    plain, halted = took["1 charge"][0], took["halted"][0]
    note = f"{halted:.1f} µs against {plain:.1f} µs"
    yield Row("reserve while somebody else is halted, over nobody", halted / plain, RATIO, 1.25, note)
    stopped.close()
    for name in _NAMES:
        p50, p99 = took[name]
        yield Row(f"{name}, one charge", p50, "µs", None, f"p99 {p99:.0f} µs")
    yield _power(folder, store, max(blocks // 20, 2))
    store.close()


def _power(folder: Path, store: DiskStore, blocks: int) -> Row:
    flushed = _filled(folder / "power", durability="power")
    time.sleep(SETTLED_S)
    four = CALLS["4 charges"]
    took = _interleaved({"process": lambda: store.reserve(four), "power": lambda: flushed.reserve(four)}, blocks)
    flushed.close()
    (p50, p99), (plain, _) = took["power"], took["process"]
    note = f"p99 {p99:,.0f} µs; without p50 {plain:.1f} µs; the difference is the disk's flush"
    return Row("reserve 4 charges, durability=power", p50, "µs", None, note)


_NAMES = ("limits, moving window in memory", "pyrate-limiter on SQLite", "diskcache, get and set")


def _others(folder: Path) -> dict[str, Body]:
    return {name: _other(name, folder, NO_LIMIT) for name in _NAMES}


def _other(name: str, folder: Path, limit: int) -> Callable[[], bool]:
    """One call of another library; whether it was admitted."""
    if name == _NAMES[0]:
        from limits import RateLimitItemPerHour
        from limits.storage import MemoryStorage
        from limits.strategies import MovingWindowRateLimiter

        # It searches its list entry by entry, so an unlimited one would be timed for its length.
        item, limiter = RateLimitItemPerHour(min(limit, 10_000)), MovingWindowRateLimiter(MemoryStorage())
        return lambda: limiter.hit(item, "session:s")
    if name == _NAMES[1]:
        from pyrate_limiter import Rate, RateItem, SQLiteBucket

        bucket = SQLiteBucket.init_from_file([Rate(limit, 3_600_000)], db_path=str(folder / "pyrate.db"))
        return lambda: bool(bucket.put(RateItem("session:s", time.time_ns() // 1_000_000)))
    import diskcache

    cache = diskcache.Cache(str(folder / "naive"))

    def naive() -> bool:
        used = cache.get("session:s", 0)
        if used >= limit:
            return False
        cache.set("session:s", used + 1)
        return True

    return naive


def _many_sessions(folder: Path, many: int, blocks: int, *, labels: bool = False) -> Iterator[Row]:
    few = 1000
    stores = {count: _sessions(folder / f"s{count}{labels}", count, labels=labels) for count in (few, many)}
    size = (folder / f"s{many}{labels}" / "counters" / "cache.db").stat().st_size / 1e6
    time.sleep(SETTLED_S)
    dice = random.Random(1)

    def visit(count: int) -> Body:
        store = stores[count]

        def body() -> object:
            session = f"session:{dice.randrange(count)}"
            return store.reserve(_charges([session]), None, (), marks.rules_of(session) if labels else None)

        return body

    took = _interleaved({"few": visit(few), "many": visit(many)}, blocks)
    (small, _), (large, p99) = took["few"], took["many"]
    note = f"p50 {large:.1f} µs, p99 {p99:.0f} µs; {few:,} sessions p50 {small:.1f} µs; {size:,.0f} MB"
    what = " with 3 labels each" if labels else ""
    yield Row(
        f"reserve 1 charge of one of {many:,} sessions{what}, over one of {few:,}", large / small, RATIO, 1.5, note
    )
    for store in stores.values():
        store.close()


def _sessions(path: Path, count: int, *, labels: bool) -> DiskStore:
    """A store of many sessions, each as if it had made one call; copied row by row, to be quick about it."""
    store = DiskStore(path)
    if labels:
        marks.labelled(store, "session:0")
    store.reserve(_charges(["session:0"]))
    store.close()
    database = sqlite3.connect(path / "counters" / "cache.db", isolation_level=None)
    database.execute("BEGIN")
    database.executemany(
        "INSERT INTO Cache SELECT NULL, ?, raw, store_time, expire_time, access_time, access_count, tag, size, mode, "
        "filename, value FROM Cache WHERE key = ?",
        ((f"session:{n}".encode(), b"session:0") for n in range(1, count)),
    )
    database.execute("COMMIT")
    database.close()
    store.reserve(_charges(["session:0"]))
    return store


def _admitter(name: str, folder: str, start: float, out: str) -> None:
    ours = DiskStore(Path(folder) / "counted") if name == "guarded_tools" else None
    charges = _charges(["session:s"], LIMIT)
    other = None if ours else _other(name, Path(folder), LIMIT)

    def call() -> bool:
        return other() if other else not isinstance(ours.reserve(charges), Full)  # type: ignore[union-attr]

    admitted = failed = 0
    time.sleep(max(0.0, start - time.time()))
    for _ in range(LIMIT * 2):
        try:
            admitted += bool(call())
        except Exception:  # noqa: BLE001 - whatever it raises, the call was not admitted
            failed += 1
    Path(out).write_text(json.dumps([admitted, failed]), encoding="utf-8")


def _admitted(folder: Path) -> Iterator[Row]:
    """How many of a limit each lets through, under eight processes that do not stop asking."""
    context = multiprocessing.get_context("spawn")
    for name in ("guarded_tools", *_NAMES):
        fresh = Path(tempfile.mkdtemp(dir=folder))
        outs = [fresh / f"out{n}" for n in range(PROCESSES)]
        start = time.time() + 4
        processes = [context.Process(target=_admitter, args=(name, str(fresh), start, str(out))) for out in outs]
        for process in processes:
            process.start()
        for process in processes:
            process.join()
        told = []
        for out in outs:
            with contextlib.suppress(FileNotFoundError):
                told.append(json.loads(out.read_text(encoding="utf-8")))
        admitted, failed = (sum(part) for part in zip(*told, strict=True))
        note = f"{failed} calls failed, {PROCESSES - len(told)} processes died" if failed or len(told) < 8 else ""
        bound = LIMIT if name == "guarded_tools" else None
        yield Row(f"{name}: admitted of {LIMIT} under {PROCESSES} processes", admitted, "calls", bound, note)


if __name__ == "__main__":
    print(table(rows()))
