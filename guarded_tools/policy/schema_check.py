"""Arguments against the tool's own input schema: place and keyword of what does not fit, never the value.

Results are checked against its output schema in the same way.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple
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
# Whether arguments fit is told in linear time, where they do not is not: a definition that names itself twice for one
# value is walked through twice as often with each level of the arguments. So many subschemas take half a second.
_MOST_WALKED: Final = 500_000
# A large schema and many values multiply: so many comparisons take a second, and so many patterns that backtrack, each
# as far as it may, a few.
_MOST_COMPARED: Final = 5_000_000
_MOST_BACKTRACKED: Final = 100_000
_BACKTRACKING: Final = jsonschema_rs.FancyRegexOptions(backtrack_limit=10_000)
_CHARACTERS_OF_A_VALUE: Final = 64  # a long string is as much work as many short ones
# What speaks of the same value as the schema that it stands in.
_IN_PLACE: Final = frozenset({"allOf", "anyOf", "oneOf", "not", "if", "then", "else", "dependentSchemas"})
# What speaks of no value until a reference names it.
_SHELVES: Final = frozenset({"$defs", "definitions"})
# What holds schemas under names, which are no keywords.
_NAMED: Final = _SHELVES | {"properties", "patternProperties", "dependentSchemas", "dependencies"}
_ANYWHERE: Final = ""
_REFERENCES: Final = frozenset({"$ref", "$dynamicRef", "$recursiveRef"})


class _Extent(NamedTuple):
    """How many subschemas a part unfolds to, and how many references back to what it is a part of are among them.

    These are counted by the property that they are for, or under :data:`_ANYWHERE`.
    """

    parts: int
    loops: Counter[str]

    @property
    def branches(self) -> int:
        """How many of the references may be for one value."""
        named = max((count for key, count in self.loops.items() if key != _ANYWHERE), default=0)
        return named + self.loops[_ANYWHERE]

    def moved(self, key: str) -> _Extent:
        """The extent of a part that speaks of another value."""
        return _Extent(self.parts, Counter({key: self.loops.total()}) if self.loops else self.loops)


_NONE: Final = _Extent(0, Counter())


class _Checked(NamedTuple):
    """A validator and the schema it was made from.

    ``branches`` is how often its recursions branch, ``parts`` into how many subschemas. ``most`` is the number of
    values that may be checked, ``most_work`` where a long string counts as many.
    """

    schema: Mapping[str, Any]
    validator: Any
    branches: int
    parts: int
    most: int
    most_work: int


# By identity, for speed; the schema is kept, so that its identity stays its own. And by whether formats are checked.
_validators: dict[tuple[int, bool], _Checked] = {}


def misfit(schema: Mapping[str, Any], args: dict[str, Any]) -> str | None:
    """Say where the arguments do not fit the schema and by which keyword, or ``None`` if they do.

    What cannot be checked does not fit: arguments that are not JSON, half a surrogate pair, a schema that is not one or
    that points outside itself.
    """
    return _misfit(schema, args, "the arguments", "input", formats=True)


def misfit_of_result(schema: Mapping[str, Any], content: dict[str, Any]) -> str | None:
    """As :func:`misfit`, for a structured result and the output schema. As in MCP's own check, formats bind nobody."""
    return _misfit(schema, content, "the values", "output", formats=False)


def _misfit(schema: Mapping[str, Any], value: dict[str, Any], what: str, kind: str, *, formats: bool) -> str | None:
    try:
        # The validator skips what no keyword speaks of; this sees every value and key.
        size = len(json.dumps(value, ensure_ascii=False, allow_nan=False).encode())
    except (TypeError, ValueError, RecursionError):
        return f"{what} are not JSON: a number that is not finite, half a surrogate pair, or a foreign object"
    try:
        checked = _checked(schema, formats=formats)
        validator = checked.validator
        too_much = _is_too_much(checked, value, size)
        if not too_much and validator.is_valid(value):
            return None
        if too_much or not _told_in_time(checked, value):
            why = "are too many to be checked against" if too_much else "are nested too deep to tell where they break"
            return f"{what} {why} the tool's {kind} schema"
        errors = [error for _, error in zip(range(_MOST_TOLD), validator.iter_errors(value), strict=False)]
    except jsonschema_rs.ValidationError:
        return f"the tool's own {kind} schema is not a valid JSON Schema"
    except (ValueError, TypeError, RecursionError, jsonschema_rs.ReferencingError):
        return f"{what} cannot be checked against the tool's {kind} schema"
    return "; ".join(_say(error) for error in errors) or f"{what} do not fit the tool's {kind} schema"


def _is_too_much(checked: _Checked, value: Any, size: int) -> bool:
    if size <= min(checked.most, checked.most_work):  # a value is at least a character
        return False
    values, work, waiting = 0, 0, [value]
    while waiting:
        found = waiting.pop()
        values += 1
        if isinstance(found, str):
            work += len(found) // _CHARACTERS_OF_A_VALUE
            continue
        waiting.extend(found.values() if isinstance(found, Mapping) else found if isinstance(found, list) else ())
    return values > checked.most or values + work > checked.most_work


def _told_in_time(checked: _Checked, args: dict[str, Any]) -> bool:
    if checked.branches <= 1:
        return True
    level: list[Any] = [args]
    left, walked = _MOST_WALKED, checked.parts
    while level and left >= 0:
        left -= walked * len(level)
        walked *= checked.branches
        opened = (found.values() if isinstance(found, dict) else found for found in level if not isinstance(found, str))
        level = [inner for found in opened if isinstance(found, Iterable) for inner in found]
    return left >= 0


def _checked(schema: Mapping[str, Any], *, formats: bool) -> _Checked:
    known = _validators.get((id(schema), formats))
    if known is not None:
        return known
    if len(_validators) >= _MOST_VALIDATORS:
        _validators.clear()
    options: dict[str, Any] = {"validate_formats": formats, "retriever": _refuse}
    plain = schema if type(schema) is dict else dict(schema)
    branches, parts, unfolded = _Unfolding(plain).check()
    most = _MOST_COMPARED
    try:
        # Linear time, where the schema's patterns allow it.
        validator = jsonschema_rs.validator_for(plain, pattern_options=jsonschema_rs.RegexOptions(), **options)
    except jsonschema_rs.ValidationError:
        validator = jsonschema_rs.validator_for(plain, pattern_options=_BACKTRACKING, **options)
        most = _MOST_BACKTRACKED
    checked = _validators[id(schema), formats] = _Checked(
        schema, validator, branches, parts, most // max(unfolded, 1), _MOST_COMPARED // max(unfolded, 1)
    )
    return checked


class _Unfolding:
    """How many subschemas there are once every reference is replaced by what it names; one to itself adds nothing."""

    def __init__(self, schema: dict[str, Any]) -> None:
        self._schema = schema
        self._id = "id" if "draft-04" in str(schema.get("$schema")) else "$id"
        self._extents: dict[str, _Extent | None] = {}
        self._recursive: set[str] = set()
        self._references = 0
        self._untraced = False

    def check(self) -> tuple[int, int, int]:
        """Refuse what would keep a validator busy for long; say how often what refers to itself branches, and its size.

        The last number is the size of all.

        Raises:
            ValueError: it unfolds to too much.
        """
        parts = self._extent(self._schema).parts
        if parts > _MOST_UNFOLDED or (self._untraced and self._references > _MOST_UNTRACED):
            raise ValueError("the schema refers to its own parts too often to be checked")
        if self._untraced and self._references:
            # More ways there cannot be: each third reference triples them.
            return round(3 ** (self._references / 3)), parts, parts
        found = [extent for name in self._recursive if (extent := self._extents[name])]
        branches = max((each.branches for each in found), default=0)
        return branches, max((each.parts for each in found), default=0), parts

    def _extent(self, part: Any) -> _Extent:
        if isinstance(part, list):
            return _sum(map(self._extent, part))
        if not isinstance(part, dict):
            return _NONE
        if part is not self._schema and isinstance(part.get(self._id), str):
            self._untraced = True  # pointers in here begin in here
        names = [part[key] for key in _REFERENCES & part.keys() if isinstance(part[key], str)]
        self._references += len(names)
        return _sum([_Extent(1, Counter()), *map(self._named, names), *(self._under(*item) for item in part.items())])

    def _under(self, keyword: str, value: Any) -> _Extent:
        if keyword == "properties" and isinstance(value, dict):
            return _sum(self._extent(part).moved(key or _ANYWHERE) for key, part in value.items())
        if keyword == "enum" and isinstance(value, list):
            # Plain values are looked up, others compared one by one.
            return _Extent(sum(isinstance(choice, list | dict) for choice in value), Counter())
        named = keyword in _NAMED and isinstance(value, dict)
        found = self._extent(list(value.values()) if named else value)
        if keyword in _SHELVES:
            return found._replace(loops=Counter())
        return found if keyword in _IN_PLACE else found.moved(_ANYWHERE)

    def _named(self, reference: str) -> _Extent:
        if reference not in self._extents:
            self._extents[reference] = None
            try:
                self._extents[reference] = self._extent(self._at(reference))
            except (LookupError, ValueError, TypeError):
                self._untraced = True
                self._extents[reference] = _NONE
        found = self._extents[reference]
        if found is None:  # it stands within what it names
            self._recursive.add(reference)
            return _Extent(0, Counter({_ANYWHERE: 1}))
        return found

    def _at(self, reference: str) -> Any:
        root, *steps = unquote(reference).split("/")
        if root != "#":
            raise LookupError(reference)
        found: Any = self._schema
        for step in steps:
            name = step.replace("~1", "/").replace("~0", "~")
            found = found[int(name)] if isinstance(found, list) else found[name]
        return found


def _sum(extents: Iterable[_Extent]) -> _Extent:
    parts, loops = 0, Counter[str]()
    for extent in extents:
        parts += extent.parts
        loops.update(extent.loops)
    return _Extent(parts, loops)


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
