"""Waiting for another thread, so that a Ctrl-C is heard.

Python acts on a signal between two of its own steps, and a wait for a lock is one step. What arrives between the last
look and the wait, or is delivered to another thread, interrupts nothing; on a busy machine that is not rare. So no wait
here is a long one.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from concurrent.futures import Future
from queue import Empty, SimpleQueue
from typing import Final, TypeVar

T = TypeVar("T")

_AT_ONCE: Final = 0.5  # seconds


def result_of(future: Future[T]) -> T:
    """Wait for a future and return its result, or raise what it raised."""
    return next(as_they_end([future])).result()


def as_they_end(futures: Collection[Future[T]]) -> Iterator[Future[T]]:
    """Yield futures in the order in which they are done.

    Each is told once to say so, and not looked at again: its lock is one that an event loop would wait for.
    """
    ended: SimpleQueue[Future[T]] = SimpleQueue()
    for future in futures:
        future.add_done_callback(ended.put)
    for _ in futures:
        yield _next(ended)


def _next(ended: SimpleQueue[T]) -> T:
    while True:
        try:
            return ended.get(timeout=_AT_ONCE)
        except Empty:
            continue
