"""Real servers over both roads: processes over stdio, and processes that listen on a port of this machine."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from guarded_tools.mcp_session import HttpServer, StdioServer
from tests import forked
from tests.faulty_sandbox import COMMAND

ODD = str(Path(__file__).with_name("odd_server.py"))


def until(condition, seconds=30.0):
    """Wait for another process; never for a clock."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.01)
    return value


def processes():
    """Of each process: its id, its parent's, whether it is dead and only not yet collected, and its command line."""
    if sys.platform != "linux":
        listed = subprocess.run(
            ["ps", "-axo", "pid=,ppid=,stat=,command="], check=True, capture_output=True, text=True, errors="replace"
        )
        rows = [line.split(None, 3) for line in listed.stdout.splitlines()]
        return [(int(row[0]), int(row[1]), row[2].startswith("Z"), row[3]) for row in rows]
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            state, parent, *_ = (path / "stat").read_text(errors="replace").rpartition(")")[2].split()
            command = (path / "cmdline").read_text(errors="replace").replace("\0", " ")
            found.append((int(path.name), int(parent), state == "Z", command))
        except OSError:
            continue  # it ended while we looked
    return found


def alive(pid):
    return any(pid == found and not dead for found, _, dead, _ in processes())


def children(of=None):
    """The servers that a process started."""
    of = os.getpid() if of is None else of
    return [
        pid
        for pid, parent, dead, command in processes()
        if parent == of and not dead and any(name in command for name in ("sandbox", "odd_server", "modern_server"))
    ]


class Sandbox:
    """A sandbox, and what it saw."""

    def __init__(self, road, log, options):
        self.road = road
        self.log = log
        self.options = [*options, "--log", str(log)]
        self.process = None
        self.port = 0
        if road == "stdio":
            self.server = StdioServer(sys.executable, [COMMAND[1], *self.options])
        else:
            self.start()
            self.server = HttpServer(self.url)

    def start(self):
        json_answers = ["--json"] if self.road == "http-json" else []
        self.process = forked.Popen(
            [sys.executable, COMMAND[1], "--http", str(self.port), *json_answers, *self.options], stdout=forked.PIPE
        )
        self.url = self.process.stdout.readline().strip()
        self.port = int(self.url.rpartition(":")[2].partition("/")[0])

    def kill(self):
        """End the server as if it crashed, and wait until it is gone."""
        if self.process is None:
            for pid in children():
                os.kill(pid, signal.SIGKILL)
        else:
            self.process.kill()
            self.process.wait()

    def stop(self):
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process.stdout.close()

    def seen(self):
        """How many calls of each (tool, state)."""
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        rows = [json.loads(line) for line in lines]
        return Counter((row["tool"].removeprefix("pictify_"), row["state"]) for row in rows)


@pytest.fixture
def make_sandbox(tmp_path):
    made = []

    def make(road, *options):
        made.append(Sandbox(road, tmp_path / f"log{len(made)}", options))
        return made[-1]

    yield make
    for sandbox in made:
        sandbox.stop()


@pytest.fixture(params=["stdio", "http"])
def road(request):
    return request.param


@pytest.fixture
def odd():
    def make(*habits, **env):
        return StdioServer(sys.executable, [ODD, *habits], env)

    return make


@pytest.fixture
def odd_over(odd, road):
    """The odd server over each road."""
    if road == "stdio":
        yield odd()
        return
    process = forked.Popen([sys.executable, ODD, "http"], stdout=forked.PIPE)
    yield HttpServer(process.stdout.readline().strip())
    process.kill()
    process.wait()
    process.stdout.close()


@pytest.fixture
def helpers():
    class Helpers:
        wait_until = staticmethod(until)
        is_alive = staticmethod(alive)
        servers = staticmethod(children)

    return Helpers
