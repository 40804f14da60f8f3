"""A client of a Python SDK, 1 or 2, or of FastMCP: does what it is told on standard input, and prints the answers.

It runs where that SDK is installed, and imports nothing of ours. ``{"client": "mcp1" | "mcp2" | "fastmcp", "mode": …,
"target": {"command": […]} | {"url": …}, "script": [[method, params], …]}``.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

TOLD = json.load(sys.stdin)
QUIET = Path(os.devnull).open("w")  # noqa: SIM115 - for as long as this program runs
heard: list[str] = []


async def elicit(*_: Any) -> Any:
    heard.append("elicitation/create")
    return types.ElicitResult(action="accept", content={"name": "Ann"})


async def sample(*_: Any) -> Any:
    heard.append("sampling/createMessage")
    return types.CreateMessageResult(
        role="assistant", content=types.TextContent(type="text", text="hello"), model="m", stop_reason="endTurn"
    )


async def roots(*_: Any) -> Any:
    heard.append("roots/list")
    return types.ListRootsResult(roots=[types.Root(uri="file:///home/ann", name="home")])


if TOLD["client"] == "mcp1":
    from mcp import types

    async def sample(*_: Any) -> Any:  # type: ignore[no-redef]  # its names are those of the wire
        heard.append("sampling/createMessage")
        return types.CreateMessageResult(
            role="assistant", content=types.TextContent(type="text", text="hello"), model="m", stopReason="endTurn"
        )
else:
    import mcp_types as types

CALLBACKS = {"elicitation_callback": elicit, "sampling_callback": sample, "list_roots_callback": roots}


def parameters() -> Any:
    from mcp.client.stdio import StdioServerParameters

    command = TOLD["target"]["command"]
    return StdioServerParameters(command=command[0], args=command[1:], env=dict(os.environ))


async def opened(stack: AsyncExitStack) -> tuple[Any, list[Any]]:
    """Return a session, and what the server says of itself."""
    url = TOLD["target"].get("url")
    from mcp.client.stdio import stdio_client

    if TOLD["client"] == "mcp1":
        from mcp import ClientSession
        from mcp.client.streamable_http import streamablehttp_client

        road = streamablehttp_client(url) if url else stdio_client(parameters(), errlog=QUIET)
        streams = await stack.enter_async_context(road)
        session = await stack.enter_async_context(ClientSession(streams[0], streams[1], **CALLBACKS))
        hello = await session.initialize()
        return session, [hello.serverInfo, hello.capabilities, hello.instructions]
    if TOLD["client"] == "mcp2":
        from mcp import Client

        road = url or stdio_client(parameters(), errlog=QUIET)
        client = await stack.enter_async_context(Client(road, mode=TOLD["mode"], cache=None, **CALLBACKS))
        return client, [client.server_info, client.server_capabilities, client.instructions]
    from fastmcp import Client as FastClient
    from fastmcp.client.transports import StdioTransport

    command = TOLD["target"].get("command")
    road = url or StdioTransport(command[0], command[1:], env=dict(os.environ), log_file=QUIET)
    client = await stack.enter_async_context(
        FastClient(road, sampling_handler=sample, elicitation_handler=fill, roots=["file:///home/ann"])
    )
    return client, []


async def fill(*_: Any) -> dict[str, str]:
    return {"name": "Ann"}


async def ask(session: Any, method: str, params: dict[str, Any]) -> Any:
    call = {
        "tools/list": session.list_tools,
        "resources/list": session.list_resources,
        "resources/templates/list": session.list_resource_templates,
        "prompts/list": session.list_prompts,
    }.get(method)
    if call is not None:
        return await call()
    if method == "tools/call":
        if TOLD["client"] == "fastmcp":
            return await session.call_tool_mcp(params["name"], params["arguments"])
        return await session.call_tool(params["name"], params["arguments"])
    if method == "resources/read":
        return await session.read_resource(params["uri"])
    if method == "prompts/get":
        return await session.get_prompt(params["name"], params["arguments"])
    reference = types.PromptReference(type="ref/prompt", name=params["ref"]["name"])
    return await session.complete(reference, params["argument"])


def plain(value: Any) -> Any:
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json", by_alias=True, exclude_none=True)
    return [plain(each) for each in value] if isinstance(value, list) else value


async def main() -> None:
    async with AsyncExitStack() as stack:
        session, hello = await opened(stack)
        answers: list[Any] = [["server", *map(plain, hello)]]
        for method, params in TOLD["script"]:
            try:
                answers.append([method, plain(await ask(session, method, params))])
            except Exception as error:
                answers.append([method, type(error).__name__, str(error)])
        # Roots may be asked for outside any call: over HTTP that needs a stream which is open by then, or is not.
        answers.append(["asked", [each for each in heard if each != "roots/list"]])
        print(json.dumps(answers), flush=True)


asyncio.run(main())
