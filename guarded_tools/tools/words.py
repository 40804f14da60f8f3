"""The words that a name is made of, in whatever way they are joined, and lists of words to look them up in."""

from __future__ import annotations

import re

_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")


def vocabulary(text: str) -> frozenset[str]:
    """Make a set of the words of a text, which is how a long list of them reads best."""
    return frozenset(text.split())


def words_of(name: str) -> list[str]:
    """Split `delete_repo`, `delete-repo`, `repo.delete`, `deleteRepo` and `getHTTPHeaders` into lower-case words."""
    return [word.lower() for word in _WORD.findall(name)]
