"""A client of the SDK's, a gateway in this process, and a server in another."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from guarded_tools.audit import AuditLog
from guarded_tools.gateway.catalogue import NameCheck
from guarded_tools.gateway.guarded import Principal
from guarded_tools.gateway.line import Gateway
from guarded_tools.gateway.stdio import serve
from guarded_tools.guard import Guard
from guarded_tools.mcp_session import StdioServer
from guarded_tools.mcp_session.streams import load_sdk
from guarded_tools.policy import Policy
from guarded_tools.stores.memory import MemoryStore
from guarded_tools.values import AuditEvent

load_sdk()  # as the command does, before there is a loop that reading modules would block

ALLOW: dict[str, Any] = {"version": "1", "default": "allow", "tools": {}}
EVERYTHING = str(Path(__file__).with_name("everything.py"))


class Opened:
    """Two streams that are open already, as the SDK's client takes a transport."""

    def __init__(self, incoming: Any, outgoing: Any) -> None:
        self._streams = (incoming, outgoing)

    async def __aenter__(self) -> tuple[Any, Any]:
        return self._streams

    async def __aexit__(self, *exc: object) -> None:
        return None


@pytest.fixture
def upstream_log(tmp_path: Path) -> Path:
    """What reached the server."""
    path = tmp_path / "upstream"
    path.touch()
    return path


@pytest.fixture
def reached(upstream_log: Path) -> Callable[[], list[str]]:
    return lambda: upstream_log.read_text().splitlines()


@pytest.fixture
def command(upstream_log: Path) -> tuple[str, ...]:
    return (sys.executable, EVERYTHING, str(upstream_log))


@pytest.fixture
def events() -> list[AuditEvent]:
    return []


@pytest.fixture
def make_gateway(tmp_path: Path, command: tuple[str, ...], events: list[AuditEvent]) -> Callable[..., Gateway]:
    """A gateway before that server, under a policy."""

    def make(
        policy: dict[str, Any] | None = None,
        *,
        servers: Any = None,
        grants: Any = None,
        timeout: float = 60.0,
        **options: Any,
    ) -> Gateway:
        judged = Policy.model_validate({"version": "1", "tools": {}, **(policy or ALLOW)})
        options = {"store": MemoryStore(), "audit": AuditLog(tmp_path / "audit.jsonl"), **options}
        guard = Guard(
            grants or judged,
            grant=lambda config: config["configurable"]["grant"],
            observers=[events.append],
            **options,
        )
        servers = servers or {"everything": StdioServer(command[0], command[1:])}
        spoken = [name for name in (*judged.hide, *judged.tools) if name.startswith(("prompt:", "resource:"))]
        return Gateway(guard, servers, NameCheck(guard, servers, spoken), timeout)

    return make


@asynccontextmanager
async def streams(gateway: Gateway, session: str = "s", ended: list[Exception] | None = None):
    """What a client of a gateway speaks into and hears from."""
    to_gateway, from_client = anyio.create_memory_object_stream(1000)
    to_client, from_gateway = anyio.create_memory_object_stream(1000)
    serving = asyncio.create_task(serve(gateway, Principal(session), from_client, to_client))
    try:
        yield from_gateway, to_gateway
    finally:
        to_gateway.close()
        await asyncio.wait({serving}, timeout=20)
        error = serving.exception()
        if error is not None:
            if ended is None:
                raise error
            ended.append(error)
