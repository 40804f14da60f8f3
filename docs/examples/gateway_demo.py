"""A gateway before the Pictify sandbox, and two clients: Ann may render, Bob may only read. Offline; ``make demo-gateway``.

Ann's client speaks MCP 2026-07-28, Bob's 2025-11-25, and neither was written for the gateway. It ends with 1 where
anything is not as it says.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from guarded_tools import open_store
from guarded_tools.approvers.inbox import questions
from guarded_tools.audit import newest_first, verify

RENDER, DELETE, LIST = "pictify_create_image", "pictify_delete_template", "pictify_list_templates"
IMAGE = {"html": "<b>Hello</b>"}
TOKENS = {"ann": "ann's own secret", "bob": "bob's own secret"}
POLICIES: dict[str, dict[str, Any]] = {
    "ann": {
        LIST: {},
        RENDER: {"limits": [{"counter": "images", "window": "hour", "max": 2, "scope": "grant"}]},
        DELETE: {"approval": True},
    },
    "bob": {LIST: {}},
}
CLI = [sys.executable, "-m", "guarded_tools.cli"]
fine = True


def check(what: str, holds: bool, told: str = "") -> None:
    """Print one line of the story."""
    global fine  # noqa: PLW0603 - one story, told once
    fine = fine and holds
    print(f"  {'✓' if holds else '✗'} {what}" + (f"\n      {told[:150]}" if told else ""), flush=True)


@contextmanager
def gateway(room: Path) -> Iterator[str]:
    """Start the gateway as anybody would, and give its address."""
    hashes = {name: hashlib.sha256(token.encode()).hexdigest() for name, token in TOKENS.items()}
    (room / "tokens.json").write_text(json.dumps(hashes))
    words = [
        *CLI,
        "gateway",
        "--http",
        "127.0.0.1:0",
        "--tokens",
        str(room / "tokens.json"),
        "--state",
        str(room / "state"),
    ]
    for name, tools in POLICIES.items():
        policy = {"version": "1", "server": "pictify", "default": "deny", "tools": tools}
        (room / f"{name}.json").write_text(json.dumps(policy))
        words += ["--policy", f"{name}={room / f'{name}.json'}"]
    words += ["--", sys.executable, "-m", "guarded_tools.pictify.sandbox"]
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        try:
            for line in process.stderr:
                if found := re.search(r"http://\S+", line):
                    yield found[0]
                    return
                print(line, end="")
            raise SystemExit("the gateway did not start")
        finally:
            process.terminate()
            process.stderr.close()


def client(url: str, name: str, mode: str) -> Any:
    """A client of the MCP SDK's, with somebody's token."""
    http = httpx2.AsyncClient(headers={"authorization": f"Bearer {TOKENS[name]}"}, timeout=60)
    return Client(streamable_http_client(url, http_client=http), mode=mode, cache=None)  # type: ignore[arg-type]


async def call(caller: Any, tool: str, **arguments: Any) -> tuple[bool, str]:
    """Whether a call ran, and what the model is told of it."""
    result = await caller.call_tool(tool, arguments)
    return not result.is_error, " ".join(block.text for block in result.content if block.type == "text")


def human(room: Path, verb: str) -> None:
    """A human in another terminal: waits for a question, and answers it by the command."""
    store = open_store(f"disk://{room / 'state'}")
    while not (waiting := questions(store)):
        time.sleep(0.05)
    words = [*CLI, "approvals", "--state", str(room / "state"), verb, waiting[0].id]
    words += ["--yes"] if verb == "approve" else ["--message", "not this one"]
    subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, check=True)


async def story(url: str, room: Path) -> None:
    """Two clients of one gateway, and one that nobody knows."""
    async with client(url, "ann", "auto") as ann, client(url, "bob", "legacy") as bob:
        seen = {
            name: [tool.name for tool in (await each.list_tools()).tools] for name, each in (("ann", ann), ("bob", bob))
        }
        print(
            f"\nAnn speaks {ann.protocol_version}, Bob {bob.protocol_version}; the sandbox lists {len(seen['ann'])} tools"
        )
        ran, _ = await call(bob, LIST)
        check("Bob lists templates", ran)
        ran, told = await call(bob, RENDER, **IMAGE)
        check("Bob may not render: his policy does not name it", not ran, told)
        for number in ("first", "second"):
            ran, _ = await call(ann, RENDER, **IMAGE)
            check(f"Ann renders her {number} image", ran)
        ran, told = await call(ann, RENDER, **IMAGE)
        check("Ann's third is over her limit of two an hour", not ran, told)
        print("\nAnn deletes, which a human has to allow, elsewhere than in her client:")
        for verb, what in (("reject", "rejected: it does not run"), ("approve", "approved: it reaches the sandbox")):
            answered = asyncio.to_thread(human, room, verb)
            (ran, told), _ = await asyncio.gather(call(ann, DELETE, templateId="none"), answered)
            check(what, ("DENIED" in told) is (verb == "reject"), told)
    print("\nSomebody without a token:")
    async with httpx2.AsyncClient() as nobody:
        answer = await nobody.post(url, json={}, headers={"authorization": "Bearer guessed"})
    check("is told nothing", answer.status_code == 401)


def main() -> None:
    """Tell the story, and check it against the audit."""
    os.environ["PYTHONWARNINGS"] = "ignore"
    with tempfile.TemporaryDirectory() as folder:
        room = Path(folder)
        with gateway(room) as url:
            print(f"guarded-tools gateway before the sandbox: {url}")
            asyncio.run(story(url, room))
        log = room / "state" / "audit.jsonl"
        lines = list(newest_first(log))[::-1]
        told = [(line["grant"], line["kind"], line.get("outcome")) for line in lines]
        print("\nThe audit, whose chain is whole and in which everybody has a name:")
        for grant in POLICIES:
            ends = [outcome for name, kind, outcome in told if name == grant and kind in {"settled", "refused"}]
            print(f"    {grant}: {', '.join(map(str, ends))}")
        check("no line is missing or changed", verify(log) == [])
        ran = [name for name, kind, _ in told if kind == "admitted"]
        check("Ann ran three calls, Bob one", (ran.count("ann"), ran.count("bob")) == (3, 1))
    raise SystemExit(not fine)


if __name__ == "__main__":
    main()
