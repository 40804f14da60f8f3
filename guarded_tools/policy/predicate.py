"""A predicate as a policy writes it: an argument, an operator, and a value to compare with."""

from __future__ import annotations

from copy import deepcopy
from typing import Annotated, Any, Final, TypeAlias

from pydantic import AfterValidator, Field, WithJsonSchema, field_validator

from guarded_tools.policy.fields import ArgumentPath, Maybe, Part, Text, wrong
from guarded_tools.policy.operators import SWITCHES, TEXTUAL, Operator, value_problem
from guarded_tools.values import canonical

_PHRASE: Final = {
    "eq": "equal to", "neq": "different from", "in": "one of", "not_in": "none of", "lt": "less than", "lte": "at most",
    "gt": "more than", "gte": "at least", "regex": "a match of", "contains": "holding", "url_host": "a URL on one of",
}  # fmt: skip
_SEGMENT: Final = "one path segment: letters, digits, -, _ and single dots between them"


class _Unset:
    """Tells a value that was not written from ``null``."""


class Predicate(Part):
    """Something that is true or false of a call's arguments."""

    path: ArgumentPath
    op: Operator
    value: Annotated[Any, WithJsonSchema({})] = Field(default_factory=_Unset, validate_default=True)
    on_deny: Maybe[Text] = None
    fold: Maybe[bool] = Field(
        default=None,
        description="Compare texts without regard to case, width, invisible characters and blanks; a regex, to case.",
    )

    @field_validator("value", mode="after")
    @classmethod
    def _value_fits(cls, value: Any, info: Any) -> Any:
        op = info.data.get("op")
        if op is None:
            return value
        if isinstance(value, _Unset):
            if op not in SWITCHES:
                raise wrong(f"{op} needs a value to compare with", 'add "value"')
            return True
        problem = value_problem(op, value)
        if problem:
            raise wrong(*problem)
        # Whoever made the value keeps a reference to it.
        return deepcopy(value)

    @field_validator("fold", mode="after")
    @classmethod
    def _fold_fits(cls, fold: bool | None, info: Any) -> bool | None:
        op = info.data.get("op")
        if fold is not None and op is not None and op not in TEXTUAL:
            raise wrong(f"fold changes nothing for {op}", "leave fold out")
        return fold

    @property
    def phrase(self) -> str:
        """What it compares with, in words that follow "must be"."""
        if self.op == "exists":
            return "given" if self.value else "left out"
        if self.op == "segment":
            return _SEGMENT if self.value else f"anything but {_SEGMENT}"
        return f"{_PHRASE[self.op]} {canonical(self.value)}"


Predicates: TypeAlias = Annotated[tuple[Predicate, ...], Field(strict=False)]


def _some(predicates: tuple[Any, ...]) -> tuple[Any, ...]:
    # As a bound of the field it would be broken as soon as one predicate is.
    if not predicates:
        raise wrong("must not be empty", "name at least one predicate, or leave it out")
    return predicates


SomePredicates: TypeAlias = Annotated[Predicates, AfterValidator(_some), Field(json_schema_extra={"minItems": 1})]
