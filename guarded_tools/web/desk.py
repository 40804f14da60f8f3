"""What pages read: the store, the stop button, the audit's latest, the policy. It blocks, so it is for threads only."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar, cast

from guarded_tools.approvers.inbox import Question, questions
from guarded_tools.errors import GuardError
from guarded_tools.stores import StopButton, Store, open_stop_button, open_store
from guarded_tools.values import GLOBAL, Halted, ToolInfo, grant_scope, session_scope
from guarded_tools.web.recent import Recent

if TYPE_CHECKING:
    from guarded_tools.policy import Policy

T = TypeVar("T")

_MOST_DRAWN: Final = 200


@dataclass
class Desk:
    """Everything a page works with.

    ``url`` is the store's, ``state`` the state directory. ``policy`` reads the one that is in force, where it is known,
    and ``tools`` is what is known of tools, by name.
    """

    url: str
    state: Path | None
    recent: Recent
    policy: Callable[[], Policy] | None = None
    tools: Mapping[str, ToolInfo] = field(default_factory=dict)
    clock: Callable[[], float] = time.monotonic
    _store: Store | None = None
    _known: dict[tuple[str, bytes], Question] = field(default_factory=dict)
    _seen: tuple[float, list[Question]] = (float("-inf"), [])
    _drawn: dict[str, tuple[Question, object]] = field(default_factory=dict)
    _looking: threading.Lock = field(default_factory=threading.Lock)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def store(self) -> Store:
        """Open the store, the first time; one that cannot be opened is tried again by the next page.

        Raises:
            StoreError: it cannot be relied on.
        """
        with self._lock:
            if self._store is None:
                self._store = open_store(self.url)
            return self._store

    def button(self) -> StopButton:
        """Open the stop button, which works where the counters do not.

        Raises:
            StoreError: no store is there.
        """
        return open_stop_button(self.url) if self.url.startswith("disk:") else self.store()

    def close(self) -> None:
        """Let go of the store."""
        with self._lock:
            if self._store is not None:
                self._store.close()
            self._store = None

    def questions(self) -> list[Question]:
        """List the questions that wait, oldest first. Whoever comes while others look shares what is seen next."""
        came = self.clock()
        with self._looking:
            seen_at, found = self._seen
            if seen_at < came:
                seen_at = self.clock()
                found = questions(self.store(), self._known)
                self._seen = seen_at, found
            return found

    def drawn(self, question: Question, draw: Callable[[Question], T]) -> T:
        """Return what ``draw`` makes of a question; made once for all who look at it."""
        kept = self._drawn.get(question.id)
        # The very same, as it was read: one that was altered in the store is another.
        if kept is not None and kept[0] is question:
            return cast("T", kept[1])
        made = draw(question)
        with self._lock:
            self._drawn[question.id] = question, made
            while len(self._drawn) > _MOST_DRAWN:
                del self._drawn[next(iter(self._drawn))]
        return made

    def halts(self) -> list[Halted]:
        """List what is halted."""
        return self.button().halts()

    def told_policy(self) -> Policy:
        """Read the policy in force.

        Raises:
            GuardError: none was named, or it cannot be used.
        """
        if self.policy is None:
            raise GuardError("no policy was named: start the page with --policy")
        return self.policy()

    def active_scopes(self, most: int) -> list[str]:
        """Name the scopes whose calls ended last, everybody's first."""
        found = {GLOBAL: None}
        for row in self.recent.calls():
            found.setdefault(session_scope(row.session))
            if row.grant:
                found.setdefault(grant_scope(row.grant))
            if len(found) >= most:
                break
        return list(found)[:most]
