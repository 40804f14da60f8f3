"""Where a disk store is, said in one URL."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal, NamedTuple, TypeAlias
from urllib.parse import quote_from_bytes, unquote_to_bytes

from guarded_tools.errors import StoreError

Durability: TypeAlias = Literal["process", "power"]

_SCHEME = "disk://"
_OPTIONS: dict[str, Durability] = {"": "process", "durability=process": "process", "durability=power": "power"}


class DiskAddress(NamedTuple):
    """A directory, absolute, and what its counters survive.

    In the URL ``%`` and two hexadecimal digits stand for a byte of the path, as in every URL; a ``?`` of the path has
    to be written so (``%3F``), for one begins the options. All else stands for itself, ``#`` and spaces too.
    """

    path: Path
    durability: Durability = "process"

    @classmethod
    def parse(cls, url: str) -> DiskAddress:
        """Read a URL.

        Raises:
            StoreError: it says something that is not understood.
        """
        path, _, option = url.removeprefix(_SCHEME).partition("?")
        if not path.startswith("/"):
            raise StoreError(f"{url!r} needs an absolute path: disk:///path")
        if option not in _OPTIONS:
            raise StoreError(
                f"{url!r}: the only option is durability=process or durability=power; write a ? of the path as %3F"
            )
        raw = unquote_to_bytes(os.fsencode(path))
        if b"\0" in raw:
            raise StoreError(f"{url!r}: no path has a zero byte in it")
        return cls(Path(os.fsdecode(raw)), _OPTIONS[option])


def disk_url(directory: str | os.PathLike[str]) -> str:
    """Write the URL of a directory, whatever characters its name has."""
    return _SCHEME + quote_from_bytes(os.fsencode(Path(directory).absolute()))


def disk_path(url: str) -> Path | None:
    """Say in which directory a store is, or ``None`` where it is not on disk.

    Raises:
        StoreError: it is on disk, but the URL is not understood.
    """
    return DiskAddress.parse(url).path if url.startswith(_SCHEME) else None
