"""What a gateway adds to a call over stdio, beside FastMCP's own proxy, which checks nothing; what it serves by HTTP.

Clients take turns in one program of the second generation of MCP: one of the sandbox itself, one of a gateway before
it, one of ``create_proxy`` before it, and one of each other gateway that is found on the path (``kairoseki``,
``belay``). The program makes as many calls by one of them as it is told to.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import statistics
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks import gateway_http
from benchmarks.common import BLOCK, RATIO, Row, ratio
from benchmarks.generations import SECOND, TOOL, caller, timed_by

ROUNDS = 20
BOUND = 1.3
SANDBOX = ["-m", "guarded_tools.pictify.sandbox"]
PROXY = f"""
import sys
from fastmcp.client.transports import StdioTransport
from fastmcp.server import create_proxy
create_proxy(StdioTransport(sys.executable, {SANDBOX!r})).run(show_banner=False, log_level="ERROR")
"""


def rows(quick: bool = False) -> Iterator[Row]:
    """Compare the three, call by call."""
    with caller(str(SECOND), "benchmarks.gateway", "gateway") as calls:
        taken: dict[str, list[float]] = {which: [] for which in ("direct", "gateway", "proxy", *others())}
        for _ in range(5 if quick else ROUNDS):
            for which, times in taken.items():
                times.append(timed_by(calls, which, BLOCK))
    direct, gateway, proxy, *rest = (statistics.median(times) * 1000 for times in taken.values())
    yield Row(
        "call through a gateway over stdio, over FastMCP's bare proxy",
        ratio(taken["proxy"], taken["gateway"]),
        RATIO,
        BOUND,
        f"{gateway:.2f} ms against {proxy:.2f} ms, and {direct:.2f} ms at the server itself",
    )

    yield Row("what a gateway adds to a call over stdio", gateway - direct, "ms")
    for name, took in zip(others(), rest, strict=True):
        yield Row(f"what {name} adds to a call over stdio", took - direct, "ms")
    yield from gateway_http.rows(quick)


def others() -> dict[str, list[str]]:
    """Other gateways that are installed, and the words that put them before a server, as permissive as they come."""
    known = {"kairoseki": ["run", "--name", "pictify", "--mode", "monitor", "--"], "belay": ["mcp", "--"]}
    return {name: [found, *words] for name, words in known.items() if (found := shutil.which(name))}


async def _serve() -> None:
    from mcp import Client  # type: ignore[attr-defined]  # of the second generation
    from mcp.client.stdio import StdioServerParameters, stdio_client

    async with contextlib.AsyncExitStack() as stack:
        state = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        limit = {"counter": "calls", "window": "minute", "max": 1_000_000}
        policy = {"version": "1", "server": "pictify", "default": "deny", "tools": {TOOL: {"limits": [limit]}}}
        (state / "policy.json").write_text(json.dumps(policy), encoding="utf-8")
        options = ["--policy", str(state / "policy.json"), "--state", str(state / "state")]
        guarded = ["-m", "guarded_tools.cli", "gateway", *options, "--", sys.executable]
        clients: dict[str, Any] = {}
        for which, words in (
            ("direct", [sys.executable, *SANDBOX]),
            ("gateway", [sys.executable, *guarded, *SANDBOX]),
            ("proxy", [sys.executable, "-c", PROXY]),
            *((name, [*words, sys.executable, *SANDBOX]) for name, words in others().items()),
        ):
            road = stdio_client(StdioServerParameters(command=words[0], args=words[1:]))
            clients[which] = await stack.enter_async_context(Client(road, cache=None))
            await clients[which].call_tool(TOOL, {})
        while line := await asyncio.to_thread(sys.stdin.readline):
            which, times = line.split()
            began = asyncio.get_running_loop().time()
            for _ in range(int(times)):
                result = await clients[which].call_tool(TOOL, {})
                assert not result.is_error, result
            print((asyncio.get_running_loop().time() - began) / int(times), flush=True)


if __name__ == "__main__":
    asyncio.run(_serve())
