"""Arguments against the tool's own input schema: place and keyword of what does not fit, never the value."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

import jsonschema_rs

# A tool has a handful of misfits worth telling a model about; a hundred bad events say the same thing.
_MOST_TOLD: Final = 5
_MOST_VALIDATORS: Final = 1024
_LONGEST_EXPECTATION: Final = 120

# By identity, for speed; the schema is kept, so that its identity stays its own.
_validators: dict[int, tuple[Mapping[str, Any], Any]] = {}


def misfit(schema: Mapping[str, Any], args: dict[str, Any]) -> str | None:
    """Say where the arguments do not fit the schema and by which keyword, or ``None`` if they do.

    What cannot be checked does not fit: arguments that are not JSON, half a surrogate pair, a schema that is not one or
    that points outside itself.
    """
    try:
        # The validator skips what no keyword speaks of; this sees every value and key.
        json.dumps(args, ensure_ascii=False, allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError):
        return "the arguments are not JSON: a number that is not finite, half a surrogate pair, or a foreign object"
    try:
        validator = _validator(schema)
        if validator.is_valid(args):
            return None
        errors = [error for _, error in zip(range(_MOST_TOLD), validator.iter_errors(args), strict=False)]
    except jsonschema_rs.ValidationError:
        return "the tool's own input schema is not a valid JSON Schema"
    except (ValueError, TypeError, RecursionError, jsonschema_rs.ReferencingError):
        return "the arguments cannot be checked against the tool's input schema"
    return "; ".join(_say(error) for error in errors) or "the arguments do not fit the tool's input schema"


def _validator(schema: Mapping[str, Any]) -> Any:
    known = _validators.get(id(schema))
    if known is not None:
        return known[1]
    if len(_validators) >= _MOST_VALIDATORS:
        _validators.clear()
    options: dict[str, Any] = {"validate_formats": True, "retriever": _refuse}
    plain = schema if type(schema) is dict else dict(schema)
    try:
        # Linear time, where the schema's patterns allow it.
        validator = jsonschema_rs.validator_for(plain, pattern_options=jsonschema_rs.RegexOptions(), **options)
    except jsonschema_rs.ValidationError:
        validator = jsonschema_rs.validator_for(plain, **options)
    _validators[id(schema)] = (schema, validator)
    return validator


def _refuse(uri: str) -> Any:
    raise ValueError(f"{uri} is outside the schema")


def _say(error: Any) -> str:
    place = "".join(f"/{str(step).replace('~', '~0').replace('/', '~1')}" for step in error.instance_path) or "/"
    keyword = error.kind.name
    expected = _expected(error.kind)
    return f"{place}: {keyword}{f' {expected}' if expected else ''}"


def _expected(kind: Any) -> str:
    """What the keyword asks for, in the schema's words."""
    for name in ("property", "types", "options", "limit", "format", "pattern", "expected_value", "multiple_of"):
        if hasattr(kind, name):
            text = json.dumps(getattr(kind, name), ensure_ascii=False, default=str)
            return text if len(text) <= _LONGEST_EXPECTATION else ""
    return ""
