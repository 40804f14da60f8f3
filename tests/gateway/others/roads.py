"""From a client to a server: directly, by a gateway that the client starts, and by one that listens."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from tests.gateway.others.upstreams import Upstream

ROOT = Path(__file__).parents[3]
_ROOM = Path(tempfile.gettempdir()) / f"guarded-tools-others-{os.getpid()}"  # one, for answers name it


@contextlib.contextmanager
def new_room() -> Iterator[Path]:
    """Give an empty folder, always of the same name."""
    shutil.rmtree(_ROOM, ignore_errors=True)
    _ROOM.mkdir()
    yield _ROOM


def environment(more: Mapping[str, str]) -> dict[str, str]:
    """What programs here run with."""
    return {**os.environ, **more, "PYTHONPATH": str(ROOT)}


def gateway(upstream: Upstream, room: Path, *options: str, url: str = "") -> tuple[str, ...]:
    """Return words that start a gateway before a server, which allows everything."""
    (room / "allow.json").write_text('{"version": "1", "default": "allow", "tools": {}}', encoding="utf-8")
    kept = ("--policy", str(room / "allow.json"), "--state", str(room / "state"))
    words = (sys.executable, "-m", "guarded_tools.cli", "gateway", *kept, *options)
    if url:
        return (*words, "--url", url)
    return (*words, *(word for name in upstream.env for word in ("--env", name)), "--", *upstream.command)


@contextlib.contextmanager
def listening(words: tuple[str, ...], env: Mapping[str, str]) -> Iterator[str]:
    """Start a gateway that listens, and give its address."""
    with subprocess.Popen(words, env=environment(env), stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        try:
            said = ""
            for line in process.stderr:
                said += line
                if found := re.search(r"http://\S+/mcp", line):
                    yield found[0]
                    return
            raise RuntimeError(f"the gateway did not start: {said}")
        finally:
            process.terminate()
            process.stderr.close()


@contextlib.contextmanager
def served(command: tuple[str, ...]) -> Iterator[str]:
    """Start a server that takes its port as a last word, and give its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with subprocess.Popen((*command, str(port)), stderr=subprocess.DEVNULL) as process:
        try:
            for _ in range(300):
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                    break
                time.sleep(0.1)
            yield f"http://127.0.0.1:{port}/mcp"
        finally:
            process.terminate()
