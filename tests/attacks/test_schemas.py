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
    "by a pattern that is called like a keyword": {
        "$defs": BY_POINTER["$defs"],
        "patternProperties": {"properties": {"$ref": BY_POINTER["$ref"]}},
    },
    "among the properties": {"properties": {"default": by(lambda i: f"#/properties/default/$defs/a{i}")}},
    "with a reference to itself beside it": {**BY_POINTER, "properties": {"x": {"$ref": "#"}}},
}


@pytest.mark.parametrize("schema", DOUBLING.values(), ids=DOUBLING)
def test_a_schema_that_multiplies_by_naming_itself_is_refused_at_once(schema: dict[str, Any]) -> None:
    began = time.thread_time()
    decision = decide(OPEN, ToolCall("t", {"x": {}, "default": {}}), schema)
    assert (decision.effect, decision.rule) == ("deny", "/schema")
    assert time.thread_time() - began < 1


N = {"$ref": "#/$defs/n"}
UNMET = {"required": ["zz"]}
BRANCHING = {
    "twice": {"properties": {"c": {"anyOf": [{"allOf": [N, UNMET]}, N]}, "leaf": {"type": "integer"}}},
    "by way of another": {"properties": {"c": {"oneOf": [{"$ref": "#/$defs/m"}] * 3}, "leaf": {"type": "integer"}}},
    "wide": {
        "properties": {"c": {"anyOf": [N] * 40}, "leaf": {"type": "integer"}},
        "anyOf": [{"required": [f"z{i}"]} for i in range(400)],
    },
    "by anchor": {
        "$anchor": "n",
        "properties": {"c": {"anyOf": [{"$ref": "#n"}, {"$ref": "#n"}]}, "leaf": {"type": "integer"}},
    },
}


@pytest.mark.parametrize("definition", BRANCHING.values(), ids=BRANCHING)
@pytest.mark.parametrize("depth", [3, 6, 12, 24, 60])
def test_a_definition_that_names_itself_many_times_is_judged_at_once_however_deep(
    definition: dict[str, Any], depth: int
) -> None:
    schema = {"properties": {"t": N}, "$defs": {"n": definition, "m": {"allOf": [N, {"anyOf": [N, UNMET]}]}}}
    value: dict[str, Any] = {"leaf": "no"}
    for _ in range(depth):
        value = {"c": value}
    began = time.thread_time()
    assert decide(OPEN, ToolCall("t", {"t": value}), schema).rule == "/schema"
    assert time.thread_time() - began < 2


@pytest.mark.parametrize("choice", ["anyOf", "oneOf"])
def test_filters_within_filters_are_judged_and_told_about(choice: str) -> None:
    fields = {
        "and": {"type": "array", "items": N},
        "or": {"type": "array", "items": N},
        "not": N,
        "eq": {"type": "string"},
    }
    kinds = [{"properties": {key: field}, "required": [key]} for key, field in fields.items()]
    closed = [{"type": "object", "additionalProperties": False, **kind} for kind in kinds]
    schema = {"properties": {"filter": N, "n": {"type": "integer"}}, "$defs": {"n": {choice: closed}}}

    def judge(depth: int, eq: object) -> Any:
        value: dict[str, Any] = {"eq": eq}
        for level in range(depth):
            value = {"not": value} if level % 2 else {"and": [value]}
        return decide(OPEN, ToolCall("t", {"filter": value, "n": "x"} if eq == "x" else {"filter": value}), schema)

    assert judge(28, "y").effect == "allow"
    assert judge(28, 1).rule == "/schema"
    assert judge(28, 1).message == f"{choice} at /filter"
    assert 'type ["integer"] at /n' in judge(3, "x").message


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
    began = time.thread_time()
    assert decide(OPEN, ToolCall("t", {"n": "a" * 5_000 + "!"}), schema).effect == "deny"
    assert time.thread_time() - began < 1


COMPARING = {
    "values with constants": ({"not": {"anyOf": [{"const": i} for i in range(4000)]}}, [-1] * 30_000),
    "objects with a choice of them": ({"not": {"enum": [{"k": i} for i in range(5000)]}}, [{"k": -1}] * 8_000),
}


@pytest.mark.parametrize(("items", "values"), COMPARING.values(), ids=COMPARING)
def test_a_large_schema_and_many_values_do_not_multiply(items: dict[str, Any], values: list[Any]) -> None:
    schema = {"properties": {"x": {"type": "array", "items": items}}}
    began = time.thread_time()
    decision = decide(OPEN, ToolCall("t", {"x": values}), schema)
    assert time.thread_time() - began < 4  # compared one by one, each takes twice as long or more
    assert (decision.effect, decision.rule) == ("deny", "/schema")
    assert "too many" in decision.message
    assert decide(OPEN, ToolCall("t", {"x": values[:200]}), schema).effect == "allow"


def test_patterns_that_backtrack_are_matched_for_a_while_and_not_longer() -> None:
    schema = {"properties": {"x": {"type": "array", "items": {"pattern": "^(?!(?:(?=a)a+)+x)"}}}}
    began = time.thread_time()
    assert decide(OPEN, ToolCall("t", {"x": ["a" * 17 + "!"] * 3_000}), schema).rule == "/schema"
    assert "too many" in decide(OPEN, ToolCall("t", {"x": ["a" * 9 + "!"] * 60_000}), schema).message
    assert time.thread_time() - began < 4  # the first alone takes 16 s
    assert decide(OPEN, ToolCall("t", {"x": ["a" * 9 + "!"] * 3_000}), schema).effect == "allow"


def test_much_text_and_many_values_are_checked_against_schemas_of_a_usual_size() -> None:
    fields = {f"f{i}": {"type": ["string", "null"], "maxLength": 9_000_000} for i in range(60)}
    schema = {
        "properties": {"html": {"type": "string", "pattern": "^(?!-)"}, "rows": {"items": {"properties": fields}}}
    }
    args = {"html": "<p>" * 300_000, "rows": [{"f1": "x", "f2": None} for _ in range(300)]}
    assert decide(OPEN, ToolCall("t", args), schema).effect == "allow"
    assert decide(OPEN, ToolCall("t", {**args, "rows": [{"f1": 1}]}), schema).rule == "/schema"
