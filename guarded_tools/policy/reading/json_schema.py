"""The format as a JSON Schema, for editors.

``python -m guarded_tools.policy.reading.json_schema`` writes the file anew.
"""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

from guarded_tools.policy.document import PolicyDocument
from guarded_tools.policy.fields import NAME_PATTERN
from guarded_tools.policy.operators import LISTS, NUMERIC, SWITCHES, TEXTUAL
from guarded_tools.policy.paths import COUNT_PATTERN
from guarded_tools.policy.reading.intercept import InterceptTool

FILE: Final = "schema.json"
_REF: Final = "#/$defs/{model}"


def shipped() -> str:
    """The text of the schema that comes with the package."""
    return files(__package__).joinpath(FILE).read_text(encoding="utf-8")


def generate() -> dict[str, Any]:
    """Make the schema of both dialects from their models."""
    first = PolicyDocument.model_json_schema(by_alias=True, ref_template=_REF)
    second = InterceptTool.model_json_schema(by_alias=True, ref_template=_REF)
    definitions = {**second.pop("$defs"), "InterceptTool": second, **first.pop("$defs")}
    for name in ("Predicate", "Condition"):
        definitions[name]["allOf"] = _values_by_operator(definitions[name])
    whole = {"type": "integer"}
    no_unit = {"properties": {"max": whole, "estimate": whole, "scale": False, "count": {"pattern": COUNT_PATTERN}}}
    definitions["Limit"]["if"] = {"not": {"required": ["unit"]}}
    definitions["Limit"]["then"] = no_unit
    definitions["ResultRules"]["anyOf"] = [{"required": [key]} for key in ("max_chars", "redact", "schema")]
    definitions["After"]["oneOf"] = [{"required": ["labels"]}, {"required": ["tools"]}]
    none_of = {"conditions": {"maxItems": 0}, "state": False}
    deny = {"properties": {"action": {"const": "deny"}}, "required": ["action"]}
    definitions["Rule"]["allOf"] = [
        {"if": deny, "then": {"properties": {**none_of, "rate_limit": False}}},
        {"if": {"required": ["rate_limit"]}, "then": {"properties": none_of}},
        {
            "anyOf": [
                deny,
                {"required": ["rate_limit"]},
                {"properties": {"conditions": {"minItems": 1}}, "required": ["conditions"]},
            ]
        },
    ]
    entry = {"$ref": "#/$defs/InterceptTool"}
    first["properties"]["tools"] = {
        "type": "object",
        "propertyNames": {"pattern": NAME_PATTERN},
        "additionalProperties": {"if": {"required": ["rules"]}, "then": entry, "else": {"$ref": "#/$defs/Tool"}},
    }
    first["properties"]["hide"]["uniqueItems"] = True
    # Only a file that is all in the second dialect may leave default out.
    first["required"].remove("default")
    all_second = {"required": ["tools"], "properties": {"tools": {"minProperties": 1, "additionalProperties": entry}}}
    first["anyOf"] = [{"required": ["default"]}, all_second]
    first["description"] = "A policy of guarded-tools: which tools an agent may call, how often, and who is asked."
    head = {"$schema": "http://json-schema.org/draft-07/schema#", "title": "guarded-tools policy"}
    tidy: dict[str, Any] = _tidy({**first, "$defs": definitions})
    return {**tidy, **head}


def _values_by_operator(predicate: dict[str, Any]) -> list[dict[str, Any]]:
    """Say what each operator compares with, and where ``fold`` means something."""
    kinds: tuple[tuple[frozenset[str], dict[str, Any]], ...] = (
        (LISTS, {"type": "array", "minItems": 1}),
        (NUMERIC, {"type": "number"}),
        (SWITCHES, {"type": "boolean"}),
        (frozenset({"regex"}), {"type": "string"}),
        (frozenset({"contains"}), {"type": ["string", "number", "boolean", "null"]}),
    )
    rules = [_when(operators, {"properties": {"value": value}}) for operators, value in kinds]
    operators = frozenset(predicate["properties"]["op"]["enum"])
    rules.append(_when(operators - SWITCHES, {"required": ["value"]}))
    if "fold" in predicate["properties"]:
        rules.append(_when(operators - TEXTUAL, {"properties": {"fold": False}}))
    return rules


def _when(operators: frozenset[str], then: dict[str, Any]) -> dict[str, Any]:
    return {"if": {"properties": {"op": {"enum": sorted(operators)}}, "required": ["op"]}, "then": then}


def _tidy(part: Any, *, names: bool = False) -> Any:
    """Drop titles that repeat the key, and defaults of ``null``, which nobody may write."""
    if isinstance(part, list):
        return [_tidy(inner) for inner in part]
    if not isinstance(part, dict):
        return part
    return {
        key: _tidy(inner, names=key in {"properties", "$defs"} and not names)
        for key, inner in part.items()
        if names or not (key == "title" or (key == "default" and (inner is None or isinstance(inner, (dict, list)))))
    }


if __name__ == "__main__":
    text = json.dumps(generate(), indent=2, sort_keys=True) + "\n"
    Path(__file__).with_name(FILE).write_text(text, encoding="utf-8")
