"""A real MCP server whose tools ask in the middle of a call: over stdio, or HTTP, where it may want a bearer token.

``asking_server.py RAN [http|sse] [TOKEN]``. It notes in RAN what it did; over HTTP it says where it listens.
"""

import asyncio
import os
import socket
import sys
from pathlib import Path

import uvicorn
from mcp.types import SamplingMessage, TextContent
from pydantic import BaseModel
from starlette.responses import PlainTextResponse

sys.path.append(str(Path(__file__).parents[2]))

from tests.servers.asking import Context, Server, ask, asking, begins

server = Server("shop")


class Form(BaseModel):
    confirm: bool
    note: str = "none"


class Code(BaseModel):
    code: str


def ran(what):
    with Path(sys.argv[1]).open("a") as file:
        file.write(f"{what}\n")


@server.tool()
@asking
async def pay(context: Context, to: str) -> str:
    if begins():
        ran(f"began {to}")
    said = await ask(f"Really pay {to}? The key is sk_live_0123456789abcdefghij", Form)
    ran(f"{said.action} {to}")
    return f"{said.action} {getattr(said, 'data', None)}"


@server.tool()
@asking
async def twice(context: Context) -> str:
    if begins():
        ran("began twice")
    one = await ask("Which code?", Code)
    two = await ask("And which now?", Code)
    return f"{one.action} {getattr(one, 'data', None)}, {two.action} {getattr(two, 'data', None)}"


@server.tool()
@asking
async def both(context: Context) -> str:
    said = await asyncio.gather(ask("One?", Code), ask("Two?", Code))
    return " ".join(f"{each.action} {getattr(each, 'data', None)}" for each in said)


def gone():
    ran("gone")
    os._exit(1)


@server.tool()
@asking
async def dies(context: Context) -> None:
    asyncio.get_running_loop().call_later(0.2, gone)
    await ask("Which code?", Code)
    await asyncio.sleep(60)


@server.tool()
@asking
async def login(context: Context) -> str:
    said = await ask("Which code?", Code)
    return f"{said.action} {getattr(said, 'data', None)}"


@server.tool()
async def count(context: Context) -> str:
    for done in (1, 2):
        await context.report_progress(done, 2, f"step {done}")
    return "counted"


@server.tool()
async def quick() -> str:
    return "quick"


@server.tool()
async def echo(text: str) -> str:
    ran(f"echo {text}")
    return text


@server.tool()
async def samples(context: Context) -> str:
    """Ask the client's model."""
    said = await context.session.create_message(
        [SamplingMessage(role="user", content=TextContent(type="text", text="?"))], max_tokens=1
    )
    return str(said.content)


class Door:
    """Lets in who has the token."""

    def __init__(self, app, token):
        self.app = app
        self.token = token

    async def __call__(self, scope, receive, send):
        if scope["type"] == "http":
            shown = dict(scope["headers"]).get(b"authorization", b"").decode()
            if shown != f"Bearer {self.token}":
                ran(f"refused {scope['method']}")
                said = f"{shown} is not let in"  # as a careless server does
                await PlainTextResponse(said, 401)(scope, receive, send)
                return
        await self.app(scope, receive, send)


def listen(road, token):
    app = server.sse_app() if road == "sse" else server.streamable_http_app()
    door = Door(app, token) if token else app
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    listening.listen()
    print(f"http://127.0.0.1:{listening.getsockname()[1]}/{'sse' if road == 'sse' else 'mcp'}", flush=True)
    uvicorn.Server(uvicorn.Config(door, log_level="error", lifespan="on")).run([listening])


if __name__ == "__main__":
    if len(sys.argv) > 2:
        listen(*sys.argv[2:], *[""] * (4 - len(sys.argv)))
    else:
        server.run()
