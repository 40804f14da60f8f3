"""``guarded-tools gateway`` as clients start it: one process between two, and what it says where it does not start."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import ssl
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from guarded_tools.audit import newest_first, verify
from tests import forked
from tests.wire import ENVELOPE, NEW, OLD, Wire

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
        assert gateway.wait(30) == 0


def certificate(folder: Path) -> tuple[Path, Path]:
    cert, key = folder / "cert.pem", folder / "key.pem"
    name = ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost"]
    keys = ["-newkey", "rsa:2048", "-nodes", "-keyout", str(key), "-out", str(cert)]
    subprocess.run(["openssl", "req", "-x509", *keys, *name], check=True, capture_output=True)
    return cert, key


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl to make a certificate")
def test_it_listens_with_tls(policy: str, tmp_path: Path) -> None:
    cert, key = certificate(tmp_path)
    options = ["--policy", policy, "--http", "127.0.0.1:0", "--tls-cert", str(cert), "--tls-key", str(key)]
    with forked.Popen([sys.executable, *words(*options)], stderr=forked.PIPE) as gateway:
        found = re.search(r"https://127\.0\.0\.1:\d+/mcp", gateway.stderr.readline())
        assert found
        body = {"jsonrpc": "2.0", "id": 1, "method": "server/discover", "params": {"_meta": ENVELOPE}}
        headers = {"accept": "application/json, text/event-stream", "mcp-protocol-version": NEW}
        headers["mcp-method"] = "server/discover"
        answer = httpx.post(found[0], json=body, headers=headers, verify=ssl.create_default_context(cafile=cert))
        assert answer.is_success
        with pytest.raises(httpx.HTTPError):
            httpx.post(found[0].replace("https", "http"), json=body, headers=headers)
        gateway.terminate()
        gateway.wait(30)


@pytest.mark.parametrize("http", [True, False])
def test_told_to_end_it_closes_what_is_open(http: bool, policy: str, tmp_path: Path) -> None:
    """By SIGTERM, as clients and service managers do."""
    closed = tmp_path / "closed"
    program = CLOSES.format(closed=str(closed))
    options = ["--policy", policy, "--state", str(tmp_path / "state"), *(["--http", "127.0.0.1:0"] if http else [])]
    argv = [sys.executable, "-c", program, "gateway", *options, "--", *SANDBOX]
    with forked.Popen(argv, stdin=forked.PIPE, stdout=forked.PIPE, stderr=forked.PIPE) as gateway:
        assert "guarded-tools gateway: " in gateway.stderr.readline()
        gateway.terminate()
        assert gateway.wait(30) == 0
    assert closed.read_text().split()[:2] == ["audit", "store"]


CLOSES = """
from pathlib import Path
from guarded_tools.audit import AuditLog
from guarded_tools.stores.disk.store import DiskStore

def told(kind, name):
    close = kind.close
    def closes(self):
        close(self)
        with Path({closed!r}).open("a") as file:
            file.write(name + "\\n")
    kind.close = closes

told(AuditLog, "audit")
told(DiskStore, "store")
from guarded_tools.cli.app import main
main()
"""


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
        (("--header-env", "X=Y"), SANDBOX, "are about an address"),
        (("--url", "http://127.0.0.1:9/mcp", "--header-env", "X"), [], "is no NAME=VARIABLE"),
        (("--url-env", "NOT_SET_ANYWHERE"), [], "NOT_SET_ANYWHERE is not set"),
        (("--servers", "none.json"), [], "none.json cannot be read"),
        (("--servers", "none.json"), SANDBOX, "name one server"),
        (("--tokens", "none.json"), SANDBOX, "are about --http"),
        (("--jwks", "none.json"), SANDBOX, "are about --http"),
        (("--http", "127.0.0.1:0", "--jwks", "none.json", "--tokens", "x.json"), SANDBOX, "exclude each other"),
        (("--http", "127.0.0.1:0", "--jwt-issuer", "https://id.example.com"), SANDBOX, "need --jwks"),
        (("--http", "127.0.0.1:0", "--tls-cert", "cert.pem"), SANDBOX, "belong together"),
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
