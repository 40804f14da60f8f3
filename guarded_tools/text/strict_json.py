"""JSON in which nothing can be read in two ways: no key twice in an object, no NaN, no infinity.

What one reader takes from the first of two equal keys, the next takes from the last: a check of the one says nothing
about the other.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

from guarded_tools.text.visible import quoted


def loads(text: str | bytes) -> Any:
    """Read a JSON text.

    Raises:
        ValueError: it is no JSON, names a key twice, or holds NaN or infinity; the message says which and, where the
            text is no JSON, at which line and column.
        RecursionError: it is nested deeper than the interpreter goes.
    """
    return json.loads(text, object_pairs_hook=no_key_twice, parse_constant=_no_constant)


def no_key_twice(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """Make an object of its members; a hook for :func:`json.loads`.

    Raises:
        ValueError: two of them have one key.
    """
    members = dict(pairs)
    if len(members) != len(pairs):
        twice, _ = Counter(name for name, _ in pairs).most_common(1)[0]
        raise ValueError(f"the key {quoted(twice)} appears twice")
    return members


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON number")
