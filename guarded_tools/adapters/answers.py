"""What a model is given in place of a result."""

from __future__ import annotations

from typing import Any, TypeAlias

from langchain_core.messages import ToolMessage

from guarded_tools.adapters import notes
from guarded_tools.errors import ResultWithheld, ToolDenied
from guarded_tools.text.visible import one_line

Refusal: TypeAlias = ToolDenied | ResultWithheld
"""What an answer of the guard's own stands for: a call that did not run, or a result that is not handed on."""


def artifact(denied: Refusal) -> dict[str, Any]:
    """Return a refusal for programs: ``outcome``, ``rule``, ``reason`` and ``retry_after`` in seconds."""
    if isinstance(denied, ResultWithheld):
        said = {"denied": False, "withheld": True, "outcome": denied.outcome}
        return {**said, "rule": denied.rule, "reason": denied.reason, "retry_after": None}
    return {
        "denied": denied.outcome != "responded",
        "outcome": denied.outcome,
        "rule": denied.decision.rule,
        "reason": denied.decision.message,
        "retry_after": denied.retry_after,
    }


def text(denied: Refusal, tool: str) -> str:
    """Return what a model is told: a refusal in its own words, or who it was that answered and not the tool."""
    return notes.responded(one_line(tool), str(denied)) if denied.outcome == "responded" else str(denied)


def message(denied: Refusal, tool: str, call_id: str) -> ToolMessage:
    """Return a refusal, or what a human answered in the tool's place, as the message a model expects."""
    status = "success" if denied.outcome == "responded" else "error"
    return ToolMessage(text(denied, tool), artifact=artifact(denied), tool_call_id=call_id, name=tool, status=status)
