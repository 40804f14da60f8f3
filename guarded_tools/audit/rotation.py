"""Full files of a log: ``<path>.1``, ``<path>.2`` and so on, numbered in the order in which they were full."""

from __future__ import annotations

import glob
from pathlib import Path


def rotated(path: Path) -> list[tuple[int, Path]]:
    """List the full files of the log at ``path`` with their numbers, oldest first."""
    found = []
    for entry in path.parent.glob(glob.escape(path.name) + ".*"):
        number = entry.name[len(path.name) + 1 :]
        if number.isascii() and number.isdigit():
            found.append((int(number), entry))
    return sorted(found)
