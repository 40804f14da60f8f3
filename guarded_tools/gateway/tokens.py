"""Who a client over HTTP is: whoever has a bearer token whose hash stands in a file, under the name that is there.

The file holds ``{"name": "<SHA-256 of the token, in hex>", …}``: who reads it cannot call in anybody's name.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mcp.server.auth.provider import AccessToken

from guarded_tools.errors import GuardError
from guarded_tools.text.visible import one_line

_HASH = re.compile("[0-9a-f]{64}")


class TokenFile:
    """Tells names by tokens. ``hashes`` are those of the tokens, by name."""

    def __init__(self, hashes: Mapping[str, str]) -> None:
        self.hashes = dict(hashes)

    @classmethod
    def from_file(cls, path: Path) -> TokenFile:
        """Read the file.

        Raises:
            GuardError: it cannot be read, holds something else, or others may write to it.
        """
        try:
            text, mode = path.read_text(encoding="utf-8"), path.stat().st_mode
            data = json.loads(text, object_pairs_hook=_once)
        except (OSError, ValueError, RecursionError) as error:
            raise GuardError(f"--tokens {path} cannot be read: {one_line(str(error))}") from None
        if mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise GuardError(
                f"--tokens {path} can be written to by others, who could name themselves: chmod go-w {path}"
            )
        if not isinstance(data, dict) or not data:
            raise GuardError(f'--tokens {path} holds no names: it is {{"name": "SHA-256 of a token, in hex", …}}')
        for name, hashed in data.items():
            if not name or not isinstance(hashed, str) or not _HASH.fullmatch(hashed):
                raise GuardError(f"--tokens {path}: {name!r} has no SHA-256 of 64 hex digits, in small letters")
        twice = [name for name, hashed in data.items() if list(data.values()).count(hashed) > 1]
        if twice:
            raise GuardError(
                f"--tokens {path}: {', '.join(map(repr, twice))} have one token, so nobody knows who it is"
            )
        return cls(data)

    def name_of(self, token: str) -> str | None:
        """Return whose token it is; takes as long whoever it is, and whether it is anybody's."""
        hashed = hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()
        found = [name for name, known in self.hashes.items() if hmac.compare_digest(known, hashed)]
        return found[0] if found else None

    async def verify_token(self, token: str) -> AccessToken | None:
        """As the SDK asks it. The token itself is not kept."""
        name = self.name_of(token)
        return None if name is None else AccessToken(token="", client_id=name, scopes=[])


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands there twice")
    return found
