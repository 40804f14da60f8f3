"""What the guard adds to a call: around a tool, in an agent, over a held session, under load, and at import.

Peers are measured beside it where they are installed. Ratios carry over between machines; microseconds do not.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import importlib.util
import logging
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple, Self

from langchain_core.tools import BaseTool, StructuredTool

from benchmarks.common import RATIO, Row, table
from guarded_tools import Guard, Policy, open_store

BLOCK = 25
SANDBOX = (sys.executable, "-m", "guarded_tools.pictify.sandbox")
SCHEMA = {
    "type": "object",
    "properties": {"n": {"type": "integer"}, "word": {"type": "string", "maxLength": 100}},
    "required": ["n"],
    "additionalProperties": False,
}
ARGS = {"n": 1, "word": "x"}
CALLS = 200
BURSTS = 5


def rows(quick: bool = False) -> Iterator[Row]:
    """Measure everything, the quick things first. ``quick`` changes nothing: there are no samples to save."""
    del quick
    with tempfile.TemporaryDirectory() as folder:
        yield from around_a_tool(Path(folder))
        yield from in_an_agent(Path(folder))
        yield from asyncio.run(over_a_session(Path(folder)))
        yield from asyncio.run(under_load(Path(folder)))
    yield from at_import()


def limit(name: str, window: str, maximum: int) -> dict[str, Any]:
    return {"counter": name, "window": window, "max": maximum, "scope": "session"}


def guard_of(folder: Path, *tools: str) -> Guard:
    """A guard with two limits of one scope for each tool, on disk, and an audit."""
    folder.mkdir(parents=True, exist_ok=True)
    limits = [limit("minute", "minute", 10**6), limit("day", "day", 10**7)]
    policy = Policy.model_validate(
        {"version": "1", "default": "deny", "tools": {tool: {"limits": limits} for tool in tools}}
    )
    guard = Guard(policy, store=open_store(f"disk://{folder / 'counters'}"), audit=folder / "audit.jsonl")
    # A store that was opened within the last two seconds looks at its directory at every call, since the file system's
    # clock cannot tell two changes apart that fast. An agent lives longer than that.
    time.sleep(SETTLES)
    return guard


SETTLES = 2.2


def noop(n: int, word: str = "w") -> str:
    """Do nothing."""
    del n, word
    return "done"


def by_schema() -> StructuredTool:
    """A tool as MCP's are: nobody but the guard checks its arguments."""
    return StructuredTool(name="noop", description="Do nothing.", args_schema=SCHEMA, func=noop)


def in_turns(*bodies: Callable[[], object], blocks: int = 80) -> list[list[float]]:
    """The microseconds a call took in each block of :data:`BLOCK` calls, the bodies taking turns."""
    for body in bodies:
        body()
    taken: list[list[float]] = [[] for _ in bodies]
    for _ in range(blocks):
        for body, times in zip(bodies, taken, strict=True):
            start = time.perf_counter()
            for _ in range(BLOCK):
                body()
            times.append((time.perf_counter() - start) / BLOCK * 1e6)
    return taken


def ratio(base: Sequence[float], more: Sequence[float]) -> float:
    """The median of the ratios of blocks that ran side by side."""
    return statistics.median(b / a for a, b in zip(base, more, strict=True))


def added(base: Sequence[float], more: Sequence[float]) -> float:
    """The median of what blocks took more than those that ran beside them."""
    return statistics.median(b - a for a, b in zip(base, more, strict=True))


def around_a_tool(folder: Path) -> Iterator[Row]:
    """``StructuredTool.invoke`` of a no-op, guarded and raw."""
    guard = guard_of(folder / "tool", "noop")
    for kind, raw in (("dict schema", by_schema()), ("pydantic schema", StructuredTool.from_function(noop))):
        (guarded,) = guard.wrap([raw])
        base, more = in_turns(lambda raw=raw: raw.invoke(ARGS), lambda guarded=guarded: guarded.invoke(ARGS))  # type: ignore[misc]
        note = f"raw {statistics.median(base):.0f} µs, guard adds {added(base, more):.0f} µs"
        yield Row(f"guarded tool over raw, {kind}, two limits on disk, audit", ratio(base, more), RATIO, 1.75, note)


def in_an_agent(folder: Path) -> Iterator[Row]:
    """A turn of ``create_agent``: one model call and one tool call, with each guard and without any."""
    if importlib.util.find_spec("langchain") is None:
        return
    from langchain.agents import create_agent

    from benchmarks.scripted import Scripted

    raw = StructuredTool.from_function(noop)
    guard = guard_of(folder / "agent", "noop")
    setups: dict[str, tuple[list[BaseTool], list[Any]]] = {
        "": ([raw], []),
        "guard.wrap": (guard.wrap([raw]), []),
        "guard.middleware": ([raw], [guard.middleware()]),
        **{name: ([raw], middleware) for name, middleware in peers(folder)},
    }
    model = Scripted(tool="noop", args=ARGS, turns=BLOCK)
    ask = {"messages": [("user", "go")]}
    config = {"recursion_limit": 1000, "configurable": {"thread_id": "t"}}
    agents = [create_agent(model, tools, middleware=middleware) for tools, middleware in setups.values()]

    def turn(agent: Any) -> Callable[[], object]:
        return lambda: agent.invoke(ask, config)

    taken = in_turns_of_agents([turn(agent) for agent in agents])
    for name, times in zip(setups, taken, strict=True):
        if name:
            note = f"over {statistics.median(taken[0]):.0f} µs a turn without any guard"
            yield Row(f"an agent's turn, added by {name}", added(taken[0], times), "µs", note=note)


def in_turns_of_agents(runs: Sequence[Callable[[], object]], rounds: int = 30) -> list[list[float]]:
    """The microseconds of one turn in each run of :data:`BLOCK` turns, the agents taking turns."""
    taken: list[list[float]] = [[] for _ in runs]
    for round_ in range(rounds + 1):
        for run, times in zip(runs, taken, strict=True):
            start = time.perf_counter()
            run()
            if round_:  # the first is for warming up
                times.append((time.perf_counter() - start) / BLOCK * 1e6)
    return taken


def peers(folder: Path) -> Iterator[tuple[str, list[Any]]]:
    """The middleware of each peer that is installed, set up to let the call pass."""
    from langchain.agents.middleware import HumanInTheLoopMiddleware, ToolCallLimitMiddleware

    human = HumanInTheLoopMiddleware(interrupt_on={"noop": False, "other": True})
    yield "langchain HITL + ToolCallLimit (in memory)", [human, ToolCallLimitMiddleware(run_limit=10**6)]
    with contextlib.suppress(ImportError):
        ctrlrun, theirs = import_module("ctrlrun"), import_module("ctrlrun_langchain")
        rules = "schema: ctrlrun.policy/v1\nactions:\n  noop:\n    rules:\n      - decision: allow\n"
        control = ctrlrun.Control(
            ctrlrun.Policy.from_yaml(rules),
            ctrlrun.SQLiteStateStore(folder / "ctrlrun.db"),
            identity=ctrlrun.StaticIdentityProvider("benchmark"),
        )
        yield "ctrlrun (SQLite)", [theirs.CTRLRunMiddleware(control)]
    with contextlib.suppress(ImportError):
        logging.getLogger("agent_os").setLevel(logging.ERROR)  # it would spend its time on warnings
        kernel = import_module("agent_os.integrations").LangChainKernel(
            policy=import_module("agent_os.integrations.base").GovernancePolicy(
                blocked_patterns=["DROP TABLE"], max_tool_calls=10**6
            )
        )
        yield "agent-os-kernel (in memory)", [kernel.as_middleware()]


@contextlib.asynccontextmanager
async def sandbox_tools(folder: Path) -> AsyncIterator[Any]:
    """The sandbox's tools through a held session, guarded as in :func:`guard_of`."""
    from guarded_tools import guarded_tools

    limits = [limit("minute", "minute", 10**6), limit("day", "day", 10**7)]
    tools = {"pictify_list_templates": {"limits": limits}}
    async with guarded_tools(
        {"pictify": {"command": SANDBOX[0], "args": list(SANDBOX[1:])}},
        policy=Policy.model_validate({"version": "1", "default": "deny", "tools": tools}),
        store=open_store(f"disk://{folder / 'counters'}"),
        audit=folder / "audit.jsonl",
    ) as opened:
        yield opened


def named(tools: Sequence[BaseTool], name: str) -> BaseTool:
    return next(tool for tool in tools if tool.name == name)


async def over_a_session(folder: Path) -> list[Row]:
    """A sandbox call through the held session, against the client that LangChain documents."""
    from langchain_mcp_adapters.client import MultiServerMCPClient

    connection: Any = {"transport": "stdio", "command": SANDBOX[0], "args": list(SANDBOX[1:])}
    documented = named(await MultiServerMCPClient({"pictify": connection}).get_tools(), "pictify_list_templates")
    async with sandbox_tools(folder / "session") as tools:
        held = named(tools, "pictify_list_templates")
        slow, fast = [], []
        for _ in range(10):
            slow.append(await timed(documented, 1))
            fast.append(await timed(held, BLOCK))
    note = f"{statistics.median(slow) / 1000:.0f} ms against {statistics.median(fast) / 1000:.2f} ms a call"
    name = "MultiServerMCPClient.get_tools() over a guarded held session"
    return [Row(name, ratio(fast, slow), RATIO, 50, note, at_least=True)]


async def timed(tool: BaseTool, times: int) -> float:
    start = time.perf_counter()
    for _ in range(times):
        await tool.ainvoke({})
    return (time.perf_counter() - start) / times * 1e6


async def under_load(folder: Path) -> list[Row]:
    """Many calls at once over one session: all answered, counted exactly, the loop never held up."""
    from guarded_tools.adapters.mcp_tools import langchain_tools
    from guarded_tools.mcp_session import HeldSession, StdioServer

    async with HeldSession(StdioServer(SANDBOX[0], SANDBOX[1:])) as session:
        raw = await best_of(BURSTS, named(langchain_tools(session), "pictify_list_templates"))
    async with sandbox_tools(folder / "load") as tools:
        guarded = await best_of(BURSTS, named(tools, "pictify_list_templates"))
        counted = {usage.used for usage in tools.guard.usage()} - {0}
    note = f"raw tools: {raw.step * 1000:.1f} ms"
    lag = f"raw tools: {raw.lag * 1000:.0f} ms; {CALLS} ready tasks take their turns before a timer does"
    return [
        Row(
            f"{CALLS} calls at once, counted exactly",
            float(counted == {BURSTS * CALLS}),
            "yes",
            1,
            f"{counted}",
            at_least=True,
        ),
        Row(f"{CALLS} calls at once, the longest step of the loop", guarded.step * 1000, "ms", 10, note),
        Row(f"{CALLS} calls at once, the longest wait of a timer", guarded.lag * 1000, "ms", note=lag),
    ]


class Burst(NamedTuple):
    """How long the loop was busy with one step, and how late a timer was, at the worst; in seconds."""

    step: float
    lag: float


async def best_of(bursts: int, tool: BaseTool) -> Burst:
    """The burst that the machine's other work disturbed least: what the code itself does shows in every burst."""
    all_of_them = [await burst(tool) for _ in range(bursts)]
    return Burst(min(one.step for one in all_of_them), min(one.lag for one in all_of_them))


async def burst(tool: BaseTool) -> Burst:
    lags: list[float] = []

    async def beat() -> None:
        while True:
            due = time.perf_counter() + 0.001
            await asyncio.sleep(0.001)
            lags.append(time.perf_counter() - due)

    beating = asyncio.create_task(beat())
    gc.collect()
    gc.disable()  # a full collection alone takes longer than the bound, whoever's turn it is
    try:
        with Longest() as longest:
            answers = await asyncio.wait_for(asyncio.gather(*(tool.ainvoke({}) for _ in range(CALLS))), 60)
            await asyncio.sleep(0.01)
    finally:
        gc.enable()
    beating.cancel()
    assert not [answer for answer in answers if "DENIED" in str(answer)]
    return Burst(longest.seconds, max(lags))


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


def at_import() -> Iterator[Row]:
    """Importing the package, against importing what it cannot do without."""
    ours = "from guarded_tools import Guard, Policy, open_store"
    floors = {
        "from langchain_core.tools import BaseTool; import diskcache, pydantic": 1.1,
        # Newer langchain-core loads nothing for this. For information: one pydantic model alone costs more.
        "import langchain_core.tools, diskcache, pydantic": None,
    }
    for floor, bound in floors.items():
        base, more = [], []
        for _ in range(9):
            base.append(import_seconds(floor))
            more.append(import_seconds(ours))
        note = f"{statistics.median(more) * 1000:.0f} ms over {statistics.median(base) * 1000:.0f} ms"
        yield Row(f"`{ours}` over `{floor}`", ratio(base, more), RATIO, bound, note)


def import_seconds(statement: str) -> float:
    timed = f"import time; start = time.perf_counter(); {statement}; print(time.perf_counter() - start)"
    return float(subprocess.run([sys.executable, "-c", timed], capture_output=True, text=True, check=True).stdout)


if __name__ == "__main__":
    print(table(rows()))
