"""Whether a value stays one segment of a path, whoever reads it.

Many servers put an id into the path of a request as it is: ``GET /templates/{id}``. Then ``../users/me`` is another
resource, ``b1/cancel?x=`` another verb of the same one, and ``%2e%2e`` becomes one of them where somebody decodes it
once more. What is dangerous has no end (backslashes, ``;``, full-width slashes, letters that older HTTP libraries cut
down to the byte of a slash), so this names what is harmless instead: the characters that RFC 3986 calls unreserved,
which mean the same encoded, decoded and decoded twice. Left out of those are ``~``, which is somebody's home directory
to some readers, and dots but between two others: ``.`` and ``..`` walk, Windows drops a last one, a first one hides a
file.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final

from guarded_tools.policy.paths import Indeterminate, kind_of

LONGEST: Final = 255
"""Characters of the longest segment: what file systems allow a name."""
_SEGMENT: Final = re.compile(r"[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*")
# Beyond, JavaScript writes another number than it was given.
_MOST: Final = 2**53


def is_segment(value: str | int) -> bool:
    """Whether a text is one segment, or a whole number that everybody writes with the same digits."""
    if isinstance(value, str):
        return len(value) <= LONGEST and _SEGMENT.fullmatch(value) is not None
    return -_MOST < value < _MOST


def compile_segment(wanted: bool) -> Callable[[Any], bool]:
    """Make the test of the operator ``segment``; it raises ``Indeterminate`` for what is no id at all."""

    def test(seen: Any) -> bool:
        if type(seen) is not str and type(seen) is not int:
            raise Indeterminate(f"cannot be part of a path: it is {kind_of(seen)}")
        return is_segment(seen) is wanted

    return test
