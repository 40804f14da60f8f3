"""What budgets cost: a settlement beside its reservation, a guarded call of a model beside one that is not."""

from __future__ import annotations

import shutil
import statistics
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from langchain.agents.middleware import AgentMiddleware, ModelRequest, ModelResponse
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.messages.ai import UsageMetadata

from benchmarks import redis as fleet
from benchmarks.common import RATIO, Row, added, in_turns, ratio
from benchmarks.marks import SETTLED_S
from guarded_tools import Guard, Policy
from guarded_tools.stores import Store
from guarded_tools.stores.disk.store import DiskStore
from guarded_tools.stores.memory import MemoryStore
from guarded_tools.stores.redis.store import RedisStore
from guarded_tools.testing import ScriptedModel
from guarded_tools.values import Charge, Reservation

LIVE = 30
USAGE = UsageMetadata(input_tokens=900, output_tokens=80, total_tokens=980)


def rows(quick: bool = False) -> Iterator[Row]:
    """Measure."""
    blocks = 20 if quick else 100
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        disk = DiskStore(folder / "settled")
        yield from settled(MemoryStore(), "in memory", blocks, 1.5)
        yield from settled(disk, "on disk", blocks, 1.5)
        disk.close()
        if shutil.which("redis-server"):
            with fleet.server() as url:
                yield from settled(RedisStore(url), "on Redis", blocks, 1.5)
        yield from around_a_model(folder, blocks)


def settled(store: Store, where: str, blocks: int, bound: float) -> Iterator[Row]:
    """A call that is settled to what its result tells, over its reservation."""
    charges = [
        Charge("session:s", f"shop/ask/c{n}/USD", 50_000, 10**15, 3600, "/limits", result="result.cost", scale=6)
        for n in range(2)
    ]
    now = time.time()
    for entry in range(LIVE):
        store.reserve(charges, now - 3000 + entry * 100)
    if isinstance(store, DiskStore):
        time.sleep(SETTLED_S)
    open_: deque[Reservation] = deque()

    def reserve() -> None:
        taken = store.reserve(charges)
        assert isinstance(taken, Reservation)
        open_.append(taken)

    before, after = in_turns(reserve, lambda: store.settle(open_.popleft(), (49_000, 61_000)), blocks=blocks)
    note = f"{statistics.median(after):.1f} µs over {statistics.median(before):.1f} µs"
    yield Row(f"settle 2 charges by result {where}, over reserving them", ratio(before, after), RATIO, bound, note)


def around_a_model(folder: Path, blocks: int) -> Iterator[Row]:
    """A call of a model that answers at once, through the guard's middleware, beside a middleware that does nothing."""

    class Nothing(AgentMiddleware[Any, Any, Any]):
        def wrap_model_call(self, request: Any, handler: Callable[[Any], Any]) -> Any:
            return handler(request)

    limits = [{"counter": name, "window": "day", "max": 10**8} for name in ("usd", "tokens")]
    prices = {"*": {"input": "0.1", "output": "0.4"}}
    rules = {"version": "1", "default": "allow", "model": {"limits": limits, "prices": prices}}
    policy, plain = Policy.model_validate(rules), Policy.model_validate({"version": "1", "default": "allow"})
    request: Any = ModelRequest(
        model=ScriptedModel([]),
        messages=[HumanMessage("What is in my inbox?"), AIMessage("A mail."), HumanMessage("Read it.")],
    )
    answer: Any = ModelResponse([AIMessage("done", usage_metadata=USAGE)])

    def through(middleware: AgentMiddleware[Any, Any, Any]) -> Callable[[], object]:
        return lambda: middleware.wrap_model_call(request, lambda _: answer)

    memory = Guard(policy, store="memory://", audit=folder / "memory.jsonl", session="s").middleware()
    disk = Guard(policy, store=f"disk://{folder / 'models'}", audit=folder / "disk.jsonl", session="s").middleware()
    unbudgeted = Guard(plain, store="memory://", audit=folder / "none.jsonl", session="s").middleware()
    time.sleep(SETTLED_S)
    bare, none, in_memory, on_disk = in_turns(
        *map(through, (Nothing(), unbudgeted, memory, disk)), blocks=max(10, blocks // 2)
    )
    base = f"over {statistics.median(bare):.1f} µs of a middleware that does nothing"
    yield Row("a call of a model without a budget, added by the guard's middleware", added(bare, none), "µs", note=base)
    yield Row("a call of a model, two limits in memory and audit, added", added(bare, in_memory), "µs", note=base)
    yield Row("a call of a model, two limits on disk and audit, added", added(bare, on_disk), "µs", note=base)
