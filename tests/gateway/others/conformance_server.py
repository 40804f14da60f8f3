"""A server that has what MCP's conformance suite asks of one, over stdio, or over HTTP: ``conformance_server.py PORT``."""

from __future__ import annotations

import asyncio
import base64
import sys
from typing import Any

import mcp_types as types
from fastmcp import Context, FastMCP
from fastmcp.prompts import Message
from fastmcp.tools.base import Tool

PIXEL = base64.b64encode(
    bytes.fromhex(
        "89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de0000000c49444154789c63f8cfc000000301010018dd8db0"
        "0000000049454e44ae426082"
    )
).decode()
SOUND = base64.b64encode(b"RIFF$\0\0\0WAVEfmt \x10\0\0\0\1\0\1\0@\x1f\0\0@\x1f\0\0\1\0\x08\0data\0\0\0\0").decode()
TITLED = [{"const": f"value{n}", "title": f"{nth} Option"} for n, nth in enumerate(("First", "Second", "Third"), 1)]
PLAIN = ["option1", "option2", "option3"]

server: FastMCP[Any] = FastMCP("conformance", version="1")


def text(said: str) -> types.TextContent:
    return types.TextContent(type="text", text=said)


def embedded(uri: str, mime_type: str, said: str) -> types.EmbeddedResource:
    inside = types.TextResourceContents(uri=uri, mime_type=mime_type, text=said)
    return types.EmbeddedResource(type="resource", resource=inside)


IMAGE = types.ImageContent(type="image", data=PIXEL, mime_type="image/png")


@server.tool
def test_simple_text() -> list[Any]:
    """Text."""
    return [text("This is a simple text response for testing.")]


@server.tool
def test_image_content() -> list[Any]:
    """A picture."""
    return [IMAGE]


@server.tool
def test_audio_content() -> list[Any]:
    """A sound."""
    return [types.AudioContent(type="audio", data=SOUND, mime_type="audio/wav")]


@server.tool
def test_embedded_resource() -> list[Any]:
    """A text that is embedded."""
    return [embedded("test://embedded-resource", "text/plain", "This is an embedded resource content.")]


@server.tool
def test_multiple_content_types() -> list[Any]:
    """Several kinds."""
    inside = embedded("test://mixed-content-resource", "application/json", '{"test":"data","value":123}')
    return [text("Multiple content types test:"), IMAGE, inside]


@server.tool
async def test_tool_with_logging(context: Context) -> str:
    """Logs."""
    await context.info("Tool execution started")
    await asyncio.sleep(0.05)
    await context.info("Tool processing data")
    await asyncio.sleep(0.05)
    await context.info("Tool execution completed")
    return "done"


@server.tool
def test_error_handling() -> str:
    """Fails."""
    raise ValueError("This tool intentionally returns an error for testing")


@server.tool
async def test_tool_with_progress(context: Context) -> str:
    """Progress."""
    for step in (0, 50, 100):
        await context.report_progress(step, 100)
        await asyncio.sleep(0.05)
    return "done"


@server.tool
async def test_sampling(prompt: str, context: Context) -> str:
    """Asks the client's model."""
    message = types.SamplingMessage(role="user", content=text(prompt))
    result = await context.session.create_message(messages=[message], max_tokens=100)
    return f"LLM response: {result.content.text}"


async def elicit(context: Context, message: str, properties: dict[str, Any], required: list[str]) -> str:
    schema = {"type": "object", "properties": properties, "required": required}
    answer = await context.session.elicit(message, schema)
    return f"action={answer.action}, content={answer.content}"


@server.tool
async def test_elicitation(message: str, context: Context) -> str:
    """Asks the client's human."""
    fields = {name: {"type": "string", "description": name} for name in ("username", "email")}
    return f"User response: {await elicit(context, message, fields, ['username', 'email'])}"


@server.tool
async def test_elicitation_sep1034_defaults(context: Context) -> str:
    """Asks, with defaults."""
    fields = {
        "name": {"type": "string", "default": "John Doe"},
        "age": {"type": "integer", "default": 30},
        "score": {"type": "number", "default": 95.5},
        "status": {"type": "string", "enum": ["active", "inactive", "pending"], "default": "active"},
        "verified": {"type": "boolean", "default": True},
    }
    return f"Elicitation completed: {await elicit(context, 'Please', fields, [])}"


@server.tool
async def test_elicitation_sep1330_enums(context: Context) -> str:
    """Asks for choices."""
    legacy = {"enum": ["opt1", "opt2", "opt3"], "enumNames": ["Option One", "Option Two", "Option Three"]}
    fields = {
        "untitledSingle": {"type": "string", "enum": PLAIN},
        "titledSingle": {"type": "string", "oneOf": TITLED},
        "legacyEnum": {"type": "string", **legacy},
        "untitledMulti": {"type": "array", "items": {"type": "string", "enum": PLAIN}},
        "titledMulti": {"type": "array", "items": {"anyOf": TITLED}},
    }
    return f"Elicitation completed: {await elicit(context, 'Please', fields, [])}"


def json_schema_2020_12_tool(name: str = "", address: dict[str, Any] | None = None) -> str:
    """Tool with JSON Schema 2020-12 features."""
    return f"{name} {address}"


SCHEMA = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "$defs": {"address": {"type": "object", "properties": {"street": {"type": "string"}, "city": {"type": "string"}}}},
    "properties": {"name": {"type": "string"}, "address": {"$ref": "#/$defs/address"}},
    "additionalProperties": False,
}
server.add_tool(Tool.from_function(json_schema_2020_12_tool).model_copy(update={"parameters": SCHEMA}))


@server.resource("test://static-text", name="text", description="Text.", mime_type="text/plain")
def static_text() -> str:
    return "This is the content of the static text resource."


@server.resource("test://static-binary", name="binary", description="A picture.", mime_type="image/png")
def static_binary() -> bytes:
    return base64.b64decode(PIXEL)


@server.resource("test://watched-resource", name="watched", description="Watched.", mime_type="text/plain")
def watched() -> str:
    return "watched"


@server.resource("test://template/{id}/data", name="template", description="By id.", mime_type="application/json")
def template(id: str) -> str:  # noqa: A002 - the suite's own name
    return f'{{"id":"{id}","templateTest":true,"data":"Data for ID: {id}"}}'


@server.prompt
def test_simple_prompt() -> str:
    """Plain."""
    return "This is a simple prompt for testing."


@server.prompt
def test_prompt_with_arguments(arg1: str, arg2: str) -> str:
    """With arguments."""
    return f"Prompt with arguments: arg1='{arg1}', arg2='{arg2}'"


@server.prompt
def test_prompt_with_embedded_resource(resourceUri: str) -> list[Any]:  # noqa: N803 - the suite's own name
    """With what is embedded."""
    inside = embedded(resourceUri, "text/plain", "Embedded resource content for testing.")
    return [Message(inside), Message("Please process the embedded resource above.")]


@server.prompt
def test_prompt_with_image() -> list[Any]:
    """With a picture."""
    return [Message(IMAGE), Message("Please analyze the image above.")]


@server.completion
def complete(ref: Any, argument: Any, context: Any) -> list[str]:
    del ref, context
    return [each for each in ("paris", "park", "party") if each.startswith(argument.value)]


if __name__ == "__main__":
    if len(sys.argv) > 1:
        server.run("http", host="127.0.0.1", port=int(sys.argv[1]), show_banner=False, log_level="ERROR")
    else:
        server.run(show_banner=False, log_level="ERROR")
