"""An MCP client of plain JSON, for tests of servers: it speaks either revision of the protocol and needs no SDK.

With 2025-11-25 it says hello once (``initialize``). With 2026-07-28 there is no hello: each request says which revision
it is of and who asks.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Self

import httpx

from guarded_tools.mcp_session.generation import installed
from tests import forked

OLD, NEW = "2025-11-25", "2026-07-28"
SERVED = {1: (OLD,), 2: (OLD, NEW)}[installed()]
"""The revisions that servers serve with the SDK that is installed."""

INFO = {"name": "wire", "version": "1"}
ENVELOPE = {
    "io.modelcontextprotocol/protocolVersion": NEW,
    "io.modelcontextprotocol/clientInfo": INFO,
    "io.modelcontextprotocol/clientCapabilities": {},
}


class Wire:
    """Talks to a server: words after ``python`` that start one which speaks over stdio, or an address."""

    def __init__(
        self,
        server: Sequence[str] | str,
        revision: str = OLD,
        *,
        env: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        envelope: Mapping[str, Any] = ENVELOPE,
    ) -> None:
        self.revision = revision
        self._envelope = envelope
        self.notes: list[dict[str, Any]] = []
        self._id = 0
        self._headers = {"accept": "application/json, text/event-stream", **(headers or {})}
        if isinstance(server, str):
            self._url = server
            self._http = httpx.Client(timeout=30)
            self._process = None
        else:
            self._process = forked.Popen(
                [sys.executable, *server], stdin=forked.PIPE, stdout=forked.PIPE, env={**os.environ, **(env or {})}
            )

    def __enter__(self) -> Self:
        if self.revision == OLD:
            hello = {"protocolVersion": OLD, "capabilities": {}, "clientInfo": INFO}
            self.server = self.request("initialize", hello)
            self._send({"jsonrpc": "2.0", "method": "notifications/initialized"})
        else:
            self.server = self.request("server/discover", {})
        return self

    def __exit__(self, *exc: object) -> None:
        if self._process is None:
            self._http.close()
        else:
            with self._process:
                self._process.stdin.close()

    def kill(self) -> None:
        """End the server's process at once."""
        self._process.kill()
        self._process.wait()

    def tools(self) -> list[dict[str, Any]]:
        """What the server lists."""
        return self.request("tools/list", {})["tools"]

    def call(self, tool: str, args: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """The result of a call of a tool."""
        return self.request("tools/call", {"name": tool, "arguments": args or {}})

    def request(self, method: str, params: Mapping[str, Any]) -> dict[str, Any]:
        """Ask; notifications that come before the answer are kept in :attr:`notes`."""
        for message in self.begin(method, params):
            if message.get("id") == self._id:
                assert "result" in message, message
                return message["result"]
            self.notes.append(message)
        raise AssertionError(f"{method} was not answered")

    def begin(self, method: str, params: Mapping[str, Any]) -> Any:
        """Ask, and wait for no answer; iterate over what comes back."""
        self._id += 1
        if self.revision == NEW:
            params = {**params, "_meta": self._envelope}
        return self._send({"jsonrpc": "2.0", "id": self._id, "method": method, "params": params})

    def _send(self, message: dict[str, Any]) -> Any:
        """Send a message; iterate over what comes back."""
        if self._process is not None:
            self._process.stdin.write(json.dumps(message) + "\n")
            self._process.stdin.flush()
            return map(json.loads, self._process.stdout)
        params = message.get("params", {})
        named = {"mcp-method": message["method"], **({"mcp-name": params["name"]} if "name" in params else {})}
        said = {"mcp-protocol-version": self.revision, **(named if self.revision == NEW else {})}
        response = self._http.post(self._url, json=message, headers={**self._headers, **said})
        assert response.is_success, response.text
        if "mcp-session-id" in response.headers:
            self._headers["mcp-session-id"] = response.headers["mcp-session-id"]
        lines = response.text.splitlines()
        events = [line.removeprefix("data:") for line in lines if line.startswith("data:") and line.strip() != "data:"]
        stream = "event-stream" in response.headers.get("content-type", "")
        return map(json.loads, events if stream else filter(None, [response.text]))
