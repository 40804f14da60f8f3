"""The fields that parts of the format share: names, texts, spans of time, argument paths."""

from __future__ import annotations

import math
import re
from typing import Annotated, Any, Final, Literal, TypeAlias, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    WithJsonSchema,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from guarded_tools.policy.operators import is_number
from guarded_tools.policy.paths import PATTERN, parse_path

MINUTE: Final = 60
HOUR: Final = 3600
DAY: Final = 86400
LONGEST: Final = 366 * DAY
"""The longest window, in seconds."""
MOST: Final = 2**53
"""The highest ``max``: every JSON reader agrees on integers up to here."""

_UNITS: Final = {"s": 1, "m": MINUTE, "h": HOUR, "d": DAY}
_NAMED: Final = {"minute": MINUTE, "hour": HOUR, "day": DAY}
_WINDOW_FORM: Final = 'write "minute", "hour", "day", a number of seconds, or a number with s, m, h or d like "10m"'
_WINDOW_PATTERN: Final = "^(minute|hour|day|[1-9][0-9]{0,8}[smhd])$"
NAME_PATTERN: Final = r"^[^\[\]]*[^\[\]\s][^\[\]]*$"
RATE_PATTERN: Final = "^[1-9][0-9]{0,15}/(minute|hour|day|[1-9][0-9]{0,8}[smhd])$"


def wrong(message: str, hint: str = "") -> PydanticCustomError:
    """Make the error of a validator: what is wrong, and what to write instead."""
    # Braces would be read as a template.
    return PydanticCustomError("policy", "{message}", {"message": message, "hint": hint})


def parse_window(value: object) -> int:
    """Read a window or a duration; the answer is in seconds."""
    seconds: object = value
    if type(value) is str:
        text = re.fullmatch(r"([1-9][0-9]{0,8})([smhd])", value)
        seconds = _NAMED.get(value) or (int(text[1]) * _UNITS[text[2]] if text else None)
    if type(seconds) is not int:
        raise wrong("not a span of time", _WINDOW_FORM)
    if not 1 <= seconds <= LONGEST:
        raise wrong("a span of time is from one second to 366 days", _WINDOW_FORM)
    return seconds


def parse_count(value: object) -> object:
    """Read what a limit counts: a number, a decimal as text, or a path into the arguments or the result."""
    if type(value) is str:
        if re.fullmatch(r"[0-9.]+", value):
            if not re.fullmatch(r"[0-9]{1,12}(\.[0-9]{1,12})?", value) or not value.strip("0."):
                raise wrong("not an amount", 'write a positive decimal like "0.02"')
            return value
        return _rooted(value, "result" if re.match(r"result(?![^.\[])", value) else "args")
    if not is_number(value):
        raise wrong("count is a number or an argument path", 'write 1, or a path like "args.events.length"')
    if value <= 0:  # type: ignore[operator]
        raise wrong("a count that is not positive can never bind", "write 1, or leave count out")
    return math.ceil(value)  # type: ignore[call-overload]


def _text(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise wrong("not valid Unicode: half of a surrogate pair", "write the character itself") from None
    return text


def _path(text: str) -> str:
    return _rooted(text, "args")


def _rooted(text: str, root: Literal["args", "result"]) -> str:
    try:
        parse_path(text, root)
    except ValueError as error:
        message, _, hint = str(error).partition("; ")
        raise wrong(message, hint) from None
    return _text(text)


def _named(text: str) -> str:
    if not text.strip():
        raise wrong("an empty name", "write a name")
    return _text(text)


def _tool_name(text: str) -> str:
    if "[" in text or "]" in text:
        raise wrong("square brackets are not part of a glob", "only * and ? stand for something else")
    return _named(text)


def parse_rate(value: object) -> object:
    """Read ``5/hour`` as an object with ``max`` and ``window``; anything else is left to the model."""
    if type(value) is not str:
        return value
    if not re.fullmatch(RATE_PATTERN, value):
        raise wrong("not a rate: a positive whole number per span of time", 'write one like "5/hour" or "30/10m"')
    count, _, window = value.partition("/")
    return {"max": int(count), "window": window}


class _Written:
    """Makes a field that may be left out, but not be ``null``: an empty line of YAML would switch it off unnoticed."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_before_validator_function(_not_null, handler(source))

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        schema = handler(core)
        rest = [part for part in schema.pop("anyOf", []) if part != {"type": "null"}]
        return {**schema, **rest[0]} if len(rest) == 1 else {**schema, "anyOf": rest} if rest else schema


def _not_null(value: Any) -> Any:
    if value is None:
        raise wrong("null says nothing", "give it a value, or leave the key out")
    return value


class OrElse:
    """Tells the JSON Schema of a field of a second form, which a validator turns into the first."""

    def __init__(self, form: JsonSchemaValue) -> None:
        self._form = form

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {"anyOf": [handler(core), self._form]}


T = TypeVar("T")
Maybe: TypeAlias = Annotated[T | None, _Written()]
Text: TypeAlias = Annotated[str, AfterValidator(_text)]
Name: TypeAlias = Annotated[str, AfterValidator(_named), WithJsonSchema({"type": "string", "minLength": 1})]
ToolName: TypeAlias = Annotated[
    str, AfterValidator(_tool_name), WithJsonSchema({"type": "string", "pattern": NAME_PATTERN})
]
ArgumentPath: TypeAlias = Annotated[str, AfterValidator(_path), WithJsonSchema({"type": "string", "pattern": PATTERN})]
Window: TypeAlias = Annotated[
    int,
    BeforeValidator(parse_window),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "integer", "minimum": 1, "maximum": LONGEST},
                {"type": "string", "pattern": _WINDOW_PATTERN},
            ],
            "description": "A span of time: seconds, or minute, hour, day, or 90s, 10m, 2h, 7d.",
        }
    ),
]
Max: TypeAlias = Annotated[int, Field(ge=1, le=MOST)]


class Part(BaseModel):
    """A part of the format: strict, frozen, and without keys that nobody reads."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, arbitrary_types_allowed=True)
