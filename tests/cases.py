"""Many cases in one test, where each of them takes less than a test of its own does; it fails with all that fail."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager


@contextmanager
def every_case() -> Iterator[Callable[[object], AbstractContextManager[None]]]:
    """Give what names a case around its checks; at least one has to be named.

    Raises:
        AssertionError: some failed. Each is told with its name and what it raised.
    """
    named, wrong = 0, []

    @contextmanager
    def case(name: object) -> Iterator[None]:
        nonlocal named
        named += 1
        try:
            yield
        except Exception:
            wrong.append(f"{name}: {traceback.format_exc(limit=-2)}")

    yield case
    assert named, "no case was looked at"
    assert not wrong, f"{len(wrong)} of {named} cases fail:\n" + "\n".join(wrong)
