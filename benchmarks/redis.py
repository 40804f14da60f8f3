"""What counting on Redis costs, over a bare INCR on the same server; and what eight processes are let through."""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import shutil
import socket
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator
from typing import Any

import redis
import redis.asyncio

from benchmarks import marks
from benchmarks.common import RATIO, Row, paired_us, table
from guarded_tools.stores.redis.store import RedisStore
from guarded_tools.values import Charge, Reservation

PROCESSES = 8
LIMIT = 300
LIVE = 30
CALLS = {
    name: [Charge(scope, f"pictify/t/c{n}", 1, 10**9, 3600, "/limits") for n, scope in enumerate(scopes)]
    for name, scopes in {
        "4 charges": ("session:s",) * 4,
        "4 charges over three scopes": ("session:s", "session:s", "grant:g", "global"),
    }.items()
}
ONE = [Charge("session:counted", "calls", 1, LIMIT, 3600, "/limits")]
OURS, THEIRS = "guarded_tools on Redis", "limits, moving window on Redis"


@contextlib.contextmanager
def server() -> Iterator[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        words = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", folder]
        process = subprocess.Popen(words, stdout=subprocess.DEVNULL)
        try:
            for _ in range(200):
                with contextlib.suppress(OSError):
                    socket.create_connection(("127.0.0.1", port), 1).close()
                    break
                time.sleep(0.02)
            yield f"redis://127.0.0.1:{port}/0"
        finally:
            process.kill()
            process.wait()


def rows(quick: bool = False) -> list[Row]:
    """Measure; ``quick`` takes a quarter of the samples. Nothing where no redis-server is installed."""
    if shutil.which("redis-server") is None:
        return []
    with server() as url:
        return [*_sync(url, 10 if quick else 40), *_tasks(url, 10 if quick else 40), *_admitted(url)]


def _filled(url: str) -> RedisStore:
    """A store whose counters hold thirty live entries each, as in the middle of a busy hour."""
    store, now = RedisStore(url), time.time()
    for entry in range(LIVE):
        for charges in CALLS.values():
            store.reserve(charges, now - 3000 + entry * 100)
    return store


def _sync(url: str, blocks: int) -> Iterator[Row]:
    bare, store = redis.Redis.from_url(url), _filled(url)
    for name, charges in CALLS.items():
        floor, ours = paired_us(lambda: bare.incr("bare"), lambda of=charges: store.reserve(of), blocks=blocks)  # type: ignore[misc]
        yield Row(f"reserve {name}, over a bare INCR", ours / floor, RATIO, 3, f"{ours:.0f} µs; INCR {floor:.0f} µs")
    stopped = RedisStore(f"{url}?namespace=stopped")
    stopped.halt("session:somebody", "else")
    four = next(iter(CALLS.values()))
    plain, ours = paired_us(lambda: store.reserve(four), lambda: stopped.reserve(four), blocks=blocks)
    note = f"{ours:.0f} µs against {plain:.0f} µs"
    yield Row("reserve on Redis while somebody else is halted, over nobody", ours / plain, RATIO, 1.25, note)
    stopped.close()
    with_rules = RedisStore(f"{url}?namespace=marks")
    yield from marks.of_store(with_rules, "on Redis", blocks * 2, 1.2)
    with_rules.close()
    theirs = _limits(url, 10_000)
    floor, other = paired_us(lambda: bare.incr("bare"), theirs, blocks=blocks)
    yield Row(f"{THEIRS}, one charge, over a bare INCR", other / floor, RATIO, None, f"{other:.0f} µs")
    store.close()
    bare.close()


def _tasks(url: str, blocks: int) -> Iterator[Row]:
    async def measured(charges: list[Charge]) -> tuple[float, float]:
        bare, store = redis.asyncio.Redis.from_url(url), RedisStore(url)
        medians: tuple[list[float], list[float]] = ([], [])
        for _ in range(blocks):
            for of, samples in enumerate(medians):
                took = []
                for _ in range(50):
                    start = time.perf_counter()
                    await (store.areserve(charges) if of else bare.incr("bare"))
                    took.append(time.perf_counter() - start)
                samples.append(statistics.median(took) * 1e6)
        await bare.aclose()
        await store.aclose()
        return statistics.median(medians[0]), statistics.median(medians[1])

    for name, charges in CALLS.items():
        floor, ours = asyncio.run(measured(charges))
        note = f"{ours:.0f} µs; INCR {floor:.0f} µs"
        yield Row(f"reserve {name}, over a bare INCR, both with asyncio", ours / floor, RATIO, 3, note)


def _limits(url: str, limit: int) -> Any:
    from limits import RateLimitItemPerHour
    from limits.storage import RedisStorage
    from limits.strategies import MovingWindowRateLimiter

    item, limiter = RateLimitItemPerHour(limit), MovingWindowRateLimiter(RedisStorage(url))
    return lambda: limiter.hit(item, "session:counted")


def _ask(url: str, name: str, told: Any) -> None:
    if name == OURS:
        store = RedisStore(url)
        told.put(sum(isinstance(store.reserve(ONE), Reservation) for _ in range(LIMIT)))
    else:
        hit = _limits(url, LIMIT)
        told.put(sum(map(bool, (hit() for _ in range(LIMIT)))))


def _admitted(url: str) -> Iterator[Row]:
    context = multiprocessing.get_context("spawn")
    for name in (OURS, THEIRS):
        redis.Redis.from_url(url).flushall()
        told = context.Queue()
        processes = [context.Process(target=_ask, args=(url, name, told)) for _ in range(PROCESSES)]
        for process in processes:
            process.start()
        admitted = sum(told.get(timeout=60) for _ in processes)
        for process in processes:
            process.join()
        bound = LIMIT if name == OURS else None
        yield Row(f"{name}: admitted of {LIMIT} under {PROCESSES} processes", admitted, "calls", bound)


if __name__ == "__main__":
    print(table(rows()))
