"""Messages over pipes are lines. Here they are put together, and one that never ends is given up.

The SDK reads a server's lines without a limit, and copies what it has of one with each piece that comes. Where it may
be told an encoding, it is told :data:`ENCODING`: UTF-8, of which it gets whole lines only.
"""

from __future__ import annotations

import codecs
from collections.abc import Callable
from typing import Any, Self

LONGEST_LINE = 64 * 1024 * 1024
"""Bytes that a message may have. Whoever writes a longer one is let go."""

ENCODING = "guarded_tools_lines"
TOO_LONG = "[guarded-tools: the line is too long]"
"""What is read in the place of such a line, the last that is read."""


class Lines:
    """Puts lines together. After one that is too long nothing comes any more."""

    def __init__(self) -> None:
        self.too_long = False
        self._parts: list[bytes] = []
        self._length = 0

    def whole(self, chunk: bytes) -> bytes:
        """Return all of the lines that ended, each with its end."""
        if self.too_long:
            return b""
        ended, newline, rest = chunk.rpartition(b"\n")
        whole = b"".join((*self._parts, ended, newline)) if newline else b""
        if newline:
            self._parts, self._length = [], 0
        self._parts.append(rest)
        self._length += len(rest)
        if self._length > LONGEST_LINE:
            self.too_long, self._parts = True, []
        return whole


class _WholeLines(codecs.IncrementalDecoder):
    def __init__(self, errors: str = "strict") -> None:
        super().__init__(errors)
        self._lines = Lines()

    def decode(self, data: bytes, final: bool = False) -> str:  # type: ignore[override]
        del final
        over = self._lines.too_long
        text = self._lines.whole(data).decode("utf-8", self.errors)
        return text + f"{TOO_LONG}\n" if self._lines.too_long and not over else text


def _find(name: str) -> codecs.CodecInfo | None:
    if name != ENCODING:
        return None
    utf8 = codecs.lookup("utf-8")
    return codecs.CodecInfo(utf8.encode, utf8.decode, incrementaldecoder=_WholeLines, name=ENCODING)


codecs.register(_find)


class ReadThrough:
    """A stream that the SDK reads, handed on as it is."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        return await self._stream.__anext__()

    async def aclose(self) -> None:
        """Close the stream behind it."""
        await self._stream.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.aclose()


class UntilTooLong(ReadThrough):
    """What a server says, which ends where a line of it is too long. ``tell`` is told so, for people."""

    def __init__(self, stream: Any, tell: Callable[[str], None]) -> None:
        super().__init__(stream)
        self._tell = tell

    async def __anext__(self) -> Any:
        item = await super().__anext__()
        if isinstance(item, ValueError) and TOO_LONG in str(item):
            self._tell(f"given up: a line that it wrote is longer than {LONGEST_LINE} bytes")
            raise StopAsyncIteration
        return item
