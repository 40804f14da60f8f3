"""The real ``langgraph dev``: it ends every run that blocks its event loop, and guarded tools run under it.

One start and one restart, on loopback, without a key and without a tunnel; what is asserted comes from its HTTP API, its
log, and the guard's files.
"""

import os
import shutil
import socket
import subprocess
import sys
import time
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from langgraph_sdk import get_sync_client

from guarded_tools.audit import audit_path, read, verify
from guarded_tools.stores import open_store

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
GO = {"messages": [{"role": "user", "content": "go"}]}
PATIENCE = 90


class Server:
    """``langgraph dev`` in a folder of its own, with the guard's state beside it."""

    def __init__(self, folder):
        self.folder = folder / "served"
        self.state = folder / "state"
        self.log = folder / "server.log"
        shutil.copytree(HERE, self.folder, ignore=shutil.ignore_patterns("test_*", "__pycache__"))

    @contextmanager
    def running(self):
        """Start it, and yield a client once it answers."""
        port = free_port()
        command = [sys.executable, "-m", "langgraph_cli", "dev", "--no-browser", "--no-reload"]
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                [*command, "--host", "127.0.0.1", "--port", str(port)],
                cwd=self.folder, env=self._environment(), stdout=log, stderr=log, stdin=subprocess.DEVNULL,
            )  # fmt: skip
        try:
            url = f"http://127.0.0.1:{port}"
            self._wait_for(f"{url}/ok", process)
            with get_sync_client(url=url, timeout=PATIENCE) as client:
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
    return [message["content"] for message in values["messages"] if message["type"] == "tool"][-1]


@pytest.fixture
def server(tmp_path):
    return Server(tmp_path)


def test_run_interrupt_resume_stream_two_threads_and_a_restart(server):
    with server.running() as client:
        threads = [client.threads.create()["thread_id"] for _ in range(2)]
        for _ in range(2):
            assert answer(client.runs.wait(threads[0], "mail", input=GO)) == "sent to ann"
        assert "a limit of 2 in an hour is used up" in answer(client.runs.wait(threads[0], "mail", input=GO))

        # The other thread's limit is its own; and its answer comes as a stream.
        parts = list(client.runs.stream(threads[1], "mail", input=GO, stream_mode=["updates", "messages-tuple"]))
        assert "error" not in {part.event for part in parts}
        assert "sent to ann" in str([part.data for part in parts if part.event == "updates"])

        # A question interrupts; what it is resumed with is the answer.
        asking = client.threads.create()["thread_id"]
        asked = client.runs.wait(asking, "refund", input=GO)["__interrupt__"]
        assert [each["value"]["args"] for each in asked] == [{"amount": 5}]
        assert answer(client.runs.wait(asking, "refund", command={"resume": {"type": "approve"}})) == "paid back 5"
        waiting = client.threads.create()["thread_id"]
        assert "__interrupt__" in client.runs.wait(waiting, "refund", input=GO)

    with server.running() as client:
        assert "a limit of 2 in an hour is used up" in answer(client.runs.wait(threads[0], "mail", input=GO))
        assert answer(client.runs.wait(threads[1], "mail", input=GO)) == "sent to ann"
        assert answer(client.runs.wait(waiting, "refund", command={"resume": {"type": "approve"}})) == "paid back 5"

        told = server.told
        # Such a server does end what blocks: otherwise nothing above says anything.
        client.runs.wait(None, "blocking", input=GO, raise_error=False)

    assert "BlockingError" not in told
    assert "BlockingError" in server.told
    used = {usage.scope: usage.used for usage in open_store(f"disk://{server.state}").usage()}
    assert used == {f"session:{name}": n for name, n in zip([*threads, asking, waiting], [2, 2, 1, 1], strict=True)}
    log = audit_path(server.state)
    kinds = Counter(record["kind"] for record in read(log))
    assert (kinds["admitted"], kinds["settled"], kinds["refused"]) == (6, 6, 2)
    assert verify(log) == []
