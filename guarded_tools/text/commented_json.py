"""JSON as people and editors write it, with comments and commas too many: what it says, and where each part stands.

It is for files that belong to somebody else, of which one part is to be replaced and nothing else touched.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from guarded_tools.text.visible import quoted

_DEEPEST = 200
_BLANK = re.compile(r"(?:[ \t\r\n\ufeff]|//[^\n]*|/\*(?:[^*]|\*(?!/))*\*/)*")
_TEXT = re.compile(r'"(?:[^"\\\x00-\x1f]|\\.)*"')
_WORD = re.compile(r"-?[0-9][0-9.eE+-]*|true|false|null")


class PlacedValue(NamedTuple):
    """A value and where it stands: from ``start`` up to ``end``. ``members`` are those of an object."""

    value: Any
    start: int
    end: int
    members: Mapping[str, PlacedValue] | None = None


def read_parts(text: str) -> PlacedValue:
    """Read a text.

    Raises:
        ValueError: it is no such JSON, or names a key of an object twice; the message says where.
    """
    reader = _CommentedReader(text)
    part = reader.value(reader.blank(0), 0)
    if reader.blank(part.end) != len(text):
        raise reader.wrong(reader.blank(part.end), "nothing more is expected")
    return part


class _CommentedReader:
    def __init__(self, text: str) -> None:
        self._text = text

    def wrong(self, at: int, what: str) -> ValueError:
        line = self._text.count("\n", 0, at) + 1
        return ValueError(f"line {line}, column {at - self._text.rfind(chr(10), 0, at)}: {what}")

    def blank(self, at: int) -> int:
        """Where the next word begins."""
        found = _BLANK.match(self._text, at)
        return found.end() if found is not None else at

    def value(self, at: int, depth: int) -> PlacedValue:
        if depth > _DEEPEST:
            raise self.wrong(at, f"it is nested deeper than {_DEEPEST}")
        begins = self._text[at : at + 1]
        if begins == "{":
            return self._object(at, depth)
        if begins == "[":
            return self._array(at, depth)
        found = (_TEXT if begins == '"' else _WORD).match(self._text, at)
        if found is None:
            raise self.wrong(at, "a value is expected")
        try:
            return PlacedValue(json.loads(found[0]), at, found.end())
        except ValueError:
            raise self.wrong(at, "a value is expected") from None

    def _object(self, start: int, depth: int) -> PlacedValue:
        members: dict[str, PlacedValue] = {}
        at = self.blank(start + 1)
        while self._text[at : at + 1] != "}":
            if self._text[at : at + 1] != '"':
                raise self.wrong(at, "a name or } is expected")
            name = self.value(at, depth)
            if name.value in members:
                raise self.wrong(at, f"the key {quoted(name.value)} appears twice")
            colon = self.blank(name.end)
            if self._text[colon : colon + 1] != ":":
                raise self.wrong(colon, ": is expected")
            part = members[name.value] = self.value(self.blank(colon + 1), depth + 1)
            at = self._after(part.end, "}")
        return PlacedValue({name: part.value for name, part in members.items()}, start, at + 1, members)

    def _array(self, start: int, depth: int) -> PlacedValue:
        items: list[Any] = []
        at = self.blank(start + 1)
        while self._text[at : at + 1] != "]":
            part = self.value(at, depth + 1)
            items.append(part.value)
            at = self._after(part.end, "]")
        return PlacedValue(items, start, at + 1)

    def _after(self, end: int, closing: str) -> int:
        """Where the next member begins, or the end stands."""
        at = self.blank(end)
        if self._text[at : at + 1] == ",":
            return self.blank(at + 1)
        if self._text[at : at + 1] != closing:
            raise self.wrong(at, f", or {closing} is expected")
        return at
