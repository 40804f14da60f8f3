"""What an examination says of one thing."""

from __future__ import annotations

from typing import Literal, NamedTuple, TypeAlias

Level: TypeAlias = Literal["ok", "warning", "wrong"]
"""``warning``: it works, and something may be a surprise. ``wrong``: calls are refused, or will be."""


class Remark(NamedTuple):
    """One thing that was looked at: how it is, and the command to run next, where there is one."""

    level: Level
    about: str
    said: str
    next: str = ""
