"""The example of the docs: two processes, one Redis, one limit."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.redis_servers import start_redis

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "fleet.py"


@pytest.fixture
def url(tmp_path):
    server = start_redis(tmp_path)
    yield server.url
    server.kill()


def test_two_machines_share_one_limit(url, tmp_path):
    """Each has a state directory of its own, as two machines have; only the server is common."""
    machines = [
        subprocess.Popen(
            [sys.executable, str(EXAMPLE), url],
            env={**os.environ, "GUARDED_TOOLS_HOME": str(tmp_path / name)},
            stdout=subprocess.PIPE,
            text=True,
        )
        for name in ("one", "other")
    ]
    said = [machine.communicate(timeout=60)[0] for machine in machines]
    assert [machine.returncode for machine in machines] == [0, 0]
    assert sum(int(re.match(r"paid (\d+); then: DENIED", line)[1]) for line in said) == 100, said
