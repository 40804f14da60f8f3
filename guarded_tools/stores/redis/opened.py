"""Which fields of which scopes the script opens, rules across calls among them, and what it answers of these."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from guarded_tools.marks import Bound, BoundRule, Carried, Mark, SessionCondition
from guarded_tools.stores.carried import KINDS, LONGEST_NAME, in_order, mark_id
from guarded_tools.stores.clock import SECOND


def field_of(kind: str, name: str, same: str) -> str:
    """Name the field that a mark is in.

    Raises:
        StoreError: it is no mark that can be kept.
    """
    mark_id(kind, name, same)
    return f"{kind}:{len(to_bytes(same))}:{same}{name}"


class Opened:
    """Which keys a run of the script opens, and which fields of each; ``places`` says where each scope is."""

    def __init__(self, state: bytes, key: Callable[[str], bytes]) -> None:
        self._key = key
        self.keys = [state]
        self.groups: list[list[object]] = []
        self.places: dict[str, int] = {}

    def add(self, scope: str, *fields: str) -> int:
        """Have fields of a scope opened, and say where the scope is."""
        if scope not in self.places:
            self.keys.append(self._key(scope))
            self.groups.append([len(self.keys)])
            self.places[scope] = len(self.groups)
        self.groups[self.places[scope] - 1] += fields
        return self.places[scope]

    def condition(self, condition: SessionCondition) -> list[object]:
        """Put a condition into words."""
        scope, kind, names, then, _, _, every, within, same = condition
        fields = [field_of(kind, name, same) for name in names]
        return [self.add(scope, *fields), then, every, (within or 0) * SECOND, *fields]

    def mark(self, mark: Mark) -> list[object]:
        """Put a mark into words."""
        scope, kind, name, tool, same = mark
        field = field_of(kind, name, same)
        return [self.add(scope, field), field, kind == "succeeded", tool[:LONGEST_NAME]]


def bound_of(conditions: Sequence[SessionCondition], told: Sequence[Any]) -> Bound:
    """Read which conditions bind, and what they found."""
    bound = []
    for position, *found in told:
        condition = conditions[position]
        scope, kind, names, *_ = condition
        carried = [
            Carried(scope, kind, names[which], to_text(tool), first / SECOND, last / SECOND)
            for which, first, last, tool in found
        ]
        bound.append(BoundRule(condition, tuple(carried)))
    return Bound(tuple(bound))


def carried_of(scope: str, told: Sequence[Any]) -> list[Carried]:
    """Read the marks of a scope: for each its field, first, last and tool."""
    kinds = {to_bytes(kind): kind for kind in KINDS}
    found = []
    for field, first, last, tool in zip(*[iter(told)] * 4, strict=True):
        kind, length, rest = field.split(b":", 2)
        name = to_text(rest[int(length) :])
        found.append(Carried(scope, kinds[kind], name, to_text(tool), first / SECOND, last / SECOND))
    return in_order(found)


def to_bytes(text: str) -> bytes:
    """Write text so that any string survives."""
    return text.encode("utf-8", "surrogatepass")


def to_text(data: bytes) -> str:
    """Read what :func:`to_bytes` wrote."""
    return data.decode("utf-8", "surrogatepass")
