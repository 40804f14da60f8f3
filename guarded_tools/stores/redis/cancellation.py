"""Being cancelled where one was: what the client forgets before Python 3.12."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

T = TypeVar("T")


async def cancellable(work: Awaitable[T]) -> T:
    """Await what the client does, and be cancelled where it was.

    The client waits with ``asyncio.wait_for``, which before Python 3.12 forgets a cancellation that comes as it ends.
    """
    task = asyncio.current_task()
    before = 0 if task is None else task.cancelling()
    forgotten = True
    try:
        return await work
    except asyncio.CancelledError:
        forgotten = False
        raise
    finally:
        if forgotten and task is not None and task.cancelling() > before:
            raise asyncio.CancelledError
