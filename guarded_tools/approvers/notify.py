"""Tells somebody that a question waits: which tool, how risky, under which id, and where the page is.

Never what the arguments are, nor why it is asked: a chat's history and a phone's lock screen are read by others than
those who may answer. Telling is a favour and no step of the call: it happens in a thread of its own, and whatever
becomes of it neither delays the question nor fails it.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import http.client
import inspect
import ipaddress
import json
import logging
import os
import threading
import time
import urllib.error
import urllib.request
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final, NamedTuple
from urllib.parse import SplitResult, urlsplit

from guarded_tools.text.redaction import mask
from guarded_tools.text.visible import plain
from guarded_tools.values import ApprovalRequest

log = logging.getLogger("guarded_tools.notify")

MOST: Final = 100
"""How many notices wait at most; while as many wait, no other is taken."""

TIMESTAMP: Final = "X-Guarded-Tools-Timestamp"
SIGNATURE: Final = "X-Guarded-Tools-Signature"
_LONGEST_NAME: Final = 200
_AGAIN: Final = {408, 425, 429}


class Notice(NamedTuple):
    """What is told of a question. ``link`` is the page where it is answered, ``""`` if none was named."""

    tool: str
    risk: str
    id: str
    link: str = ""

    @classmethod
    def of(cls, request: ApprovalRequest, question: str, link: str) -> Notice:
        """Take from a request what may be told: what is invisible in a tool's name is made visible, secrets masked."""
        page = f"{link.rstrip('/')}/approvals/{question}" if link else ""
        return cls(plain(mask(request.tool), _LONGEST_NAME), request.risk, question, page)


class Undelivered(Exception):  # noqa: N818 - it says what happened, as the others of this package do
    """A notice was not taken; ``again`` is whether trying once more may help."""

    def __init__(self, why: str, *, again: bool) -> None:
        super().__init__(why)
        self.again = again


class Notifier:
    """Hands notices to ``send``, one after the other, in a thread that is there only while some wait.

    Any thread and any fork may tell. The thread does not keep the process alive.
    """

    def __init__(self, send: Callable[[Notice], object]) -> None:
        self._send = send
        self._begin()

    def _begin(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._waiting: deque[Notice] = deque()
        self._thread: threading.Thread | None = None

    def tell(self, notice: Notice) -> None:
        """Take a notice, and come back at once; what becomes of it is logged where it fails."""
        if self._pid != os.getpid():  # the parent's thread is not here, and its lock may have been held
            self._begin()
        with self._lock:
            if len(self._waiting) >= MOST:
                log.warning("Nobody was told of question %s: %d notices wait already", notice.id, MOST)
                return
            self._waiting.append(notice)
            if self._thread is None:
                thread = threading.Thread(target=self._work, name="guarded-tools-notify", daemon=True)
                try:
                    thread.start()
                except RuntimeError:  # a program that is ending, or is full, starts none
                    self._waiting.clear()
                    log.warning("Nobody was told of question %s: there is no thread for it", notice.id)
                else:
                    self._thread = thread

    def _work(self) -> None:
        while True:
            with self._lock:
                if not self._waiting:
                    self._thread = None
                    return
                notice = self._waiting.popleft()
            try:
                _finish(self._send(notice))
            except Undelivered as error:
                log.warning("Nobody was told of question %s: %s", notice.id, error)
            except Exception as error:  # noqa: BLE001 - whatever it is, the question stands
                # Its text may hold the address, and an address of a webhook is a password.
                log.warning("Nobody was told of question %s: notify raised %s", notice.id, type(error).__name__)


def _finish(answer: object) -> None:
    """Wait for what an async function gave back."""
    if inspect.iscoroutine(answer):
        coroutine: Coroutine[Any, Any, object] = answer
        asyncio.run(coroutine)


class Webhook:
    """Posts each notice as JSON to an address, signed.

    The header ``X-Guarded-Tools-Signature`` is ``sha256=`` and the HMAC-SHA256, in hex, of the timestamp in
    ``X-Guarded-Tools-Timestamp`` (seconds since the epoch), a dot, and the body, under ``secret``. What fails in a way
    that may pass is tried again after each of ``waits``, in seconds; what arrives twice has one ``id``. Redirects are
    not followed.

    Args:
        url: Where to post, ``https://…``; ``http://`` to this machine only, unless ``insecure`` is true.
        secret: Known to the receiver and nobody else.
        insecure: Whether notices may go to another machine unencrypted.
        timeout: Seconds until a receiver that says nothing has failed.
        waits: Seconds before each further try.
        clock: Seconds since the epoch.
        sleep: Waits so many seconds.

    Raises:
        ValueError: the address is none for this, or there is no secret.
    """

    def __init__(
        self,
        url: str,
        *,
        secret: str | bytes,
        insecure: bool = False,
        timeout: float = 10.0,
        waits: Sequence[float] = (1.0, 5.0, 25.0),
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        parts = http_address(url, "a webhook's address")
        local = _is_local(parts.hostname or "")
        if parts.scheme == "http" and not (local or insecure):
            raise ValueError("a webhook on another machine needs https://, or insecure=True to send it unencrypted")
        if not secret:
            raise ValueError("a webhook needs a secret to sign with, which its receiver knows: secret=…")
        self._url, self._where = url, f"{parts.scheme}://{parts.hostname}"
        self._secret = secret.encode() if isinstance(secret, str) else secret
        self._timeout, self._waits = timeout, tuple(waits)
        self._clock, self._sleep = clock, sleep
        # What is meant for this machine goes through no proxy.
        proxies = [urllib.request.ProxyHandler({})] if local else []
        self._opener = urllib.request.build_opener(_NoRedirects, *proxies)

    def __repr__(self) -> str:
        return f"Webhook({self._where!r}, …)"

    def __call__(self, notice: Notice) -> None:
        """Post a notice.

        Raises:
            Undelivered: it was not taken, however often it was tried.
        """
        for wait in self._waits:
            try:
                self._post(notice)
            except Undelivered as error:
                if not error.again:
                    raise
                self._sleep(wait)
            else:
                return
        self._post(notice)

    def _post(self, notice: Notice) -> None:
        body = json.dumps(notice._asdict()).encode()
        timestamp = str(int(self._clock()))
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "guarded-tools",
            TIMESTAMP: timestamp,
            SIGNATURE: signature(self._secret, timestamp, body),
        }
        request = urllib.request.Request(self._url, body, headers, method="POST")  # noqa: S310 - http(s), as checked
        try:
            self._opener.open(request, timeout=self._timeout).close()
        except urllib.error.HTTPError as error:
            with error:
                again = error.code >= http.client.INTERNAL_SERVER_ERROR or error.code in _AGAIN
            raise Undelivered(f"{self._where} answered {error.code}", again=again) from None
        except (OSError, http.client.HTTPException) as error:
            # Its text may hold the address, and an address of a webhook is a password.
            raise Undelivered(f"{self._where} did not answer ({type(error).__name__})", again=True) from None


def signature(secret: bytes, timestamp: str, body: bytes) -> str:
    """Return what a receiver compares with the header, by ``hmac.compare_digest``."""
    return "sha256=" + hmac.new(secret, timestamp.encode("ascii") + b"." + body, hashlib.sha256).hexdigest()


def http_address(url: str, what: str) -> SplitResult:
    """Take an address of the web apart.

    Raises:
        ValueError: it is no ``http://`` or ``https://`` address of a host, or holds a user's name or password.
    """
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018 - raises where it is no port
    except ValueError:
        raise ValueError(f"{what} cannot be read: is it like https://example.com/path?") from None
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError(f"{what} begins with https:// or http:// and names a host")
    if "@" in parts.netloc:
        raise ValueError(f"{what} must not hold a name or password")
    if not url.isascii() or not url.isprintable() or " " in url:
        raise ValueError(f"{what} is written in ASCII, without blanks")
    return parts


def _is_local(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """Leaves a redirect what it is: an answer that is no success. What is signed goes to no other place."""

    def redirect_request(self, *_: object) -> None:
        return None
