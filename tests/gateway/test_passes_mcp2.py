"""What is not denied passes as it came: one client, with the same script, at a server and at a gateway before it."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import Any

import mcp_types as types
import pytest
from mcp import Client, MCPError
from mcp.client.stdio import StdioServerParameters, stdio_client

from tests.gateway.harness_mcp2 import Opened, streams

MODES = ["legacy", "auto"]
"""Of protocol 2025-11-25, and of 2026-07-28."""


class Human:
    """All that a client has, and what it was told."""

    def __init__(self) -> None:
        self.told: list[Any] = []

    async def elicit(self, context: Any, params: Any) -> Any:
        self.told.append(("elicit", params.message))
        return types.ElicitResult(action="accept", content={"c": "red"})

    async def sample(self, context: Any, params: Any) -> Any:
        self.told.append(("sample", params.max_tokens))
        return types.CreateMessageResult(
            role="assistant", content=types.TextContent(type="text", text="hello"), model="m", stop_reason="endTurn"
        )

    async def roots(self, context: Any) -> Any:
        return types.ListRootsResult(roots=[types.Root(uri="file:///home/ann", name="home")])

    async def log(self, params: Any) -> None:
        self.told.append(("log", params.level, params.data, params.logger))

    async def message(self, message: Any) -> None:
        if isinstance(message, types.ToolListChangedNotification):
            self.told.append(("changed",))

    async def progress(self, *args: Any) -> None:
        self.told.append(("progress", *args))


@asynccontextmanager
async def opened(transport: Any, human: Human, mode: Any):
    async with Client(
        transport,
        mode=mode,
        cache=None,
        elicitation_callback=human.elicit,
        sampling_callback=human.sample,
        list_roots_callback=human.roots,
        logging_callback=human.log,
        message_handler=human.message,
    ) as client:
        yield client


async def told_by(what: Any) -> Any:
    try:
        result = await what
    except MCPError as error:
        return ("error", error.code, error.message, error.data)
    return result.model_dump(by_alias=True, mode="json")


async def script(client: Client, human: Human, mode: str) -> list[Any]:
    """Do all that a client may do; return all that it was answered."""
    said: list[Any] = [client.protocol_version, client.server_info.model_dump(), client.instructions]
    said.append(client.server_capabilities.model_dump(exclude={"tasks", "extensions"}))
    session = client.session
    said += [
        await told_by(listing())
        for listing in (
            session.list_tools,
            session.list_resources,
            session.list_resource_templates,
            session.list_prompts,
        )
    ]
    for name, arguments in (
        ("add", {"a": 1}),
        ("add", {"a": 1, "b": 2}),
        ("echo", {"text": "ü\u2028\x00 'q' 😀"}),
        ("picture", {}),
        ("table", {}),
        ("fails", {}),
    ):
        said.append(await told_by(session.call_tool(name, arguments)))
    said.append(await told_by(session.call_tool("steps", {}, progress_callback=human.progress)))
    if mode == "legacy":
        said.append(await told_by(session.call_tool("asks", {})))
    else:
        said.append(await told_by(client.call_tool("asks_back", {})))
    for uri in ("demo://notes/1", "demo://picture", "demo://city/Ulm", "demo://nowhere"):
        said.append(await told_by(session.read_resource(uri)))
    said.append(await told_by(session.get_prompt("greet", {"name": "Ann"})))
    said.append(await told_by(session.get_prompt("greet", {})))
    for reference in (
        types.PromptReference(type="ref/prompt", name="greet"),
        types.ResourceTemplateReference(type="ref/resource", uri="demo://city/{name}"),
    ):
        said.append(await told_by(session.complete(reference, {"name": "name", "value": "an"})))
    if mode == "legacy":
        said.append(await told_by(session.set_logging_level("warning")))
        said.append(await told_by(session.send_ping()))
    said.append(await told_by(session.call_tool("grows", {})))
    said.append(await told_by(session.call_tool("grown", {"n": 1})))
    said.append(await told_by(session.list_tools()))
    return said


@pytest.mark.parametrize("mode", MODES)
async def test_a_client_cannot_tell_a_gateway_that_allows_everything(
    mode: Any, command: Any, make_gateway: Any, reached: Any
) -> None:
    here, there = Human(), Human()
    async with opened(stdio_client(StdioServerParameters(command=command[0], args=command[1:])), here, mode) as client:
        directly = await script(client, here, mode)
    lines = reached()
    async with streams(make_gateway()) as ways, opened(Opened(*ways), there, mode) as client:
        guarded = await script(client, there, mode)
    assert guarded == directly
    assert sorted(there.told, key=repr) == sorted(here.told, key=repr)
    assert reached() == lines * 2
    assert ("progress", 1.0, 2.0, "half") in there.told
    if mode == "legacy":
        assert {"elicit", "sample", "changed", "log"} <= {each[0] for each in there.told}
