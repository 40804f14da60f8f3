"""A line of work written once, for callers with and without an event loop.

A line is a generator that yields :class:`Await` and never waits itself. :func:`run` and :func:`arun` wait for it, and
hand back whatever a step returned or raised: errors, cancellation and interrupts reach the line exactly as they are.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator
from typing import Any, NamedTuple, TypeAlias, TypeVar

T = TypeVar("T")


class Await(NamedTuple):
    """One thing to wait for: ``sync(*args)`` without an event loop, ``await async_(*args)`` with one."""

    sync: Callable[..., Any]
    async_: Callable[..., Awaitable[Any]]
    args: tuple[Any, ...] = ()


Flow: TypeAlias = Generator[Await, Any, T]


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
    """Walk a line to its end in this task and return its value."""
    try:
        step = next(line)
        while True:
            try:
                value = await step.async_(*step.args)
            except BaseException as error:  # noqa: BLE001 - the line decides; what it does not catch comes back out
                step = line.throw(error)
            else:
                step = line.send(value)
    except StopIteration as end:
        result: T = end.value
        return result
