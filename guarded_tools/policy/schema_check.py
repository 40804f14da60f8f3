"""Arguments against the tool's own input schema: place and keyword of what does not fit, never the value."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import unquote

import jsonschema_rs

# A tool has a handful of misfits worth telling a model about; a hundred bad events say the same thing.
_MOST_TOLD: Final = 5
_MOST_VALIDATORS: Final = 1024
_LONGEST_EXPECTATION: Final = 120
# A validator walks a definition anew wherever it is referred to: 30 that each name the next one twice take seconds.
_MOST_UNFOLDED: Final = 1_000_000
# Where references cannot be followed they have to be few: so many multiply to a few thousand at most.
_MOST_UNTRACED: Final = 20
_REFERENCES: Final = frozenset({"$ref", "$dynamicRef", "$recursiveRef"})

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
    _Unfolding(plain).check()
    try:
        # Linear time, where the schema's patterns allow it.
        validator = jsonschema_rs.validator_for(plain, pattern_options=jsonschema_rs.RegexOptions(), **options)
    except jsonschema_rs.ValidationError:
        validator = jsonschema_rs.validator_for(plain, **options)
    _validators[id(schema)] = (schema, validator)
    return validator


class _Unfolding:
    """How many subschemas there are once every reference is replaced by what it names; one to itself adds nothing."""

    def __init__(self, schema: dict[str, Any]) -> None:
        self._schema = schema
        self._id = "id" if "draft-04" in str(schema.get("$schema")) else "$id"
        self._sizes: dict[str, int] = {}
        self._references = 0
        self._untraced = False

    def check(self) -> None:
        """Refuse what would keep a validator busy for long.

        Raises:
            ValueError: it unfolds to too much.
        """
        size = self._size(self._schema)
        if size > _MOST_UNFOLDED or (self._untraced and self._references > _MOST_UNTRACED):
            raise ValueError("the schema refers to its own parts too often to be checked")

    def _size(self, part: Any) -> int:
        if isinstance(part, list):
            return sum(map(self._size, part))
        if not isinstance(part, dict):
            return 0
        if part is not self._schema and isinstance(part.get(self._id), str):
            self._untraced = True  # pointers in here begin in here
        names = [part[key] for key in _REFERENCES & part.keys() if isinstance(part[key], str)]
        self._references += len(names)
        return 1 + sum(map(self._named, names)) + sum(map(self._size, part.values()))

    def _named(self, reference: str) -> int:
        if reference not in self._sizes:
            self._sizes[reference] = 0
            try:
                self._sizes[reference] = self._size(self._at(reference))
            except (LookupError, ValueError, TypeError):
                self._untraced = True
        return self._sizes[reference]

    def _at(self, reference: str) -> Any:
        root, *steps = unquote(reference).split("/")
        if root != "#":
            raise LookupError(reference)
        found: Any = self._schema
        for step in steps:
            name = step.replace("~1", "/").replace("~0", "~")
            found = found[int(name)] if isinstance(found, list) else found[name]
        return found


def _refuse(uri: str) -> Any:
    raise ValueError(f"{uri} is outside the schema")


def _say(error: Any) -> str:
    place = "".join(f"/{str(step).replace('~', '~0').replace('/', '~1')}" for step in error.instance_path) or "/"
    keyword = error.kind.name
    expected = _expected(error.kind)
    # Not `place: keyword`: behind the name of a secret, masking would take the keyword for it.
    return f"{keyword}{f' {expected}' if expected else ''} at {place}"


def _expected(kind: Any) -> str:
    """What the keyword asks for, in the schema's words."""
    for name in ("property", "types", "options", "limit", "format", "pattern", "expected_value", "multiple_of"):
        if hasattr(kind, name):
            text = json.dumps(getattr(kind, name), ensure_ascii=False, default=str)
            return text if len(text) <= _LONGEST_EXPECTATION else ""
    return ""
