"""How many columns of a terminal a text may take, counted so that no terminal takes more.

Terminals and libraries differ on emoji, marks and new characters; whoever believes one of them has the other wrap a
line, and what follows stands at the beginning of a row. So every character counts as the widest that a terminal of
today draws it: letters of scripts that are drawn narrow, and their marks, one column; all else beyond ASCII two, the
two longest dashes three. A line broken here is at most too short. Only where "ambiguous" letters (Greek, Cyrillic) are
drawn wide, as some Chinese and Japanese terminals do on request, may a line still take more.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from functools import lru_cache

_LONG_DASHES = "\u2e3a\u2e3b"


def columns(text: str) -> int:
    """Return the most columns that a terminal draws a text in."""
    return len(text) if text.isascii() else sum(map(_columns, text))


def pieces(text: str, most: int) -> list[str]:
    """Cut a text into pieces of at most ``most`` columns each; at least one piece, and one character a piece."""
    return list(_pieces(text, most))


def _pieces(text: str, most: int) -> Iterator[str]:
    begin = used = 0
    for at, char in enumerate(text):
        size = 1 if char < "\x7f" else _columns(char)
        if used + size > most and at > begin:
            yield text[begin:at]
            begin, used = at, 0
        used += size
    yield text[begin:]


@lru_cache(maxsize=8192)
def _columns(char: str) -> int:
    if char.isascii():
        return 1
    if char in _LONG_DASHES:
        return 3
    category = unicodedata.category(char)
    narrow = unicodedata.east_asian_width(char) in ("N", "Na", "H", "A") and not "\u1100" <= char <= "\u11ff"
    return 1 if narrow and category[0] in "LM" else 2
