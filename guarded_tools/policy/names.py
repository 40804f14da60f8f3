"""Which entry of a policy speaks for a tool's name."""

from __future__ import annotations

from functools import cached_property
from typing import NamedTuple

from guarded_tools.policy.document import PolicyDocument, Tool
from guarded_tools.policy.folding import fold_name as fold
from guarded_tools.policy.globs import is_glob, matches


class Entry(NamedTuple):
    """The entry that speaks for a name. ``lookalike``: the name only looks like one it speaks for."""

    key: str
    tool: Tool
    lookalike: bool


class Names:
    """The names and globs of one policy.

    A name that differs from a listed one only in case, width or invisible characters is never let through by a wider
    entry or by the default: whoever wrote the entry meant that tool.
    """

    def __init__(self, policy: PolicyDocument) -> None:
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
        """Find the entry: the exact key, a key it looks like, the first glob it fits, a glob its folded form fits."""
        if name in self._tools:
            return Entry(name, self._tools[name], lookalike=False)
        folded = fold(name)
        if folded in self._folded:
            key = self._folded[folded]
            return Entry(key, self._tools[key], lookalike=True)
        for glob in self._globs:
            if matches(glob, name):
                return Entry(glob, self._tools[glob], lookalike=False)
        for glob in self._globs:
            if matches(fold(glob), folded):
                return Entry(glob, self._tools[glob], lookalike=True)
        return None
