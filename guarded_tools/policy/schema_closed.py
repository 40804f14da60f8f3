"""An output schema in which what is not declared is forbidden: ``"schema": "strict"`` of a result.

JSON Schema lets an object hold whatever no keyword speaks of, and a server that adds a member adds something that
nobody has agreed to. So every place of the schema that declares members is closed by ``unevaluatedProperties``, which
sees what ``$ref``, ``allOf`` and their like declare for the same place. Schemas of older drafts know no such keyword:
the closed one is read as 2020-12, beside the original, which is read as what it says it is.

What says that anything may come (``additionalProperties``, an empty schema, ``true``) has declared that.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

_DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
_CLOSING: Final = "unevaluatedProperties"
# Under these stand schemas of other values: of members, of elements.
_PLACES_BY_NAME: Final = frozenset({"properties", "patternProperties"})
_PLACES: Final = frozenset({"items", "additionalItems", "additionalProperties", "contains", "unevaluatedItems"})
# Under these stand schemas of the same value, or of none until they are referred to.
_SAME_BY_NAME: Final = frozenset({"$defs", "definitions", "dependentSchemas"})
_SAME: Final = frozenset({"allOf", "anyOf", "oneOf", "if", "then", "else"})
_DECLARES: Final = frozenset({"properties", "patternProperties", "required", *_SAME, "$ref", "$dynamicRef"})


def closed(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return a schema that permits what this one declares, and nothing else.

    Raises:
        RecursionError: it is nested too deep.
    """
    return {**_place(schema), "$schema": _DIALECT}


def _place(schema: Any) -> Any:
    """Close a schema that stands for a value of its own."""
    if not isinstance(schema, Mapping):
        return schema
    inner = _inner(schema)
    declares = not _DECLARES.isdisjoint(inner) or inner.get("type") == "object"
    return {**inner, _CLOSING: False} if declares and _CLOSING not in inner else inner


def _inner(schema: Any) -> Any:
    """Close what stands in a schema, and not itself: another one speaks of the same value."""
    if not isinstance(schema, Mapping):
        return schema
    found: dict[str, Any] = {}
    for key, part in schema.items():
        if key in _PLACES_BY_NAME:
            found[key] = _each(part, _place)
        elif key == "prefixItems" or (key == "items" and isinstance(part, list)):  # the latter before 2020-12
            found["prefixItems"] = _each(part, _place)
        elif key in _PLACES:
            found[key] = _place(part)
        elif key in _SAME_BY_NAME or key in _SAME:
            found[key] = _each(part, _inner) if key in _SAME_BY_NAME or isinstance(part, list) else _inner(part)
        elif key not in ("$schema", "$id"):
            found[key] = part
    return found


def _each(parts: Any, close: Callable[[Any], Any]) -> Any:
    if isinstance(parts, Mapping):
        return {name: close(part) for name, part in parts.items()}
    return [close(part) for part in parts] if isinstance(parts, list) else parts
