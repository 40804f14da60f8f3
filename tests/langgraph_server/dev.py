"""``langgraph dev``, started for real: on loopback, without a key and without a tunnel."""

import os
import shutil
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import httpx
from langgraph_sdk import get_sync_client

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
GO = {"messages": [{"role": "user", "content": "go"}]}
PATIENCE = 90


class Server:
    """``langgraph dev`` in a folder of its own, with the guard's state beside it."""

    def __init__(self, folder, config="langgraph.json", **environment):
        self.config = config
        self.url = ""
        self.environment = environment
        self.folder = folder / "served"
        self.state = folder / "state"
        self.log = folder / "server.log"
        shutil.copytree(HERE, self.folder, ignore=shutil.ignore_patterns("test_*", "__pycache__"))

    @contextmanager
    def running(self):
        """Start it, and yield a client once it answers."""
        port = free_port()
        command = [sys.executable, "-m", "langgraph_cli", "dev", "--config", self.config]
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                [*command, "--no-browser", "--no-reload", "--host", "127.0.0.1", "--port", str(port)],
                cwd=self.folder, env=self._environment(), stdout=log, stderr=log, stdin=subprocess.DEVNULL,
            )  # fmt: skip
        try:
            self.url = f"http://127.0.0.1:{port}"
            self._wait_for(f"{self.url}/ok", process)
            with get_sync_client(url=self.url, timeout=PATIENCE) as client:
                yield client
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _environment(self):
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("LANG", "PYTHONDONT"))}
        return kept | {
            "GUARDED_TOOLS_HOME": str(self.state),
            "LANGSMITH_TRACING": "false",
            "LANGGRAPH_CLI_NO_ANALYTICS": "1",
            "LANGGRAPH_NO_VERSION_CHECK": "true",
            "PYTHONPATH": str(ROOT),
            "NO_COLOR": "1",
            **self.environment,
        }

    def _wait_for(self, url, process):
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            assert process.poll() is None, f"the server ended:\n{self.told[-4000:]}"
            try:
                if httpx.get(url, timeout=5).is_success:
                    return
            except httpx.TransportError:
                time.sleep(0.1)  # until it listens
        raise AssertionError(f"the server does not answer:\n{self.told[-4000:]}")

    @property
    def told(self):
        return self.log.read_text(errors="replace")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def answer(values):
    """The answer of the last tool call of a thread."""
    return answers(values)[-1]


def answers(values):
    """The answers of all tool calls of a thread, in order."""
    return [message["content"] for message in values["messages"] if message["type"] == "tool"]
