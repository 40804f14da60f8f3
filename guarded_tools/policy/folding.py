"""Spellings that a person reads as one, brought into one: case, width, invisible characters.

The judgement of a call runs where the caller waits, and the text is the model's to choose, so what folding costs is
bounded. Time is linear in the text: long runs of marks are parted before normalising sorts them. What is not short and
ASCII is folded once for a call, however many rules speak of it. And it grows by a small factor: the two characters that
stand for a phrase of eighteen letters and of eight may not be a large part of a text, or it cannot be judged.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final

from guarded_tools.policy.paths import Indeterminate

# What draws nothing and is of another category than Cf: controls that are no blanks (a NUL ends a text for many
# programs), half surrogates, fillers, variation selectors, and whatever else Unicode calls default-ignorable.
_UNSEEN: Final = re.compile(
    "[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2060-\u206f\u2800\u3164\ufe00-\ufe0f"
    "\uffa0\ufff0-\ufff8\ud800-\udfff\U000e0000-\U000e0fff]"
)
# So many marks on one letter are no word. Unicode's stream-safe format parts them there, with this.
_MOST_MARKS: Final = 30
_JOINER: Final = "\u034f"
_PHRASES: Final = "\ufdfa\ufdfb"
_MOST_PHRASES: Final = 50
_LETTERS_A_PHRASE: Final = 18
_LONG: Final = 4096
_MOST_KEPT: Final = 4096
folded_texts: Final[dict[str, str]] = {}
"""What the calls that are being judged hold but for short texts in ASCII. Whoever judged one clears it."""


def fold(text: str) -> str:
    """Fold a text, without the blanks at its ends.

    Raises:
        Indeterminate: it would grow beyond measure.
    """
    return flatten(text).strip()


def fold_name(name: str) -> str:
    """As :func:`fold`, of a name; one that would grow beyond measure is like no other, and stays as it is."""
    try:
        return fold(name)
    except Indeterminate:
        return name


def flatten(text: str) -> str:
    """As :func:`fold`, with the blanks at the ends."""
    if len(text) < _LONG and text.isascii():
        return _flat(text)
    known = folded_texts.get(text)
    if known is None:
        if sum(map(text.count, _PHRASES)) > _MOST_PHRASES + len(text) // _LETTERS_A_PHRASE:
            raise Indeterminate("cannot be compared: it is spelt with characters that stand for whole phrases")
        if len(folded_texts) >= _MOST_KEPT:
            folded_texts.clear()
        known = folded_texts[text] = _flat(text)
    return known


def _flat(text: str) -> str:
    if text.isascii():
        return text.casefold() if text.isprintable() else _UNSEEN.sub("", text.casefold())
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", _seen(text)).casefold())
    return _UNSEEN.sub("", folded)


def _seen(text: str) -> str:
    """Take out what draws nothing, since it would part a letter from its mark; and part long runs of marks.

    Sorting a run of marks, which normalising does, takes time that grows with its square.
    """
    out: list[str] = []
    marks = 0
    for char in _UNSEEN.sub("", text):
        if unicodedata.category(char) == "Cf":
            continue
        marks = marks + 1 if unicodedata.combining(char) else 0
        if marks > _MOST_MARKS:
            out.append(_JOINER)
            marks = 1
        out.append(char)
    return "".join(out)
