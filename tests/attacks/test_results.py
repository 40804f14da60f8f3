"""What a server answers, and what it says of its answers, made up to stop the agent or to be read by others."""

from __future__ import annotations

import json
import logging
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from guarded_tools import Policy, guarded_tools

OPEN = Policy.model_validate({"version": "1", "default": "allow"})
# Speaks as it likes: no SDK keeps it from saying what is no message.
SERVER = """
import json, os, sys

tool, before, result = map(json.loads, sys.argv[1:])

def say(line):
    print(line.replace("THE KEY", os.environ.get("API_KEY", "")), flush=True)

for line in sys.stdin:
    asked = json.loads(line)
    answers = {
        "initialize": {"protocolVersion": "2025-06-18", "capabilities": {"tools": {}},
                       "serverInfo": {"name": "raw", "version": "1"}},
        "tools/list": {"tools": [{"name": "read", "inputSchema": {"type": "object"}, **tool}]},
        "tools/call": result,
    }
    if asked["method"] == "tools/call":
        for noise in before:
            say(noise)
    if "id" in asked:
        say(json.dumps({"jsonrpc": "2.0", "id": asked["id"], "result": answers[asked["method"]]}))
"""


def answer(tmp_path: Path, result: dict[str, Any], tool: Any = None, before: Any = (), **server: Any) -> Any:
    """Let a server with one tool answer a call, and return what the model gets."""
    args = ["-c", SERVER, *map(json.dumps, (tool or {}, before, {"content": [], **result}))]
    options: Any = {"store": "memory://", "audit": tmp_path / "audit.jsonl"}
    with guarded_tools({"raw": {"command": sys.executable, "args": args, **server}}, policy=OPEN, **options) as tools:
        return tools[0].invoke({"type": "tool_call", "name": "read", "id": "1", "args": {}})


@pytest.mark.serial
def test_a_pattern_of_an_output_schema_is_matched_in_linear_time(tmp_path: Path) -> None:
    schema = {"type": "object", "properties": {"x": {"type": "string", "pattern": "^(a+)+$"}}}
    began = time.monotonic()
    with pytest.raises(RuntimeError, match=r"Invalid structured content returned by tool read: pattern .* at /x"):
        answer(tmp_path, {"structuredContent": {"x": "a" * 29 + "!"}}, {"outputSchema": schema})
    assert time.monotonic() - began < 4  # backtracking takes twice as long for each letter, and 13 s for these


def test_an_output_schema_is_held_to(tmp_path: Path) -> None:
    day = {"type": "object", "properties": {"day": {"type": "string", "format": "date"}}}
    fits = answer(tmp_path, {"structuredContent": {"day": "soon"}}, {"outputSchema": day})
    assert fits.artifact == {"structured_content": {"day": "soon"}}  # a format is a remark, not a rule
    with pytest.raises(RuntimeError, match=r'type \["string"\] at /day'):
        answer(tmp_path, {"structuredContent": {"day": 1}}, {"outputSchema": day})
    with pytest.raises(RuntimeError, match="did not return structured content"):
        answer(tmp_path, {}, {"outputSchema": day})
    assert answer(tmp_path, {"isError": True}, {"outputSchema": day}).status == "error"


FLAWED = {
    "a dialect of OpenAPI": {"$schema": "https://spec.openapis.org/oas/3.0/schema/2019-04-02#/definitions/Schema"},
    "a reference to nothing": {"properties": {"screen": {"$ref": "#/$defs/Screen"}}},
}


@pytest.mark.parametrize("flaw", FLAWED.values(), ids=FLAWED)
def test_no_result_is_lost_over_a_schema_that_cannot_be_used_which_is_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, flaw: dict[str, Any]
) -> None:
    with caplog.at_level(logging.WARNING, "guarded_tools"):
        said = answer(tmp_path, {"structuredContent": {"a": 1}}, {"outputSchema": {"type": "object", **flaw}})
    assert said.artifact == {"structured_content": {"a": 1}}
    [told] = [record.getMessage() for record in caplog.records if "go unchecked" in record.getMessage()]
    assert "Results of read of raw" in told


def test_a_definition_of_a_result_may_have_any_name(tmp_path: Path) -> None:
    schema = {
        "type": "object",
        "$defs": {"Page[Item]": {"type": "string"}},
        "properties": {"a": {"$ref": "#/$defs/Page[Item]"}},
    }
    assert answer(tmp_path, {"structuredContent": {"a": "x"}}, {"outputSchema": schema}).status == "success"
    with pytest.raises(RuntimeError, match="at /a"):
        answer(tmp_path, {"structuredContent": {"a": 1}}, {"outputSchema": schema})


def test_an_input_schema_that_cannot_be_used_is_told_at_opening(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    schema = {"type": "object", **FLAWED["a reference to nothing"]}
    with caplog.at_level(logging.WARNING, "guarded_tools"):
        said = answer(tmp_path, {}, {"inputSchema": schema})
    assert "DENIED" in said.content
    assert "/$defs/Screen" in said.content
    assert '"schema": "off"' in said.content
    [told] = [
        record.getMessage() for record in caplog.records if "every call of read is refused" in record.getMessage()
    ]
    assert "/$defs/Screen" in told


def test_a_result_that_does_not_fit_is_told_all_the_same(tmp_path: Path) -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}}
    result = {"content": [{"type": "text", "text": "paid 7"}]}
    for more in ({}, {"structuredContent": {"n": "seven"}}):
        with pytest.raises(RuntimeError, match=r"The tool has run. It answered:\npaid 7"):
            answer(tmp_path, {**result, **more}, {"outputSchema": schema})


def test_sound_arrives(tmp_path: Path) -> None:
    sound = {"type": "audio", "data": "UklGRg==", "mimeType": "audio/wav"}
    got = answer(tmp_path, {"content": [{"type": "text", "text": "said"}, sound]})
    assert [block["type"] for block in got.content] == ["text", "file"]
    assert got.content[1]["base64"] == "UklGRg=="
    assert got.content[1]["mime_type"] == "audio/wav"


KEY = "topsecretvalue-with-many-more-letters-than-are-shown"
LOUD = {"level": "loud THE KEY", "data": "THE KEY"}


def test_a_key_that_a_server_echoes_stands_in_no_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    noise = [
        "DEBUG the key is THE KEY",
        json.dumps({"jsonrpc": "2.0", "method": "notifications/THE KEY", "params": {"THE KEY": "THE KEY"}}),
        json.dumps({"jsonrpc": "2.0", "method": "notifications/message", "params": LOUD}),
        json.dumps({"jsonrpc": "2.0", "id": 9, "method": "sampling/createMessage", "params": {"messages": "THE KEY"}}),
        json.dumps({"jsonrpc": "2.0", "id": "THE KEY\x1b[2J\n", "result": {}}),
    ]
    with caplog.at_level(logging.DEBUG):
        answer(tmp_path, {}, before=noise, env={"API_KEY": KEY})
    said = caplog.text
    for words in ("Failed to parse JSONRPC message", "Failed to validate notification", "Failed to validate request"):
        assert words in said
    assert [piece for piece in (KEY, KEY[:12], KEY[-12:], "\x1b") if piece in said] == []


def test_what_others_log_stays_as_it_is(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    answer(tmp_path, {}, env={"API_KEY": KEY})
    for name in (None, "httpx", "client"):
        logging.getLogger(name).warning("mine: %s", KEY)
    assert caplog.messages.count(f"mine: {KEY}") == 3
