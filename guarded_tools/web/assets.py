"""What pages are drawn with: the files that come with the package, read once, each under an address of its content."""

from __future__ import annotations

import functools
import hashlib
from http import HTTPStatus
from pathlib import Path
from typing import Final, NamedTuple

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

_FOLDER: Final = Path(__file__).parent / "static"
_KINDS: Final = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml", ".txt": "text/plain"}


class Asset(NamedTuple):
    """A file and what it is."""

    content: bytes
    kind: str
    digest: str


@functools.cache
def assets() -> dict[str, Asset]:
    """Read them all, by their names: no request ever names a path."""
    found = {path.name: path.read_bytes() for path in _FOLDER.iterdir() if path.suffix in _KINDS}
    return {
        name: Asset(content, _KINDS[Path(name).suffix], hashlib.sha256(content).hexdigest()[:12])
        for name, content in found.items()
    }


def asset(name: str) -> str:
    """Return the address of one, which is another one where its content is."""
    return f"/static/{name}?{assets()[name].digest}"


async def serve_asset(request: Request) -> Response:
    """Answer with one."""
    found = assets().get(request.path_params["name"])
    if found is None:
        return PlainTextResponse("there is no such file", HTTPStatus.NOT_FOUND)
    return Response(found.content, media_type=found.kind, headers={"cache-control": "max-age=86400, immutable"})
