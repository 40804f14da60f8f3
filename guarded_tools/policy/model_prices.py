"""What a call of a model costs: tokens of each kind at the policy's own prices, or at those of a public list.

The list is that of ``genai-prices`` as it is installed; nothing is fetched. Sums are exact.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from fractions import Fraction
from typing import Any, Final, NamedTuple

from guarded_tools.errors import GuardError, install
from guarded_tools.policy.globs import matches
from guarded_tools.policy.model_budget import USD, ModelPrice, ModelRules
from guarded_tools.text.quantities import MILLION

_INSTALL: Final = install("budget")

_SPECIAL: Final = (
    ("cache_read", "input"),
    ("cache_write", "input"),
    ("input_audio", "input"),
    ("output_audio", "output"),
    ("reasoning", "output"),
)


class PriceUnknown(GuardError):  # noqa: N818 - says what happened, as ToolDenied does
    """A budget is in dollars, and nobody knows what the model costs."""


class Tokens(NamedTuple):
    """How many tokens a call took. Those of the special kinds are part of ``input`` or ``output``, which are totals."""

    input: int
    output: int
    cache_read: int = 0
    cache_write: int = 0
    input_audio: int = 0
    output_audio: int = 0
    reasoning: int = 0


def check_priced(rules: ModelRules, model: str) -> None:
    """See that it is known what a model costs, where a limit is in dollars.

    Raises:
        PriceUnknown: it is not.
    """
    if any(limit.counter == USD for limit in rules.limits):
        cost(rules, model, Tokens(1, 1))


def cost(rules: ModelRules, model: str, tokens: Tokens) -> Fraction:
    """Return what tokens of a model cost, in US dollars. ``model`` is ``provider:name``, or the name alone.

    Raises:
        PriceUnknown: no price is known.
    """
    price = _own(rules.prices, model)
    return _at(price, tokens) if price is not None else _listed(model, tokens)


def _own(prices: Mapping[str, ModelPrice], model: str) -> ModelPrice | None:
    name = model.partition(":")[2] or model
    return next((price for glob, price in prices.items() if matches(glob, model) or matches(glob, name)), None)


def _at(price: ModelPrice, tokens: Tokens) -> Fraction:
    plain = {"input": tokens.input, "output": tokens.output}
    total = Fraction(0)
    for kind, whole in _SPECIAL:
        special = getattr(price, kind)
        if special is not None:
            # Never more than there are of the whole kind: a provider that counts apart would be paid for twice.
            count = min(getattr(tokens, kind), plain[whole])
            plain[whole] -= count
            total += count * Fraction(special)
    total += plain["input"] * Fraction(price.input) + plain["output"] * Fraction(price.output)
    return total / MILLION


def _listed(model: str, tokens: Tokens) -> Fraction:
    try:
        import genai_prices
    except ImportError as error:
        raise PriceUnknown(f"no price is known of {model}: name it in the policy's prices, or {_INSTALL}") from error
    plain = {"input_tokens": tokens.input, "output_tokens": tokens.output}
    special = {
        "cache_read_tokens": tokens.cache_read,
        "cache_write_tokens": tokens.cache_write,
        "input_audio_tokens": tokens.input_audio,
        "output_audio_tokens": tokens.output_audio,
        "output_reasoning_tokens": tokens.reasoning,
    }
    provider, _, name = model.rpartition(":")
    # The list says "google" where LangChain says google_genai or google_vertexai.
    for provider_id in dict.fromkeys((provider, provider.partition("_")[0])):
        for counts in (plain | {kind: count for kind, count in special.items() if count}, plain):
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    found: Any = genai_prices.calc_price(
                        genai_prices.Usage(**counts), name, provider_id=provider_id or None
                    )
            except LookupError:
                break
            except ValueError:  # kinds that do not add up, so each token costs what its whole kind does
                continue
            return Fraction(found.total_price)
    raise PriceUnknown(
        f"no price is known of {model}: name it in the policy's prices, or name '*' there for all others"
    )
