from __future__ import annotations

from collections.abc import Callable
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

# What is tested with langchain-mcp-adapters, in part or in whole; what only runs with the second generation says so by
# its name.
FIRST = ["test_blocking.py", "test_edited.py", "test_invocation.py", "test_outcomes.py", "test_plugins.py"]
FIRST += ["test_standard.py", "test_sub_agents.py", "test_transparent.py"]
collect_ignore = [] if generation.installed() == 1 else FIRST

ALLOW = {"version": "1", "default": "allow", "tools": {}}


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
