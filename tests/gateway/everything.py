"""A server that does all that a server may, to put a gateway before: ``everything.py LOG``. Started by the tests.

It writes a line into LOG for each call of a tool and each read of a resource or a prompt that arrives.
"""

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

import mcp_types as types
from fastmcp import Context, FastMCP
from fastmcp.tools.base import ToolResult
from fastmcp.utilities.types import Image

LOG = Path(sys.argv[1])
PIXEL = bytes.fromhex("89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c489")

server: FastMCP[Any] = FastMCP("everything", instructions="Try all of it.", version="1.2.3")


def note(what: str) -> None:
    with LOG.open("a") as log:
        log.write(f"{what}\n")


@server.tool(annotations={"readOnlyHint": True})
def add(a: int, b: int = 1) -> int:
    """Add."""
    note(f"add {a} {b}")
    return a + b


@server.tool
def echo(text: str) -> str:
    """Say it."""
    note(f"echo {len(text)}")
    return text


@server.tool
def picture() -> list[Any]:
    """A picture, a link and a text that is embedded."""
    note("picture")
    link = types.ResourceLink(type="resource_link", uri="demo://notes/1", name="one", mime_type="text/plain")
    inside = types.TextResourceContents(uri="demo://inside", text="embedded", mime_type="text/plain")
    return [Image(data=PIXEL, format="png"), link, types.EmbeddedResource(type="resource", resource=inside)]


@server.tool
def table() -> ToolResult:
    """Structured content of its own, and a note beside."""
    note("table")
    return ToolResult(content="2 rows", structured_content={"rows": [1, 2.5, None, "ü"]}, meta={"beside": 1})


@server.tool
def fails() -> str:
    """Fail."""
    note("fails")
    raise ValueError("no such thing")


@server.tool
async def steps(context: Context) -> str:
    """Tell how far it is, and what it thinks."""
    note("steps")
    await context.report_progress(1, 2, "half")
    await context.info("thinking")
    await context.report_progress(2, 2)
    return "done"


@server.tool
async def asks(context: Context) -> str:
    """Ask the client for all that a client has."""
    note("asks")
    colour = await context.session.elicit("which colour?", {"type": "object", "properties": {"c": {"type": "string"}}})
    roots = await context.session.list_roots()
    message = types.SamplingMessage(role="user", content=types.TextContent(type="text", text="hi"))
    model = await context.session.create_message(messages=[message], max_tokens=5)
    return f"{colour.action} {colour.content} {[str(root.uri) for root in roots.roots]} {model.content.text}"


@server.tool
async def asks_back(context: Context) -> Any:
    """Ask by returning the question (SEP-2322)."""
    note(f"asks_back {context.request_state}")
    if not context.input_responses:
        form = types.ElicitRequestFormParams(
            message="which colour?", requested_schema={"type": "object", "properties": {"c": {"type": "string"}}}
        )
        return types.InputRequiredResult(input_requests={"q": types.ElicitRequest(params=form)}, request_state="asked")
    answer = context.input_responses["q"]
    return f"{answer.action} {answer.content} {context.request_state}"


@server.tool
async def hangs() -> str:
    """Never end; say so if it is given up."""
    note("hangs")
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        note("given up")
        raise
    return "never"


@server.tool
def dies() -> str:
    """End the whole server."""
    note("dies")
    os._exit(3)


@server.tool
def garbage() -> str:
    """Write what is no message, and no answer."""
    note("garbage")
    return "fine"


@server.tool
async def grows(context: Context) -> str:
    """List one more tool."""
    note("grows")

    @server.tool
    def grown(n: int) -> str:
        """Came later."""
        note(f"grown {n}")
        return f"grown {n}"

    await context.send_notification(types.ToolListChangedNotification())
    return "one more"


@server.tool
def secret() -> str:
    """Hidden, where a policy says so."""
    note("secret")
    return "told"


@server.resource("demo://notes/1", name="one", mime_type="text/plain")
def one() -> str:
    note("read demo://notes/1")
    return "the first note"


@server.resource("demo://secret/plan", name="plan")
def plan() -> str:
    note("read demo://secret/plan")
    return "the plan"


@server.resource("demo://picture", name="dot", mime_type="image/png")
def dot() -> bytes:
    note("read demo://picture")
    return PIXEL


@server.resource("demo://city/{name}", name="city")
def city(name: str) -> str:
    note(f"read city {name}")
    return f"about {name}"


@server.prompt
def greet(name: str, mood: str = "glad") -> str:
    """Greet."""
    note(f"prompt {name}")
    return f"Greet {name}, {mood}."


@server.prompt
def whisper() -> str:
    """Hidden, where a policy says so."""
    note("prompt whisper")
    return "psst"


@server.completion
def complete(ref: Any, argument: Any, context: Any) -> list[str]:
    note("complete")
    return [each for each in ("ann", "anton", "bob") if each.startswith(argument.value)]


if __name__ == "__main__":
    server.run(show_banner=False, log_level="ERROR")
