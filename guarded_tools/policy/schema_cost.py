"""What checking against a schema may cost, bounded beforehand: servers send any schema, models any arguments.

A validator is linear in most schemas and most values, and three things make it slow without end:

* A definition is walked anew wherever it is referred to, so definitions that each name the next one twice multiply.
  What a schema *unfolds* to is counted; one that unfolds to too much is refused before a validator is made.
* A definition that names *itself* twice for one value is walked twice as often with each level of the value, when the
  validator looks for where it breaks. So many steps are allowed, then it is only said that something breaks.
* Many values and a large schema multiply: the values are counted, and too many for this schema are refused.

All of it is arithmetic on the schema and the value; no clock is read, so that the same call is always judged the same.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple
from urllib.parse import unquote

from guarded_tools.policy.paths import follow

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
_CHARACTERS_OF_A_VALUE: Final = 64  # a long string is as much work as many short ones
# What speaks of the same value as the schema that it stands in.
_IN_PLACE: Final = frozenset({"allOf", "anyOf", "oneOf", "not", "if", "then", "else", "dependentSchemas"})
# What speaks of no value until a reference names it.
_SHELVES: Final = frozenset({"$defs", "definitions"})
NAMED: Final = _SHELVES | {"properties", "patternProperties", "dependentSchemas", "dependencies"}
"""What holds schemas under names, which are no keywords."""
REFERENCES: Final = frozenset({"$ref", "$dynamicRef", "$recursiveRef"})
"""What names a schema that stands elsewhere."""
_ANYWHERE: Final = ""


class Cost(NamedTuple):
    """What a schema costs. ``branches`` is how often its recursions branch, ``parts`` into how many subschemas.

    ``unfolded`` is its size with every reference replaced by what it names.
    """

    branches: int
    parts: int
    unfolded: int

    def is_too_much(self, value: Any, size: int, *, backtracks: bool) -> bool:
        """Whether comparing a value of ``size`` characters could take seconds; ``backtracks``: so do its patterns."""
        bound = _MOST_BACKTRACKED if backtracks else _MOST_COMPARED
        if size * self.unfolded <= bound:  # a value is at least a character
            return False
        most = bound // max(self.unfolded, 1)
        most_work = _MOST_COMPARED // max(self.unfolded, 1)  # where a long string counts as many values
        values, work, waiting = 0, 0, [value]
        while waiting:
            found = waiting.pop()
            values += 1
            if isinstance(found, str):
                work += len(found) // _CHARACTERS_OF_A_VALUE
                continue
            waiting.extend(found.values() if isinstance(found, Mapping) else found if isinstance(found, list) else ())
        return values > most or values + work > most_work

    def is_told_in_time(self, value: dict[str, Any]) -> bool:
        """Whether *where* a value does not fit can be found; that it does not is told in any case."""
        if self.branches <= 1:
            return True
        level: list[Any] = [value]
        left, walked = _MOST_WALKED, self.parts
        while level and left >= 0:
            left -= walked * len(level)
            walked *= self.branches
            opened = (
                found.values() if isinstance(found, dict) else found for found in level if not isinstance(found, str)
            )
            level = [inner for found in opened if isinstance(found, Iterable) for inner in found]
        return left >= 0


def cost_of(schema: dict[str, Any]) -> Cost:
    """Work out what a schema costs.

    Raises:
        ValueError: it unfolds to so much that a validator would be busy for long.
    """
    return _Unfolding(schema).cost()


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


class _Unfolding:
    """How many subschemas there are once every reference is replaced by what it names; one to itself adds nothing."""

    def __init__(self, schema: dict[str, Any]) -> None:
        self._schema = schema
        self._id = "id" if "draft-04" in str(schema.get("$schema")) else "$id"
        self._extents: dict[str, _Extent | None] = {}
        self._recursive: set[str] = set()
        self._references = 0
        self._untraced = False

    def cost(self) -> Cost:
        parts = self._extent(self._schema).parts
        if parts > _MOST_UNFOLDED or (self._untraced and self._references > _MOST_UNTRACED):
            raise ValueError("it refers to its own parts too often")
        if self._untraced and self._references:
            # More ways there cannot be: each third reference triples them.
            return Cost(round(3 ** (self._references / 3)), parts, parts)
        found = [extent for name in self._recursive if (extent := self._extents[name])]
        branches = max((each.branches for each in found), default=0)
        return Cost(branches, max((each.parts for each in found), default=0), parts)

    def _extent(self, part: Any) -> _Extent:
        if isinstance(part, list):
            return _sum(map(self._extent, part))
        if not isinstance(part, dict):
            return _NONE
        if part is not self._schema and isinstance(part.get(self._id), str):
            self._untraced = True  # pointers in here begin in here
        names = [part[key] for key in REFERENCES & part.keys() if isinstance(part[key], str)]
        self._references += len(names)
        return _sum([_Extent(1, Counter()), *map(self._named, names), *(self._under(*item) for item in part.items())])

    def _under(self, keyword: str, value: Any) -> _Extent:
        if keyword == "properties" and isinstance(value, dict):
            return _sum(self._extent(part).moved(key or _ANYWHERE) for key, part in value.items())
        if keyword == "enum" and isinstance(value, list):
            # Plain values are looked up, others compared one by one.
            return _Extent(sum(isinstance(choice, list | dict) for choice in value), Counter())
        named = keyword in NAMED and isinstance(value, dict)
        found = self._extent(list(value.values()) if named else value)
        if keyword in _SHELVES:
            return found._replace(loops=Counter())
        return found if keyword in _IN_PLACE else found.moved(_ANYWHERE)

    def _named(self, reference: str) -> _Extent:
        if reference not in self._extents:
            self._extents[reference] = None
            try:
                self._extents[reference] = self._extent(follow(self._schema, unquote(reference)))
            except (LookupError, ValueError, TypeError):
                self._untraced = True
                self._extents[reference] = _NONE
        found = self._extents[reference]
        if found is None:  # it stands within what it names
            self._recursive.add(reference)
            return _Extent(0, Counter({_ANYWHERE: 1}))
        return found


def _sum(extents: Iterable[_Extent]) -> _Extent:
    parts, loops = 0, Counter[str]()
    for extent in extents:
        parts += extent.parts
        loops.update(extent.loops)
    return _Extent(parts, loops)
