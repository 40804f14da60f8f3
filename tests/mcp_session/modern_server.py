"""A server of the second generation of MCP, for what only its protocol revision 2026-07-28 has. Started by the tests.

``LOG [HABIT…]``: it writes a line into LOG for each call of a tool that arrives and each list that is asked for.
"""

import asyncio
import json
import sys
from pathlib import Path

import mcp_types as types
from mcp.server import lowlevel
from mcp.server.caching import CacheHint
from mcp.server.stdio import stdio_server
from mcp.server.subscriptions import InMemorySubscriptionBus, ListenHandler, ToolsListChanged
from mcp.shared.exceptions import MCPError

LOG = Path(sys.argv[1])
HABITS = dict(habit.partition("=")[::2] for habit in sys.argv[2:])
EMPTY = {"type": "object", "properties": {}}
NAMES = ["echo", "ask", "ask_twice", "wait", "always", "sample", "link", "mismatch", "slow", "grow", "swap"]
FORM = {"type": "object", "properties": {"colour": {"type": "string"}}, "required": ["colour"]}

bus = InMemorySubscriptionBus()
listening = ListenHandler(bus)
extra = []
described = {}


def note(line):
    with LOG.open("a") as log:
        log.write(f"{line}\n")


def text(value):
    return types.CallToolResult(content=[types.TextContent(type="text", text=value)])


def form(message):
    return types.ElicitRequest(params=types.ElicitRequestFormParams(message=message, requested_schema=FORM))


def answered(params):
    return {
        key: [answer.action, answer.content]
        for key, answer in (params.input_responses or {}).items()
        if isinstance(answer, types.ElicitResult)
    }


async def list_tools(context, params):
    note("list")
    return types.ListToolsResult(
        tools=[
            types.Tool(name=name, description=described.get(name, name), input_schema=EMPTY)
            for name in [*NAMES, *extra]
        ]
    )


async def call_tool(context, params):  # noqa: PLR0911, PLR0912 - one for each tool
    note(f"call {params.name} {json.dumps(answered(params))} {params.request_state or ''}".rstrip())
    match params.name:
        case "ask":
            if not params.input_responses:
                return types.InputRequiredResult(input_requests={"q": form("which colour?")}, request_state="asked")
            return text(json.dumps([answered(params), params.request_state]))
        case "ask_twice":
            rounds = {"": "one", "one": "two"}
            if (state := params.request_state or "") in rounds:
                both = {f"{key}-{rounds[state]}": form(f"{key} of {rounds[state]}?") for key in ("a", "b")}
                return types.InputRequiredResult(input_requests=both, request_state=rounds[state])
            return text(json.dumps(answered(params)))
        case "wait":
            times = int(params.request_state or 0)
            return types.InputRequiredResult(request_state=str(times + 1)) if times < 3 else text(f"after {times}")
        case "always":
            return types.InputRequiredResult(request_state="more")
        case "sample":
            messages = [types.SamplingMessage(role="user", content=types.TextContent(type="text", text="hi"))]
            asking = types.CreateMessageRequest(
                params=types.CreateMessageRequestParams(messages=messages, max_tokens=1)
            )
            return types.InputRequiredResult(input_requests={"s": asking})
        case "link":
            url = types.ElicitRequestURLParams(message="go there", url="https://elsewhere.example/", elicitation_id="1")
            return (
                types.InputRequiredResult(input_requests={"u": types.ElicitRequest(params=url)})
                if not (params.input_responses)
                else text(json.dumps(answered(params)))
            )
        case "mismatch":
            raise MCPError(types.HEADER_MISMATCH, "the headers do not fit")
        case "slow":
            try:
                await asyncio.sleep(60)
            except BaseException:
                note("cancelled")
                raise
        case "grow":
            extra.append(f"late_{len(extra)}")
            if "silent" not in HABITS:
                await bus.publish(ToolsListChanged())
            return text("grown")
        case "swap":
            described["echo"] = "now it does something else"
            return text("swapped")
        case "hang_up":
            listening.close()
    return text(f"{params.name} {json.dumps(params.arguments)}")


NAMES += ["hang_up"] if "hang_up" in HABITS else []
server = lowlevel.Server(
    "modern",
    version="7",
    on_list_tools=list_tools,
    on_call_tool=call_tool,
    on_subscriptions_listen=None if "deaf" in HABITS else listening,
    cache_hints={"tools/list": CacheHint(ttl_ms=int(HABITS["ttl"]))} if "ttl" in HABITS else None,
)


async def main():
    options = server.create_initialization_options(lowlevel.NotificationOptions(tools_changed=True))
    if "http" not in HABITS:
        async with stdio_server() as (reader, writer):
            await server.run(reader, writer, options)
        return
    import socket

    import uvicorn

    app = server.streamable_http_app(stateless_http="stateless" in HABITS)
    listener = socket.create_server(("127.0.0.1", 0))
    print(f"http://127.0.0.1:{listener.getsockname()[1]}/mcp", flush=True)
    await uvicorn.Server(uvicorn.Config(app, log_level="error")).serve(sockets=[listener])


asyncio.run(main())
