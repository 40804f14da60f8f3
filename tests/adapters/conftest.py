from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import ToolMessage

from guarded_tools.guard import Guard
from guarded_tools.mcp_session import generation
from guarded_tools.policy import Policy
from guarded_tools.stores.memory import MemoryStore
from guarded_tools.testing import ScriptedModel
from guarded_tools.values import AuditEvent
from tests import forked
from tests.adapters.faults import Log, command_of

# About LangChain and its agents alone, not about MCP: run once, where what they need is installed.
ONCE = ["test_standard.py", "test_sub_agents.py", "test_transparent.py"]
collect_ignore = [] if generation.installed() == 1 else ONCE

ALLOW = {"version": "1", "default": "allow", "tools": {}}


@pytest.fixture
def log(tmp_path: Path) -> Log:
    """What reached the server that fails."""
    return Log(tmp_path / "upstream.jsonl")


@pytest.fixture
def command(log: Log) -> tuple[str, ...]:
    """What starts it."""
    return command_of(log)


@pytest.fixture
def url(command: tuple[str, ...]) -> Iterator[str]:
    """Where it listens."""
    with forked.Popen([*command, "--http", "0"], stdout=forked.PIPE) as process:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
        process.kill()


@pytest.fixture
def events() -> list[AuditEvent]:
    """Every audit event of the guards a test makes."""
    return []


@pytest.fixture
def make_guard(tmp_path: Path, events: list[AuditEvent]) -> Callable[..., Guard]:
    def make(policy: dict[str, Any] | None = None, **options: Any) -> Guard:
        options.setdefault("store", MemoryStore())
        options.setdefault("audit", tmp_path / "audit.jsonl")
        return Guard(Policy.model_validate(policy or ALLOW), observers=[events.append], **options)

    return make


@pytest.fixture
def outcomes(events: list[AuditEvent]) -> Callable[[], list[tuple[str, str, str | None]]]:
    """What the audit says so far: kind, tool and outcome of each line."""
    return lambda: [(event.kind, event.tool, event.outcome) for event in events]


@pytest.fixture
def scripted() -> Callable[..., ScriptedModel]:
    """Make a model that asks for these calls, all in one turn."""
    return lambda *calls: ScriptedModel([calls])


@pytest.fixture
def answers_of() -> Callable[[dict[str, Any]], list[ToolMessage]]:
    return lambda state: [message for message in state["messages"] if isinstance(message, ToolMessage)]
