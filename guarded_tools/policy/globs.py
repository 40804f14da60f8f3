"""Names with wildcards: ``*`` is any text, ``?`` any one character.

Matching takes time bounded by the product of the two lengths, whatever the glob: only the last star can still take
more, so nothing before it is ever tried again.
"""

from __future__ import annotations

import re
from collections.abc import Callable


def is_glob(key: str) -> bool:
    """Whether a key stands for many names: ``*`` is any text, ``?`` any one character."""
    return "*" in key or "?" in key


def matches(glob: str, name: str) -> bool:
    """Whether the whole of ``name`` fits ``glob``, in time bounded by the product of their lengths."""
    return _fits(glob, name, lambda wild, char: wild in ("?", char))


def _fits(glob: str, name: str, one: Callable[[str, str], bool]) -> bool:
    at = place = 0
    star, resume = -1, 0
    while place < len(name):
        if at < len(glob) and glob[at] == "*":
            star, resume = at, place
            at += 1
        elif at < len(glob) and one(glob[at], name[place]):
            at += 1
            place += 1
        elif star >= 0:
            # Only the last star can still take more: everything before it has matched for good.
            at = star + 1
            resume += 1
            place = resume
        else:
            return False
    return all(char == "*" for char in glob[at:])


def literal_prefix(glob: str) -> str:
    """The part before the first wildcard."""
    return re.split(r"[*?]", glob, maxsplit=1)[0]


def covers(wide: str, narrow: str) -> bool:
    """Whether every name that fits ``narrow`` fits ``wide`` too; a glob or a name in either place."""
    # Read as a text, the narrow one's stars fit nothing but stars, and its question marks nothing but wildcards.
    return _fits(wide, narrow, lambda wild, char: wild == char or (wild == "?" and char != "*"))
