"""Where commands print their tables."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

_UNBROKEN = 10_000


def out() -> Console:
    """Where tables are printed: as wide as a terminal, and in a pipe so wide that no name is cut in two."""
    from rich.console import Console

    return Console(highlight=False, width=None if sys.stdout.isatty() else _UNBROKEN)
