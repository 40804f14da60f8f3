"""A line on its way between two threads, and the one token of each of its turns.

Who takes the token has the line from then on; :mod:`guarded_tools.flow.worker` says what becomes of it.
"""

from __future__ import annotations

import asyncio
import contextvars
import time
from collections.abc import Callable
from typing import Any

from guarded_tools.flow import Await, Flow

_LATE = 0.05
"""A line that waited for longer than this, in seconds, is told since when."""

_waiting_since: contextvars.ContextVar[float | None] = contextvars.ContextVar("waiting_since", default=None)


def waiting_since() -> float:
    """Since when the line that walks here has waited, by :func:`time.monotonic`; now, where it did not have to.

    Who sets a deadline counts from here: one that waits behind others does not begin to wait when it comes up.
    """
    since = _waiting_since.get()
    return time.monotonic() if since is None else since


class Left(asyncio.CancelledError):
    """Raised into a line at a step that is not taken, because nobody waits for the line any more."""


class Job:
    """A line on its way between the worker's thread and one task; ``loop`` is ``None`` where no task waits for it."""

    __slots__ = (
        "begun",
        "context",
        "error",
        "future",
        "late",
        "left",
        "line",
        "loop",
        "next",
        "queued",
        "step",
        "token",
        "value",
    )

    def __init__(self, line: Flow[Any], loop: asyncio.AbstractEventLoop | None) -> None:
        self.line = line
        self.loop = loop
        self.context = contextvars.copy_context()
        self.next: tuple[Callable[[Any], Await], Any] = (line.send, None)
        self.future: asyncio.Future[None] | None = None
        self.token: list[None] = []
        self.step: Await | None = None
        self.value: Any = None
        self.error: BaseException | None = None
        self.begun = False
        self.left = loop is None
        self.queued = 0.0
        self.late = False

    def walk(self) -> bool:
        """Take the line to its next step; false where it ended."""
        self.begun = True
        try:
            go_on, value = self.next
            self.step = self.context.run(go_on, value)
        except StopIteration as end:
            self.step, self.value = None, end.value
        except BaseException as error:  # noqa: BLE001 - belongs to the one who waits
            self.step, self.error = None, error
        return self.step is not None

    def take(self, step: Await) -> None:
        """Do a step here; one of the caller's own is not taken, since nobody waits for it."""
        if step.foreign:
            self.next = (self.line.throw, Left())
            return
        try:
            self.next = (self.line.send, self.context.run(step.sync, *step.args))
        except BaseException as error:  # noqa: BLE001 - the line decides
            self.next = (self.line.throw, error)

    def catch_up(self, step: Await) -> Await:
        """Do a step that its task was handed and left, and go on. Called by :meth:`walk`, in its context."""
        if step.foreign:
            return self.line.throw(Left())
        try:
            result = step.sync(*step.args)
        except BaseException as error:  # noqa: BLE001 - the line decides
            return self.line.throw(error)
        return self.line.send(result)

    def given(self, result: Any) -> None:
        """Be handed what a companion for many made of this one."""
        self.next = (self.line.throw if isinstance(result, BaseException) else self.line.send, result)

    def comes_up(self, now: float) -> bool:
        """Begin a turn; false where its caller left before the first, so that there is none."""
        if self.left and not self.begun and self.loop is not None:
            self.line.close()
            return False
        late = now - self.queued > _LATE
        if late or self.late:
            self.context.run(_waiting_since.set, self.queued if late else None)
            self.late = late
        return True

    def is_done_here(self) -> bool:
        """Whether the step that the line has come to is the worker's."""
        step = self.step
        assert step is not None
        return step.async_ is None or self.left or hasattr(step.async_, "blocks")

    def leave(self) -> bool:
        """Give up waiting; true where the line was the task's, which has to hand it back."""
        self.left = True
        return not taken(self.token)


def taken(token: list[None]) -> bool:
    """Take the token of a turn, if nobody was faster. One operation of one list: no lock is needed."""
    try:
        token.pop()
    except IndexError:
        return False
    return True
