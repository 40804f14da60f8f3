"""Whether a predicate refuses whatever another one refuses, as far as that can be told from the two alone. Pure."""

from __future__ import annotations

from typing import Any

from guarded_tools.policy.compile import Check
from guarded_tools.policy.folding import fold_name
from guarded_tools.values import canonical


def same_check(one: Check, other: Check) -> bool:
    """Whether two predicates say the same of every value."""
    return meaning(one) == meaning(other)


def meaning(check: Check) -> tuple[str, ...]:
    """What makes a difference to what a predicate says, whatever it is called and its message is."""
    said = check.predicate
    return (check.kind, check.path.text, said.op, canonical(said.value), str(said.fold))


def refuses_all_of(one: Check, other: Check) -> bool:
    """Whether ``one`` certainly stops every call that ``other`` stops; ``False`` also where it cannot be told.

    Of kind ``when``, to stop is to have a human asked.
    """
    if one.path.text != other.path.text or one.kind != other.kind:
        return False
    if same_check(one, other) or one.takes_null or other.takes_null:
        return same_check(one, other)
    required = one.kind == "require"
    if required and (other.predicate.op, other.predicate.value) == ("exists", True):
        return one.predicate.op != "exists"
    mine, theirs = _set(one), _set(other)
    if mine is None or theirs is None or mine[0] != theirs[0]:
        return False
    inner, outer = (mine, theirs) if required else (theirs, mine)
    if mine[0] == "members":
        return inner[1] <= outer[1] and one.predicate.fold == other.predicate.fold and not _near(one, mine, theirs)
    # Of bounds below, the lower one is the narrower; of bounds above, the higher.
    return _narrower(*inner, outer[1])


def _near(check: Check, mine: tuple[str, Any], theirs: tuple[str, Any]) -> bool:
    """Whether a member of the one only looks like one of the other: asked about here, and refused there."""
    added = {fold_name(text) for text in mine[1] - theirs[1]}
    return check.kind == "when" and not added.isdisjoint(map(fold_name, theirs[1]))


def _set(check: Check) -> tuple[str, Any] | None:
    """Name the values of which a predicate is true, where they are comparable: by kind of set, and its extent."""
    op, value = check.predicate.op, check.predicate.value
    if op in {"lt", "lte"}:
        return "below", (value, op == "lte")
    if op in {"gt", "gte"}:
        return "above", (value, op == "gte")
    members = [value] if op == "eq" else value if op == "in" else None
    # With members of other kinds, more can be compared, and what cannot is refused.
    if members is not None and all(type(member) is str for member in members):
        return "members", frozenset(members)
    return None


def _narrower(kind: str, mine: tuple[Any, bool], theirs: tuple[Any, bool]) -> bool:
    """Whether every value within one bound is within the other."""
    if mine[0] == theirs[0]:
        return theirs[1] or not mine[1]
    return bool(mine[0] < theirs[0]) if kind == "below" else bool(mine[0] > theirs[0])
