r"""Text that shows what it is: every character that is not plainly visible appears as its ``\uXXXX``.

That is controls and escape sequences, bidirectional and zero-width characters, blanks and line separators other than
the space, private and unassigned ones, letters of right-to-left scripts (they move their neighbours), and marks that
spell a letter in a second way that looks like the first.
"""

from __future__ import annotations

import json
import unicodedata

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
    """Escape whatever is hidden in a JSON text; it stays the same JSON."""
    if literal.isascii() and literal.isprintable():
        return literal
    out: list[str] = []
    marks = 0
    for at, char in enumerate(literal):
        if char.isascii() and char.isprintable():
            marks = 0
            out.append(char)
            continue
        marks = marks + 1 if unicodedata.category(char) in ("Mn", "Me") else 0
        out.append(_escape(char) if _is_hidden(char, literal[at - 1 : at], marks) else char)
    return "".join(out)


def _is_hidden(char: str, before: str, marks: int) -> bool:
    if " " <= char <= "~":
        return False
    if unicodedata.category(char) in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp", "Zs", "Me") or char in INVISIBLE:
        return True
    if unicodedata.bidirectional(char) in ("R", "AL", "AN"):
        return True
    if "\ufe00" <= char <= "\ufe0f" or "\U000e0100" <= char <= "\U000e01ef" or "\u180b" <= char <= "\u180f":
        return True  # variation selectors
    if marks:  # on nothing, piled up, or drawn exactly like one precomposed letter
        return before in ('"', "") or marks > _PILE or len(unicodedata.normalize("NFC", before + char)) == 1
    return unicodedata.normalize("NFC", char) != char


def _escape(char: str) -> str:
    units = char.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[i]:02x}{units[i + 1]:02x}" for i in range(0, len(units), 2))
