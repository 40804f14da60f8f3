"""Words of others on a terminal of ours."""

from __future__ import annotations


def printable(text: str) -> str:
    """Escape what a terminal would obey or hide."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)
