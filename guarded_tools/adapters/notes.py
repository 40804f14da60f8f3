"""What is added to an answer: that its outcome is open, that a human changed the call, or answered in its place.

A note has to stand where a model reads it, and each road has its own form of an answer: text, blocks of content, values
that LangChain writes out, messages, a ``Command`` that carries them, MCP's results, and errors, of whose text handlers
make a message. What a program reads stays as it was: artifacts, structured content, the type and cause of an error; and
what a tool returns to whoever called it without a tool call, because no message is made of it.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

from langchain_core.messages import ToolMessage
from pydantic import BaseModel, ValidationError

from guarded_tools.errors import ConnectionFailed
from guarded_tools.text.redaction import mask_json
from guarded_tools.values import ToolCall

Place: TypeAlias = Literal["first", "last"]

UNCERTAIN = "UNKNOWN OUTCOME: this call may have taken effect. Check before retrying it."

_LONGEST_VALUE = 200
_LONGEST = 2_000


def edited(ran: ToolCall) -> str:
    """Say which call ran in the place of the one that the model asked for: secrets are masked, long values cut."""
    args = _cut(json.dumps(_shortened(mask_json(ran.args)), ensure_ascii=False, sort_keys=True), _LONGEST)
    return (
        f"NOTE: a human changed this call before it ran. What ran is {ran.tool} with the arguments {args}, not what you"
        " asked for. This was intended: do not repeat your call."
    )


def responded(tool: str, text: str) -> str:
    """Say that a tool did not run, and what a human answered in its place."""
    return f"NOTE: {tool} did not run. A human answered in its place:\n{text}"


def add(result: Any, note: str, place: Place, *, call_id: str | None) -> Any:
    """Return a result with a note in it; of the content alone, where a tool also returns an artifact."""
    if isinstance(result, ToolMessage):
        return result.model_copy(update={"content": _with_content(result.content, note, place)})
    if _is_command(result):
        return dataclasses.replace(result, update=_with_messages(result.update, note, place, call_id))
    if isinstance(result, list) and result and all(_is_output(each) for each in result):
        return [add(each, note, place, call_id=call_id) if _answers(each, call_id) else each for each in result]
    if isinstance(result, BaseModel) and any(hasattr(result, said) for said in ("is_error", "isError")):
        from mcp.types import TextContent  # there is such a result, so it was imported already

        content = list(getattr(result, "content", ()))
        block = TextContent(type="text", text=_apart(note, place))
        return result.model_copy(update={"content": _placed(content, block, place)})
    if call_id is None:
        return result
    text = isinstance(result, str) or _is_content(result)
    return _with_content(result if text else _written(result), note, place)


def _is_command(value: Any) -> bool:
    types = sys.modules.get("langgraph.types")  # nobody can have made one where it was never imported
    return types is not None and isinstance(value, types.Command)


def _is_output(value: Any) -> bool:
    return isinstance(value, ToolMessage) or _is_command(value)


def _answers(value: Any, call_id: str | None) -> bool:
    """Whether this is, or may carry, the answer to the call."""
    return not isinstance(value, ToolMessage) or call_id is None or value.tool_call_id == call_id


def _with_messages(update: Any, note: str, place: Place, call_id: str | None) -> Any:
    """Add a note to the messages that answer this call, wherever the update of a state keeps messages."""
    if isinstance(update, ToolMessage):
        return add(update, note, place, call_id=call_id) if _answers(update, call_id) else update
    if isinstance(update, Mapping):
        return {key: _with_messages(value, note, place, call_id) for key, value in update.items()}
    if type(update) in (list, tuple):
        return type(update)(_with_messages(value, note, place, call_id) for value in update)
    return update


def _is_content(value: Any) -> bool:
    """Whether LangChain takes this for the content of a message as it is."""
    return isinstance(value, list | tuple) and all(
        isinstance(block, str) or (isinstance(block, dict) and isinstance(block.get("type"), str)) for block in value
    )


def _with_content(content: Any, note: str, place: Place) -> Any:
    if isinstance(content, str):
        return _joined(content, note, place)
    # Some providers refuse lists of both kinds.
    texts = bool(content) and all(isinstance(block, str) for block in content)
    said = _apart(note, place)
    return _placed(list(content), said if texts else {"type": "text", "text": said}, place)


def _apart(note: str, place: Place) -> str:
    """End a note before the block that follows: who reads all blocks as one text puts nothing between them."""
    return f"{note}\n\n" if place == "first" else note


def _placed(content: list[Any], block: Any, place: Place) -> list[Any]:
    return content if block in content else [block, *content] if place == "first" else [*content, block]


def _joined(text: str, note: str, place: Place) -> str:
    if note in text:
        return text
    if not text:
        return note
    return f"{note}\n\n{text}" if place == "first" else f"{text}\n{note}"


def _written(value: Any) -> str:
    """Write a value out as LangChain does for a message."""
    try:
        return json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError):
        return str(value)


def add_to_error(error: Exception, note: str, place: Place) -> Exception:
    """Say it in ``error`` itself, where handlers look that turn one into text; its type and cause stay.

    Only an answer that could not be read becomes another error: LangGraph takes pydantic's for one about the arguments,
    and asks for the call again.
    """
    if note in str(error) or note in getattr(error, "__notes__", ()):
        return error
    if isinstance(error, ValidationError) and note == UNCERTAIN:
        unreadable = ConnectionFailed(f"the server's answer is no tool result\n{UNCERTAIN}", sent=True)
        unreadable.__cause__ = error
        return unreadable
    blocks = getattr(error, "tool_content", None)
    if isinstance(blocks, list):
        error.tool_content = _with_content(blocks, note, place)  # type: ignore[attr-defined]
    _put_into(error, note, place)
    if note not in str(error):
        error.add_note(note)
    return error


def _put_into(error: Exception, note: str, place: Place) -> None:
    """Add the note to what ``error`` makes its text of, where that can be found."""
    said, args = str(error), error.args
    if not args or (isinstance(args[0], str) and args[0] == said):
        error.args = (_joined(said, note, place), *args[1:])
    elif len(args) == 1 and isinstance(args[0], Exception) and str(args[0]) in said:
        _put_into(args[0], note, place)  # as requests and urllib do, it hands on the words of the one below
    elif isinstance(error, OSError) and isinstance(error.strerror, str):
        error.strerror = _joined(error.strerror, note, place)
        error.args = (args[0], error.strerror, *args[2:])
    elif len(args) > 1 and type(error).__str__ is BaseException.__str__:  # its text is the whole of them
        error.args = (*args, note)


def _shortened(value: Any) -> Any:
    if isinstance(value, str):
        return _cut(value, _LONGEST_VALUE)
    if isinstance(value, Mapping):
        return {_cut(str(key), _LONGEST_VALUE): _shortened(item) for key, item in value.items()}
    return [_shortened(item) for item in value] if isinstance(value, list) else value


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else f"{text[:longest]}… ({len(text)} characters)"
