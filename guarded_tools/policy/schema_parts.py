"""What a schema is put together from: its references, alternatives and conditions, found without checking anything.

Any mapping will do for a schema: what is not understood is left out, and nothing here raises.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

from guarded_tools.policy.paths import follow


def parts_of(schemas: list[Mapping[str, Any]], root: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """List schemas and all that they are put together from, each part once: it may refer to itself, in many ways."""
    found: dict[int, Mapping[str, Any]] = {}
    waiting: list[Any] = list(schemas)
    while waiting:
        part = waiting.pop()
        if not isinstance(part, Mapping) or id(part) in found:
            continue
        found[id(part)] = part
        for keyword in ("anyOf", "oneOf", "allOf"):
            waiting += _list(part.get(keyword))
        # What only some calls may have is there all the same.
        waiting += [part.get("if"), part.get("then"), part.get("else")]
        dependent = part.get("dependentSchemas")
        waiting += dependent.values() if isinstance(dependent, Mapping) else ()
        waiting.append(_named(part.get("$ref"), root))
    return list(found.values())


def _named(reference: Any, root: Mapping[str, Any]) -> Any:
    try:
        return follow(root, unquote(reference)) if isinstance(reference, str) else None
    except (LookupError, ValueError):
        return None


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
