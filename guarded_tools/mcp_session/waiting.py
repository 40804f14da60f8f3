"""Waiting for another thread, so that a Ctrl-C is heard.

Python acts on a signal between two of its own steps, and a wait for a lock is one step. What arrives between the last
look and the wait, or is delivered to another thread, interrupts nothing; on a busy machine that is not rare. So no wait
here is a long one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import suppress
from typing import Final, TypeVar

T = TypeVar("T")

_AT_ONCE: Final = 0.5  # seconds


def result_of(future: Future[T]) -> T:
    """Wait for a future and return its result, or raise what it raised."""
    while not future.done():
        with suppress(TimeoutError):
            future.exception(_AT_ONCE)
    return future.result()


def as_they_end(futures: Iterable[Future[T]]) -> Iterator[Future[T]]:
    """Yield futures in the order in which they are done."""
    pending = set(futures)
    while pending:
        done, pending = wait(pending, _AT_ONCE, FIRST_COMPLETED)
        yield from done
