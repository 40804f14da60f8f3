"""What a server may make of the arguments of a call, where that is not what stands in them.

Rules speak of what the tool will act on, and two things come between. Both are seen with the schema in hand:

* *Keys in other letters.* Go, .NET and others take ``amountcents`` for ``amountCents``, and of several the last one. A
  key that differs from one that a rule names, or that the schema lists, only in case, width or invisible characters
  leaves open what the server reads, and the call is denied; unless the schema lists both, so that they are two.
* *Arguments left out.* Servers fill in the default that their schema names, at any depth, so that is what the rules are
  handed. Where the schema names several, the argument is :data:`~guarded_tools.policy.paths.UNDECIDED`. What a server
  *may* do (``null`` taken for left out, an optional object made up of its members' defaults) is a second reading: rules
  have to let both pass, a question is asked if either wants it, and a limit takes the larger amount.

A shape says what a schema knows of the values at one place; shapes are made when first needed and refer to each other
as the schema does, in circles too. Defaults without end are refused after :data:`_MOST_FILLED`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

from guarded_tools.policy.folding import fold_name
from guarded_tools.policy.paths import EACH, LENGTH, UNDECIDED, Indeterminate, Path
from guarded_tools.policy.schema_parts import parts_of
from guarded_tools.values import canonical

Args = Mapping[str, Any]

_MOST_FILLED: Final = 20_000
_UNSAID: Final = object()


class Reader(NamedTuple):
    """A rule that reads an argument: where it stands, what it reads, and what it says when it denies."""

    rule: str
    path: Path
    message: str


class Ambiguous(Indeterminate):
    """The arguments may be read in ways that nobody can list. ``rule`` denies the call."""

    def __init__(self, rule: str, reason: str, message: str) -> None:
        super().__init__(reason)
        self.rule, self.message = rule, message


class _Names:
    """The keys that rules name at one place, and what they name below each."""

    def __init__(self) -> None:
        self.below: dict[str, _Names] = {}
        self.elements: _Names | None = None
        self.reader: Reader | None = None

    def add(self, reader: Reader) -> None:
        here = self
        for step in reader.path.steps:
            if step is LENGTH:
                return
            if step is EACH or isinstance(step, int):
                here.elements = here = here.elements or _Names()
            else:
                here = here.below.setdefault(step, _Names())
                here.reader = here.reader or reader


class _Shape:
    """What a schema knows of the values at one place."""

    def __init__(self, schemas: list[Mapping[str, Any]], root: Mapping[str, Any], known: dict[Any, _Shape]) -> None:
        self._root, self._known = root, known
        self._parts = parts_of(schemas, root)
        self._listed: dict[str, list[Mapping[str, Any]]] = {}
        for part in self._parts:
            properties = part.get("properties")
            for key, schema in properties.items() if isinstance(properties, Mapping) else ():
                if isinstance(key, str) and isinstance(schema, Mapping):
                    self._listed.setdefault(key, []).append(schema)
        self.names = self._listed.keys()
        self.defaults = {
            key: default for key, schemas in self._listed.items() if (default := self._default(schemas)) is not _UNSAID
        }

    def _default(self, schemas: list[Mapping[str, Any]]) -> Any:
        """What the schema says an argument is where it is left out."""
        said = [schema["default"] for schema in schemas if "default" in schema]
        said = said or [part["default"] for part in parts_of(schemas, self._root) if "default" in part]
        if not said:
            return _UNSAID
        return said[0] if all(_is_same(said[0], other) for other in said) else UNDECIDED

    def under(self, key: str) -> _Shape:
        """The shape of a member: as listed, else as members that are not listed are."""
        found = self._listed.get(key)
        if found is None:
            patterns = [part["patternProperties"] for part in self._parts if "patternProperties" in part]
            found = [part["additionalProperties"] for part in self._parts if "additionalProperties" in part]
            found += [one for some in patterns if isinstance(some, Mapping) for one in some.values()]
        return self._shape(found)

    @property
    def elements(self) -> _Shape:
        """The shape of the elements of a list, whichever."""
        found = [part[keyword] for part in self._parts for keyword in ("items", "prefixItems") if keyword in part]
        return self._shape([one for some in found for one in (some if isinstance(some, list) else [some])])

    def _shape(self, schemas: list[Any]) -> _Shape:
        mappings = [schema for schema in schemas if isinstance(schema, Mapping)]
        which = tuple(map(id, mappings))
        if which not in self._known:
            self._known[which] = _Shape(mappings, self._root, self._known)
        return self._known[which]


class Readings:
    """The ways in which a server may read the arguments of one tool, as far as the tool's rules are concerned."""

    def __init__(self, readers: Iterable[Reader], schema: Mapping[str, Any] | None) -> None:
        self._names = _Names()
        for reader in readers:
            self._names.add(reader)
        self._shape = _Shape([] if schema is None else [schema], schema or {}, {})
        self._expected: dict[tuple[int, int], tuple[frozenset[str], dict[str, list[str]]]] = {}
        self._nothing = _Shape([], {}, {})
        self._no_names = _Names()
        self._has_defaults = schema is not None and _mentions_default(schema)

    def of(self, args: dict[str, Any]) -> tuple[dict[str, Any], ...]:
        """List them; usually one.

        Raises:
            Ambiguous: they cannot be listed, by which rule, and why.
        """
        try:
            self._refuse_lookalikes(args, self._shape, self._names)
            if not self._has_defaults:
                return (args,)
            filled = _Filling(lenient=False).fill(args, self._shape)
            lenient = _Filling(lenient=True).fill(args, self._shape)
        except RecursionError:
            raise Ambiguous(
                "/schema", "the arguments, or the defaults of the schema, are nested too deep", ""
            ) from None
        return (filled,) if _is_same(filled, lenient) else (filled, lenient)

    def _refuse_lookalikes(self, value: Any, shape: _Shape, names: _Names) -> None:
        if type(value) is dict:
            plain, folded = self._keys(shape, names)
            for key, inner in value.items():
                if folded and key not in plain and type(key) is str:
                    self._refuse(key, folded.get(fold_name(key), ()), shape, names)
                if type(inner) in (dict, list) and type(key) is str:
                    below = names.below.get(key) or self._no_names
                    self._refuse_lookalikes(inner, shape.under(key), below)
        elif type(value) is list:
            shape, names = shape.elements, names.elements or self._no_names
            for inner in value:
                if type(inner) in (dict, list):
                    self._refuse_lookalikes(inner, shape, names)

    def _keys(self, shape: _Shape, names: _Names) -> tuple[frozenset[str], dict[str, list[str]]]:
        """The keys that are expected at a place: those that are like no other, and all by their folded form."""
        found = self._expected.get((id(shape), id(names)))
        if found is None:
            folded: dict[str, list[str]] = {}
            for key in {**dict.fromkeys(names.below), **dict.fromkeys(shape.names)}:
                folded.setdefault(fold_name(key), []).append(key)
            plain = frozenset(
                key for some in folded.values() for key in some if len(some) == 1 or shape.names >= set(some)
            )
            found = self._expected[id(shape), id(names)] = plain, folded
        return found

    def _refuse(self, key: str, alike: Iterable[str], shape: _Shape, names: _Names) -> None:
        for other in alike:
            if other == key or {key, other} <= shape.names:
                continue
            reason = f"a key differs from {other} only by case, width or invisible characters"
            below = names.below.get(other) or names.below.get(key)
            if below is not None and below.reader is not None:
                reader = below.reader
                raise Ambiguous(reader.rule, f"cannot be judged: {reason}", reader.message)
            raise Ambiguous("/schema", reason, "")


class _Filling:
    """One pass over arguments that fills in defaults. What it is given stays as it is."""

    def __init__(self, *, lenient: bool) -> None:
        self._lenient = lenient
        self._left = _MOST_FILLED
        self._making: set[int] = set()
        self.stretched = False

    def fill(self, value: Any, shape: _Shape) -> Any:
        """Give the value with its defaults: the same object where none is missing."""
        if type(value) is list:
            elements = shape.elements
            filled = [self.fill(inner, elements) if type(inner) in (dict, list) else inner for inner in value]
            return value if all(map(_is_identical, filled, value)) else filled
        if type(value) is not dict:
            return value
        out = {
            key: self.fill(inner, shape.under(key)) if type(inner) in (dict, list) and type(key) is str else inner
            for key, inner in value.items()
        }
        changed = not all(map(_is_identical, out.values(), value.values()))
        for key, default in shape.defaults.items():
            if key not in out or (self._lenient and out[key] is None and default is not None):
                changed = True
                self.stretched = self.stretched or key in out
                self._spend()
                out[key] = self.fill(default, shape.under(key))
        if self._lenient:
            for key in shape.names - out.keys():
                made = self._made_up(shape.under(key))
                if made:
                    changed, self.stretched, out[key] = True, True, made
        return out if changed else value

    def _made_up(self, shape: _Shape) -> Any:
        """An object that was left out, as far as its members have defaults."""
        if id(shape) in self._making or not shape.names:
            return None
        self._spend()
        self._making.add(id(shape))
        try:
            return self.fill({}, shape)
        finally:
            self._making.discard(id(shape))

    def _spend(self) -> None:
        self._left -= 1
        if self._left < 0:
            raise Ambiguous("/schema", "the defaults of the schema have no end", "")


def _is_identical(one: Any, other: Any) -> bool:
    return one is other


def _is_same(one: Any, other: Any) -> bool:
    try:
        return one is other or canonical(one) == canonical(other)
    except ValueError:
        return False


def _mentions_default(schema: Any) -> bool:
    seen: set[int] = set()
    waiting = [schema]
    while waiting:
        part = waiting.pop()
        if isinstance(part, Mapping | list) and id(part) not in seen:
            seen.add(id(part))
            if isinstance(part, Mapping) and "default" in part:
                return True
            waiting += part.values() if isinstance(part, Mapping) else part
    return False
