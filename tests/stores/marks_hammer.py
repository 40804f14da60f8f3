"""A process that reserves with rules across calls, and prints or writes down what it was told.

It is started as ``marks_hammer.py <kind> <url> [more]``.
"""

import asyncio
import json
import os
import sys
import threading
from pathlib import Path

from guarded_tools.marks import Mark, SessionCondition, SessionRules
from guarded_tools.stores import open_store
from guarded_tools.stores.disk.address import disk_path
from guarded_tools.stores.disk.store import DiskStore
from guarded_tools.values import Charge, Reservation


def opened(url):
    """A store that waits for as long as a loaded machine needs."""
    path = disk_path(url)
    return open_store(url) if path is None else DiskStore(path, timeout=60.0)


def rival(scope, mine, other):
    """What a call leaves behind, and what denies it, over a session and a grant."""
    grant = scope.replace("session:", "grant:")
    denied = SessionCondition(scope, "label", (other,), "deny", "/after/0")
    marks = tuple(Mark(where, kind, mine, "t") for where in (scope, grant) for kind in ("label", "admitted"))
    return SessionRules((denied, denied._replace(scope=grant, kind="admitted")), marks)


def either(url, mine, other, sessions):
    """Calls of one kind, in threads and tasks, in as many sessions; how many were admitted in each."""
    store = opened(url)
    print("ready", flush=True)
    sys.stdin.readline()
    admitted = dict.fromkeys(range(int(sessions)), 0)
    counting = threading.Lock()

    def call(session):
        scope = f"session:{session}"
        return [Charge(scope, "t/calls", 1, 10**6, 3600, "/r")], None, (scope,), rival(scope, mine, other)

    def told(session, answer):
        with counting:
            admitted[session] += isinstance(answer, Reservation)

    def work():
        for session in admitted:
            told(session, store.reserve(*call(session)))

    async def tasks():
        async def one(session):
            told(session, await store.areserve(*call(session)))

        for session in admitted:
            await asyncio.gather(one(session), one(session))
        if hasattr(store, "aclose"):
            await store.aclose()

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    asyncio.run(tasks())
    for thread in threads:
        thread.join()
    print(json.dumps(list(admitted.values())), flush=True)


def until_killed(url, journal):
    """Each call in a session of its own: a charge and marks in three scopes, then a fact of how it ended."""
    store = opened(url)
    handle = os.open(Path(journal), os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    for n in range(10**9):
        name = f"{os.getpid()}-{n}"
        scopes = f"session:{name}", f"grant:{name}", f"shadow:session:{name}"
        marks = tuple(Mark(scope, "label", "untrusted", "t") for scope in scopes)
        charges = [Charge(scopes[0], "t/calls", 1, 1, 36_000, "/r"), Charge("global", "t/*", 1, 10**9, 36_000, "/r")]
        answer = store.reserve(charges, None, (), SessionRules((), marks))
        assert isinstance(answer, Reservation), answer
        os.write(handle, f"{name} admitted\n".encode())
        store.note([Mark(scope, "succeeded", "t", "t", name) for scope in scopes])
        os.write(handle, f"{name} noted\n".encode())


if __name__ == "__main__":
    _, kind, where, *more = sys.argv
    globals()[kind](where, *more)
