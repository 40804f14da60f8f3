"""Tries the gateway with clients, servers and a conformance suite of others, and prints tables for the documentation.

Each client asks each server the same things three times: directly, through a gateway that it starts (stdio), and
through one that listens (HTTP), both of which allow everything. What it was answered has to be the same but for the
time of day. Where it is not, the first difference is printed, and this ends with 1. ``make gateway-others`` starts it,
in the environment of the second generation of MCP.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from tests.gateway.others.conformance import conformance
from tests.gateway.others.roads import ROOT, environment, gateway, listening, new_room
from tests.gateway.others.upstreams import LISTS, upstreams

HERE = Path(__file__).parent
FIRST, SECOND = ROOT / ".venv" / "bin" / "python", Path(sys.executable)
MODULES = ROOT / ".gateway-others" / "node_modules"
NODE = str(MODULES / ".bin" / "node")
ROADS = ("direct", "stdio", "http")
_ROUND = "Fulfilling input required by"
_TIME = re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+(Z|\+00:00)?|\d{1,2}:\d\d:\d\d [AP]M")


class Client(NamedTuple):
    """A client: which of our small programs it runs in, and how."""

    name: str
    program: str
    how: dict[str, Any]


CLIENTS = [
    Client("MCP Inspector's CLI", "inspector", {}),
    Client("TypeScript SDK 1", "typescript", {"sdk": 1}),
    Client("TypeScript SDK 2 (2025-11-25)", "typescript", {"sdk": 2, "mode": "legacy"}),
    Client("TypeScript SDK 2", "typescript", {"sdk": 2, "mode": "auto"}),
    Client("Python SDK 1", "python", {"client": "mcp1"}),
    Client("Python SDK 2 (2025-11-25)", "python", {"client": "mcp2", "mode": "legacy"}),
    Client("Python SDK 2", "python", {"client": "mcp2", "mode": "auto"}),
    Client("FastMCP 4", "python", {"client": "fastmcp"}),
]


def inspected(target: dict[str, Any], script: list[list[Any]], env: dict[str, str]) -> list[Any]:
    """Ask by the Inspector's command line: a process for each request, for the first dozen of what it can ask."""
    words = [target["url"]] if "url" in target else target["command"]
    # It gives a server what is named here alone, and a gateway needs this package.
    given = [word for name in target.get("env", ()) for word in ("-e", f"{name}={env[name]}")]
    answers = []
    for method, params in [each for each in script if each[0] in (*LISTS, "tools/call", "resources/read")][:12]:
        options = ["--method", method]
        if method == "tools/call":
            options += ["--tool-name", params["name"]]
            for key, value in params["arguments"].items():
                options += ["--tool-arg", f"{key}={value if isinstance(value, str) else json.dumps(value)}"]
        if method == "resources/read":
            options += ["--uri", params["uri"]]
        command = [NODE, str(MODULES / ".bin" / "mcp-inspector"), "--cli", *given, *options, "--", *words]
        ended = subprocess.run(command, env=env, capture_output=True, text=True, timeout=90, check=False)
        # Of what it says on stderr only its own error counts: what a server writes there comes out beside it.
        errors = [line for line in ended.stderr.splitlines() if line.startswith('{"error"')]
        answers.append([method, ended.stdout, ended.returncode, errors])
    return answers


def asked(client: Client, target: dict[str, Any], script: list[list[Any]], env: dict[str, str]) -> list[Any]:
    """Have a client ask, and return what it was answered."""
    if client.program == "inspector":
        return inspected(target, script, env)
    command = [NODE, str(HERE / "typescript.mjs")]
    if client.program == "python":
        command = [str(FIRST if client.how["client"] == "mcp1" else SECOND), str(HERE / "python.py")]
    told = json.dumps({**client.how, "modules": str(MODULES.parent), "target": target, "script": script})
    ended = subprocess.run(command, input=told, env=env, capture_output=True, text=True, timeout=120, check=False)
    if ended.returncode or not ended.stdout:
        return [["failed", ended.stderr[-2000:]]]
    return list(json.loads(ended.stdout.splitlines()[-1]))


def answers(client: Client, server: str, road: str) -> str:
    """Have a client ask a server by one of the roads, in a room of their own, and write down what it was answered.

    Without the time, and without what a server says of tasks and extensions, of which the gateway carries nothing.
    """
    with new_room() as room:
        [upstream] = [each for each in upstreams(MODULES, room, FIRST, SECOND) if each.name == server]
        env, named = environment(upstream.env), ["PYTHONPATH", *upstream.env]
        if road == "direct":
            said = asked(client, {"command": upstream.command, "env": named}, upstream.script, env)
        elif road == "stdio":
            said = asked(client, {"command": gateway(upstream, room), "env": named}, upstream.script, env)
        else:
            with listening(gateway(upstream, room, "--http", "127.0.0.1:0"), upstream.env) as url:
                said = asked(client, {"url": url}, upstream.script, env)
    for part in (part for each in said if each[0] == "server" for part in each[1:] if isinstance(part, dict)):
        part.pop("tasks", None)
        part.pop("extensions", None)
    return _TIME.sub("<time>", json.dumps(said, indent=1, ensure_ascii=False))


def common(said: str) -> str:
    """Leave out what 2026-07-28 puts into every answer, what only 2025-11-25 says of tasks, and the order of keys.

    And that a client which answers a server's question in a round of its own calls that round progress.
    """
    of_one = ("resultType", "ttlMs", "cacheScope", "execution")

    def old(value: Any) -> Any:
        if isinstance(value, list):
            return [old(each) for each in value if not (isinstance(each, dict) and _ROUND in str(each.get("message")))]
        if not isinstance(value, dict):
            return value
        kept = {key: old(each) for key, each in value.items() if key not in of_one}
        if isinstance(kept.get("_meta"), dict):
            kept["_meta"].pop("io.modelcontextprotocol/serverInfo", None)
            if not kept["_meta"]:
                del kept["_meta"]
        return kept

    return json.dumps(old(json.loads(said)), indent=1, ensure_ascii=False, sort_keys=True)


def difference(one: str, two: str) -> str:
    """Return the first lines that differ."""
    for left, right in zip(one.splitlines(), two.splitlines(), strict=False):
        if left != right:
            return f"- {left.strip()[:400]}\n+ {right.strip()[:400]}"
    return f"{len(one.splitlines())} lines, and {len(two.splitlines())}"


def compared(client: Client, servers: list[str]) -> tuple[list[str], list[str]]:
    """Compare what one client is answered: the cells of its line, and the differences."""
    cells, told = [], []
    for server in servers:
        said = {road: answers(client, server, road) for road in ROADS}
        newer = [road for road in ROADS[1:] if said[road] != said["direct"]]
        if newer:
            said = {road: common(each) for road, each in said.items()}
        wrong = [road for road in ROADS[1:] if said[road] != said["direct"]]
        told += [f"{client.name}, {server}, {road}:\n{difference(said['direct'], said[road])}" for road in wrong]
        if '"failed"' in said["direct"]:
            told.append(f"{client.name}, {server}: {said['direct']}")
        alike = f"{len(json.loads(said['direct']))} alike{', in another revision' if newer else ''}"
        cells.append("**differ**" if wrong else alike)
    return cells, told


def table(head: list[str], rows: Iterator[list[str]]) -> None:
    """Print a table, line by line."""
    print("|", " | ".join(head), "|")
    print("|---" * len(head) + "|")
    for row in rows:
        print("|", " | ".join(row), "|", flush=True)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(prog="python -m tests.gateway.others", description=__doc__)
    parser.add_argument("--client", default="", help="only clients whose name holds this")
    parser.add_argument("--server", default="", help="only servers whose name holds this")
    parser.add_argument("--only", choices=["clients", "conformance"])
    chosen = parser.parse_args()
    differences = 0
    with new_room() as room:
        servers = [each.name for each in upstreams(MODULES, room, FIRST, SECOND) if chosen.server in each.name]

    def tell(told: list[str]) -> None:
        nonlocal differences
        differences += len(told)
        for each in told:
            print(each, file=sys.stderr, flush=True)

    def clients() -> Iterator[list[str]]:
        for client in [each for each in CLIENTS if chosen.client in each.name]:
            cells, told = compared(client, servers)
            tell(told)
            yield [client.name, *cells]

    def scenarios() -> Iterator[list[str]]:
        for scenario, said in conformance(MODULES):
            tell([f"conformance, {scenario}: {said}"] if len(set(said)) > 1 else [])
            yield [scenario, *said]

    if chosen.only != "conformance":
        table(["client", *servers], clients())
    if chosen.only != "clients":
        table(["scenario", "the server itself", "a gateway before it, stdio", "HTTP"], scenarios())
    raise SystemExit(bool(differences))


if __name__ == "__main__":
    main()
