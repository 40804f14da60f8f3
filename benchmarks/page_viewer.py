"""The page as a process of its own, and tabs that look at it as browsers do."""

from __future__ import annotations

import contextlib
import http.client
import os
import queue
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

_STARTS: Final = 60.0


class Page:
    """``guarded-tools web`` on a state, and somebody who came in by its link."""

    def __init__(self, home: Path, url: str, policy: Path) -> None:
        command = [sys.executable, "-m", "guarded_tools.cli", "web", "--port", "0", "--policy", str(policy)]
        self.began = time.monotonic()
        self.process = subprocess.Popen(
            [*command, "--state", str(home), "--store", url], stdout=subprocess.PIPE, text=True, bufsize=1
        )
        assert self.process.stdout is not None
        link = next(line for line in self.process.stdout if "/enter?token=" in line).split(": ", 1)[1].strip()
        parts = urlsplit(link)
        self.host = parts.netloc
        answer = self._enter(f"{parts.path}?{parts.query}")
        self.cookie = answer.partition(";")[0]

    def _enter(self, path: str) -> str:
        while True:
            with contextlib.closing(http.client.HTTPConnection(self.host, timeout=_STARTS)) as there:
                try:
                    there.request("GET", path)
                    return there.getresponse().headers["set-cookie"]
                except ConnectionRefusedError:
                    if time.monotonic() - self.began > _STARTS:
                        raise
                    time.sleep(0.01)

    def connect(self) -> http.client.HTTPConnection:
        """Open a connection of a browser, which stays."""
        return http.client.HTTPConnection(self.host, timeout=60)

    def get(self, there: http.client.HTTPConnection, path: str, **headers: str) -> bytes:
        """Fetch a page."""
        there.request("GET", path, headers={"Cookie": self.cookie, "Sec-Fetch-Site": "same-origin", **headers})
        answer = there.getresponse()
        body = answer.read()
        if answer.status not in (200, 404):
            raise RuntimeError(f"{path}: {answer.status} {body[-300:]!r}")
        return body

    def first_news(self) -> float:
        """Return how long it takes, in seconds, until a tab that has just been opened hears that it is listened to."""
        with contextlib.closing(self.connect()) as there:
            began = time.perf_counter()
            there.request("GET", "/live?since=", headers={"Cookie": self.cookie})
            next(line for line in there.getresponse() if line.startswith(b"data: "))
            return time.perf_counter() - began

    def seconds(self) -> float:
        """Return how long its threads have computed."""
        tasks = Path(f"/proc/{self.process.pid}/task")
        return sum(int((task / "schedstat").read_text(encoding="ascii").split()[0]) for task in tasks.iterdir()) / 1e9

    @contextlib.contextmanager
    def stopped(self) -> Iterator[None]:
        """Have it stand still: what is open stays so, and nothing of it runs."""
        self.process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.process.send_signal(signal.SIGCONT)

    def close(self) -> None:
        """End it."""
        self.process.terminate()
        self.process.wait(30)


def _behind() -> None:
    """Have this thread take what others leave of the machine: people look from machines of their own."""
    os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 19)


class Tabs:
    """Browsers that each hold a live stream, and fetch their page at every news of it, and at least once a second."""

    def __init__(self, page: Page, paths: Sequence[str]) -> None:
        self.fetched: queue.SimpleQueue[float] = queue.SimpleQueue()
        self._page = page
        self._ending = threading.Event()
        self._threads = [threading.Thread(target=self._look, args=(path,), daemon=True) for path in paths]
        for thread in self._threads:
            thread.start()

    def _look(self, path: str) -> None:
        _behind()
        there, news = self._page.connect(), threading.Event()
        shown = self._page.get(there, path)
        version = re.search(rb'data-version="(\d+)"', shown)
        topics = re.search(rb'data-topics="([^"]*)"', shown)
        mine = set(topics[1].decode().split()) if topics else set()
        since = version[1].decode() if version else ""
        threading.Thread(target=self._listen, args=(since, mine, news), daemon=True).start()
        while not self._ending.is_set():
            news.wait(1.0)
            news.clear()
            began = time.perf_counter()
            try:
                self._page.get(there, path, **{"HX-Request": "true"})
            except (OSError, http.client.HTTPException):
                if self._ending.is_set():
                    return
                raise
            self.fetched.put(time.perf_counter() - began)

    def _listen(self, since: str, mine: set[str], news: threading.Event) -> None:
        _behind()
        there = self._page.connect()
        there.request("GET", f"/live?since={since}", headers={"Cookie": self._page.cookie})
        with contextlib.suppress(OSError, http.client.HTTPException, ValueError):
            for line in there.getresponse():
                if line.startswith(b"data: ") and mine & set(line[6:].decode().split()):
                    news.set()

    def count(self) -> list[float]:
        """Return how long each fetch took since this was asked the last time, in seconds."""
        return [self.fetched.get() for _ in range(self.fetched.qsize())]

    def close(self) -> None:
        """Have them look away."""
        self._ending.set()
        for thread in self._threads:
            thread.join(60)


@contextlib.contextmanager
def opened(home: Path, url: str, policy: Path) -> Iterator[Page]:
    """Serve the page."""
    page = Page(home, url, policy)
    try:
        yield page
    finally:
        page.close()
