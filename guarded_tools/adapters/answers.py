"""What a model is given in place of a result, and what is added to one that leaves a question open."""

from __future__ import annotations

from typing import Any

from langchain_core.messages import ToolMessage

from guarded_tools.errors import ToolDenied

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


def uncertain(error: Exception) -> None:
    """Say in ``error`` itself that nobody knows whether the call took effect; type and cause stay as they are.

    The note goes where handlers look when they turn an exception into text for a model.
    """
    if UNCERTAIN in str(error):
        return
    blocks = getattr(error, "tool_content", None)
    if isinstance(blocks, list):
        error.tool_content = [*blocks, {"type": "text", "text": UNCERTAIN}]  # type: ignore[attr-defined]
    said = str(error)
    if error.args[:1] in ((), (said,)):
        error.args = (f"{said}\n{UNCERTAIN}" if said else UNCERTAIN, *error.args[1:])
    else:
        error.add_note(UNCERTAIN)
