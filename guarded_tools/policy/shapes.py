"""What a schema knows of the values at one place of the arguments: their keys, their defaults, what is below them.

A shape gathers all that is said there, by whichever reference, alternative or condition. Shapes are made when first
needed and refer to each other as the schema does, in circles too: one for each set of schemas that meet somewhere.
Any mapping will do for a schema: what is not understood says nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any, Final

from guarded_tools.policy.schema_parts import UNSAID, Parts
from guarded_tools.values import canonical

# The keywords by which a schema says anything of keys or elements, and those by which another schema may say it.
_OF_MEMBERS: Final = frozenset({"properties", "patternProperties", "additionalProperties", "items", "prefixItems"})
_LEADING_ON: Final = _OF_MEMBERS | {"anyOf", "oneOf", "allOf", "if", "then", "else", "dependentSchemas", "$ref"}


class Shape:
    """What a schema knows of the values at one place. ``names`` are the keys it lists, ``defaults`` theirs."""

    def __init__(self, schemas: list[Mapping[str, Any]], parts: Parts, known: dict[Any, Shape]) -> None:
        self._all, self._known = parts, known
        self._parts = [part for part in parts.of(schemas) if not _OF_MEMBERS.isdisjoint(part)]
        self._listed: dict[str, list[Mapping[str, Any]]] = {}
        for part in self._parts:
            properties = part.get("properties")
            for key, schema in properties.items() if isinstance(properties, Mapping) else ():
                if isinstance(key, str) and isinstance(schema, Mapping):
                    self._listed.setdefault(key, []).append(schema)
        self.names = self._listed.keys()
        self.defaults = {
            key: default for key, listed in self._listed.items() if (default := parts.default(listed)) is not UNSAID
        }

    @property
    def is_nothing(self) -> bool:
        """Whether the schema knows nothing of what the values here hold."""
        return not self._parts

    @cached_property
    def _others(self) -> list[Any]:
        """The schemas of members that are not listed."""
        patterns = [part["patternProperties"] for part in self._parts if "patternProperties" in part]
        found = [part["additionalProperties"] for part in self._parts if "additionalProperties" in part]
        return found + [one for some in patterns if isinstance(some, Mapping) for one in some.values()]

    def leads_on(self, key: str) -> bool:
        """Whether the schema may know of keys or elements below a listed member; said without looking there."""
        return any(map(_leads_on, self._listed.get(key, ())))

    @property
    def others_lead_on(self) -> bool:
        """As :meth:`leads_on`, of members that are not listed."""
        return any(map(_leads_on, self._others))

    def under(self, key: str) -> Shape:
        """The shape of a member: as listed, else as members that are not listed are."""
        return self._shape(self._listed.get(key, self._others))

    @property
    def other(self) -> Shape:
        """The shape of members that are not listed."""
        return self._shape(self._others)

    @property
    def elements(self) -> Shape:
        """The shape of the elements of a list, whichever."""
        found = [part[keyword] for part in self._parts for keyword in ("items", "prefixItems") if keyword in part]
        return self._shape([one for some in found for one in (some if isinstance(some, list) else [some])])

    def _shape(self, schemas: list[Any]) -> Shape:
        mappings = [schema for schema in schemas if isinstance(schema, Mapping)]
        which = tuple(map(id, mappings))
        if which not in self._known:
            self._known[which] = Shape(mappings, self._all, self._known)
        return self._known[which]


def is_same(one: Any, other: Any) -> bool:
    """Whether two values are the same JSON, type for type; what is no JSON is the same as nothing but itself."""
    try:
        return one is other or canonical(one) == canonical(other)
    except ValueError:
        return False


def _leads_on(schema: Any) -> bool:
    return isinstance(schema, Mapping) and not _LEADING_ON.isdisjoint(schema)
