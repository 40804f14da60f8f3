"""Tools that ask in the middle of a call, on the SDK that is installed: ``server``, ``tool``, ``ask`` and ``begins``.

A body asks by ``await ask(message, Form)``. Up to revision 2025-11-25 that is a request to the client. With 2026-07-28
there are none: the call returns with what it asks, and the body runs once more when the answers are there. So a body
runs from its beginning each time, and says with ``begins()`` whether this is the first.
"""

from __future__ import annotations

import functools
import json
from contextvars import ContextVar
from types import SimpleNamespace
from typing import Any

from guarded_tools.mcp_session.generation import installed

if installed() == 1:
    from mcp.server.fastmcp import Context
    from mcp.server.fastmcp import FastMCP as Server
else:
    from mcp.server.mcpserver import Context  # type: ignore[import-not-found,no-redef]
    from mcp.server.mcpserver import MCPServer as Server  # type: ignore[import-not-found,no-redef]

__all__ = ["Context", "Server", "ask", "asking", "begins"]

_call: ContextVar[Any] = ContextVar("_call")


class _Requests:
    """A call whose questions are requests to the client."""

    begins = True

    def __init__(self, context):
        self.ask = context.elicit


class _UnansweredError(Exception):
    pass


class _Rounds:
    """A call that returns with its questions and is made again; they are known by their order."""

    def __init__(self, context):
        self.begins = context.request_state is None
        self.answers = json.loads(context.request_state or "{}")
        given = context.input_responses or {}
        self.answers |= {key: answer.model_dump(mode="json", by_alias=True) for key, answer in given.items()}
        self.asked = 0
        self.open: dict[str, Any] = {}

    async def ask(self, message, form):
        key = f"question-{self.asked}"
        self.asked += 1
        if key not in self.answers:
            schema = form.model_json_schema()
            params = {"mode": "form", "message": message, "requestedSchema": schema}
            self.open[key] = {"method": "elicitation/create", "params": params}
            raise _UnansweredError
        answer = self.answers[key]
        if answer["action"] != "accept":
            return SimpleNamespace(action=answer["action"])
        return SimpleNamespace(action="accept", data=form.model_validate(answer["content"]))

    def question(self):
        from mcp.types import InputRequiredResult

        state = {"inputRequests": self.open, "requestState": json.dumps(self.answers)}
        return InputRequiredResult.model_validate({"resultType": "input_required", **state})


def asking(body):
    """Let the body of a tool, whose first parameter is the context, ask."""

    @functools.wraps(body)
    async def call(context, **args):
        modern = installed() == 2 and context.protocol_version >= "2026"
        told = _Rounds(context) if modern else _Requests(context)
        token = _call.set(told)
        try:
            return await body(context, **args)
        except _UnansweredError:
            return told.question()
        finally:
            _call.reset(token)

    return call


def ask(message, form):
    """What the client's human answers, as ``action`` and, if that is "accept", ``data``."""
    return _call.get().ask(message, form)


def begins():
    """Whether the body runs for the first time in this call."""
    return _call.get().begins
