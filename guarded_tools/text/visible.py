r"""Text that shows what it is: every character that is not plainly visible appears as its ``\uXXXX``.

That is controls and escape sequences, bidirectional and zero-width characters, blanks and line separators other than
the space, private and unassigned ones, letters of right-to-left scripts (they move their neighbours), and whatever
spells in a second way what looks like the first: a mark, a vowel sign or a jamo that would be one with the letter
before it, marks in an order of their own, marks that lie on nothing or in a pile.
"""

from __future__ import annotations

import json
import unicodedata
from functools import lru_cache

INVISIBLE = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0\ufffc\U00013441\U00013442\U00016fe4\U0001d159")
"""Letters, marks and symbols that draw nothing."""

_PILE = 2


def one_line(text: str) -> str:
    r"""Write words of others on one line of an error, a log or a terminal: what would be obeyed or hidden is escaped.

    A line break becomes ``\n``, an escape ``\x1b``. Two texts may come out alike; a human who decides is shown
    :func:`quoted` or :func:`plain`.
    """
    if text.isprintable() and not INVISIBLE & set(text):
        return text
    return "".join(map(_for_line, text))


def lines(text: str) -> str:
    """Write a text as :func:`one_line` does, but for its line breaks, which stay."""
    return "\n".join(map(one_line, text.split("\n")))


def _for_line(char: str) -> str:
    shown = char.isprintable() and char not in INVISIBLE
    return char if shown else char.encode("unicode_escape").decode("ascii")


def quoted(text: str) -> str:
    """Write a string as the JSON literal of it in which nothing is invisible. Different strings look different."""
    return visible(json.dumps(text, ensure_ascii=False))


def plain(text: str, limit: int = 2_000) -> str:
    """Write a text on one line, without quotes, in which nothing is invisible."""
    shown = quoted(text[:limit])[1:-1].replace('\\"', '"')
    return shown if len(text) <= limit else f"{shown} … ({len(text) - limit:,} more characters)"


def visible(literal: str) -> str:
    """Escape whatever is hidden in a JSON text; it stays the same JSON.

    What comes out is in Unicode's composed form, so no two texts come out that are two spellings of one.
    """
    if literal.isascii() and literal.isprintable():
        return literal
    out: list[str] = []
    drawn = ""  # the last letter and the marks on it, as they are shown; nothing after an escape
    piled = 0
    for char in literal:
        if " " <= char <= "~":
            out.append(char)
            drawn, piled = char, 0
            continue
        hidden, mark = _seen(char)
        piled = piled + 1 if mark else 0
        if mark and (drawn in ('"', "") or piled > _PILE):
            hidden = True
        if hidden or not unicodedata.is_normalized("NFC", drawn + char):
            out.append(_escape(char))
            drawn = ""
        else:
            out.append(char)
            drawn = drawn + char if mark else char
    return "".join(out)


@lru_cache(maxsize=8192)
def _seen(char: str) -> tuple[bool, bool]:
    """Whether a character is hidden wherever it stands, and whether it is a mark, which joins what stands before."""
    category = unicodedata.category(char)
    mark = category == "Mn" or unicodedata.combining(char) > 0
    return _is_hidden(char, category), mark


def _is_hidden(char: str, category: str) -> bool:
    if category in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp", "Zs", "Me") or char in INVISIBLE:
        return True
    if unicodedata.bidirectional(char) in ("R", "AL", "AN"):
        return True
    return "\ufe00" <= char <= "\ufe0f" or "\U000e0100" <= char <= "\U000e01ef" or "\u180b" <= char <= "\u180f"


def _escape(char: str) -> str:
    units = char.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[i]:02x}{units[i + 1]:02x}" for i in range(0, len(units), 2))
