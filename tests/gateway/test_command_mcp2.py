"""``guarded-tools gateway`` as clients start it: one process between two, and what it says where it does not start."""

from __future__ import annotations

import hashlib
import json
import re
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from guarded_tools.audit import newest_first, verify
from tests import forked
from tests.wire import NEW, OLD, Wire

SANDBOX = [sys.executable, "-m", "guarded_tools.pictify.sandbox"]
POLICY = {
    "version": "1", "default": "deny", "server": "pictify",
    "tools": {"pictify_list_images": {"limits": [{"counter": "n", "window": "hour", "max": 2}]}},
}  # fmt: skip


@pytest.fixture
def policy(tmp_path: Path) -> str:
    path = tmp_path / "policy.json"
    path.write_text(json.dumps(POLICY))
    return str(path)


def words(*options: str, command: Any = SANDBOX) -> list[str]:
    return ["-m", "guarded_tools.cli", "gateway", *options, "--", *command]


@pytest.mark.parametrize("revision", [OLD, NEW])
def test_a_client_starts_it_in_the_place_of_its_server(revision: str, policy: str, tmp_path: Path) -> None:
    state = tmp_path / "state"
    with Wire(words("--policy", policy, "--state", str(state), "--session", "mine"), revision) as client:
        assert len(client.request("tools/list", {})["tools"]) > 30
        ran = [
            client.request("tools/call", {"name": name, "arguments": {}}).get("isError", False)
            for name in ("pictify_list_images", "pictify_list_images", "pictify_list_images", "pictify_list_templates")
        ]
    assert ran == [False, False, True, True]
    log = state / "audit.jsonl"
    assert verify(log) == []
    told = [(line["kind"], line.get("outcome"), line["session"], line["server"]) for line in newest_first(log)]
    assert told[::-1] == [
        *[("admitted", None, "mine", "pictify"), ("settled", "ok", "mine", "pictify")] * 2,
        ("refused", "limited", "mine", "pictify"),
        ("refused", "denied", "mine", "pictify"),
    ]


def test_it_listens_for_those_whose_token_it_knows(policy: str, tmp_path: Path) -> None:
    tokens = tmp_path / "tokens.json"
    tokens.write_text(json.dumps({"ann": hashlib.sha256(b"of ann").hexdigest()}))
    options = ["--policy", f"ann={policy}", "--http", "127.0.0.1:0", "--tokens", str(tokens), "--server", "pictify"]
    with forked.Popen([sys.executable, *words(*options)], stderr=forked.PIPE) as gateway:
        found = re.search(r"http://127\.0\.0\.1:\d+/mcp", gateway.stderr.readline())
        assert found
        with Wire(found[0], NEW, headers={"authorization": "Bearer of ann"}) as client:
            assert not client.request("tools/call", {"name": "pictify_list_images", "arguments": {}}).get("isError")
            assert client.request("tools/call", {"name": "pictify_list_templates", "arguments": {}})["isError"]
        gateway.terminate()
        assert gateway.wait(30) in {0, -signal.SIGTERM}  # uvicorn ends as it was told to


def run(*argv: str) -> Any:
    return forked.run([sys.executable, *argv], input="", timeout=60)


def test_what_cannot_start_says_why(policy: str, tmp_path: Path) -> None:
    missing = run(*words("--policy", str(tmp_path / "none.json")))
    assert missing.returncode == 2
    assert "none.json" in missing.stderr
    for options, command, told in (
        ((), ["no-such-command"], "was not found"),
        (("--url", "http://127.0.0.1:9/mcp"), SANDBOX, "name one server"),
        (("--token-env", "TOKEN"), SANDBOX, "name one with --url"),
        (("--env", "NOT_SET_ANYWHERE"), SANDBOX, "NOT_SET_ANYWHERE is not set"),
        (("--http", "0.0.0.0:0"), SANDBOX, "name --tokens FILE as well"),
        (("--http", "here"), SANDBOX, "is no HOST:PORT"),
        (("--tokens", "none.json"), SANDBOX, "are about --http"),
        (("--policy", "ann=strict"), SANDBOX, "name one --policy, or one for each client"),
    ):
        failed = run(*words("--policy", policy, *options, command=command))
        assert failed.returncode == 2, told
        assert told in failed.stderr
        assert failed.stdout == ""


def test_a_server_that_ends_ends_it_though_its_client_says_nothing(policy: str) -> None:
    command = [sys.executable, "-c", "import sys; sys.exit('no licence')"]
    argv = [sys.executable, *words("--policy", policy, command=command)]
    with forked.Popen(argv, stdin=forked.PIPE, stdout=forked.PIPE, stderr=forked.PIPE) as gateway:
        assert gateway.wait(60) == 1
        assert "no licence" in gateway.stderr.read()
        assert gateway.stdout.read() == ""
