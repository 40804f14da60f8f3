"""The example of a service: real workers under uvicorn, one limit for each user, a policy that changes meanwhile."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from guarded_tools.audit import read

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"


def write(path: Path, most: int) -> None:
    fresh = path.with_suffix(".new")
    limits = [{"counter": "refunds", "window": "hour", "max": most}]
    fresh.write_text(json.dumps({"version": "1", "default": "deny", "tools": {"refund": {"limits": limits}}}))
    fresh.replace(path)


def address(log: Path, master: subprocess.Popen[bytes]) -> str:
    """Where it listens, once a worker does; the port is bound before any of them is there."""
    deadline = time.monotonic() + 60
    while True:
        found = re.search(r"http://127.0.0.1:(\d+)", log.read_text())
        if found is not None:
            with contextlib.suppress(httpx.ConnectError):
                httpx.get(f"{found[0]}/health", timeout=60)
                return found[0]
        assert master.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.02)


@pytest.fixture
def service(tmp_path):
    """Two workers behind one port, and the lines that they wrote so far."""
    write(tmp_path / "policy.json", 30)
    words = ["-m", "uvicorn", "--app-dir", str(EXAMPLES), "service:app", "--workers", "2", "--port", "0"]
    env = {**os.environ, "POLICY": str(tmp_path / "policy.json"), "GUARDED_TOOLS_HOME": str(tmp_path / "state")}
    log = tmp_path / "log"
    with log.open("wb") as told:
        master = subprocess.Popen([sys.executable, *words], env=env, stdout=told, stderr=told)
    try:
        with httpx.Client(base_url=address(log, master), timeout=60) as client:
            yield master, client
    finally:
        master.kill()
        master.wait()


def ask(client: httpx.Client, user: str) -> str:
    answer = client.post("/refunds", json={"amount": 1}, headers={"X-User": user})
    assert answer.status_code == 200, answer.text
    return str(answer.json()["said"])


def test_users_have_limits_of_their_own_in_all_workers_and_across_a_new_policy(service, tmp_path):
    master, client = service
    assert client.get("/health").json() == {"counters": "ok"}
    with ThreadPoolExecutor(8) as threads:
        said = list(threads.map(ask, [client] * 50, ["ann", "bob"] * 25))
    assert [text == "paid 1" for text in said].count(True) == 50
    with ThreadPoolExecutor(8) as threads:
        said = list(threads.map(ask, [client] * 24, ["ann", "bob"] * 12))
    assert [text == "paid 1" for text in said].count(True) == 10  # five more for each

    write(tmp_path / "policy.json", 33)
    more, deadline = 0, time.monotonic() + 60
    while more < 3:
        more += ask(client, "ann") == "paid 1"
        assert time.monotonic() < deadline, "the new policy did not come to the workers"
    with ThreadPoolExecutor(8) as threads:
        assert not [text for text in threads.map(ask, [client] * 20, ["ann"] * 20) if "DENIED" not in text]

    master.send_signal(signal.SIGTERM)
    assert master.wait(60) in {0, -signal.SIGTERM}
    assert json.loads(next((tmp_path / "state").rglob("store.json")).read_text())["state"] == "closed"
    paid = [r for r in read(tmp_path / "state" / "audit.jsonl") if r["kind"] == "settled"]
    assert (len(paid), len({r["session"] for r in paid})) == (63, 2)
