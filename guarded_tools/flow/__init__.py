"""A line of work written once, for callers with and without an event loop.

A line is a generator that yields :class:`Await` and never waits itself::

    def line() -> Flow[bytes | None]:
        kept = yield Await(store.get, store.aget, ("key",))
        yield Await(log.write, None, (event,))
        return kept

Three drivers walk one to its end:

- :func:`run` in the caller's thread: every step is ``sync(*args)``;
- :func:`arun` in the caller's task: every step is ``await async_(*args)``;
- :meth:`guarded_tools.flow.worker.Worker.drive`, which the guard uses: the line itself walks in a thread of its own,
  where it may block, and comes back to the caller's task only for what has to be awaited there.

The invariant of all three: the line is handed exactly what a step returned or raised, as the same object. Errors,
cancellation and interrupts reach it as they are; what it does not catch comes out of the driver as it is.

A step is one of three kinds. It *blocks* (``async_`` is ``None``, or one that :func:`blocks` marked): then an event
loop's thread never does it. It is the *caller's own* (``foreign``): a tool's body, an approver. That is done where the
caller is, and never once the caller has left. Everything else, such as a store with an asyncio client of its own, is
awaited by whoever still waits, and done by ``sync`` where nobody does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Generator
from typing import Any, NamedTuple, TypeAlias, TypeVar

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])


class Await(NamedTuple):
    """One thing to wait for: ``sync(*args)`` without an event loop, ``await async_(*args)`` with one.

    ``async_`` is ``None`` where there is no other way than to block a thread. ``foreign`` marks what runs code of the
    caller's: it is not done for a caller who has left.
    """

    sync: Callable[..., Any]
    async_: Callable[..., Awaitable[Any]] | None
    args: tuple[Any, ...] = ()
    foreign: bool = False


Flow: TypeAlias = Generator[Await, Any, T]


def blocks(twin: F) -> F:
    """Mark a coroutine function that does nothing but its sync twin, in a thread where that may block."""
    twin.blocks = True  # type: ignore[attr-defined]
    return twin


def together(name: str) -> Callable[[F], F]:
    """Mark a method that has a companion, called ``name``, which does it for many callers at once.

    The companion takes a sequence of argument tuples and returns as many results; an exception among them belongs to
    the one caller at that place.
    """

    def mark(method: F) -> F:
        method.together = name  # type: ignore[attr-defined]
        return method

    return mark


def run(line: Flow[T]) -> T:
    """Walk a line to its end in this thread and return its value."""
    try:
        step = next(line)
        while True:
            try:
                value = step.sync(*step.args)
            except BaseException as error:  # noqa: BLE001 - the line decides; what it does not catch comes back out
                step = line.throw(error)
            else:
                step = line.send(value)
    except StopIteration as end:
        result: T = end.value
        return result


async def arun(line: Flow[T]) -> T:
    """Walk a line to its end in this task and return its value; what blocks goes to a thread of asyncio's."""
    try:
        step = next(line)
        while True:
            try:
                if step.async_ is None:
                    value = await asyncio.to_thread(step.sync, *step.args)
                else:
                    value = await step.async_(*step.args)
            except BaseException as error:  # noqa: BLE001 - the line decides; what it does not catch comes back out
                step = line.throw(error)
            else:
                step = line.send(value)
    except StopIteration as end:
        result: T = end.value
        return result
