"""How many calls a second a gateway serves over HTTP, and what each of the three programs takes of the processor.

Clients of 2026-07-28 keep connections open and call one after another; the gateway and the sandbox behind it run on the
second generation of MCP. What stands in the way of more is the gateway's own processor time: it is one process of
Python, which fills one core.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.common import Row
from benchmarks.generations import SECOND, TOOL

CONNECTIONS = 16
META = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientInfo": {"name": "load", "version": "1"},
    "io.modelcontextprotocol/clientCapabilities": {},
}


def rows(quick: bool = False) -> Iterator[Row]:
    """Measure it."""
    calls = 400 if quick else 4000
    with tempfile.TemporaryDirectory() as folder, _gateway(Path(folder)) as (process, port):
        asyncio.run(_load(port, CONNECTIONS * 10))
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text(encoding="ascii").split()
        pids = [str(process.pid), *children]
        before = [_cpu(pid) for pid in pids]
        own, began = time.process_time(), time.perf_counter()
        asyncio.run(_load(port, calls))
        took = time.perf_counter() - began
        load = (time.process_time() - own) / calls * 1000
        gateway, *servers = ((_cpu(pid) - earlier) / calls * 1000 for pid, earlier in zip(pids, before, strict=True))
    note = f"processor time of a call: gateway {gateway:.2f} ms, server {sum(servers):.2f} ms, load {load:.2f} ms"
    yield Row(
        "calls a second through a gateway over HTTP, 16 at a time, all on this machine", calls / took, "/s", note=note
    )


@contextmanager
def _gateway(room: Path) -> Iterator[tuple[subprocess.Popen[str], int]]:
    limit = {"counter": "calls", "window": "minute", "max": 1_000_000}
    policy = {"version": "1", "server": "pictify", "default": "deny", "tools": {TOOL: {"limits": [limit]}}}
    (room / "policy.json").write_text(json.dumps(policy), encoding="utf-8")
    words = ["-m", "guarded_tools.cli", "gateway", "--http", "127.0.0.1:0", "--policy", str(room / "policy.json")]
    words += ["--state", str(room / "state"), "--", str(SECOND), "-m", "guarded_tools.pictify.sandbox"]
    with subprocess.Popen([str(SECOND), *words], stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        try:
            ports = (re.search(r":(\d+)/mcp", line) for line in process.stderr)
            found = next(port for port in ports if port)
            yield process, int(found[1])
        finally:
            process.terminate()


def _cpu(pid: str) -> float:
    """Return the seconds of processor time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def _load(port: int, calls: int) -> None:
    await asyncio.gather(*(_client(port, calls // CONNECTIONS) for _ in range(CONNECTIONS)))


async def _client(port: int, calls: int) -> None:
    """Call one after another on a connection; as little of HTTP as that takes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for number in range(calls):
        params = {"name": TOOL, "arguments": {}, "_meta": META}
        body = json.dumps({"jsonrpc": "2.0", "id": number + 1, "method": "tools/call", "params": params}).encode()
        head = [
            "POST /mcp HTTP/1.1", f"Host: 127.0.0.1:{port}", "Content-Type: application/json",
            "Accept: application/json, text/event-stream", "mcp-protocol-version: 2026-07-28", "mcp-method: tools/call",
            f"mcp-name: {TOOL}", f"Content-Length: {len(body)}", "", "",
        ]  # fmt: skip
        writer.write("\r\n".join(head).encode() + body)
        answer = await _answer(reader)
        assert b'"isError":true' not in answer, answer
    writer.close()


async def _answer(reader: asyncio.StreamReader) -> bytes:
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    assert b" 200 " in head.splitlines()[0], head
    if length := re.search(rb"content-length: (\d+)", head):
        return await reader.readexactly(int(length[1]))
    told = b""
    while size := int(await reader.readline(), 16):
        told += (await reader.readexactly(size + 2))[:-2]
    await reader.readline()
    return told
