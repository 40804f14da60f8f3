"""Who may come in, and as whom: by a one-time link, a password, or a proxy that knows its users. There is one door.

A link and a password are exchanged for a session, which a cookie names; of a session only a digest is kept. Times are
in seconds on a clock that is handed in.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import threading
import time
from collections.abc import Callable
from typing import Final, NamedTuple, Protocol, TypeAlias

from guarded_tools.listening import same_address

Clock: TypeAlias = Callable[[], float]

LASTS: Final = 12 * 3600.0
"""Seconds that somebody stays in."""
LINK_LASTS: Final = 600.0
"""Seconds that a link may be opened."""
_MOST_SESSIONS: Final = 1_000
_LONGEST_NAME: Final = 200
_SPAN, _EACH, _TOGETHER = 300.0, 5, 100


class Knock(NamedTuple):
    """What a request shows at the door: its cookie, the address it came from, and all values of a header by name."""

    cookie: str
    address: str
    header: Callable[[str], list[str]]


class Door(Protocol):
    """Lets people in."""

    def visitor(self, knock: Knock) -> str | None:
        """Name who is in already; ``None`` for a stranger."""
        ...


class VisitorSessions:
    """Who is in, by the digest of what their cookie says."""

    def __init__(self, clock: Clock = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._known: dict[str, tuple[str, float]] = {}

    def begin(self, user: str) -> str:
        """Let somebody in; returns what the cookie says."""
        said = secrets.token_urlsafe(32)
        now = self._clock()
        with self._lock:
            kept = [(key, who) for key, who in self._known.items() if who[1] > now][-_MOST_SESSIONS + 1 :]
            self._known = {**dict(kept), _digest(said): (user, now + LASTS)}
        return said

    def user(self, said: str) -> str | None:
        """Name who a cookie stands for."""
        found = self._known.get(_digest(said)) if said else None
        return found[0] if found is not None and found[1] > self._clock() else None

    def end(self, said: str) -> None:
        """Forget a session."""
        with self._lock:
            self._known.pop(_digest(said), None)


class LinkDoor:
    """Opens to a link that is printed where the page was started, once; the next link is made by then."""

    def __init__(self, user: str, announce: Callable[[str], None], clock: Clock = time.monotonic) -> None:
        self.sessions = VisitorSessions(clock)
        self._user, self._announce, self._clock = user, announce, clock
        self._lock = threading.Lock()
        self._open: tuple[str, float] | None = None

    def renew(self) -> None:
        """Make a new link, and announce its token; the one before is void."""
        token = secrets.token_urlsafe(32)
        with self._lock:
            self._open = _digest(token), self._clock() + LINK_LASTS
        self._announce(token)

    def enter(self, token: str) -> str | None:
        """Exchange a token for a session's cookie; ``None`` where it is not the one, was used, or is too old."""
        with self._lock:
            kept = self._open
            if kept is None or kept[1] <= self._clock() or not hmac.compare_digest(_digest(token), kept[0]):
                late = kept is not None and kept[1] <= self._clock()
                found = False
            else:
                self._open, late, found = None, False, True
        if late or found:
            self.renew()
        return self.sessions.begin(self._user) if found else None

    def visitor(self, knock: Knock) -> str | None:
        """Name who is in."""
        return self.sessions.user(knock.cookie)


class Attempts:
    """Bounds how often a password is tried: from one address, and from all together."""

    def __init__(self, clock: Clock = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._tries: list[tuple[float, str]] = []

    def wait(self, address: str) -> float:
        """Count a try, and return 0.0; or count none, and return the seconds until one is allowed."""
        now = self._clock()
        with self._lock:
            self._tries = [one for one in self._tries if one[0] > now - _SPAN]
            own = [at for at, whose in self._tries if whose == address]
            for tries, most in ((own, _EACH), ([at for at, _ in self._tries], _TOGETHER)):
                if len(tries) >= most:
                    return tries[-most] + _SPAN - now
            self._tries.append((now, address))
            return 0.0

    def forgive(self, address: str) -> None:
        """Forget an address's tries: the last one was right."""
        with self._lock:
            self._tries = [one for one in self._tries if one[1] != address]


class PasswordDoor:
    """Opens to a password that all share. Who it is they say themselves; the audit says that it is their word.

    The password is kept as a slow hash (scrypt), and compared in constant time.
    """

    def __init__(self, password: str, clock: Clock = time.monotonic) -> None:
        self.sessions = VisitorSessions(clock)
        self.attempts = Attempts(clock)
        self._salt = secrets.token_bytes(16)
        self._hash = self._slowly(password)

    def _slowly(self, password: str) -> bytes:
        return hashlib.scrypt(password.encode("utf-8", "replace"), salt=self._salt, n=2**14, r=8, p=1)

    def enter(self, password: str, name: str, address: str) -> str | float | None:
        """Exchange the password for a session's cookie; ``None`` where it is wrong, a number of seconds to wait."""
        wait = self.attempts.wait(address)
        if wait:
            return wait
        if not hmac.compare_digest(self._slowly(password), self._hash):
            return None
        self.attempts.forgive(address)
        return self.sessions.begin(f"{name} (password)")

    def visitor(self, knock: Knock) -> str | None:
        """Name who is in."""
        return self.sessions.user(knock.cookie)


class ProxyDoor:
    """Opens to whom a proxy names, in one header, and only where the request came from that proxy's address."""

    def __init__(self, header: str, address: str) -> None:
        self.header, self.address = header, address

    def visitor(self, knock: Knock) -> str | None:
        """Name who the proxy let in."""
        if not same_address(knock.address, self.address):
            return None
        said = knock.header(self.header)
        # Of two values one came through the proxy, which has to replace what its clients send.
        name = said[0].strip()[:_LONGEST_NAME] if len(said) == 1 else ""
        return name or None


def _digest(said: str) -> str:
    return hashlib.sha256(said.encode("utf-8", "replace")).hexdigest()
