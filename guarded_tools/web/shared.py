"""What is written once for all tabs that look at the same: what is live of a page without a form of anybody's own."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final

LASTS: Final = 1.0
"""Seconds after which a part is written anew though nothing was told: what it says of time goes on."""
_MOST: Final = 64


class Shared:
    """Keeps what was written last for each address, for as long as no news came. ``version`` counts news."""

    def __init__(self, version: Callable[[], int], clock: Callable[[], float] = time.monotonic) -> None:
        self._version, self._clock = version, clock
        self._lock = threading.Lock()
        self._parts: dict[str, _SharedPart] = {}

    def get(self, address: str, write: Callable[[int], str]) -> str:
        """Return what ``write`` makes of the version that it is handed, or made of the same a moment ago."""
        with self._lock:
            part = self._parts.setdefault(address, _SharedPart())
            if len(self._parts) > _MOST:
                del self._parts[next(iter(self._parts))]
        with part.lock:
            # Before it is written: what comes meanwhile is told of, and makes it another one.
            version, now = self._version(), self._clock()
            if part.version != version or now - part.began >= LASTS:
                part.text = write(version)
                part.version, part.began = version, now
            return part.text


class _SharedPart:
    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.version, self.began, self.text = -1, 0.0, ""
