"""A process whose calls reserve an estimate and settle the truth, and that writes down what it did.

It is started as ``settle_hammer.py <url> <journal>``, and goes on until it is refused or killed.
"""

import asyncio
import os
import sys
import threading
from pathlib import Path

from guarded_tools.values import Charge, Reservation
from tests.stores.marks_hammer import opened

ESTIMATE = 5
BUDGET = 3_000


def charges():
    """What a call is expected to take, of two budgets."""
    return [Charge(scope, "t/spent", ESTIMATE, BUDGET, 36_000, "/r") for scope in ("session:s", "global")]


def truth(n):
    """What the n-th call of a thread took in truth: nothing up to twice the estimate."""
    return [n * 7 % (2 * ESTIMATE + 1)] * 2


def work(store, note):
    """Spend in a thread."""
    for n in range(10**9):
        taken = store.reserve(charges())
        if not isinstance(taken, Reservation):
            return
        note(f"r {ESTIMATE}")
        store.settle(taken, truth(n))
        note(f"s {truth(n)[0]}")


async def task(store, note):
    """Spend in a task."""
    for n in range(10**9):
        taken = await store.areserve(charges())
        if not isinstance(taken, Reservation):
            return
        note(f"r {ESTIMATE}")
        await store.asettle(taken, truth(n))
        note(f"s {truth(n)[0]}")


def main(url, journal):
    """Spend in threads and tasks until the budget is."""
    store = opened(url)
    handle = os.open(Path(journal), os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def note(line):
        os.write(handle, f"{line}\n".encode())

    async def tasks():
        await asyncio.gather(*(task(store, note) for _ in range(2)))
        if hasattr(store, "aclose"):
            await store.aclose()

    threads = [threading.Thread(target=work, args=(store, note)) for _ in range(2)]
    for thread in threads:
        thread.start()
    asyncio.run(tasks())
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    main(*sys.argv[1:])
