r"""A text as whoever reads it takes it, whatever way it is spelt: what draws nothing is gone, and escapes are undone.

A search for secrets in a text as it came misses ``sk-\u200bant-…``, which a model reads as if nothing stood between.
So the search looks at a second view of the text too, and every place in that view leads back to where it came from.
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_right
from typing import Final, NamedTuple

# Controls that are no blanks, half surrogates, and what Unicode calls default-ignorable.
_HIDDEN: Final = (
    "\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e"
    "\u2060-\u206f\u2800\u3164\ud800-\udfff\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\U000e0000-\U000e0fff"
)
# Letters and signs that are another form of an ASCII one: full width, mathematical, circled, raised, small.
_FORMS: Final = (
    "\u00aa\u00b2\u00b3\u00b9\u00ba\u02b0-\u02b8\u1d2c-\u1d6a\u2070-\u209c\u2100-\u214f\u2160-\u217f\u2460-\u24ea"
    "\ufb00-\ufb06\ufe50-\ufe6b\uff01-\uff5e\U0001d400-\U0001d7ff\U0001f130-\U0001f149"
)
_ESCAPE: Final = r"\\u(?P<code>[0-9a-fA-F]{4})|\\[nrtbf\"\\/]"
_ODD: Final = re.compile(f"(?P<escape>{_ESCAPE})|(?P<hidden>[{_HIDDEN}]+)|[{_FORMS}]")
_HIDES: Final = re.compile(f"[{_HIDDEN}]")
_LETTERS: Final = {"n": "\n", "r": "\r", "t": "\t", "b": " ", "f": " "}


class SeenThrough(NamedTuple):
    """The view, and for each piece of it where it begins there, where it came from, and whether it is as it was."""

    text: str
    begins: list[int]
    came: list[tuple[int, int, bool]]

    def origin(self, start: int, end: int) -> tuple[int, int]:
        """Return where a span of the view, which is not empty, came from."""
        first, last = (bisect_right(self.begins, at) - 1 for at in (start, end - 1))
        begin, _, same = self.came[first]
        if same:
            begin += start - self.begins[first]
        at, finish, same = self.came[last]
        return begin, at + end - self.begins[last] if same else finish


def see_through(text: str) -> SeenThrough | None:
    """Return the view of a text; ``None`` where it would be the text itself."""
    found = _ODD.search(text)
    if found is None:
        return None
    pieces: list[str] = []
    begins: list[int] = []
    came: list[tuple[int, int, bool]] = []
    length = done = 0
    for match in _ODD.finditer(text, found.start()):
        start, end = match.span()
        if start > done:
            pieces.append(text[done:start])
            begins.append(length)
            came.append((done, start, True))
            length += start - done
        piece = _meant(match)
        if piece:
            pieces.append(piece)
            begins.append(length)
            came.append((start, end, False))
            length += len(piece)
        done = end
    if done < len(text):
        pieces.append(text[done:])
        begins.append(length)
        came.append((done, len(text), True))
    return SeenThrough("".join(pieces), begins, came)


def _meant(match: re.Match[str]) -> str:
    kind, said = match.lastgroup, match[0]
    if kind == "hidden":
        return ""
    if kind == "escape":
        code = match["code"]
        if code is None:
            return _LETTERS.get(said[1], said[1])
        said = chr(int(code, 16))
        if _HIDES.match(said):
            return ""
    return unicodedata.normalize("NFKC", said)
