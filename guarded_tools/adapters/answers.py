"""What a model is given in place of a result, and what is added to one that leaves a question open."""

from __future__ import annotations

from typing import Any

from langchain_core.messages import ToolMessage
from pydantic import ValidationError

from guarded_tools.errors import ConnectionFailed, ToolDenied

UNCERTAIN = "UNKNOWN OUTCOME: this call may have taken effect. Check before retrying it."


def artifact(denied: ToolDenied) -> dict[str, Any]:
    """Return a refusal for programs: ``outcome``, ``rule``, ``reason`` and ``retry_after`` in seconds."""
    return {
        "denied": denied.outcome != "responded",
        "outcome": denied.outcome,
        "rule": denied.decision.rule,
        "reason": denied.decision.message,
        "retry_after": denied.retry_after,
    }


def message(denied: ToolDenied, tool: str, call_id: str) -> ToolMessage:
    """Return a refusal, or what a human answered in the tool's place, as the message a model expects."""
    status = "success" if denied.outcome == "responded" else "error"
    return ToolMessage(str(denied), artifact=artifact(denied), tool_call_id=call_id, name=tool, status=status)


def uncertain(error: Exception) -> Exception:
    """Say in ``error`` itself that nobody knows whether the call took effect; type and cause stay as they are.

    The note goes where handlers look when they turn an exception into text for a model. Only an answer that could not
    be read becomes another error: LangGraph takes pydantic's for one about the arguments, and asks for the call again.
    """
    if UNCERTAIN in str(error):
        return error
    if isinstance(error, ValidationError):
        unreadable = ConnectionFailed(f"the server's answer is no tool result\n{UNCERTAIN}", sent=True)
        unreadable.__cause__ = error
        return unreadable
    blocks = getattr(error, "tool_content", None)
    if isinstance(blocks, list):
        error.tool_content = [*blocks, {"type": "text", "text": UNCERTAIN}]  # type: ignore[attr-defined]
    said = str(error)
    if error.args[:1] in ((), (said,)):
        error.args = (f"{said}\n{UNCERTAIN}" if said else UNCERTAIN, *error.args[1:])
    else:
        error.add_note(UNCERTAIN)
    return error
