import sys
from pathlib import Path

import pytest

ODD = str(Path(__file__).parents[1] / "mcp_session" / "odd_server.py")


@pytest.fixture
def odd():
    """A server of nine tools, as MCP clients describe one."""

    def odd(*habits, **more):
        return {"command": sys.executable, "args": [ODD, *habits], **more}

    return odd


@pytest.fixture
def options(tmp_path):
    return {"store": "memory://", "audit": tmp_path / "audit.jsonl", "session": "s", "state": tmp_path}


@pytest.fixture
def policy(tmp_path):
    """A policy in a file, from its tools."""

    def policy(tools=None, **more):
        from guarded_tools import Policy

        return Policy.model_validate({"version": "1", "default": "deny", "tools": tools or {}, **more})

    return policy
