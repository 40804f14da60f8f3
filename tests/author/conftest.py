from __future__ import annotations

import re
import subprocess
import sys
from contextlib import contextmanager

import pytest


@pytest.fixture
def http_sandbox():
    """Starts a sandbox that listens on a port of this machine; the context is its address."""

    @contextmanager
    def http_sandbox(*options):
        command = [sys.executable, "-m", "guarded_tools.pictify.sandbox", "--http", "0", *options]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        try:
            found = None
            while found is None and (line := process.stdout.readline()):
                found = re.search(r"http://127\.0\.0\.1:\d+/mcp", line)
            assert found, "the sandbox did not say where it listens"
            yield found[0]
        finally:
            process.terminate()
            process.wait(10)
            process.stdout.close()

    return http_sandbox
