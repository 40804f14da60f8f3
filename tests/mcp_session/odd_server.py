"""An MCP server that does what well-behaved ones do not. Started as a process by the tests."""

import asyncio
import base64
import os
import signal
import sys

from mcp import types
from mcp.server.lowlevel import NotificationOptions, Server
from mcp.server.stdio import stdio_server

HABITS = set(sys.argv[1:])
NAMED = [habit.removeprefix("name=") for habit in sys.argv[1:] if habit.startswith("name=")]
EMPTY = {"type": "object", "properties": {}}
NAMES = ["echo", "show", "env", "grow", "noise", "bad_bytes", "structured", "refuse", "stderr"]

server = Server("odd")
extra = []


@server.list_tools()
async def list_tools():
    tools = [types.Tool(name=name, description=name, inputSchema=EMPTY) for name in [*NAMES, *extra]]
    tools[6].outputSchema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    tools[:0] = [types.Tool(name=name, inputSchema=EMPTY) for name in NAMED]
    if "twins" in HABITS or ("twins later" in HABITS and extra):
        tools.append(tools[0])
    return tools


def text(value):
    return [types.TextContent(type="text", text=value)]


def raw(data):
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


@server.call_tool(validate_input=False)
async def call_tool(name, arguments):  # noqa: PLR0911 - one for each tool
    match name:
        case "echo":
            return text(repr(arguments))
        case "show":
            png = base64.b64encode(b"picture").decode()
            return [*text("see"), types.ImageContent(type="image", data=png, mimeType="image/png")]
        case "env":
            return text("\n".join(sorted(os.environ)))
        case "grow":
            extra.append(f"late_{len(extra)}")
            await server.request_context.session.send_tool_list_changed()
            return text("grown")
        case "noise":
            raw(b"{this is no message\nnor is this\n\n")
            return text("quiet again")
        case "bad_bytes":
            raw(b"\xff\xfe\xff\n")
            return text("still here")
        case "structured":
            return types.CallToolResult(content=text("n"), structuredContent={"n": arguments.get("n", 1)})
        case "refuse":
            return types.CallToolResult(content=text("refused"), isError=True)
        case "stderr":
            print("a line with the key", os.environ.get("SOME_API_KEY"), file=sys.stderr, flush=True)
            os._exit(3)
    return text("late")


async def serve_stdio(options):
    async with stdio_server() as (reader, writer):
        await server.run(reader, writer, options)


async def serve_http(options):
    import socket

    import uvicorn
    from mcp.server.streamable_http_manager import StreamableHTTPSessionManager

    server.create_initialization_options = lambda: options
    manager = StreamableHTTPSessionManager(server)
    listener = socket.create_server(("127.0.0.1", 0))
    print(f"http://127.0.0.1:{listener.getsockname()[1]}/mcp", flush=True)
    config = uvicorn.Config(manager.handle_request, interface="asgi3", log_level="error", lifespan="off")
    async with manager.run():
        await uvicorn.Server(config).serve(sockets=[listener])


async def main():
    if "stubborn" in HABITS:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    options = server.create_initialization_options(NotificationOptions(tools_changed=True))
    await (serve_http if "http" in HABITS else serve_stdio)(options)
    if "stubborn" in HABITS:
        await asyncio.sleep(600)


asyncio.run(main())
