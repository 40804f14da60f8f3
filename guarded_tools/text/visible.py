r"""Text that shows what it is: every character that is not plainly visible appears as its ``\uXXXX``.

That is controls and escape sequences, bidirectional and zero-width characters, blanks and line separators other than
the space, private and unassigned ones, letters of right-to-left scripts (they move their neighbours), and marks that
spell a letter in a second way that looks like the first.
"""

from __future__ import annotations

import json
import re
import unicodedata

_INVISIBLE = frozenset(  # letters, marks and symbols that draw nothing
    "\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0\ufffc\U00013441\U00013442\U00016fe4\U0001d159"
)
_WORD = re.compile(r"[^\W\d_]+")
_ALPHABETS = frozenset({"LATIN", "CYRILLIC", "GREEK", "ARMENIAN", "CHEROKEE"})
_PILE = 2
_REMARKS = 5


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
    if unicodedata.category(char) in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp", "Zs", "Me") or char in _INVISIBLE:
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


def remarks(text: str) -> list[str]:
    """Say what a reader of a string should know: words that mix alphabets, and how right-to-left words read."""
    found: list[str] = []
    for word in dict.fromkeys(_WORD.findall(text[:100_000])):
        scripts = {unicodedata.name(char, "").split(" ")[0] for char in word} & _ALPHABETS
        if len(scripts) > 1:
            found.append(f"{plain(word, 60)} mixes {' and '.join(s.title() for s in sorted(scripts))} letters")
        elif any(unicodedata.bidirectional(char) in ("R", "AL") for char in word) and not _INVISIBLE & set(word):
            found.append(f"right to left: {word[:60]}")
    return found[:_REMARKS]
