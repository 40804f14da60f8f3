"""Texts that match a regular expression: the shortest, and one with every optional part and the highest counts.

Reads the part of RE2's language that policies use: literals, classes, groups, alternatives, counts and anchors. Of a
pattern with anything else, and of one whose samples do not match after all, there are none: the caller then has to
say that it cannot tell.
"""

from __future__ import annotations

import re
import string
from typing import Final

from guarded_tools.policy.operators import compile_regex

_COUNT: Final = re.compile(r"\{(\d+)(?:(,)(\d*))?\}")
_GROUP: Final = re.compile(r"\(\?(?:P?<\w+>|[imsU]*:)|\((?!\?)")
_FLAGS: Final = re.compile(r"\(\?[imsU]+\)")
_ESCAPE: Final = re.compile(r"\\(?:[pP]\{\^?\w+\}|[pP]\w|x\{[0-9A-Fa-f]+\}|x[0-9A-Fa-f]{2}|.)", re.DOTALL)
# A bracket right after the opening one, or after ^, is a member.
_CLASS: Final = re.compile(r"\[\^?\]?(?:\[:\^?\w+:\]|\\.|[^\]\\])*\]", re.DOTALL)
_NOTHING: Final = ("\\b", "\\B", "\\A", "\\z")
# What a class is tried with: what names and numbers are made of comes first.
_TRIED: Final = string.ascii_lowercase + string.digits + string.ascii_uppercase + string.punctuation + " \t\n"
_MOST: Final = 8
_LONGEST: Final = 300


class _Unread(Exception):  # noqa: N818 - says what became of a pattern
    """The pattern holds what is not read here."""


def samples(pattern: str) -> tuple[str, ...]:
    """List a few texts in which the pattern is found, the shortest first; none where no text could be told."""
    try:
        reader = _Reader(pattern)
        found = reader.alternatives()
        if reader.left:
            return ()
        test = compile_regex(pattern, fold_case=False)
    except (_Unread, ValueError, RecursionError):
        return ()
    return tuple(dict.fromkeys(text for text in sorted(found, key=len) if test.search(text) is not None))


class _Reader:
    """Reads a pattern from left to right; each part becomes a few texts that it matches."""

    def __init__(self, pattern: str) -> None:
        self.left = pattern

    def alternatives(self) -> list[str]:
        found = self._sequence()
        while self._take("|"):
            found += self._sequence()
        return list(dict.fromkeys(found))[:_MOST]

    def _sequence(self) -> list[str]:
        found = [""]
        while self.left and self.left[0] not in "|)":
            found = _joined(found, self._counted(self._atom()))
        return found

    def _atom(self) -> list[str]:
        if flags := _FLAGS.match(self.left):
            self._skip(flags.end())
            return [""]
        if self.left[0] == "(":
            opened = _GROUP.match(self.left)
            if opened is None:
                raise _Unread
            self._skip(opened.end())
            found = self.alternatives()
            if not self._take(")"):
                raise _Unread
            return found
        if self._take("^") or self._take("$"):
            return [""]
        for form in (_ESCAPE, _CLASS):
            if one := form.match(self.left):
                self._skip(one.end())
                return [""] if one[0] in _NOTHING else _members(one[0])
        char = self.left[0]
        if char in "*+?{[\\":
            raise _Unread
        self._skip(1)
        return ["a", "-"] if char == "." else [char]

    def _counted(self, part: list[str]) -> list[str]:
        counted = _COUNT.match(self.left)
        if counted:
            self._skip(counted.end())
            low = int(counted[1])
            high = low if counted[2] is None else int(counted[3]) if counted[3] else low + 1
        elif self.left[:1] in ("*", "+", "?") and self.left:
            low, high = {"*": (0, 2), "+": (1, 2), "?": (0, 1)}[self.left[0]]
            self._skip(1)
        else:
            return part
        self._take("?")  # lazy: what it matches is the same
        return [one * times for times in dict.fromkeys((low, high)) for one in part if len(one) * times <= _LONGEST]

    def _take(self, char: str) -> bool:
        if not self.left.startswith(char):
            return False
        self._skip(1)
        return True

    def _skip(self, length: int) -> None:
        self.left = self.left[length:]


def _joined(heads: list[str], tails: list[str]) -> list[str]:
    """Join two parts: the first texts of both, the last of both, then the rest, as far as they stay few and short."""
    pairs = [head + tail for tail in tails for head in heads]
    ends = [heads[-1] + tails[-1]] if heads and tails else []
    kept = [text for text in dict.fromkeys([*pairs[:1], *ends, *pairs]) if len(text) <= _LONGEST][:_MOST]
    if not kept:
        raise _Unread
    return kept


def _members(text: str) -> list[str]:
    """Give the first and the last character that a class or an escape stands for."""
    test = compile_regex(f"(?s:{text})", fold_case=False)
    found = [char for char in _TRIED if test.fullmatch(char) is not None]
    if not found:
        raise _Unread
    return list(dict.fromkeys((found[0], found[-1])))
