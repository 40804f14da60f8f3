"""Where FastMCP 4 is not installed, a server cannot guard itself, and is told what to install."""

from __future__ import annotations

from typing import Any

import pytest

from guarded_tools.errors import GuardError


def test_the_command_that_installs_it_is_said(make_guard: Any) -> None:
    with pytest.raises(
        GuardError, match=r"takes FastMCP 4, which is not installed: pip install 'guarded-tools\[mcp\]'"
    ):
        make_guard().fastmcp_middleware()
