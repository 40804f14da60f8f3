"""What a server may make of the arguments of a call, where that is not what stands in them.

Rules speak of what the tool will act on, and two things come between. Both are seen with the schema in hand:

* *Keys in other letters.* Go, .NET and others take ``amountcents`` for ``amountCents``, and of several the last one. A
  key that differs from one that a rule names, or that the schema lists, only in case, width or invisible characters
  leaves open what the server reads, and the call is denied; unless the schema lists both, so that they are two.
* *Arguments left out.* Servers fill in the default that their schema names, at any depth, so that is what the rules are
  handed. Where the schema names several, the argument is :data:`~guarded_tools.policy.paths.UNDECIDED`. What a server
  *may* do (``null`` taken for left out, an optional object made up of its members' defaults) is a second reading: rules
  have to let both pass, a question is asked if either wants it, and a limit takes the larger amount.

This stands in the way of every call, so what can be known before is worked out once for a tool and a schema. A *place*
joins what the rules name there with the schema's :class:`~guarded_tools.policy.shapes.Shape`. The walk of a call goes
only where either of the two knows something, and asks one question of an object: are all its keys known to be like no
other? That is a look into a set, done in C; a key that is new is folded and compared, and remembered if nothing was
found. A schema without defaults is never filled in. Defaults without end are refused after :data:`_MOST_FILLED`.
Places are shared by their shape and their names, so a schema that refers to itself has finitely many; they are made
when a call first goes there, and two threads that make the same one at once do no harm.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from typing import Any, Final, NamedTuple

from guarded_tools.policy.folding import fold_name
from guarded_tools.policy.paths import EACH, LENGTH, Indeterminate, Path
from guarded_tools.policy.schema_parts import Entangled, Parts
from guarded_tools.policy.shapes import Shape, is_same

Args = Mapping[str, Any]

_MOST_FILLED: Final = 20_000
# Of keys that are not expected, so many are remembered at a place, if they are short: names of arguments, no values.
_MOST_REMEMBERED: Final = 32
_LONGEST_REMEMBERED: Final = 64


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

    @property
    def lead_on(self) -> bool:
        """Whether a rule names anything below."""
        return bool(self.below) or self.elements is not None


_NO_NAMES: Final = _Names()


class _Place:
    """One place of the arguments, made ready: which keys are expected in an object there, and which lead deeper.

    Nearly every key of every call is one that was expected, or met before and found to be like no other. Such a key
    costs a look into a set; only an unheard-of one is folded and compared.
    """

    def __init__(self, shape: Shape, names: _Names, places: dict[tuple[int, int], _Place]) -> None:
        self._shape, self._names, self._places = shape, names, places
        places[id(shape), id(names)] = self
        expected = self._expected = dict.fromkeys([*names.below, *shape.names])
        self._folded: dict[str, list[str]] = {}
        for key in expected:
            self._folded.setdefault(fold_name(key), []).append(key)
        alike = self._folded.values()
        self._known = {key for some in alike for key in some if len(some) == 1 or shape.names >= set(some)}
        self._most_known = len(self._known) + _MOST_REMEMBERED
        self._deep: list[tuple[str, _Place | None]] = [(key, None) for key in expected if self._leads_on(key)]
        self._others_lead_on = shape.others_lead_on
        self.flat = not (self._deep or self._others_lead_on)
        self.all_known = self._known.issuperset

    def look(self, value: dict[str, Any]) -> None:
        """Walk an object that stands here; raises ``Ambiguous``."""
        if not self.all_known(value):
            self.compare(value)
        for key, place in self._deep:
            inner = value.get(key)
            if type(inner) is list:
                (place or self._under(key)).look_at_elements(inner)
            elif type(inner) is dict:
                (place or self._under(key)).look(inner)
        if self._others_lead_on:
            self._look_at_others(value)

    def look_at_elements(self, values: list[Any]) -> None:
        """Walk a list that stands here; raises ``Ambiguous``."""
        place = self._elements
        if place is None:
            return
        all_known, flat = place.all_known, place.flat
        for inner in values:
            if type(inner) is dict:
                if not flat:
                    place.look(inner)
                elif not all_known(inner):
                    place.compare(inner)
            elif type(inner) is list:
                place.look_at_elements(inner)

    def _look_at_others(self, value: dict[str, Any]) -> None:
        for key, inner in value.items():
            if key in self._expected:
                continue
            if type(inner) is dict:
                self._other.look(inner)
            elif type(inner) is list:
                self._other.look_at_elements(inner)

    def compare(self, value: dict[Any, Any]) -> None:
        """Compare the keys of an object that stands here, some of which are not known; raises ``Ambiguous``."""
        if not self._folded:
            return
        for key in value:
            if isinstance(key, str) and key not in self._known:
                for other in self._folded.get(fold_name(key), ()):
                    self._refuse(key, other)
                if len(self._known) < self._most_known and len(key) <= _LONGEST_REMEMBERED:
                    self._known.add(key)

    def _refuse(self, key: str, other: str) -> None:
        if other == key or {key, other} <= self._shape.names:
            return
        reason = f"a key differs from {other} only by case, width or invisible characters"
        below = self._names.below.get(other) or self._names.below.get(key)
        if below is not None and below.reader is not None:
            reader = below.reader
            raise Ambiguous(reader.rule, f"cannot be judged: {reason}", reader.message)
        raise Ambiguous("/schema", reason, "")

    def _leads_on(self, key: str) -> bool:
        below = self._names.below.get(key)
        return (below is not None and below.lead_on) or self._shape.leads_on(key)

    def _under(self, key: str) -> _Place:
        place = self._place(self._shape.under(key), self._names.below.get(key, _NO_NAMES))
        at = next(at for at, (other, _) in enumerate(self._deep) if other == key)
        self._deep[at] = key, place  # twice, where two threads come at once: they made the same
        return place

    @cached_property
    def _other(self) -> _Place:
        return self._place(self._shape.other, _NO_NAMES)

    @cached_property
    def _elements(self) -> _Place | None:
        shape, names = self._shape.elements, self._names.elements
        return None if names is None and shape.is_nothing else self._place(shape, names or _NO_NAMES)

    def _place(self, shape: Shape, names: _Names) -> _Place:
        found = self._places.get((id(shape), id(names)))
        return found or _Place(shape, names, self._places)


class _Schema(NamedTuple):
    """A schema made ready for the rules of one tool."""

    schema: Mapping[str, Any] | None
    shape: Shape
    look: Callable[[dict[str, Any]], None]
    has_defaults: bool


class Readings:
    """The ways in which a server may read the arguments of one tool, as far as the tool's rules are concerned.

    What was made of a schema is kept for the next call, which brings the same one.
    """

    def __init__(self, readers: Iterable[Reader]) -> None:
        self._names = _Names()
        self._reads = False
        for reader in readers:
            self._names.add(reader)
            self._reads = True
        self._latest = self._ready(None)

    def of(self, args: dict[str, Any], schema: Mapping[str, Any] | None) -> tuple[dict[str, Any], ...]:
        """List them; usually one, and that is ``args`` where no rule reads an argument.

        Raises:
            Ambiguous: they cannot be listed, by which rule, and why.
        """
        ready = self._latest  # once: another thread may bring another schema
        try:
            if ready.schema is not schema:
                if not self._reads:
                    return (args,)
                ready = self._latest = self._ready(schema)
            ready.look(args)
            if not ready.has_defaults:
                return (args,)
            filled = _Filling(lenient=False).fill(args, ready.shape)
            lenient = _Filling(lenient=True).fill(args, ready.shape)
        except Entangled as error:
            raise Ambiguous("/schema", str(error), "") from None
        except RecursionError:
            raise Ambiguous(
                "/schema", "the arguments, or the defaults of the schema, are nested too deep", ""
            ) from None
        return (filled,) if is_same(filled, lenient) else (filled, lenient)

    def _ready(self, schema: Mapping[str, Any] | None) -> _Schema:
        parts = Parts(schema or {})
        shape = Shape([] if schema is None else [schema], parts, {})
        look = _Place(shape, self._names, {}).look
        return _Schema(schema, shape, look, parts.name_defaults)


class _Filling:
    """One pass over arguments that fills in defaults. What it is given stays as it is."""

    def __init__(self, *, lenient: bool) -> None:
        self._lenient = lenient
        self._left = _MOST_FILLED
        self._making: set[int] = set()
        self.stretched = False

    def fill(self, value: Any, shape: Shape) -> Any:
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

    def _made_up(self, shape: Shape) -> Any:
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
