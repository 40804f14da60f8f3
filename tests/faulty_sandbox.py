"""The sandbox as a server on which calls run into faults: ``python faulty_sandbox.py --fault TOOL=FAULT``.

What it logs is the sandbox's own: a call that died before it acted, or never answered, has no second line.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import NoReturn

from guarded_tools.mcp_session.generation import installed
from guarded_tools.pictify.catalogue import catalogue
from guarded_tools.pictify.sandbox.__main__ import options, serve
from guarded_tools.pictify.sandbox.account import Account
from guarded_tools.pictify.sandbox.answers import Refused
from guarded_tools.pictify.sandbox.server import Options, acting, build, calling

COMMAND = (sys.executable, str(Path(__file__).resolve()))
"""What starts it."""
MALFORMED = "this is no list of content blocks"
FAULTS = (
    "4xx, 429, 5xx or a status: that upstream error",
    "hang: never acts, never answers",
    "hang-after: acts, never answers",
    "slow:SECONDS: waits, then acts",
    "die-before: the process dies before it acts",
    "die-after: the process dies after it acted",
    "malformed: acts, then answers what is no tool result",
)


def faulty(given: Options, faults: dict[str, str]):
    """Make a sandbox whose tools fail as ``faults`` says of each."""
    answer = acting(Account())

    async def act(tool, args):
        await before(faults.get(tool, ""))
        return await answer(tool, args)

    answered = calling(given, act)

    async def call(tool, args, headers):
        result = await answered(tool, args, headers)
        if not result["isError"]:
            await after(faults.get(tool, ""))
        return result

    server = build(call)
    spoil = spoil_1 if installed() == 1 else spoil_2
    spoil(server, {tool for tool, fault in faults.items() if fault == "malformed"})
    return server


def spoil_1(server, tools):
    """Answer what is no tool result, of ``mcp`` 1: it sends what is constructed."""
    from mcp import types

    answered = server.request_handlers[types.CallToolRequest]

    async def call(request):
        result = await answered(request)
        if request.params.name not in tools or result.root.isError:
            return result
        return types.ServerResult.model_construct(
            root=types.CallToolResult.model_construct(content=MALFORMED, isError=False)
        )

    server.request_handlers[types.CallToolRequest] = call


def spoil_2(server, tools):
    """Answer what is no tool result, of ``mcp`` 2: it sends what a middleware answers, and checks all else."""

    async def spoil(context, call_next):
        result = await call_next(context)
        spoiled = context.method == "tools/call" and context.params["name"] in tools and not result["isError"]
        return {**result, "content": MALFORMED} if spoiled else result

    server.middleware.append(spoil)


def parse_faults(specs: list[str]) -> dict[str, str]:
    """Read ``TOOL=FAULT`` options.

    Raises:
        ValueError: a tool that is not Pictify's, or a fault that is none of :data:`FAULTS`.
    """
    faults = {}
    for spec in specs:
        tool, _, fault = spec.partition("=")
        if tool not in catalogue():
            raise ValueError(f"--fault {spec}: there is no tool {tool!r}")
        kind, _, seconds = fault.partition(":")
        known = kind in {"hang", "hang-after", "die-before", "die-after", "malformed"} or status_of(kind) is not None
        if not known and not (kind == "slow" and seconds.replace(".", "", 1).isdigit()):
            raise ValueError(f"--fault {spec}: a fault is one of: {'; '.join(FAULTS)}")
        faults[tool] = fault
    return faults


def status_of(fault: str) -> int | None:
    status = {"4xx": "400", "5xx": "503"}.get(fault, fault)
    return int(status) if status.isdigit() and 400 <= int(status) <= 599 else None


async def before(fault: str) -> None:
    status = status_of(fault)
    if status is not None:
        retry_after = 7 if status == 429 else None
        raise Refused(status, "Too Many Requests" if retry_after else "Injected fault", retry_after=retry_after)
    if fault == "hang":
        await asyncio.Event().wait()
    if fault.startswith("slow:"):
        await asyncio.sleep(float(fault.removeprefix("slow:")))
    if fault == "die-before":
        die()


async def after(fault: str) -> None:
    if fault == "hang-after":
        await asyncio.Event().wait()
    if fault == "die-after":
        die()


def die() -> NoReturn:
    os._exit(70)


def main() -> None:
    parser = options()
    parser.add_argument("--fault", action="append", default=[], metavar="TOOL=FAULT", help="; ".join(FAULTS))
    given = parser.parse_args()
    try:
        faults = parse_faults(given.fault)
    except ValueError as error:
        parser.error(str(error))
    serve(faulty(Options(given.log, given.key), faults), given)


if __name__ == "__main__":
    main()
