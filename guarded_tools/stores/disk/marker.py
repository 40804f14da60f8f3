"""The marker beside a database: what a database that vanished cannot say of itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal, NamedTuple


class Marker(NamedTuple):
    """What a file beside the database says of it, so that a database that vanished is missed.

    ``open`` means that its write-ahead log has to be there unless somebody is in the directory to keep it. ``entry``
    counts how often an empty directory was entered and left; the database counts along and is never behind. ``before``
    names the stores that were here until somebody reset them: whoever runs on one of these may go on with this one.
    """

    store: str
    state: Literal["open", "closed", "lost"]
    entry: int = 0
    reason: str = ""
    before: tuple[str, ...] = ()


def read_marker(path: Path) -> Marker | None:
    """Read a marker; ``None`` where there is none, and one that is lost where it cannot be read."""
    try:
        read = json.loads(path.read_bytes())
        before = tuple(map(str, read.get("before", ())))
        return Marker(read["store"], read["state"], int(read["entry"]), read["reason"], before)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return Marker("", "lost", reason=f"{path.name} cannot be read")
