"""Counters on disk under threads, tasks, processes and forks at once: exactly the limit, nobody stuck."""

import asyncio
import gc
import itertools
import json
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import pytest

from guarded_tools.errors import StoreError
from guarded_tools.stores.clock import system_clock
from guarded_tools.stores.disk.store import DiskStore
from guarded_tools.values import Charge, Full, Reservation
from tests import forked

HAMMER = Path(__file__).with_name("hammer.py")
LIMIT = 2000


def start(kind, path, limit, *more):
    words = [sys.executable, HAMMER, kind, path, limit, *more]
    return forked.Popen([str(word) for word in words], stdin=forked.PIPE, stdout=forked.PIPE)


def told(process, seconds=60):
    out, _ = process.communicate(timeout=seconds)
    return json.loads(out.splitlines()[-1])


def answers_of(processes):
    """Let processes that are ready go at once."""
    for process in processes:
        process.stdout.readline()
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    return [told(process) for process in processes]


@pytest.fixture
def one():
    return [Charge("session:s", "calls", 1, LIMIT, 3600, "/limits"), Charge("global", "calls", 1, LIMIT, 3600, "/l")]


def used(path):
    store = DiskStore(path)
    counts = {usage.scope: usage.used for usage in store.usage()}
    store.close()
    return counts


def test_eight_processes_of_threads_and_tasks_admit_exactly_the_limit(path, report):
    answers = answers_of([start("together", path, LIMIT, 8) for _ in range(8)])
    admitted = sum(answer.get("admitted", 0) for answer in answers)
    refused = sum(answer["refused"] for answer in answers)
    assert sum("admitted" in answer for answer in answers) > 4, "they did not run at the same time"
    report(admitted=admitted, limit=LIMIT, refused=refused)
    assert admitted == LIMIT
    assert refused == 8 * 12
    assert used(path) == {"session:s": LIMIT, "global": LIMIT}


def test_a_process_that_forks_while_its_threads_write(path, report):
    answer = told(start("forks", path, LIMIT, 20))
    counted = answer.pop("children that counted")
    report(admitted=answer["admitted"], limit=LIMIT, children=answer["children"], counted=counted)
    assert counted
    assert answer == {"admitted": LIMIT, "refused": 4, "children": 20}
    assert used(path) == {"session:s": LIMIT, "global": LIMIT}


def test_a_fork_that_python_does_not_see_takes_nothing(path, one, monkeypatch):
    """SQLite's locks do not come along; a library in C that forks tells nobody."""
    store = DiskStore(path)
    store.reserve(one)
    with monkeypatch.context() as patch:
        patch.setattr("os.getpid", lambda: 1)
        for work in (lambda: store.reserve(one), lambda: store.put("k", b"v"), lambda: store.take("k"), store.reset):
            with pytest.raises(StoreError, match="forked"):
                work()
    assert isinstance(store.reserve(one), Reservation)
    assert used(path) == {"session:s": 2, "global": 2}
    store.close()


def test_exactly_one_taker_and_one_adder_among_many(path):
    stores = [DiskStore(path) for _ in range(4)]
    won = []

    def race(store, start_line):
        start_line.wait()
        won.append(store.take("ask") is not None)
        won.append(store.add("grant", b"mine", 60))

    for round_ in range(10):
        won.clear()
        stores[0].put("ask", b"x", 60)
        stores[0].take("grant")
        line = threading.Barrier(8)
        threads = [threading.Thread(target=race, args=(stores[i % 4], line)) for i in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sum(won) == 2, round_
    for store in stores:
        store.close()


def test_exactly_one_taker_and_one_adder_among_eight_processes(path, report):
    rounds = 1500
    store = DiskStore(path)
    for round_ in range(rounds):
        store.put(f"ask {round_}", b"x", 60)
    answers = answers_of([start("seize", path, 0, rounds) for _ in range(8)])
    got = Counter()
    for answer in answers:
        got.update(answer)
    assert got == {f"{what} {round_}": 1 for what in ("taken", "added") for round_ in range(rounds)}
    winners = sum(any(answer.values()) for answer in answers)
    report(asks=rounds, wins=got.total(), winners=winners)
    assert winners > 1, "they did not run at the same time"
    store.close()


async def _longest_pause(work):
    """The longest time the loop did not turn while ``work`` ran."""
    longest = 0.0
    done = asyncio.ensure_future(work)
    gc.collect()
    gc.disable()
    try:
        last = time.perf_counter()
        while not done.done():
            await asyncio.sleep(0.0005)
            now = time.perf_counter()
            longest, last = max(longest, now - last - 0.0005), now
    finally:
        gc.enable()
    await done
    return longest


class Interrupted:
    """A clock that Ctrl-C comes upon in the ``armed`` thread: the call that reads it closes what writes."""

    armed = None

    def __call__(self):
        if self.armed == threading.get_ident():  # a call of the loop's may read it meanwhile
            self.armed = None
            raise KeyboardInterrupt
        return system_clock()


def interrupt(store, clock):
    clock.armed = threading.get_ident()
    with pytest.raises(KeyboardInterrupt):
        store.get("kept")


@pytest.mark.serial
@pytest.mark.parametrize("interrupted", [False, True], ids=["open", "to be opened again"])
def test_the_event_loop_turns_while_another_process_holds_the_lock(path, one, report, interrupted):
    """A blocking wait would show as 500 ms every time; a busy machine's hiccup does not come back every time."""
    clock = Interrupted()
    store = DiskStore(path, clock=clock)
    store.put("kept", b"v")

    async def attempt():
        await store.areserve(one)
        holder = await asyncio.to_thread(start, "hold", path, 0, 0.5)
        await asyncio.to_thread(holder.stdout.readline)
        target, words = (interrupt, (store, clock)) if interrupted else (store.reserve, (one,))
        beside = threading.Thread(target=target, args=words)
        calls = asyncio.gather(*(store.areserve(one) for _ in range(4)), store.aget("k"))
        began = time.perf_counter()
        if interrupted:
            await asyncio.sleep(0)  # they wait already
        beside.start()
        longest = await _longest_pause(calls)
        waited = time.perf_counter() - began
        await asyncio.to_thread(beside.join)
        await asyncio.to_thread(holder.communicate)
        return longest, waited

    pauses = []
    for _ in range(12):
        longest, waited = asyncio.run(attempt())
        if waited < 0.3:
            continue  # the machine stood still until the lock was free: nobody had to wait, which shows nothing
        pauses.append(longest)
        if longest < 0.005:
            break
    report(longest_pauses_ms=[round(pause * 1000, 1) for pause in pauses])
    assert pauses[-1] < 0.005
    store.close()


def test_many_tasks_wait_together_for_one_turn_and_leave_the_loop_alone(path, one):
    store = DiskStore(path)

    async def attempt():
        with store._access._lock:  # in a thread, for all the tasks can tell
            tasks = [asyncio.ensure_future(store.areserve(one)) for _ in range(200)]
            for _ in range(20):
                await asyncio.sleep(0)
            assert not any(task.done() for task in tasks)
        return await asyncio.gather(*tasks)

    answers = asyncio.run(attempt())
    assert sum(isinstance(answer, Reservation) for answer in answers) == 200
    store.close()


@pytest.mark.serial
@pytest.mark.parametrize("interrupted", [False, True], ids=["open", "to be opened again"])
def test_after_the_deadline_the_call_is_refused(path, one, interrupted):
    clock = Interrupted()
    store = DiskStore(path, timeout=0.3, clock=clock)
    store.put("kept", b"v")
    holder = start("hold", path, 0, 4)
    holder.stdout.readline()
    if interrupted:
        interrupt(store, clock)
    for work in (lambda: store.reserve(one), lambda: asyncio.run(store.areserve(one)), lambda: store.put("k", b"v")):
        began = time.monotonic()
        with pytest.raises(StoreError, match="stayed locked"):
            work()
        assert 0.25 < time.monotonic() - began < 1.2
    with pytest.raises(StoreError):
        DiskStore(path, timeout=0.1)
    holder.communicate()
    assert isinstance(store.reserve(one), Reservation)
    store.close()


def test_a_task_that_is_cancelled_while_it_waits_takes_nothing(path, one):
    store = DiskStore(path)

    async def attempt():
        holder = await asyncio.to_thread(start, "hold", path, 0, 0.5)
        await asyncio.to_thread(holder.stdout.readline)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(store.areserve(one), 0.1)
        await asyncio.to_thread(holder.communicate)
        await store.aget("k")  # comes after whatever the other one left behind

    asyncio.run(attempt())
    assert [usage.used for usage in store.usage() if usage.used] == []
    store.close()


def test_raising_inside_incr_rolls_back_across_rows(path, one):
    """What the packing of rows rests on: ``Cache.incr`` with a delta that refuses, inside ``transact``."""
    store = DiskStore(path)
    assert isinstance(store.reserve(one), Reservation)
    tight = [one[0], one[1]._replace(max=1)]
    assert isinstance(store.reserve(tight), Full)
    store._operations._recently_refused.clear()
    assert isinstance(store.reserve(tight), Full)
    assert used(path) == {"session:s": 1, "global": 1}
    store.close()


def test_listing_entries_does_not_walk_through_the_scopes(tmp_path):
    store = DiskStore(tmp_path)
    for key in ("p/1", "p/2", "q", "\U0010ffff"):
        store.put(key, b"v")
    store.reserve_together([([Charge(f"session:{number}", "calls", 1, 9, 3600, "/l")],) for number in range(3_000)])
    steps = []
    store._operations._database.cache()._con.set_progress_handler(lambda: steps.append(1), 100)
    assert [key for key, _ in store.scan("p/")] == ["p/1", "p/2"]
    assert len(steps) < 10
    assert [key for key, _ in store.scan("\U0010ffff")] == ["\U0010ffff"]
    store.close()


def test_entries_are_listed_by_any_prefix(tmp_path):
    letters = "a/0\ud7ff\ue000\U0010ffff"
    keys = [*letters, *map("".join, itertools.product(letters, repeat=2))]
    store = DiskStore(tmp_path)
    for key in keys:
        store.put(key, b"v")
    for prefix in ("", *keys):
        assert {key for key, _ in store.scan(prefix)} == {key for key in keys if key.startswith(prefix)}
    store.close()
