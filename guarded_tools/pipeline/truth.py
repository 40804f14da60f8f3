"""What a call really took, where only its result tells.

A limit may count what stands in the result: the tokens of an answer, the price of an order. Before the call an estimate
is reserved; here the truth is looked for, so that the store can put it in the place of the estimate. It is looked for
first where programs read and then where models do: in the structured content of an artifact, the artifact, the
structured content of a result, the result itself, and JSON that is its text. The first of these in which something
stands at the path is believed.

**When in doubt the estimate stays**: where the call failed, where nothing stands at the path, where what stands there
is negative or no number. It was reserved before the call, so a process that is killed in between leaves it as well.
What could not be told is said in the audit, since somebody has to correct the path.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from typing import Any, Final, NamedTuple

from pydantic import BaseModel

from guarded_tools.policy.charging import add_up
from guarded_tools.policy.paths import MISSING, Indeterminate, Path, compile_many, parse_path
from guarded_tools.values import MOST_TOLD, Charge

# Of a text that may be JSON: reading more of it would cost what the tool costs.
_LONGEST: Final = 4_000_000


class Truth(NamedTuple):
    """The true amount of each charge, and why some are still the estimate."""

    amounts: tuple[int, ...]
    doubts: tuple[str, ...] = ()


def truth_of(charges: Sequence[Charge], value: Any) -> Truth:
    """Find in a result what a call took; a charge that does not depend on it took what was reserved."""
    views = list(_views(value))
    amounts, doubts = [], []
    for charge in charges:
        amount = charge.amount
        if charge.result:
            try:
                amount = _told(charge, views)
            except Indeterminate as doubt:
                doubts.append(f"{charge.result} {doubt}: the estimate stands")
        amounts.append(amount)
    return Truth(tuple(amounts), tuple(dict.fromkeys(doubts)))


def _told(charge: Charge, views: Sequence[Any]) -> int:
    path = _path(charge.result)
    read = compile_many(path)
    for view in views:
        with suppress(Indeterminate):  # it has another form, and may be told by the next
            found = read(view)
            if any(value is not MISSING and value is not None for value in found):
                return min(add_up(found, charge.scale), MOST_TOLD)
    raise Indeterminate("cannot be counted in the result")


@lru_cache(maxsize=1024)
def _path(text: str) -> Path:
    return parse_path(text, "result")


def _views(value: Any) -> Iterator[Any]:
    """Yield what a path may lead into, as plain JSON."""
    content, artifact = value, getattr(value, "artifact", None)
    if isinstance(value, tuple) and len(value) == 2:  # noqa: PLR2004 - content and artifact
        content, artifact = value
    for part in (artifact, content):
        plain = _plain(part)
        if isinstance(plain, dict):
            for name in ("structured_content", "structuredContent"):
                if isinstance(plain.get(name), dict):
                    yield plain[name]
            yield plain
        elif isinstance(plain, list):
            yield plain
    text = _text(getattr(content, "content", content))
    if text and len(text) <= _LONGEST:
        with suppress(ValueError, RecursionError):
            yield json.loads(text)


def _plain(part: Any) -> Any:
    if isinstance(part, BaseModel):
        try:
            return part.model_dump(mode="json", by_alias=False)
        except (ValueError, TypeError):  # it holds what is no JSON
            return None
    return dict(part) if isinstance(part, Mapping) else part


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    blocks = content if isinstance(content, list) else []
    texts = [block.get("text") if isinstance(block, Mapping) else getattr(block, "text", None) for block in blocks]
    return "\n".join(text for text in texts if isinstance(text, str))
