"""The story of ``make demo-gateway``, as anybody runs it."""

from __future__ import annotations

import sys
from pathlib import Path

from tests import forked

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "gateway_demo.py"


def test_every_line_of_the_demo_holds() -> None:
    done = forked.run([sys.executable, str(EXAMPLE)], stdin=forked.DEVNULL, timeout=200)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("✓") == 10
    assert "✗" not in done.stdout
    assert "bob: ok, denied" in done.stdout
