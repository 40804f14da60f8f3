"""What the guard adds to a call: around a tool, in an agent, over a held session, under load, and at import.

Peers are measured beside it where they are installed. Ratios carry over between machines; microseconds do not.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import logging
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

from langchain_core.tools import BaseTool, StructuredTool

import guarded_tools
from benchmarks import count, floors, loop
from benchmarks.common import BLOCK, RATIO, Row, added, in_turns, p50_us, ratio, table
from benchmarks.guarded import ARGS, by_schema, guard_of, limit, noop
from benchmarks.loop import CALLS, Burst, burst
from guarded_tools import Policy, open_store

SANDBOX = (sys.executable, "-m", "guarded_tools.pictify.sandbox")
BURSTS = 5


def rows(quick: bool = False) -> Iterator[Row]:
    """Measure everything, the quick things first. ``quick`` changes nothing: there are no samples to save."""
    del quick
    with tempfile.TemporaryDirectory() as folder:
        yield from around_a_tool(Path(folder))
        yield for_a_session(Path(folder))
        yield from loop.rows(Path(folder))
        yield from in_an_agent(Path(folder))
        yield from asyncio.run(over_a_session(Path(folder)))
        yield from asyncio.run(under_load(Path(folder)))
    yield from count.rows()
    yield from at_import()


def around_a_tool(folder: Path) -> Iterator[Row]:
    """``StructuredTool.invoke`` of a no-op, guarded, over the raw one with the floor before it and after it."""
    home = folder / "tool"
    guard = guard_of(home, "noop")
    for kind, raw in (("dict", by_schema()), ("pydantic", StructuredTool.from_function(noop))):
        (guarded,) = guard.wrap([raw])
        guarded.invoke(ARGS)
        begin, end = floors.call(home / kind, home / "counters", home / "audit.jsonl")

        def bare(raw: BaseTool = raw, begin: floors.Body = begin, end: floors.Body = end) -> None:
            begin()
            raw.invoke(ARGS)
            end()

        alone, base, more = in_turns(partial(raw.invoke, ARGS), bare, partial(guarded.invoke, ARGS))
        note = (
            f"raw {statistics.median(alone):.0f} µs, its floor {added(alone, base):.0f} µs, "
            f"the guard's own {added(base, more):.0f} µs; {ratio(alone, more):.2f} {RATIO} the raw call"
        )
        name = f"guarded call, {kind} schema, two limits on disk, audit, over raw and its floor"
        yield Row(name, ratio(base, more), RATIO, 1.6, note)


def for_a_session(folder: Path) -> Row:
    """``guard.for_session(…).wrap(…)`` of as many tools as Pictify has, which the guard has wrapped before."""
    guard = guard_of(folder / "views", "tool_0")
    raw = [by_schema().model_copy(update={"name": f"tool_{n}"}) for n in range(31)]
    guard.wrap(raw)
    took = p50_us(lambda: guard.for_session("another").wrap(raw), rounds=300, warmup=20)
    return Row("31 known tools for another session", took / 1000, "ms", 1.0)


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
        raw = await bursts(named(langchain_tools(session), "pictify_list_templates"))
    async with sandbox_tools(folder / "load") as tools:
        guarded = await bursts(named(tools, "pictify_list_templates"))
        counted = {usage.used for usage in tools.guard.usage()} - {0}
    took, lag = (min(one.seconds for one in each) * 1000 for each in (raw, guarded)), min(one.lag for one in guarded)
    base, more = took
    note = f"{more:.0f} ms over {base:.0f} ms; a timer came {lag * 1000:.0f} ms late at the worst"
    exact = float(counted == {BURSTS * CALLS})
    return [
        Row(f"{CALLS} calls at once over a session, counted exactly", exact, "yes", 1, f"{counted}", at_least=True),
        Row(f"{CALLS} calls at once over a session, over raw tools", more / base, RATIO, 3, note),
    ]


async def bursts(tool: BaseTool) -> list[Burst]:
    return [await burst(lambda: tool.ainvoke({})) for _ in range(BURSTS)]


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

    yield parts_row("`import guarded_tools`", "import guarded_tools", 1.1)
    names = ", ".join(sorted({*guarded_tools.__all__} - {"guarded_tools", "pictify_tools"}))  # those need a server
    # For information: what is left is mostly pydantic, making the models of the policy format.
    yield parts_row(
        "every name of the base, and `wrap`",
        f"import guarded_tools.adapters.wrap; from guarded_tools import {names}",
        None,
    )


def parts_row(name: str, statement: str, bound: float | None) -> Row:
    """An import over importing, one by one, every module of others that it loads."""
    listing = "import sys; print(*(name for name in sys.modules if name.partition('.')[0] != 'guarded_tools'))"
    told = subprocess.run([sys.executable, "-c", f"{statement}; {listing}"], capture_output=True, text=True, check=True)
    parts = told.stdout.split()
    floor = "\n".join([
        "import contextlib, importlib",
        f"for name in {parts}:",
        " with contextlib.suppress(ImportError):",
        "  importlib.import_module(name)",
    ])  # fmt: skip
    base, more = [], []
    for _ in range(9):
        base.append(import_seconds(floor))
        more.append(import_seconds(statement))
    note = (
        f"{statistics.median(more) * 1000:.0f} ms over {statistics.median(base) * 1000:.0f} ms of {len(parts)} modules"
    )
    return Row(f"{name}, over the modules of others that it loads", ratio(base, more), RATIO, bound, note)


def import_seconds(statement: str) -> float:
    """The processor's time, since other work on the machine is not the import's."""
    timed = f"import time\nstart = time.process_time()\n{statement}\nprint(time.process_time() - start)"
    return float(subprocess.run([sys.executable, "-c", timed], capture_output=True, text=True, check=True).stdout)


if __name__ == "__main__":
    print(table(rows()))
