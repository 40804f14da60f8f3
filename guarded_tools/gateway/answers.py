"""What a gateway answers in a server's place, and how it reads what a server answered to a call."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mcp import MCPError
from mcp_types import INVALID_REQUEST, PROTOCOL_VERSION_META_KEY, CallToolResult
from pydantic import ValidationError

from guarded_tools.adapters import answers
from guarded_tools.adapters.notes import UNCERTAIN
from guarded_tools.errors import ConnectionFailed
from guarded_tools.policy.schema_check import misfit_of_result
from guarded_tools.values import ToolInfo

OURS = "io.modelcontextprotocol/"
"""What the keys of 2026-07-28 in ``_meta`` begin with."""


class OwnResult(CallToolResult):
    """A result of the guard's own, or one that was changed: it is written out as it is."""


class AskedBack(CallToolResult):
    """A tool that has not answered, but asks its client something first (SEP-2322). ``asks`` is what came."""

    result_type: Any = "input_required"
    asks: dict[str, Any]


def is_modern(params: Mapping[str, Any] | None) -> bool:
    """Whether a request is of protocol 2026-07-28, which says so of itself."""
    meta = (params or {}).get("_meta")
    return isinstance(meta, Mapping) and PROTOCOL_VERSION_META_KEY in meta


def envelope(params: Mapping[str, Any] | None, more: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Put what a request of 2026-07-28 says of itself and its client around another of ours for the same client."""
    meta = (params or {}).get("_meta")
    own = {key: value for key, value in meta.items() if key.startswith(OURS)} if isinstance(meta, Mapping) else {}
    return {**more, "_meta": own} if own else more or None


def read(raw: dict[str, Any]) -> CallToolResult:
    """Read what a server answered to ``tools/call``.

    Raises:
        ConnectionFailed: it is no result of a tool's. The call was sent.
    """
    if raw.get("resultType") == "input_required":
        return AskedBack(content=[], asks=raw)
    try:
        return CallToolResult.model_validate(raw, by_name=False)
    except ValidationError as error:
        raise ConnectionFailed(f"the server's answer is no tool result ({error.error_count()} faults)") from None


def written(result: CallToolResult, raw: dict[str, Any] | None, given: object, info: ToolInfo | None) -> dict[str, Any]:
    """Write out a result: as it came where nothing was changed in it."""
    if raw is not None and (result is given or isinstance(result, AskedBack)):
        return raw
    shown = result.model_dump(by_alias=True, mode="json", exclude_none=True)
    schema = info.output if info is not None and isinstance(info.output, Mapping) else None
    unfit = schema is not None and misfit_of_result(schema, shown.get("structuredContent")) is not None
    # Clients hold what is no error against the output schema, and would tell their model of a server that is broken.
    return {**shown, "isError": True} if unfit else shown


def failed(why: str) -> dict[str, Any]:
    """Answer a call of a tool with an error that a model reads."""
    return {"content": [{"type": "text", "text": why}], "isError": True}


def refused(denied: answers.Refusal, name: str, info: ToolInfo | None, answered_at: str) -> CallToolResult:
    """Answer a call of a tool that was refused, or whose result is withheld."""
    content: list[Any] = [{"type": "text", "text": _told(denied, name, answered_at)}]
    if denied.outcome == "responded" and (info is None or not isinstance(info.output, Mapping)):
        return OwnResult(content=content, _meta={"guarded_tools": answers.artifact(denied)})
    # What is no error has to fit the tool's output schema, which no words of a human do.
    return OwnResult(content=content, structured_content=answers.artifact(denied), is_error=True)


def refusal(denied: answers.Refusal, name: str, answered_at: str) -> MCPError:
    """Answer a request that has no result to say it in."""
    return MCPError(INVALID_REQUEST, _told(denied, name, answered_at), answers.artifact(denied))


def _told(denied: answers.Refusal, name: str, answered_at: str) -> str:
    """Say why, and where a human could have been reached if none was."""
    said = answers.text(denied, name)
    if denied.outcome != "unanswered" or not answered_at:
        return said
    return f"{said} Questions wait for people, who answer them with: {answered_at}"


def with_note(error: MCPError) -> MCPError:
    """Return an error of the protocol with what was noted on it, where clients read it."""
    noted = UNCERTAIN in getattr(error, "__notes__", ()) or UNCERTAIN in str(error.args)
    if not noted or UNCERTAIN in error.message:
        return error
    return MCPError(error.code, f"{error.message}\n{UNCERTAIN}", error.data)
