"""Buttons that can be pressed once, by whom they were shown to: what each form carries beside what it says."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import threading
import time
from typing import Final, Literal

from guarded_tools.web.doors import LASTS, Clock

_MOST: Final = 10_000


class Presses:
    """Gives forms a token that its user may send back once, within the twelve hours that somebody stays in."""

    def __init__(self, clock: Clock = time.monotonic) -> None:
        self._clock = clock
        self._key = secrets.token_bytes(32)
        self._lock = threading.Lock()
        self._used: dict[str, float] = {}

    def token(self, user: str) -> str:
        """Make one for a form that is shown to ``user``."""
        said = f"{secrets.token_urlsafe(12)}.{self._clock() + LASTS:.3f}"
        return f"{said}.{self._sign(said, user)}"

    def press(self, token: str, user: str, *, spend: bool) -> Literal["fine", "again", "foreign"]:
        """Take one back: ``again`` where it was used, ``foreign`` where it is not this user's or too old."""
        said, _, signed = token.rpartition(".")
        if not hmac.compare_digest(self._sign(said, user).encode(), signed.encode("utf-8", "replace")):
            return "foreign"
        ends = float(said.partition(".")[2])
        now = self._clock()
        if ends <= now:
            return "foreign"
        with self._lock:
            if said in self._used:
                return "again"
            if spend:
                if len(self._used) >= _MOST:
                    self._used = {one: until for one, until in self._used.items() if until > now}
                self._used[said] = ends
        return "fine"

    def give_back(self, token: str) -> None:
        """Let a form be sent again: nothing came of it."""
        with self._lock:
            self._used.pop(token.rpartition(".")[0], None)

    def _sign(self, said: str, user: str) -> str:
        text = f"{said}\n{user}".encode("utf-8", "replace")
        return hmac.new(self._key, text, hashlib.sha256).hexdigest()
