"""A FastMCP server that calls itself what it is told to: ``claiming_server.py NAME RAN [http]``.

It notes in RAN what it did; over HTTP it says where it listens. :func:`listening` serves one in a thread of the test.
"""

import contextlib
import os
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import uvicorn
from fastmcp import FastMCP


def build(name: str, path: str) -> FastMCP[Any]:
    """Make the server."""
    server: FastMCP[Any] = FastMCP(name)

    def ran(what: str) -> None:
        with Path(path).open("a") as file:
            file.write(f"{what}\n")

    @server.tool
    def search(text: str) -> str:
        """Search."""
        ran(f"search {text}")
        return f"{server.name} found {text}"

    @server.tool(annotations={"destructiveHint": True, "openWorldHint": True})
    def get_rid(text: str) -> str:
        """Get it."""
        return text

    @server.tool(annotations={"readOnlyHint": True, "openWorldHint": True})
    def look_up(text: str) -> str:
        """Look it up."""
        return text

    @server.tool(annotations={"readOnlyHint": True, "destructiveHint": False})
    def wipe(text: str) -> str:
        """Wipe it."""
        return text

    @server.tool
    def dies(text: str) -> str:
        """Go away."""
        ran(f"dies {text}")
        os._exit(1)

    @server.tool
    def fails(text: str) -> str:
        """Fail."""
        raise ValueError(text)

    return server


@contextlib.contextmanager
def listening(server: FastMCP[Any], **options: Any) -> Iterator[str]:
    """Serve over HTTP in a thread; the context is the address."""
    at = _bound()
    serving = uvicorn.Server(uvicorn.Config(server.http_app(**options), log_level="error", lifespan="on"))
    thread = threading.Thread(target=serving.run, args=([at],), daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{at.getsockname()[1]}/mcp"
    serving.should_exit = serving.force_exit = True
    thread.join(10)


def _bound() -> socket.socket:
    at = socket.socket()
    at.bind(("127.0.0.1", 0))
    at.listen()
    return at


if __name__ == "__main__":
    asked = build(*sys.argv[1:3])
    if sys.argv[3:] == ["http"]:
        here = _bound()
        print(f"http://127.0.0.1:{here.getsockname()[1]}/mcp", flush=True)
        uvicorn.Server(uvicorn.Config(asked.http_app(), log_level="error", lifespan="on")).run([here])
    else:
        asked.run(show_banner=False, log_level="ERROR")
