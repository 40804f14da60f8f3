"""What a schema is put together from: its references, alternatives and conditions, found without checking anything.

Any mapping will do for a schema: what is not understood is left out.

**Linear where it can be.** A schema of a stranger may have a thousand arguments that all refer to one definition of a
thousand parts, and each argument is looked at. So what a part is put together from is looked up once
(:meth:`Parts.within`), and which defaults it leads to is not searched from each argument: it spreads once from the
defaults outwards, along the references that lead to them. Two different ones say as much as a thousand, so a part
passes on two at most.

Where it cannot be, as where each of those arguments is an object by that definition, it is bounded: after
:data:`_MOST_READ` parts a schema is too entangled to be read. One that :mod:`~guarded_tools.policy.schema_cost` admits
does not come near; but a policy may check no schema, and calls with other arguments come by.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, Final
from urllib.parse import unquote

from guarded_tools.policy.paths import UNDECIDED, follow
from guarded_tools.values import canonical

UNSAID: Final = object()
"""What :meth:`Parts.default` gives where no default is named."""

_MOST_READ: Final = 3_000_000
"""How many parts are read of one schema, over and over: more than a million, which it may unfold to."""

_ALTERNATIVES: Final = ("anyOf", "oneOf", "allOf")
_CONDITION: Final = ("if", "then", "else")


class Entangled(ValueError):  # noqa: N818 - says what a schema is
    """A schema refers to its own parts so often that what it says at some place cannot be gathered."""


class Parts:
    """What the parts of one schema, ``root``, are put together from, however many ways lead to each."""

    def __init__(self, root: Mapping[str, Any]) -> None:
        self._root = root
        self._left = _MOST_READ
        # The part beside what is within: an object that is kept alive keeps its identity.
        self._within: dict[int, tuple[Mapping[str, Any], Sequence[Mapping[str, Any]]]] = {}

    def of(self, schemas: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
        """List schemas and all that they are put together from, each once: it may refer to itself, in many ways.

        Raises:
            Entangled: that was asked so often that it takes seconds by now.
        """
        found: dict[int, Mapping[str, Any]] = {}
        waiting = [schema for schema in schemas if isinstance(schema, Mapping)]
        while waiting:
            part = waiting.pop()
            if id(part) not in found:
                found[id(part)] = part
                waiting += self.within(part)
        self._left -= len(found)
        if self._left < 0:
            raise Entangled("the tool's schema refers to its own parts too often to tell what the arguments mean")
        return list(found.values())

    def within(self, part: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
        """List what a part is put together from, without what that is put together from in its turn."""
        known = self._within.get(id(part))
        if known is not None:
            return known[1]
        inner: list[Any] = []
        for keyword in _ALTERNATIVES:
            several = part.get(keyword)
            inner += several if isinstance(several, list) else ()
        # What only some calls may have is there all the same.
        inner += [part.get(keyword) for keyword in _CONDITION]
        dependent = part.get("dependentSchemas")
        inner += dependent.values() if isinstance(dependent, Mapping) else ()
        inner.append(_named(part.get("$ref"), self._root))
        found = tuple(one for one in inner if isinstance(one, Mapping))
        self._within[id(part)] = (part, found)
        return found

    @property
    def name_defaults(self) -> bool:
        """Whether the schema names a default anywhere; one that does not needs no filling in."""
        return bool(self._defaults)

    def default(self, schemas: Sequence[Mapping[str, Any]]) -> Any:
        """Say what an argument of these schemas is where it is left out.

        What they name themselves goes before what they are put together from. :data:`UNSAID` where nothing is named,
        :data:`~guarded_tools.policy.paths.UNDECIDED` where different values are.
        """
        own = [schema["default"] for schema in schemas if "default" in schema]
        if len(own) == 1:
            return own[0]
        said = {_text(default): default for default in own}
        if not said:
            for schema in schemas:
                said |= self._defaults.get(id(schema), {})
        return UNDECIDED if len(said) > 1 else next(iter(said.values()), UNSAID)

    @cached_property
    def _defaults(self) -> dict[int, dict[str, Any]]:
        """By the identity of a part: the defaults that it leads to, by their texts; no more than two of them."""
        every = _mappings(self._root)
        waiting = [(id(part), _text(part["default"]), part["default"]) for part in every if "default" in part]
        if not waiting:
            return {}
        leading_to: dict[int, list[int]] = {}
        for part in every:
            for inner in self.within(part):
                leading_to.setdefault(id(inner), []).append(id(part))
        found: dict[int, dict[str, Any]] = {}
        while waiting:
            where, text, default = waiting.pop()
            said = found.setdefault(where, {})
            if text not in said and len(said) < 2:  # noqa: PLR2004 - two are as undecided as more
                said[text] = default
                waiting += [(origin, text, default) for origin in leading_to.get(where, ())]
        return found


def parts_of(schemas: Sequence[Mapping[str, Any]], root: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """List schemas and all that they are put together from, as :meth:`Parts.of` does, for one look."""
    return Parts(root).of(schemas)


def _mappings(root: Any) -> list[Mapping[str, Any]]:
    """List every object within a schema, each once."""
    found: dict[int, Any] = {}
    waiting = [root]
    while waiting:
        part = waiting.pop()
        if isinstance(part, Mapping | list) and id(part) not in found:
            found[id(part)] = part
            waiting += part.values() if isinstance(part, Mapping) else part
    return [part for part in found.values() if isinstance(part, Mapping)]


def _text(value: Any) -> str:
    """The same text for the same JSON, type for type; what is no JSON is the same as nothing but itself."""
    try:
        return canonical(value)
    except ValueError:
        return f"({id(value)})"


def _named(reference: Any, root: Mapping[str, Any]) -> Any:
    try:
        return follow(root, unquote(reference)) if isinstance(reference, str) else None
    except (LookupError, ValueError):
        return None
