"""What rules across calls cost a reservation, in a session that carries three labels, beside one that carries none."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.common import RATIO, Row, added, in_turns, ratio
from guarded_tools.marks import Mark, SessionCondition, SessionRules
from guarded_tools.stores import Store
from guarded_tools.stores.disk.store import DiskStore
from guarded_tools.stores.memory import MemoryStore
from guarded_tools.values import Charge

LIVE = 30
# A directory that was changed less than two seconds ago is looked at more closely by every call.
SETTLED_S = 2.1
CARRIED = ("untrusted", "internal", "billing")


def rules_of(session: str) -> SessionRules:
    """What a typical call in a session looks for, and leaves."""
    asks = SessionCondition(session, "label", ("untrusted", "private"), "ask", "/after/0", every=True)
    return SessionRules((asks,), tuple(Mark(session, "label", name, "read_inbox") for name in CARRIED[:2]))


def labelled(store: Store, session: str) -> None:
    """Have a session carry three labels."""
    store.note([Mark(session, "label", name, "read_inbox") for name in CARRIED])


def rows(folder: Path, blocks: int) -> Iterator[Row]:
    """Measure in memory and on disk."""
    memory, disk = MemoryStore(), DiskStore(folder / "marks")
    yield from of_store(memory, "in memory", blocks, None)
    yield from of_store(disk, "on disk", blocks, 1.2)
    disk.close()


def of_store(store: Store, where: str, blocks: int, bound: float | None) -> Iterator[Row]:
    """The same call in two sessions that are alike but for what the one carries."""

    def charges(session: str) -> list[Charge]:
        return [Charge(session, f"pictify/t/c{n}", 1, 10**9, 3600, "/limits") for n in range(2)]

    now, plain, marked = time.time(), charges("session:plain"), charges("session:marked")
    labelled(store, "session:marked")
    for entry in range(LIVE):
        for some in (plain, marked):
            store.reserve(some, now - 3000 + entry * 100)
    rules = rules_of("session:marked")
    if isinstance(store, DiskStore):
        time.sleep(SETTLED_S)
    before, after = in_turns(
        lambda: store.reserve(plain), lambda: store.reserve(marked, None, (), rules), blocks=blocks
    )
    took, took_before = statistics.median(after), statistics.median(before)
    note = f"{took:.1f} µs over {took_before:.1f} µs, {added(before, after):.1f} µs more"
    name = f"reserve 2 charges with rules across calls {where}, over without"
    yield Row(name, ratio(before, after), RATIO, bound, note)
