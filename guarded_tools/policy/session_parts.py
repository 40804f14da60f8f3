"""The parts of the format that speak across the calls of a session: ``labels``, ``after``, ``needs``, ``flow``."""

from __future__ import annotations

import re
from typing import Annotated, Any, Final, Literal, Self, TypeAlias

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema, model_validator

from guarded_tools.policy.fields import NAME_PATTERN, ArgumentPath, Maybe, OrElse, Part, Text, ToolName, Window, wrong
from guarded_tools.policy.paths import PATTERN
from guarded_tools.policy.predicate import SomePredicates

UNTRUSTED: Final = "untrusted"
"""Brought by what may hold words of strangers: a web page, a mail, an issue that anybody can write."""
PRIVATE: Final = "private"
"""Brought by what holds data of the user, or of whoever the agent works for."""
SECRET: Final = "secret"  # noqa: S105 - the label's name
"""Brought by what holds credentials. It is private as well."""
OUTWARD: Final = "outward"
"""Brought by a call that takes something out of the user's hands: a mail, a post, a request to a given address."""

FlowPreset: TypeAlias = Literal["trifecta", "rule_of_two"]

_LABEL_PATTERN: Final = "^[A-Za-z][A-Za-z0-9_.-]{0,39}$"
_MOST_NAMED: Final = 16


def _label(text: str) -> str:
    if not re.match(_LABEL_PATTERN, text):
        raise wrong("a label is up to 40 letters, digits, _, - and .", 'write one like "untrusted" or "customer_data"')
    return text


def _some(names: tuple[str, ...]) -> tuple[str, ...]:
    if not names:
        raise wrong("must not be empty", "name at least one")
    if len(set(names)) < len(names):
        raise wrong("the same name stands here twice", "keep one of them")
    if len(names) > _MOST_NAMED:
        raise wrong(f"names more than {_MOST_NAMED}", "write a glob, or a second rule")
    return names


LabelName: TypeAlias = Annotated[
    str, AfterValidator(_label), WithJsonSchema({"type": "string", "pattern": _LABEL_PATTERN})
]
_SomeNames: TypeAlias = Annotated[
    tuple[ToolName, ...],
    Field(strict=False, json_schema_extra={"minItems": 1, "uniqueItems": True}),
    AfterValidator(_some),
]
_SomeLabels: TypeAlias = Annotated[
    tuple[LabelName, ...],
    Field(strict=False, json_schema_extra={"minItems": 1, "uniqueItems": True}),
    AfterValidator(_some),
]


class LabelRule(Part):
    """What a call's result brings into its session; with ``when``, if any of these is true of its arguments."""

    label: LabelName
    when: Maybe[SomePredicates] = None


Label: TypeAlias = Annotated[
    LabelRule,
    BeforeValidator(lambda value: {"label": value} if type(value) is str else value),
    OrElse({"type": "string", "pattern": _LABEL_PATTERN}),
]


class After(Part):
    """What becomes of a call once the session carries all of these labels, or once any of these tools was admitted.

    With ``when``, only of a call of whose arguments any of these is true.
    """

    labels: Maybe[_SomeLabels] = None
    tools: Maybe[_SomeNames] = None
    when: Maybe[SomePredicates] = None
    within: Maybe[Window] = None
    then: Literal["approve", "deny"]
    scope: Literal["session", "grant"] = "session"
    message: Maybe[Text] = None

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.labels is None) == (self.tools is None):
            raise wrong("a rule looks for labels or for tools", "write one of the two; for both, write two rules")
        return self


def _correlation(value: object) -> object:
    if type(value) is str:
        return ((value, value),)
    if type(value) is not dict:
        raise wrong("same is an argument path, or pairs of them", 'write "args.id", or {"args.id": "args.parent_id"}')
    return tuple(value.items())


def _single(pairs: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
    if not pairs:
        raise wrong("must not be empty", 'name an argument, like "args.id"')
    for path in (path for pair in pairs for path in pair):
        if "[*]" in path:
            raise wrong("[*] leads to many values, and one is compared", "name one value, like args.ids[0]")
    return tuple(sorted(pairs))


def _listed(value: Any) -> Any:
    return [value] if type(value) is str else value


class Need(Part):
    """A call that must have succeeded before: of ``tool``, or of any of these.

    ``same`` pairs a path in that call's arguments with one in this call's: the values have to be the same. One path
    alone is both.
    """

    tool: Annotated[_SomeNames, BeforeValidator(_listed), OrElse({"type": "string", "pattern": NAME_PATTERN})]
    outcome: Literal["ok"] = "ok"
    within: Maybe[Window] = None
    same: Maybe[
        Annotated[
            tuple[tuple[ArgumentPath, ArgumentPath], ...],
            Field(strict=False),
            BeforeValidator(_correlation),
            AfterValidator(_single),
            WithJsonSchema(
                {
                    "anyOf": [
                        {"type": "string", "pattern": PATTERN},
                        {
                            "type": "object",
                            "minProperties": 1,
                            "propertyNames": {"pattern": PATTERN},
                            "additionalProperties": {"type": "string", "pattern": PATTERN},
                        },
                    ]
                }
            ),
        ]
    ] = None
    scope: Literal["session", "grant"] = "session"
    message: Maybe[Text] = None
