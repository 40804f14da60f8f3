"""A process that reserves until it is refused, in threads, tasks and forks, and prints what it was told.

It is started as ``hammer.py <kind> <path> <limit> [more]``; what it prints is one JSON object.
"""

import asyncio
import json
import os
import random
import signal
import sys
import threading
import time
from collections import Counter
from pathlib import Path

from guarded_tools.errors import StoreError
from guarded_tools.stores.disk.directory import StateDirectory
from guarded_tools.stores.disk.store import DiskStore
from guarded_tools.values import Charge, Full, Halted

WINDOW = 3600
_FAILED = 99
# Seconds at the lock: what is counted here has to be exact, and a loaded machine may make anybody wait.
_PATIENCE = 60.0


def charges(limit):
    return [Charge(scope, "calls", 1, limit, WINDOW, "/limits") for scope in ("session:s", "global")]


def until_full(store, limit, told):
    while True:
        try:
            answer = store.reserve(charges(limit))
        except StoreError as error:
            told[f"error: {error}"] += 1
            return
        if isinstance(answer, Full):
            told["refused"] += 1
            return
        told["admitted"] += 1


async def tasks_until_full(store, limit, told):
    async def one():
        while not isinstance(await store.areserve(charges(limit)), Full):
            told["admitted"] += 1
        told["refused"] += 1

    await asyncio.gather(*(one() for _ in range(4)))


def together(path, limit, count="4"):
    """``count`` threads and four tasks on one store, all processes from a common start."""
    store = DiskStore(path, timeout=_PATIENCE)
    print("ready", flush=True)
    sys.stdin.readline()
    told = [Counter() for _ in range(int(count) + 1)]
    threads = [threading.Thread(target=until_full, args=(store, limit, one)) for one in told[1:]]
    for thread in threads:
        thread.start()
    asyncio.run(tasks_until_full(store, limit, told[0]))
    for thread in threads:
        thread.join()
    return sum(told, Counter())


def forks(path, limit, count="20"):
    """Four threads write while their process forks; every child writes too, on the store it was born with."""
    store = DiskStore(path, timeout=_PATIENCE)
    told = [Counter() for _ in range(4)]
    threads = [threading.Thread(target=until_full, args=(store, limit, one)) for one in told]
    for thread in threads:
        thread.start()
    children = []
    for _ in range(int(count)):
        child = os.fork()
        if not child:
            admitted = 0
            try:
                for _ in range(10):
                    admitted += not isinstance(store.reserve(charges(limit)), Full)
            except BaseException as error:
                os.write(2, f"{error!r}\n".encode())
                os._exit(_FAILED)
            os._exit(admitted)
        children.append(child)
        time.sleep(0.002)
    total = Counter(children=len(children))
    deadline = time.monotonic() + 30
    for child in children:
        while not (ended := os.waitpid(child, os.WNOHANG))[0] and time.monotonic() < deadline:
            time.sleep(0.005)
        if ended[0]:
            code = os.waitstatus_to_exitcode(ended[1])
            if code in range(11):
                total["admitted"] += code
                total["children that counted"] += code > 0
            else:
                total["failed"] += 1
        else:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            total["hung"] += 1
    for thread in threads:
        thread.join()
    return sum(told, total)


def kills(path, limit, count="120"):
    """Four writers at a time, one of them killed every few milliseconds and replaced.

    A writer says by a byte in a file that it was admitted: as many bytes were admitted for certain.
    """
    journal = Path(path).with_suffix(".admitted")
    dice = random.Random(7)
    writers = []

    def start():
        child = os.fork()
        if child:
            writers.append(child)
            return
        try:
            handle = os.open(journal, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
            store = DiskStore(path, timeout=_PATIENCE)
            while not isinstance(store.reserve(charges(limit)), Full):
                os.write(handle, b".")
        except BaseException as error:
            os.write(2, f"{error!r}\n".encode())
            os._exit(1)
        os._exit(0)

    told = Counter()
    for _ in range(4):
        start()
    for _ in range(int(count)):
        time.sleep(dice.uniform(0, 0.03))
        victim = writers.pop(dice.randrange(4))
        os.kill(victim, signal.SIGKILL)
        told["killed" if os.waitstatus_to_exitcode(os.waitpid(victim, 0)[1]) == -signal.SIGKILL else "ended"] += 1
        start()
    for writer in writers:
        os.kill(writer, signal.SIGKILL)
        told["killed" if os.waitstatus_to_exitcode(os.waitpid(writer, 0)[1]) == -signal.SIGKILL else "ended"] += 1
    told["admitted"] = journal.stat().st_size
    return told


def fill(path, limit):
    store = DiskStore(path, timeout=_PATIENCE)
    told = Counter()
    until_full(store, limit, told)
    return told


def fill_and_die(path, limit):
    """Leave as a killed process does: nothing closed, nothing written back."""
    store, told = DiskStore(path, timeout=_PATIENCE), Counter()
    until_full(store, limit, told)
    print(json.dumps(told), flush=True)
    os.kill(os.getpid(), signal.SIGKILL)


def no_room(path, limit, room="20000"):
    """No file may grow any more for a while, as on a full disk."""
    import resource

    store = DiskStore(path, timeout=_PATIENCE)
    told = Counter()
    store.reserve(charges(limit))
    told["admitted"] += 1
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    log = Path(path, "counters", "cache.db-wal").stat().st_size
    resource.setrlimit(resource.RLIMIT_FSIZE, (log + int(room), hard))
    for _ in range(limit):
        try:
            store.reserve(charges(limit))
            told["admitted"] += 1
        except StoreError:
            told["faults"] += 1
            if told["faults"] == 20:
                break
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    until_full(store, limit, told)
    return told


def become_a_stranger(path):
    DiskStore(Path(path) / "warm").reserve(charges(1))  # imports what a stranger could not
    if os.getuid() == 0:
        os.setgid(65534)
        os.setuid(65534)


def not_root(path, limit):
    """As a user whom file modes bind: nothing may be written in the directory any more, then again."""
    become_a_stranger(path)
    told = Counter()
    directory = Path(path, "own")
    store = DiskStore(directory)
    for _ in range(limit // 2):
        store.reserve(charges(limit))
        told["admitted"] += 1
    store.close()
    counters = directory / "counters"
    files = [file for file in counters.iterdir() if file.is_file()]
    for file in files:
        file.chmod(0o400)
    counters.chmod(0o500)
    for opened in (store, None):
        for _ in range(5):
            try:
                (opened or DiskStore(directory)).reserve(charges(limit))
                told["admitted while read-only"] += 1
            except StoreError:
                told["faults"] += 1
    counters.chmod(0o700)
    for file in files:
        file.chmod(0o600)
    until_full(store, limit, told)
    store.close()
    return told


def die_closing(path, limit, point):
    """Killed on the way out, before or after the last note is taken."""
    store = DiskStore(path, timeout=_PATIENCE)
    told = Counter()
    until_full(store, limit, told)
    mark = StateDirectory._mark

    def last_words(directory, marker):
        if point == "after":
            mark(directory, marker)
        os.kill(os.getpid(), signal.SIGKILL)

    StateDirectory._mark = last_words
    print(json.dumps(told), flush=True)
    store.close()


def unlisted(path, limit):
    """As a user whom file modes bind: a halt is written, and then the directory may not be listed any more."""
    become_a_stranger(path)
    told = Counter()
    directory = Path(path, "own")
    store = DiskStore(directory)
    store.reserve(charges(limit))
    store.halt("global", "now")
    (directory / "counters").chmod(0o300)
    for look in (lambda: store.reserve(charges(limit)), lambda: store.peek(charges(limit)), store.halts):
        try:
            told[f"answered {look()}"] += 1
        except StoreError:
            told["faults"] += 1
    (directory / "counters").chmod(0o700)
    told["halted"] += isinstance(store.reserve(charges(limit)), Halted)
    store.close()
    return told


def seize(path, _, rounds):
    """For each ask, one line that says what this process got: the ask itself, and the place of the one to answer it."""
    store = DiskStore(path, timeout=_PATIENCE)
    print("ready", flush=True)
    sys.stdin.readline()
    told = Counter()
    for round_ in range(int(rounds)):
        told[f"taken {round_}"] += store.take(f"ask {round_}") is not None
        told[f"added {round_}"] += store.add(f"grant {round_}", b"mine", 60)
    return told


def hold(path, _, seconds="0.5"):
    """Hold the database's write lock, and say when."""
    import sqlite3

    connection = sqlite3.connect(Path(path, "counters", "cache.db"), isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    print("held", flush=True)
    time.sleep(float(seconds))
    connection.execute("ROLLBACK")
    return {}


if __name__ == "__main__":
    _, kind, where, most, *more = sys.argv
    print(json.dumps(globals()[kind](where, int(most), *more)), flush=True)
