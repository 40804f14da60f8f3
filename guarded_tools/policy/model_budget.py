"""The part of the format that speaks of the agent's own model: what it may spend, at which prices, and who is asked.

A limit says what it counts by its name: ``usd``, ``tokens``, ``input_tokens``, ``output_tokens`` or ``calls``. Prices
are in US dollars for a million tokens. Where the policy names none for a model, the price list of ``genai-prices`` is
asked (:mod:`guarded_tools.policy.model_prices`).
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, Final, Literal, TypeAlias

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema, WrapSerializer, model_validator

from guarded_tools.policy.fields import DAY, HOUR, Max, Maybe, Name, Part, Text, Window, wrong
from guarded_tools.policy.limit import DECIMAL, Amount, decimal, exact_amount, positive
from guarded_tools.text.quantities import LARGEST, MILLION

Spending: TypeAlias = Literal["usd", "tokens", "input_tokens", "output_tokens", "calls"]
"""What can be counted of calls of a model."""
USD: Final = "usd"

_FINEST: Final = 6
_ANSWER: Final = 4096

_Price: TypeAlias = Annotated[
    int | str,
    BeforeValidator(decimal),
    WithJsonSchema({"anyOf": [{"type": "integer", "minimum": 0}, {"type": "string", "pattern": DECIMAL}]}),
]
_More: TypeAlias = Annotated[
    int | str,
    BeforeValidator(positive),
    WithJsonSchema({"anyOf": [{"type": "integer", "minimum": 1}, {"type": "string", "pattern": DECIMAL}]}),
]


def in_counts(counter: str, amount: object) -> int:
    """Return an amount as its counter counts: dollars in millionths, whatever else in whole numbers.

    Raises:
        ValueError: it is no amount.
    """
    if counter == USD:
        return exact_amount(amount, _FINEST)
    if type(amount) is not int or amount < 0:
        raise ValueError("is no whole number")
    return amount


class ModelLimit(Part):
    """How much of one thing the model may take in a window of time."""

    counter: Spending
    max: Annotated[int | str, Amount(in_units=lambda said: said.get("counter") == USD)]
    window: Window
    scope: Literal["session", "grant", "global"] = "session"
    align: Literal["rolling", "utc"] = "rolling"
    on_deny: Maybe[Text] = None

    @model_validator(mode="after")
    def _can_be_counted(self) -> ModelLimit:
        if self.most > LARGEST:
            raise wrong(f"more than {LARGEST // MILLION} dollars cannot be counted", "write a lower max")
        return self

    @property
    def most(self) -> int:
        """``max`` as counters count."""
        return in_counts(self.counter, self.max)


class ModelPrice(Part):
    """What a million tokens of each kind cost, in US dollars; what is left out costs what its whole kind does."""

    input: _Price
    output: _Price
    cache_read: Maybe[_Price] = None
    cache_write: Maybe[_Price] = None
    input_audio: Maybe[_Price] = None
    output_audio: Maybe[_Price] = None
    reasoning: Maybe[_Price] = None


class MoreBudget(Part):
    """By how much a human may let the model go beyond its limits, for how long, and how long they have to answer."""

    more: Annotated[
        Mapping[Spending, _More],
        AfterValidator(lambda more: MappingProxyType(dict(_something(more)))),
        WrapSerializer(lambda more, dump: dump(dict(more))),
    ]
    lasts: Annotated[Window, Field(le=DAY)] = Field(default=HOUR, alias="for")
    timeout: Window = 600
    message: Maybe[Text] = None


def _something(more: Mapping[Spending, Any]) -> Mapping[Spending, Any]:
    if not more:
        raise wrong("nobody can be asked for nothing", 'say of what, and how much: {"usd": "1.00"}')
    for counter, amount in more.items():
        if counter != USD and type(amount) is not int:
            raise wrong(f"{counter} are counted in whole numbers", "write one without quotes")
    return more


class ModelRules(Part):
    """What the agent's own model may spend."""

    limits: Annotated[tuple[ModelLimit, ...], Field(strict=False, json_schema_extra={"minItems": 1})]
    prices: Annotated[
        Mapping[Name, ModelPrice],
        AfterValidator(MappingProxyType),
        WrapSerializer(lambda prices, dump: dump(dict(prices))),
    ] = Field(
        default_factory=lambda: MappingProxyType({}),
        description="US dollars for a million tokens, by the model's name or a glob of it; the first that fits counts.",
    )
    answer_tokens: Max = Field(
        default=_ANSWER, description="What an answer is taken to be long, where neither call nor model says max_tokens."
    )
    approval: Maybe[MoreBudget] = None

    @model_validator(mode="after")
    def _fits_together(self) -> ModelRules:
        if not self.limits:
            raise wrong("no limit: nothing is counted", 'write one: {"counter": "usd", "max": "5.00", "window": "day"}')
        counted = {limit.counter for limit in self.limits}
        for counter in self.approval.more if self.approval else ():
            if counter not in counted:
                raise wrong(f"nobody is ever asked for more {counter}: no limit counts it", "add one, or take it out")
        if self.prices and USD not in counted:
            raise wrong("these prices are never used: no limit counts usd", "add one, or take them out")
        return self
