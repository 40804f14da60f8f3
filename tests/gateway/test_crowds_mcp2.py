"""A hundred clients at once, and a disk that is full: what ran is what was counted, and whoever waits is told."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import httpx2
import pytest
from fastmcp import FastMCP

from guarded_tools.audit import AuditLog, verify
from guarded_tools.gateway.tokens import TokenFile
from guarded_tools.mcp_session import HttpServer
from guarded_tools.stores.disk.store import DiskStore
from tests.adapters.claiming_server import listening
from tests.gateway.harness_mcp2 import streams
from tests.gateway.test_decides_mcp2 import opened, said
from tests.gateway.test_http_mcp2 import accepting, request, served
from tests.wire import ENVELOPE, INFO, NEW, OLD

CLIENTS = {OLD: 20, NEW: 100}
"""A client of 2025-11-25 has a session, and a connection of its own behind the gateway: a hundred take half a minute."""


@pytest.fixture
def ran() -> list[str]:
    """What reached the server: its own log."""
    return []


@pytest.fixture
def shared(ran: list[str]) -> Any:
    """A server that all clients of a gateway reach at one address."""
    server: FastMCP[Any] = FastMCP("shared")

    @server.tool
    def pay(who: str) -> str:
        """Pay."""
        ran.append(who)
        return f"paid {who}"

    return server


def answer_in(response: Any) -> dict[str, Any]:
    assert response.status_code == 200, response.text
    lines = [line.removeprefix("data:") for line in response.text.splitlines() if line.startswith("data:")]
    [found] = [json.loads(line) for line in lines or [response.text] if line.strip()]
    return found["result"]


async def ask(raw: Any, url: str, token: str, body: dict[str, Any], session: str = "") -> Any:
    version = NEW if "_meta" in body["params"] else OLD
    headers = accepting(version, **({"authorization": f"Bearer {token}"} if token else {}))
    if version == NEW:
        headers |= {"mcp-method": body["method"], "mcp-name": body["params"]["name"]}
    if session:
        headers["mcp-session-id"] = session
    return await raw.post(url, json=body, headers=headers)


@pytest.mark.parametrize("revision", [OLD, NEW])
async def test_of_a_hundred_clients_at_once_exactly_as_many_are_served_as_may_be(
    revision: str, make_gateway: Any, shared: Any, ran: list[str], events: Any
) -> None:
    names, most = [f"client{number}" for number in range(CLIENTS[revision])], CLIENTS[revision] * 6 // 10
    hashes = {name: hashlib.sha256(name.encode()).hexdigest() for name in names}
    limits = [
        {"counter": "each", "window": "hour", "max": 1, "scope": "grant"},
        {"counter": "all", "window": "hour", "max": most, "scope": "global"},
    ]
    policy = {"default": "deny", "tools": {"pay": {"limits": limits}}}

    async def client(raw: Any, url: str, name: str) -> list[Any]:
        session = ""
        if revision == OLD:
            hello = request("initialize", protocolVersion=OLD, capabilities={}, clientInfo=INFO)
            session = (await ask(raw, url, name, hello)).headers["mcp-session-id"]
            begun = {"jsonrpc": "2.0", "method": "notifications/initialized", "params": {}}
            assert (await ask(raw, url, name, begun, session)).status_code == 202
        more = {"_meta": ENVELOPE} if revision == NEW else {}
        call = request("tools/call", name="pay", arguments={"who": name}, **more)
        return await asyncio.gather(*(ask(raw, url, name, {**call, "id": n}, session) for n in (2, 3)))

    with listening(shared) as behind:
        gateway = make_gateway(policy, servers={"shared": HttpServer(behind)})
        limit = httpx2.Limits(max_connections=None)
        async with served(gateway, TokenFile(hashes)) as url, httpx2.AsyncClient(timeout=60, limits=limit) as raw:
            results = [
                answer_in(each)
                for pair in await asyncio.gather(*(client(raw, url, name) for name in names))
                for each in pair
            ]
    served_ones = [result["content"][0]["text"] for result in results if not result.get("isError")]
    assert sorted(served_ones) == sorted(f"paid {who}" for who in ran)
    assert len(ran) == most
    assert set(Counter(ran).values()) == {1}
    refused = [result["structuredContent"]["outcome"] for result in results if result.get("isError")]
    assert refused == ["limited"] * (2 * len(names) - most)
    used = {usage.scope: usage.used for usage in gateway.guard.usage() if usage.used}
    assert used == {**{f"grant:{who}": 1 for who in ran}, "global": most}
    assert Counter(event.kind for event in events) == {
        "admitted": most,
        "settled": most,
        "refused": 2 * len(names) - most,
    }


async def test_a_client_too_many_is_turned_away_in_words(make_gateway: Any, shared: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr("guarded_tools.gateway.http.MOST_SESSIONS", 2)
    hello = request("initialize", protocolVersion=OLD, capabilities={}, clientInfo=INFO)
    with listening(shared) as behind:
        gateway = make_gateway(servers={"shared": HttpServer(behind)})
        async with served(gateway) as url, httpx2.AsyncClient(timeout=60) as raw:
            begun = [await ask(raw, url, "", hello) for _ in range(3)]
            assert [each.status_code for each in begun[:2]] == [200, 200]
            assert begun[2].status_code == 503
            assert "sessions" in begun[2].text


@pytest.fixture
def small_disk(tmp_path: Path) -> Any:
    """A file system of a few megabytes."""
    path = tmp_path / "small"
    path.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", "size=4m,mode=700", "tmpfs", str(path)]
    if os.getuid() != 0 or subprocess.run(words, capture_output=True, check=False).returncode:
        pytest.skip("no file system can be mounted here")
    yield path
    subprocess.run(["umount", "-l", str(path)], check=True)


def fill(disk: Path) -> None:
    """Leave no space."""
    with (disk / "filler").open("wb", buffering=0) as file:
        for size in (65_536, 1):
            try:
                while file.write(b"x" * size):
                    pass
            except OSError:
                pass


async def test_a_full_disk_lets_nothing_run_and_says_so(make_gateway: Any, small_disk: Path, reached: Any) -> None:
    limit = {"counter": "n", "window": "hour", "max": 9}
    store, audit = DiskStore(small_disk / "store"), AuditLog(small_disk / "audit.jsonl")
    gateway = make_gateway({"default": "allow", "tools": {"echo": {"limits": [limit]}}}, store=store, audit=audit)
    async with streams(gateway) as ways, opened(ways) as client:
        assert not (await client.session.call_tool("echo", {"text": "x"})).is_error
        fill(small_disk)
        told = []
        for _ in range(200):  # what the store had taken for itself is used up first
            result = await client.session.call_tool("echo", {"text": "xx"})
            if result.is_error:
                told.append(result)
            if len(told) == 5:
                break
        assert len(told) == 5
        for refused in told:
            assert refused.structured_content["outcome"] in {"failed_closed", "limited"}
            assert "not run" in said(refused) or "limit" in said(refused), said(refused)
        (small_disk / "filler").unlink()
        last = await client.session.call_tool("echo", {"text": "xxx"})
    assert [usage.used for usage in gateway.guard.usage("s")] == [len(reached())]
    assert ("echo 3" in reached()) is not last.is_error
    store.close()
    audit.close()
    assert verify(small_disk / "audit.jsonl") == []
