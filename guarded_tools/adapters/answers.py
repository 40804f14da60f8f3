"""What a model is given in place of a result, and what is added to one that leaves a question open."""

from __future__ import annotations

from typing import Any

from langchain_core.messages import ToolMessage
from pydantic import BaseModel, ValidationError

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


def uncertain_result(result: Any) -> Any:
    """Say in a result of MCP's that nobody knows whether the call took effect; any other is left as it is."""
    if not (isinstance(result, BaseModel) and isinstance(getattr(result, "isError", None), bool)):
        return result
    from mcp.types import TextContent  # there is such a result, so it was imported already

    content = [*getattr(result, "content", ()), TextContent(type="text", text=UNCERTAIN)]
    return result.model_copy(update={"content": content})


def uncertain(error: Exception) -> Exception:
    """Say in ``error`` itself that nobody knows whether the call took effect; type and cause stay as they are.

    The note goes where handlers look when they turn an exception into text for a model. Only an answer that could not
    be read becomes another error: LangGraph takes pydantic's for one about the arguments, and asks for the call again.
    """
    if UNCERTAIN in str(error) or UNCERTAIN in getattr(error, "__notes__", ()):
        return error
    if isinstance(error, ValidationError):
        unreadable = ConnectionFailed(f"the server's answer is no tool result\n{UNCERTAIN}", sent=True)
        unreadable.__cause__ = error
        return unreadable
    blocks = getattr(error, "tool_content", None)
    if isinstance(blocks, list):
        error.tool_content = [*blocks, {"type": "text", "text": UNCERTAIN}]  # type: ignore[attr-defined]
    _note(error)
    if UNCERTAIN not in str(error):
        error.add_note(UNCERTAIN)
    return error


def _note(error: Exception) -> None:
    """Add the note to what ``error`` makes its text of, where that can be found."""
    said, args = str(error), error.args
    noted = f"{said}\n{UNCERTAIN}" if said else UNCERTAIN
    if not args or (isinstance(args[0], str) and args[0] == said):
        error.args = (noted, *args[1:])
    elif len(args) == 1 and isinstance(args[0], Exception) and str(args[0]) in said:
        _note(args[0])  # as requests and urllib do, it hands on the words of the one below
    elif isinstance(error, OSError) and isinstance(error.strerror, str):
        error.strerror = f"{error.strerror}\n{UNCERTAIN}"
        error.args = (args[0], error.strerror, *args[2:])
    elif len(args) > 1 and type(error).__str__ is BaseException.__str__:  # its text is the whole of them
        error.args = (*args, UNCERTAIN)
