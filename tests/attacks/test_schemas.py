"""Schemas that a server made up to stop the agent, or to have it fetch something."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from guarded_tools.policy import Policy, decide
from guarded_tools.values import ToolCall

OPEN = Policy.model_validate({"version": "1", "default": "allow", "tools": {}})
DEPTH = 40


def by(name: Callable[[int], str], **more: Any) -> dict[str, Any]:
    definitions: dict[str, Any] = {"a0": {"type": "object", **more}}
    for i in range(1, DEPTH):
        definitions[f"a{i}"] = {"allOf": [{"$ref": name(i - 1)}, {"$ref": name(i - 1)}]}
    for i in range(DEPTH):
        definitions[f"a{i}"]["$anchor"] = f"a{i}"
    return {"$defs": definitions, "$ref": name(DEPTH - 1)}


BY_POINTER = by(lambda i: f"#/$defs/a{i}")
DOUBLING = {
    "by pointer": BY_POINTER,
    "by pointer, escaped": by(lambda i: f"#/%24defs/a{i}"),
    "by anchor": by(lambda i: f"#a{i}"),
    "by pointers to a decoy": {
        "$defs": {f"a{i}": {} for i in range(DEPTH)},
        "properties": {"x": {"$id": "http://localhost/x", **BY_POINTER}},
    },
    "among the properties": {"properties": {"default": by(lambda i: f"#/properties/default/$defs/a{i}")}},
    "with a reference to itself beside it": {**BY_POINTER, "properties": {"x": {"$ref": "#"}}},
}


@pytest.mark.parametrize("schema", DOUBLING.values(), ids=DOUBLING)
def test_a_schema_that_multiplies_by_naming_itself_is_refused_at_once(schema: dict[str, Any]) -> None:
    began = time.monotonic()
    decision = decide(OPEN, ToolCall("t", {"x": {}, "default": {}}), schema)
    assert (decision.effect, decision.rule) == ("deny", "/schema")
    assert time.monotonic() - began < 1


def test_what_real_schemas_do_is_checked() -> None:
    node = {"type": "object", "properties": {"and": {"type": "array", "items": {"$ref": "#/$defs/n"}}}}
    schema = {
        "$defs": {"n": {"anyOf": [node, {"type": "null"}]}, "id": {"type": "string", "default": {"$id": "x"}["$id"]}},
        "properties": {f"p{i}": {"$ref": "#/$defs/n" if i % 2 else "#/$defs/id"} for i in range(60)},
    }
    assert decide(OPEN, ToolCall("t", {"p1": {"and": [{"and": []}, None]}, "p2": "x"}), schema).effect == "allow"
    assert decide(OPEN, ToolCall("t", {"p1": {"and": [3]}}), schema).effect == "deny"


@pytest.mark.parametrize("scheme", ["http://127.0.0.1:9/", "file://"])
@pytest.mark.parametrize(
    "schema",
    [
        lambda uri: {"$ref": uri},
        lambda uri: {"$schema": uri},
        lambda uri: {"$id": uri, "properties": {"n": {"$ref": "other.json"}}},
        lambda uri: {"properties": {"n": {"$dynamicRef": uri}}},
    ],
)
def test_a_schema_that_points_outside_fetches_nothing_and_denies(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, scheme: str, schema: Any
) -> None:
    def refuse(*_: Any) -> None:
        pytest.fail("something was fetched")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    (tmp_path / "open.json").write_text("{}")
    (tmp_path / "other.json").write_text("{}")
    uri = f"{scheme}{tmp_path}/open.json"
    assert decide(OPEN, ToolCall("t", {"n": 1}), schema(uri)).rule == "/schema"


def test_a_pattern_that_backtracks_without_end_is_given_up() -> None:
    schema = {"properties": {"n": {"type": "string", "pattern": "^(?=a)(a+)+$"}}}
    began = time.monotonic()
    assert decide(OPEN, ToolCall("t", {"n": "a" * 5_000 + "!"}), schema).effect == "deny"
    assert time.monotonic() - began < 1
