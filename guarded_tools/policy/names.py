"""Which entry of a policy speaks for a tool's name."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

from guarded_tools.policy.conditions import fold

if TYPE_CHECKING:
    from guarded_tools.policy.model import Policy, Tool


def is_glob(key: str) -> bool:
    """Whether a key stands for many names: ``*`` is any text, ``?`` any one character."""
    return "*" in key or "?" in key


def matches(glob: str, name: str) -> bool:
    """Whether the whole of ``name`` fits ``glob``, in time bounded by the product of their lengths."""
    return _fits(glob, name, lambda wild, char: wild in ("?", char))


def _fits(glob: str, name: str, one: Callable[[str, str], bool]) -> bool:
    at = place = 0
    star, resume = -1, 0
    while place < len(name):
        if at < len(glob) and glob[at] == "*":
            star, resume = at, place
            at += 1
        elif at < len(glob) and one(glob[at], name[place]):
            at += 1
            place += 1
        elif star >= 0:
            # Only the last star can still take more: everything before it has matched for good.
            at = star + 1
            resume += 1
            place = resume
        else:
            return False
    return all(char == "*" for char in glob[at:])


def literal_prefix(glob: str) -> str:
    """The part before the first wildcard."""
    return re.split(r"[*?]", glob, maxsplit=1)[0]


def covers(wide: str, narrow: str) -> bool:
    """Whether every name that fits ``narrow`` fits ``wide`` too; a glob or a name in either place."""
    # Read as a text, the narrow one's stars fit nothing but stars, and its question marks nothing but wildcards.
    return _fits(wide, narrow, lambda wild, char: wild == char or (wild == "?" and char != "*"))


class Entry(NamedTuple):
    """The entry that speaks for a name. ``twin`` is true where the name only looks like one the entry speaks for."""

    key: str
    tool: Tool
    twin: bool


class Names:
    """The names and globs of one policy.

    A name that differs from a listed one only in case, width or invisible characters is never let through by a wider
    entry or by the default: whoever wrote the entry meant that tool.
    """

    def __init__(self, policy: Policy) -> None:
        self._tools = policy.tools
        self._globs = tuple(key for key in policy.tools if is_glob(key))
        self._hidden = frozenset(policy.hide)
        self._hidden_globs = tuple(entry for entry in policy.hide if is_glob(entry))

    @cached_property
    def _folded(self) -> dict[str, str]:
        return {fold(key): key for key in self._tools if not is_glob(key)}

    @cached_property
    def _hidden_folded(self) -> frozenset[str]:
        return frozenset(map(fold, self._hidden))

    def hides(self, name: str) -> bool:
        """Whether the name, or one that it only differs from in looks, is hidden."""
        if name in self._hidden or any(matches(glob, name) for glob in self._hidden_globs):
            return True
        # A tool that has an entry of its own, letter for letter, is that tool.
        if not self._hidden or name in self._tools:
            return False
        folded = fold(name)
        return folded in self._hidden_folded or any(matches(fold(glob), folded) for glob in self._hidden_globs)

    def entry(self, name: str) -> Entry | None:
        """Find the entry: the exact key, a key it is a twin of, the first glob it fits, a glob its folded form fits."""
        if name in self._tools:
            return Entry(name, self._tools[name], twin=False)
        folded = fold(name)
        if folded in self._folded:
            key = self._folded[folded]
            return Entry(key, self._tools[key], twin=True)
        for glob in self._globs:
            if matches(glob, name):
                return Entry(glob, self._tools[glob], twin=False)
        for glob in self._globs:
            if matches(fold(glob), folded):
                return Entry(glob, self._tools[glob], twin=True)
        return None
