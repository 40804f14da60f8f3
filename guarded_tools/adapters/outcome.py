"""Did the call happen? The one place that tells, from what a body returned or raised.

=====================================================================  =============
seen                                                                   outcome
=====================================================================  =============
a result                                                               ``ok``
the server could not be started, nobody listened, nothing was sent     ``never_ran``
an argument error or an unknown tool, said by the MCP server           ``reported``
an upstream 4xx other than 408 and 429, in a server's known format     ``reported``
an upstream 5xx or 408, in a server's known format                     ``unknown``
an HTTP status, a timeout, a cancellation, a lost connection           ``unknown``
an unreadable answer                                                   ``unknown``
a question to the client in place of an answer (SEP-2322)              ``unknown``
any other error                                                        ``error``
=====================================================================  =============

Only ``never_ran`` gives charges back, so it is said where the guard itself knows it and nowhere else. ``reported`` is
the server's word: one that relays its upstream's text, or that acts and then answers, says the very same, and a limit
of five let ten effects through while that was believed. It counts as ``never_ran`` where the policy consents
(``"refunds": "reported"``), else as ``error``.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, TypeAlias

from langchain_core.messages import ToolMessage
from pydantic import BaseModel

from guarded_tools.approval.suspension import is_suspension
from guarded_tools.errors import ConnectionFailed
from guarded_tools.libraries import langchain_mcp
from guarded_tools.mcp_session import sdk_privates
from guarded_tools.values import BodyOutcome

OutcomeClassifier: TypeAlias = Callable[[Any], BodyOutcome]

# How a server words the HTTP status its upstream answered: only then is a status in a text known to be one.
_STATUS_FORMATS = {"pictify": re.compile(r"Error \((\d{3})\)(?::|$)")}

# What servers answer before they call a tool's function: the TypeScript SDK, the Python SDK (its low-level server, then
# the other), FastMCP. The last words an unknown tool as the one before.
_REFUSED = re.compile(
    r"MCP error -3260[12]\b"
    r"|Input validation error: "
    r"|Unknown tool: \S+$"
    r"|Error executing tool (\S+): \d+ validation errors? for \1Arguments\n"
    r"|\d+ validation errors? for call\[[^\]\n]+\]\n"
)
_JSONRPC_REFUSED = frozenset({-32602, -32601})
_JSONRPC_AMBIGUOUS = frozenset({408, -32000, -32001})

_LOST = re.compile(r"Timeout|Cancel|Connect|Transport|ClosedResource|BrokenResource|EndOfStream|Protocol")

# What a client sends until a call is on its way; anything else it may also send after one.
_UNTIL_CALLED = frozenset({"initialize", "notifications/initialized", "server/discover", "tools/call"})

# What the second generation of the SDK says in the server's place, of an HTTP status or an answer that it cannot read.
_NOT_THE_SERVERS = re.compile(
    r"Server returned an error response|Not Found|Session terminated|Unexpected content type: |Failed to parse "
    r"|SSE stream |server answered a request with 202|Redirect|redirect"
)


def judge_plain(result: object) -> BodyOutcome:
    """Judge a body of which nothing is known: it may have done much before it raised, so nothing is given back."""
    if isinstance(result, BaseException):
        return _judge_exception(result)
    if _only_asks(result):
        return "unknown"
    return "error" if _says_error(result) else "ok"


def judge_mcp(*servers: str | None) -> OutcomeClassifier:
    """Return the judge of calls to an MCP server: of results, of adapters' exceptions and of connection failures.

    ``servers`` are the names it goes by; the first that is known says how errors are worded.
    """
    known = [_STATUS_FORMATS[server] for server in servers if server in _STATUS_FORMATS]
    return functools.partial(_judge_mcp, known[0] if known else None)


def _judge_mcp(status_format: re.Pattern[str] | None, result: object) -> BodyOutcome:
    if isinstance(result, BaseExceptionGroup):
        outcomes = {_judge_mcp(status_format, error) for error in result.exceptions}
        return outcomes.pop() if len(outcomes) == 1 else "unknown"
    if isinstance(result, BaseException):
        if not hasattr(result, "tool_content"):  # the adapter's exception for an answer that is an error
            return _judge_failure(result)
        text = str(result)
    elif _says_error(result):
        text = _text(getattr(result, "content", ""))
    else:
        return "unknown" if _only_asks(result) else "ok"
    if _REFUSED.match(text):
        return "reported"
    found = status_format.match(text) if status_format else None
    return _judge_status(int(found[1])) if found else "error"


def _judge_status(status: int) -> BodyOutcome:
    if status == HTTPStatus.REQUEST_TIMEOUT or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return "unknown"
    refused = status >= HTTPStatus.BAD_REQUEST and status != HTTPStatus.TOO_MANY_REQUESTS
    return "reported" if refused else "error"


def _judge_failure(error: BaseException) -> BodyOutcome:
    if sdk_privates.was_checking(error):
        return "error"
    if _was_not_sent(error) or sdk_privates.was_starting(error) or langchain_mcp.was_connecting(error):
        return "never_ran"
    code = _jsonrpc_code(error)
    if code in _JSONRPC_AMBIGUOUS or _is_the_clients(error):
        return "unknown"
    if code in _JSONRPC_REFUSED:
        return "reported"
    # A ValidationError comes from reading the answer: there was one, and it is not understood.
    if "ValidationError" in _names(error) and not is_suspension(error):
        return "unknown"
    return _judge_exception(error)


def _judge_exception(error: BaseException) -> BodyOutcome:
    if is_suspension(error):  # an interrupt is the guard's own business; this is a hand-over to the parent graph
        return "ok"
    return "unknown" if _was_lost(error) else "error"


def _was_not_sent(error: BaseException) -> bool:
    if isinstance(error, ConnectionFailed):
        return not error.sent
    if not {"ConnectError", "ConnectTimeout"}.isdisjoint(_names(error)):  # httpx, while there is no connection yet
        return _method(error) in _UNTIL_CALLED and not sdk_privates.followed_a_redirect(error)
    return False


def _method(error: BaseException) -> object:
    """Return the JSON-RPC method that an HTTP request was to deliver."""
    try:
        message = json.loads(error.request.content)  # type: ignore[attr-defined]
    except (AttributeError, RuntimeError, ValueError):
        return None
    return message.get("method") if isinstance(message, dict) else None


def _jsonrpc_code(error: BaseException) -> object:
    return getattr(getattr(error, "error", None), "code", None)  # where mcp's McpError and MCPError keep it


def _is_the_clients(error: BaseException) -> bool:
    """Whether an error of the protocol is the client's own, who had no answer of the protocol to read."""
    said = getattr(getattr(error, "error", None), "message", "")
    return "MCPError" in _names(error) and isinstance(said, str) and _NOT_THE_SERVERS.match(said) is not None


def _names(error: BaseException) -> set[str]:
    return {kind.__name__ for kind in type(error).__mro__}


def _was_lost(error: BaseException) -> bool:
    if isinstance(error, BaseExceptionGroup):
        return any(_was_lost(inner) for inner in error.exceptions)
    around = error.args[0] if len(error.args) == 1 else None  # as urllib hands on what went wrong below it
    if isinstance(around, Exception) and around is not error and _was_lost(around):
        return True
    return not isinstance(error, Exception) or any(map(_LOST.search, _names(error)))


def _says_error(result: object) -> bool:
    """Whether a ``CallToolResult`` or a ``ToolMessage``, alone or with its artifact, reports an error.

    Nothing else is asked: a table may have a column called ``status``, and its comparison is no yes or no.
    """
    if isinstance(result, tuple) and result:
        result = result[0]
    if isinstance(result, ToolMessage):
        return result.status == "error"
    said = getattr(result, "is_error", None)  # mcp 2 and FastMCP, which warn of whoever asks for the older name
    said = getattr(result, "isError", False) if said is None else said
    return isinstance(result, BaseModel) and said is True


def _only_asks(result: object) -> bool:
    """Whether a tool has not answered, but asks its client something first; FastMCP wraps what says so."""
    said = getattr(result, "input_required", result) if isinstance(result, BaseModel) else None
    return isinstance(said, BaseModel) and getattr(said, "result_type", None) == "input_required"


def _text(content: object) -> str:
    if isinstance(content, str):
        return content
    blocks = content if isinstance(content, list) else []
    texts = [block.get("text") if isinstance(block, dict) else getattr(block, "text", None) for block in blocks]
    return "\n".join(text for text in texts if isinstance(text, str))
