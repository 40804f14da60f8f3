"""Whether two calls name the same values: digests of what stands in their arguments, for ``same`` of a need."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeAlias

from guarded_tools.policy.compile import Args
from guarded_tools.policy.paths import MISSING, UNDECIDED, Indeterminate, compile_one, parse_path
from guarded_tools.values import canonical, digest

Views: TypeAlias = tuple[Args, ...]
"""The readings of a call's arguments."""


def compare_values(paths: Iterable[str]) -> Callable[[Views, Iterable[str]], str | None]:
    """Make a reader of the digest of some values, bound to what the *earlier* call names them."""
    reads = [compile_one(parse_path(path)) for path in paths]

    def digest_of(views: Views, names: Iterable[str]) -> str | None:
        if not reads:
            return ""
        found: set[str] = set()
        try:
            for view in views:
                values = [read(view) for read in reads]
                if any(value is MISSING or value is UNDECIDED or value is None for value in values):
                    return None
                found.add(canonical(values))
        except (Indeterminate, ValueError):
            return None
        return digest(list(names), found.pop())[:32] if len(found) == 1 else None

    return digest_of
