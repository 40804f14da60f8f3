"""A call through a held session on both generations of MCP, each in its own environment, taking turns in one run.

Either environment runs this module as a program that makes as many calls as it is told to, of the sandbox that its own
SDK serves: ``held N`` of them through a guarded held session, ``each N`` with a session opened for each, as the tools
that LangChain documents do when nobody holds their client open.
"""

from __future__ import annotations

import asyncio
import contextlib
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from langchain_core.tools import BaseTool

from benchmarks.common import BLOCK, RATIO, Row, ratio
from benchmarks.overhead import SANDBOX, named, sandbox_tools, timed
from guarded_tools.mcp_session.generation import installed

ROUNDS = 20
TOOL = "pictify_list_templates"
SECOND = Path(__file__).parents[1] / ".venv-mcp2" / "bin" / "python"


def rows(quick: bool = False) -> Iterator[Row]:
    """Compare the generations; the second's environment is made by ``make setup-mcp2``."""
    with _both() as (first, second):
        held: dict[int, list[float]] = {1: [], 2: []}
        for _ in range(5 if quick else ROUNDS):
            held[1].append(timed_by(first, "held", BLOCK))
            held[2].append(timed_by(second, "held", BLOCK))
        each = [timed_by(second, "each", 1) for _ in range(3 if quick else 10)]
    one, two, opened = (statistics.median(times) * 1000 for times in (held[1], held[2], each))
    yield Row(
        "guarded call through a held session, generation 2 of MCP over generation 1",
        ratio(held[1], held[2]),
        RATIO,
        1.3,
        f"{two:.2f} ms against {one:.2f} ms",
    )
    yield Row(
        "MCPAdapter().list_tools() over a guarded held session, generation 2",
        opened / two,
        RATIO,
        50,
        f"{opened:.0f} ms against {two:.2f} ms a call",
        at_least=True,
    )


@contextlib.contextmanager
def _both() -> Iterator[tuple[subprocess.Popen[str], subprocess.Popen[str]]]:
    module = "benchmarks.generations"
    with caller(sys.executable, module, "held") as first, caller(str(SECOND), module, "held") as second:
        yield first, second


@contextlib.contextmanager
def caller(python: str, module: str, first: str) -> Iterator[subprocess.Popen[str]]:
    """Start a program that makes calls as it is told; it has made a block of the ``first`` kind."""
    process = subprocess.Popen([python, "-m", module], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        timed_by(process, first, BLOCK)
        yield process
    finally:
        process.communicate()


def timed_by(process: subprocess.Popen[str], how: str, times: int) -> float:
    """Return the seconds that one of so many calls took."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(f"{how} {times}\n")
    process.stdin.flush()
    return float(process.stdout.readline())


async def answer() -> None:
    """Make calls as told on stdin, and print the seconds that one took."""
    with tempfile.TemporaryDirectory() as folder:
        documented = await _documented() if installed() == 2 else []
        async with sandbox_tools(Path(folder)) as tools:
            while line := await asyncio.to_thread(sys.stdin.readline):
                how, times = line.split()
                tool = named(tools if how == "held" else documented, TOOL)
                print(await timed(tool, int(times)) / 1e6, flush=True)


async def _documented() -> Sequence[BaseTool]:
    from fastmcp.client.transports import StdioTransport
    from langchain.mcp import MCPAdapter

    # A process that outlives its session would be no session for each call.
    transport: Any = StdioTransport(SANDBOX[0], list(SANDBOX[1:]), keep_alive=False)
    return await MCPAdapter(transport).list_tools()


if __name__ == "__main__":
    asyncio.run(answer())
