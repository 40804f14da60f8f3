"""MCP's own conformance suite, at a server and at gateways before it."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.gateway.others.roads import gateway, listening, new_room, served
from tests.gateway.others.upstreams import Upstream

SERVER = Path(__file__).with_name("conformance_server.py")
_SCENARIO = re.compile(r"^[✓✗] ([\w-]+): (\d+) passed, (\d+) failed", re.MULTILINE)


def results(url: str, modules: Path) -> dict[str, str]:
    """Run the suite, and return what it says of each scenario."""
    words = [str(modules / ".bin" / "node"), str(modules / ".bin" / "conformance"), "server", "--url", url]
    with tempfile.TemporaryDirectory() as room:  # it leaves a folder behind
        ended = subprocess.run(words, capture_output=True, text=True, timeout=600, check=False, cwd=room)
    found = _SCENARIO.findall(ended.stdout)
    if not found:
        raise RuntimeError(ended.stderr[-2000:])
    return {name: passed if failed == "0" else f"{passed}, **{failed} failed**" for name, passed, failed in found}


def conformance(modules: Path) -> Iterator[tuple[str, list[str]]]:
    """Compare, scenario by scenario: the server itself, a gateway that started it, and one that reaches it by HTTP."""
    server = Upstream("conformance", (sys.executable, str(SERVER)), {}, ())
    with served(server.command) as url:
        bare = results(url, modules)
        with new_room() as room, listening(gateway(server, room, "--http", "127.0.0.1:0", url=url), {}) as before:
            over_http = results(before, modules)
    with new_room() as room, listening(gateway(server, room, "--http", "127.0.0.1:0"), {}) as before:
        over_stdio = results(before, modules)
    for scenario, said in bare.items():
        yield scenario, [said, over_stdio.get(scenario, "none"), over_http.get(scenario, "none")]
