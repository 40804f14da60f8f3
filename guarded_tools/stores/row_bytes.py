"""The row of a scope as bytes: a checksum over all that follows, the words (format and number first), the names.

A row that is not whole is refused rather than repaired: counters that may be too low are worth nothing.
"""

from __future__ import annotations

import struct
import zlib
from array import array

from guarded_tools.errors import StoreError

FORMAT = 1
"""What the first word of a row says."""

FORMAT_WITH_MARKS = 2
"""What it says of a row that has marks of rules across calls in it too."""

CHECKSUM = 8
"""Bytes of the checksum, before the first word."""
_START = struct.Struct("<Qqq")


def pack(words: array[int], names: bytes) -> bytes:
    """Write words, the second of which is their number, and names."""
    body = words.tobytes() + names
    return zlib.crc32(body).to_bytes(CHECKSUM, "little") + body


def unpack(data: bytes, least: int) -> tuple[array[int], bytes]:
    """Read what :func:`pack` wrote: ``least`` words or more, and the names.

    Raises:
        StoreError: it is not that, or not any more.
    """
    if len(data) < _START.size:
        raise StoreError("a counter row is damaged (it is too short); see `guarded-tools reset --confirm`")
    checksum, version, length = _START.unpack_from(data)
    body = memoryview(data)[CHECKSUM:]
    if zlib.crc32(body) != checksum:
        raise StoreError("a counter row is damaged (its checksum does not match); see `guarded-tools reset --confirm`")
    words = array("q")
    words.frombytes(body[: length * 8])
    if version not in {FORMAT, FORMAT_WITH_MARKS} or len(words) != length or length < least:
        known = f"{FORMAT} and {FORMAT_WITH_MARKS}"
        raise StoreError(f"a counter row has format {version}; this version reads formats {known}")
    return words, data[CHECKSUM + length * 8 :]
