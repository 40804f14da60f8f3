"""A limit as it is written: how much may happen in a window of time, and what of it one call takes.

**What is counted** is one of three things: a number that every call takes; what stands at an argument path; or what
stands at a path into the *result*, which nobody knows beforehand. For the last, ``estimate`` is what is reserved, and
once the call has ended the truth takes its place.

**Amounts are whole numbers.** Where a limit has a ``unit``, of money say, amounts are decimals: exactly as many
millionths of the unit are counted, so that a tenth is a tenth and a change of ``scale`` changes nothing that is counted
already. ``scale`` is how many decimals an amount has; what is more exact than that is rounded up, so that no part of
anything is free. A counter's name ends in its unit, for whoever shows what was counted.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from decimal import ROUND_CEILING, Context, Decimal, InvalidOperation
from typing import Annotated, Any, Final, Literal

from pydantic import (
    BeforeValidator,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    WithJsonSchema,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

from guarded_tools.policy.fields import (
    MOST,
    Maybe,
    Name,
    Part,
    Text,
    Window,
    parse_count,
    wrong,
)
from guarded_tools.policy.paths import COUNT_PATTERN, escape
from guarded_tools.text.quantities import LARGEST, MILLION

DECIMAL: Final = r"^[0-9]{1,12}(\.[0-9]{1,12})?$"
_UNIT: Final = r"^[A-Za-z][A-Za-z0-9_-]{0,15}$"
_RESULT: Final = re.compile(r"result(?![^.\[])")
# An amount with more digits is beyond every limit. The context is our own: a program may set its threads' to any.
_DIGITS: Final = 12
_EXACT: Final = Context(prec=40)
FINEST: Final = 6
"""The highest ``scale``."""


def _says_a_unit(said: Mapping[str, Any]) -> bool:
    return said.get("unit") is not None


class Amount:
    """Makes a field that is a whole number, or a decimal as text where the limit's ``unit``, said before, is a unit."""

    def __init__(self, description: str = "", in_units: Callable[[Mapping[str, Any]], bool] = _says_a_unit) -> None:
        self._description = description
        self._in_units = in_units

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        whole = core_schema.int_schema(strict=True, ge=1, le=MOST)
        as_written = core_schema.plain_serializer_function_ser_schema(lambda amount: amount)
        return core_schema.with_info_wrap_validator_function(self._read, whole, serialization=as_written)

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        whole = {"type": "integer", "minimum": 1, "maximum": MOST}
        said = {"description": self._description} if self._description else {}
        return {"anyOf": [whole, {"type": "string", "pattern": DECIMAL}], **said}

    def _read(self, value: object, handler: ValidatorFunctionWrapHandler, info: ValidationInfo) -> object:
        return positive(value) if type(value) in {str, float} and self._in_units(info.data) else handler(value)


def positive(value: object) -> object:
    """Let a decimal through as it is written, whole or in quotes, that is more than nothing."""
    if not Decimal(str(decimal(value))):
        raise wrong("an amount that is not positive can never bind", "write a positive one")
    return value


def decimal(value: object) -> object:
    """Let a decimal through as it is written: as a whole number, or in quotes."""
    if type(value) is float:
        raise wrong("an amount of money is no float", f'write it in quotes, as in "{value:g}"')
    if not (type(value) is int and 0 <= value <= MOST) and not (type(value) is str and re.fullmatch(DECIMAL, value)):
        raise wrong("not an amount", 'write a whole number, or a decimal like "5.00"')
    return value


def _unit(value: object) -> object:
    if type(value) is str and not re.fullmatch(_UNIT, value):
        raise wrong("not a unit", "write a short word of letters and digits, as USD or tokens")
    return value


class Limit(Part):
    """How much may happen in a window of time."""

    # First, for the amounts are read by it.
    unit: Annotated[
        str | None,
        BeforeValidator(_unit),
        WithJsonSchema(
            {"type": "string", "pattern": _UNIT, "description": "What is counted, as USD: amounts are decimals then."}
        ),
    ] = None
    counter: Name
    max: Annotated[int | str, Amount()]
    window: Window
    scope: Literal["session", "grant", "global"] = "session"
    count: Annotated[
        int | str,
        BeforeValidator(parse_count),
        WithJsonSchema(
            {
                "anyOf": [
                    {"type": "number", "exclusiveMinimum": 0},
                    {"type": "string", "pattern": f"{COUNT_PATTERN}|{DECIMAL}"},
                ]
            }
        ),
    ] = 1
    counts: Literal["successes", "attempts"] = "successes"
    align: Literal["rolling", "utc"] = "rolling"
    on_deny: Maybe[Text] = None
    estimate: Annotated[
        int | str | None,
        Amount("What a call is taken to cost until its result is known; where count is a path into the result."),
    ] = None
    scale: Maybe[Annotated[int, Field(ge=0, le=FINEST)]] = Field(
        default=None, description="Decimals of an amount; what is more exact is rounded up. Default: six."
    )

    @model_validator(mode="before")
    @classmethod
    def _flat_price(cls, data: Any) -> Any:
        # A number of units is told apart from a number of calls before it is rounded up.
        if isinstance(data, dict) and data.get("unit") is not None and type(data.get("count")) is float:
            return {**data, "count": format(Decimal(repr(data["count"])), "f")}
        return data

    @model_validator(mode="after")
    def _fits_together(self) -> Limit:
        if self.unit is None:
            if type(self.count) is str and re.fullmatch(DECIMAL, self.count):
                raise wrong("count is a decimal, of nobody knows what", 'say "unit", as in "unit": "USD"')
            if self.scale is not None:
                raise wrong("scale says how many decimals an amount has: without a unit it has none", 'say "unit"')
        elif max(self.most, self.reserved or 0) > LARGEST:
            raise wrong(f"more than {LARGEST // MILLION} of a unit cannot be counted", "use a larger unit")
        if self.result is not None and self.estimate is None:
            raise wrong(
                "nobody knows before a call what its result says: an estimate is missing",
                'say "estimate": what a call is taken to cost until its result is known',
            )
        if self.result is None and self.estimate is not None:
            raise wrong("an estimate stands for what only the result tells", 'count "result.…", or take it out')
        if self.reserved is not None and self.reserved > self.most:
            raise wrong("the estimate is more than max: every call is refused", "write a lower one, or a higher max")
        return self

    @property
    def most(self) -> int:
        """``max`` as counters count: in millionths where there is a unit."""
        return self.exactly(self.max)

    @property
    def whole(self) -> int:
        """``max`` in whole units, or calls, or whatever is counted; a part of one is left off."""
        return self.most if self.unit is None else self.most // MILLION

    @property
    def reserved(self) -> int | None:
        """``estimate`` as counters count."""
        return None if self.estimate is None else self.exactly(self.estimate)

    @property
    def flat(self) -> int | None:
        """What every call takes, as counters count; ``None`` where it differs."""
        if type(self.count) is str and not re.fullmatch(DECIMAL, self.count):
            return None
        return self.exactly(self.count)

    @property
    def argument(self) -> str | None:
        """The path of the argument that is counted, if one is."""
        return str(self.count) if self.flat is None and self.result is None else None

    @property
    def result(self) -> str | None:
        """The path into the result at which stands what a call took, if that is counted."""
        return self.count if type(self.count) is str and _RESULT.match(self.count) else None

    def exactly(self, amount: object) -> int:
        """Return an amount as counters count: with a unit in millionths of it, rounded up to ``scale``.

        Raises:
            ValueError: it is no number, not finite, or negative.
        """
        scale = self.decimals
        return int(str(amount)) if scale is None else exact_amount(amount, scale)

    @property
    def decimals(self) -> int | None:
        """How many decimals an amount has; ``None`` where there is no unit, and amounts are whole numbers."""
        return None if self.unit is None else FINEST if self.scale is None else self.scale

    def named(self, prefix: str) -> str:
        """Name the counter of this limit; ``prefix`` is whose it is."""
        name = prefix + escape(self.counter)
        return name if self.unit is None else f"{name}/{escape(self.unit)}"


def exact_amount(amount: object, scale: int) -> int:
    """Return a decimal in millionths, rounded up to ``scale`` decimals. A float is what its shortest text says.

    Raises:
        ValueError: it is no number, not finite, or negative.
    """
    if type(amount) is float:
        amount = repr(amount)
    if type(amount) is not int and not (type(amount) is str and len(amount) <= 40):  # noqa: PLR2004 - longer is no amount
        raise ValueError("is no amount")
    try:
        exact = Decimal(amount)
    except InvalidOperation:
        raise ValueError("is no amount") from None
    if not exact.is_finite() or exact < 0:
        raise ValueError("is negative" if exact.is_finite() else "is not finite")
    if exact.adjusted() > _DIGITS:
        return LARGEST * MILLION
    rounded = exact.quantize(Decimal((0, (1,), -scale)), rounding=ROUND_CEILING, context=_EXACT)
    return int(_EXACT.multiply(rounded, MILLION))
