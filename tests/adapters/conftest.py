from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from pydantic import PrivateAttr

from guarded_tools.guard import Guard
from guarded_tools.policy import Policy
from guarded_tools.stores.memory import MemoryStore
from guarded_tools.values import AuditEvent

ALLOW = {"version": "1", "default": "allow", "tools": {}}


class Scripted(BaseChatModel):
    """A model that asks for the given tool calls, a list a turn, and then says it is done."""

    turns: list[list[dict[str, Any]]]
    _bound: list[list[str]] = PrivateAttr(default_factory=list)
    _seen: list[list[BaseMessage]] = PrivateAttr(default_factory=list)

    @property
    def _llm_type(self) -> str:
        return "scripted"

    @property
    def bound(self) -> list[list[str]]:
        return self._bound

    def bind_tools(self, tools: Sequence[Any], **kwargs: Any) -> Any:
        self._bound.append([tool["name"] if isinstance(tool, dict) else tool.name for tool in tools])
        return self

    def _generate(
        self, messages: list[BaseMessage], stop: Any = None, run_manager: Any = None, **kwargs: Any
    ) -> ChatResult:
        self._seen.append(messages)
        done = sum(isinstance(message, AIMessage) for message in messages)
        if done >= len(self.turns):
            message = AIMessage("done")
        else:
            message = AIMessage(
                "",
                tool_calls=[
                    {"type": "tool_call", "id": f"call-{done}-{i}", **call} for i, call in enumerate(self.turns[done])
                ],
            )
        return ChatResult(generations=[ChatGeneration(message=message)])


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
def scripted() -> Callable[..., Scripted]:
    """Make a model that asks for these calls, all in one turn."""
    return lambda *calls: Scripted(turns=[[{"name": name, "args": args} for name, args in calls]])


@pytest.fixture
def answers_of() -> Callable[[dict[str, Any]], list[ToolMessage]]:
    return lambda state: [message for message in state["messages"] if isinstance(message, ToolMessage)]
