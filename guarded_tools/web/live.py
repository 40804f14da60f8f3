"""What is live: a tab is told that something changed, and fetches its page again. What changed is never sent here.

So there is one place where text is escaped, and a tab that reads slowly misses nothing: what it has not been told
is one set of names, however long it takes. The store is looked at by one thread for all tabs together: twice a second,
and now and then where there is none, so that whoever comes waits for no long list. Where calls come without a pause,
tabs are told of them once a second.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Final, Literal, TypeAlias, get_args

from guarded_tools.errors import GuardError

Topic: TypeAlias = Literal["approvals", "answered", "audit", "halts"]

MOST_TABS: Final = 600
"""Tabs that are told what changes; a tab that nobody looks at does not listen."""
_LOOK_EVERY: Final = 0.5
_LOOK_ALONE: Final = 10.0
_HEARTBEAT: Final = 15.0
_PAUSE: Final = 0.25
_PACE: Final[Mapping[Topic, float]] = {"audit": 1.0}


class Live:
    """Tells tabs what changed. ``looks`` are asked for what they see; where that differs, its topic has changed."""

    def __init__(self, looks: dict[Topic, Callable[[], object]]) -> None:
        self._looks = looks
        self._seen: dict[Topic, object] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._tabs: dict[asyncio.Event, set[str]] = {}
        self._untold: set[Topic] = set()
        self._not_before: dict[Topic, float] = {}
        # Of another run of the server it is another one.
        self.version = time.time_ns() // 1_000
        self._ending = threading.Event()
        self._wanted = threading.Event()
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()

    def start(self) -> None:
        """Begin to look; called on the event loop that serves tabs."""
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._watch, name="guarded-tools-web-live", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End all tabs and the thread."""
        self._ending.set()
        self._wanted.set()
        for changed in self._tabs:
            changed.set()

    @property
    def is_full(self) -> bool:
        """Whether no further tab is told anything."""
        return len(self._tabs) >= MOST_TABS

    def changed(self, topic: Topic) -> None:
        """Say that something changed; from any thread."""
        loop = self._loop
        with self._lock:
            if loop is None or loop.is_closed() or topic in self._untold:
                return
            self._untold.add(topic)
        loop.call_soon_threadsafe(self._tell_when_due, loop, topic)

    def _tell_when_due(self, loop: asyncio.AbstractEventLoop, topic: Topic) -> None:
        loop.call_at(self._not_before.get(topic, 0.0), self._tell, loop, topic)

    def _tell(self, loop: asyncio.AbstractEventLoop, topic: Topic) -> None:
        with self._lock:
            self._untold.discard(topic)
        self._not_before[topic] = loop.time() + _PACE.get(topic, 0.0)
        self.version += 1
        for changed, untold in self._tabs.items():
            untold.add(topic)
            changed.set()

    def _watch(self) -> None:
        while not self._ending.is_set():
            for topic, look in self._looks.items():
                try:
                    seen = look()
                except GuardError as error:
                    seen = str(error)
                # What is seen first is news: nobody knows what a page was written from.
                if self._seen.get(topic, self) != seen:
                    self._seen[topic] = seen
                    self.changed(topic)
            self._ending.wait(_LOOK_EVERY)
            self._wanted.wait(_LOOK_ALONE)

    async def events(self, since: str, still_in: Callable[[], bool]) -> AsyncIterator[bytes]:
        """Yield events for one tab, for as long as ``still_in`` holds, and a heartbeat.

        ``since`` is the version that its page was written from: where that is not the present one, all has changed.
        """
        changed, untold = asyncio.Event(), set[str]()
        self._tabs[changed] = untold
        if since != str(self.version):
            untold.update(get_args(Topic))
            changed.set()
        self._wanted.set()
        try:
            yield b"retry: 2000\nevent: here\ndata:\n\n"
            while still_in() and not self._ending.is_set():
                try:
                    async with asyncio.timeout(_HEARTBEAT):
                        await changed.wait()
                except TimeoutError:
                    yield b": still here\n\n"
                    continue
                changed.clear()
                topics = sorted(untold)
                untold.clear()
                if topics:
                    yield f"event: changed\ndata: {' '.join(topics)}\n\n".encode()
                    await asyncio.sleep(_PAUSE)  # so many changes a second make so few fetches
        finally:
            self._tabs.pop(changed, None)
            if not self._tabs:
                self._wanted.clear()
