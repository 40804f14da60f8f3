"""The part of the format that speaks of what a call brings back: ``result``."""

from __future__ import annotations

import re
from typing import Annotated, Any, Final, Literal, Self, TypeAlias

from pydantic import (
    AfterValidator,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    WithJsonSchema,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

from guarded_tools.policy.diagnostics import suggest
from guarded_tools.policy.fields import Max, Maybe, Part, Text, wrong
from guarded_tools.policy.operators import compile_regex, value_problem

SECRETS: Final = "secrets"
"""Secrets whose shape is known, or that the name before them gives away: what is masked in the audit, too."""
EMAILS: Final = "emails"
"""Mail addresses."""
REDACTIONS: Final = (SECRETS, EMAILS)

_NAME: Final = r"^[A-Za-z0-9][A-Za-z0-9 _-]{0,39}$"
# In one of these a pattern meets an empty text, a word's edge and a line's.
_PROBES: Final = ("", "a", "a-1 _b", "\n")


def _pattern(pattern: str) -> str:
    problem = value_problem("regex", pattern)
    if problem:
        raise wrong(*problem)
    compiled = compile_regex(pattern, fold_case=False)
    if any(match.end() == match.start() for probe in _PROBES for match in compiled.finditer(probe)):
        raise wrong("the pattern is found where nothing stands", "have it match one character or more, as [0-9]+ does")
    return pattern


def _redaction_name(name: str) -> str:
    if not re.match(_NAME, name):
        raise wrong("a name is up to 40 letters, digits, blanks, _ and -", 'write one like "card number"')
    return name


class RedactedPattern(Part):
    """What a pattern finds is redacted. ``name`` says in the redaction's mark what stood there."""

    regex: Annotated[Text, AfterValidator(_pattern)]
    name: Annotated[str, AfterValidator(_redaction_name), WithJsonSchema({"type": "string", "pattern": _NAME})] = (
        "pattern"
    )


class _NameOrPattern:
    """Makes a field that is the name of a redaction, or a pattern."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        as_written = core_schema.plain_serializer_function_ser_schema(
            lambda value: value if isinstance(value, str) else value.model_dump()
        )
        pattern = handler.generate_schema(RedactedPattern)
        return core_schema.no_info_wrap_validator_function(_name_or_pattern, pattern, serialization=as_written)

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {"anyOf": [{"enum": list(REDACTIONS)}, handler(core)]}


def _name_or_pattern(value: Any, handler: Any) -> Any:
    if type(value) is str:
        if value in REDACTIONS:
            return value
        raise wrong(f"{value!r} is no redaction", suggest(value, REDACTIONS))
    if not isinstance(value, dict | RedactedPattern):
        raise wrong("a redaction is a name or a pattern", 'write "secrets", "emails" or {"regex": "…"}')
    return handler(value)


def _once(redactions: tuple[Any, ...]) -> tuple[Any, ...]:
    if not redactions:
        raise wrong("must not be empty", 'name what to redact, as ["secrets"]')
    if any(redaction in redactions[:place] for place, redaction in enumerate(redactions)):
        raise wrong("the same redaction stands here twice", "keep one of them")
    return redactions


Redaction: TypeAlias = str | RedactedPattern


class ResultRules(Part):
    """What must hold for the result of a call. It has run by then: what is kept back is the answer, not the effect."""

    max_chars: Maybe[Max] = Field(default=None, description="As many characters of a result are handed on.")
    redact: Maybe[
        Annotated[
            tuple[Annotated[Redaction, _NameOrPattern()], ...],
            Field(strict=False, json_schema_extra={"minItems": 1, "uniqueItems": True}),
            AfterValidator(_once),
        ]
    ] = Field(default=None, description="What is replaced by a mark, wherever it stands in a result.")
    schema_check: Maybe[Literal["strict"]] = Field(
        default=None, alias="schema", description="A structured result must fit the tool's output schema, and no more."
    )
    on_breach: Literal["cut", "deny"] = Field(
        default="cut", description="Whether a result that breaks a rule is cut and redacted, or kept back as a whole."
    )

    @model_validator(mode="after")
    def _checks_something(self) -> Self:
        if self.max_chars is None and self.redact is None and self.schema_check is None:
            raise wrong("nothing is checked", 'say "max_chars", "redact" or "schema"')
        return self
