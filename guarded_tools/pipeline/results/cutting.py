"""Where a text is cut, and how large a value is: as text, as JSON writes it, without writing it."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, Final

from pydantic import BaseModel

from guarded_tools.pipeline.results.rewriting import DEEPEST, Unseen

_BREAKS: Final = ("\n\n", "\n", " ", "\t")
# Of what is kept, a break may cost a quarter: a paragraph is not worth more.
_GIVEN_UP: Final = 4
_JOINERS: Final = "\u200d\u200c"
_BEFORE_MARK: Final = "[redacted: "
_LONGEST_MARK: Final = 64


def cut(text: str, most: int) -> str:
    """Return the beginning of a text, of at most so many characters: up to a paragraph's end, a line's, or a word's.

    Where none is near, it ends between two characters as people see them, and never within a redaction's mark.
    """
    if len(text) <= most:
        return text
    end = _outside_mark(text, most)
    for stop in _BREAKS:
        at = text.rfind(stop, end - end // _GIVEN_UP, end + len(stop))
        if at > 0 and _outside_mark(text, at) == at:
            return text[:at].rstrip()
    while end > 0 and _is_one(text, end):
        end -= 1
    return text[:end]


def _outside_mark(text: str, end: int) -> int:
    begin = text.rfind(_BEFORE_MARK[0], max(0, end - _LONGEST_MARK), end)
    if begin < 0 or not text.startswith(_BEFORE_MARK, begin):
        return end
    close = text.find("]", begin, begin + _LONGEST_MARK)
    return begin if close >= end else end


def _is_one(text: str, end: int) -> bool:
    """Whether what ends here and what begins here are seen as one character."""
    before, after = text[end - 1], text[end]
    if unicodedata.category(after) in ("Mn", "Mc", "Me") or after in _JOINERS or before in _JOINERS[0]:
        return True
    if "\U0001f3fb" <= after <= "\U0001f3ff" or "\U000e0020" <= after <= "\U000e007f":  # a skin, a flag's letters
        return True
    if (before, after) == ("\r", "\n") or ("\ud800" <= before <= "\udbff" and "\udc00" <= after <= "\udfff"):
        return True
    if _is_flag_half(before) and _is_flag_half(after):
        begin = end
        while begin > 0 and _is_flag_half(text[begin - 1]):
            begin -= 1
        return (end - begin) % 2 == 1
    return "\u1160" <= after <= "\u11ff" and "\u1100" <= before <= "\ud7a3"  # jamo of one syllable


def _is_flag_half(char: str) -> bool:
    return "\U0001f1e6" <= char <= "\U0001f1ff"


class Sizes:
    """How many characters values take as JSON, about. What is met twice is measured once, and counts twice."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[Any, int]] = {}

    def of(self, value: Any, depth: int = 0) -> int:
        """Return the size of a value.

        Raises:
            Unseen: it is nested too deep, as what holds itself is.
        """
        if isinstance(value, str | bytes | bytearray):
            return len(value) + 2
        if value is None or isinstance(value, bool):
            return 4
        known = self._known.get(id(value))
        if known is not None:
            return known[1]
        if depth > DEEPEST:
            raise Unseen(f"it is nested deeper than {DEEPEST} levels")
        size = self._measured(value, depth)
        self._known[id(value)] = (value, size)
        return size

    def _measured(self, value: Any, depth: int) -> int:
        if isinstance(value, BaseModel):
            value = {**value.__dict__, **(value.__pydantic_extra__ or {})}
        if isinstance(value, Mapping):
            return 2 + sum(4 + self.of(key, depth + 1) + self.of(item, depth + 1) for key, item in value.items())
        if isinstance(value, AbstractSet) or (isinstance(value, Sequence) and not isinstance(value, range)):
            return 2 + sum(2 + self.of(item, depth + 1) for item in value)
        try:
            return len(str(value))
        except Exception as error:
            raise Unseen(f"a {type(value).__name__} in it cannot be written") from error
