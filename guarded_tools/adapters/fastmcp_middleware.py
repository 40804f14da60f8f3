"""The guard as a middleware of FastMCP 4's servers: hides tools from clients, and guards those that run.

Where it stands is where it decides: it belongs last in ``middleware``, next to the tools, for what is after it may
still change a call that was judged. Arguments are judged as the client sent them and checked against the schema that
the tool lists, and these very arguments run: what FastMCP would make of a text where a number is asked for is refused.

**Whose limits count** (:meth:`GuardServerMiddleware.session_of`), the first that there is:

1. the session that the guard was given;
2. what ``session`` tells of the request's ``Context``;
3. ``user:[client, issuer, subject]``, of the access token that the server has verified;
4. ``mcp:<id>``, the session that a client of up to 2025-11-25 negotiated;
5. ``process`` over stdio and in memory, where a process serves one client;
6. ``anonymous`` over HTTP: on 2026-07-28, and where a server keeps no sessions, nothing tells one client from another,
   so that all of them share one. An id that a client may choose would let it begin anew with each call.

A client may open as many sessions as it likes: without authentication, what must hold for all of them is a limit whose
scope is ``global``.

**Who is asked.** Approvers that answer by returning are asked in place. One that suspends a run of LangGraph's has no
run here: the call is refused, and told why. A tool that itself asks its client (SEP-2322) is called once for each
round: each counts, and is asked about, as a call of its own, since nothing but the client says that they are one.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from fastmcp.server.dependencies import get_access_token
from fastmcp.server.middleware import CallNext, Middleware, MiddlewareContext
from fastmcp.tools.base import Tool, ToolResult
from fastmcp.utilities.versions import VersionSpec
from mcp.server.auth.provider import principal_components
from mcp_types import CallToolRequestParams, ListToolsRequest
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

from guarded_tools.adapters import answers
from guarded_tools.adapters.invocation import Invocation
from guarded_tools.adapters.outcome import judge_plain
from guarded_tools.adapters.provenance import given_name
from guarded_tools.adapters.wrap import raised
from guarded_tools.approvers.protocol import suspends
from guarded_tools.errors import CannotAsk
from guarded_tools.libraries import fastmcp
from guarded_tools.policy.schema_check import misfit_of_result
from guarded_tools.text.visible import one_line
from guarded_tools.values import ApprovalRequest, BodyOutcome, ToolCall, ToolInfo, Verdict

if TYPE_CHECKING:
    from fastmcp.server.context import Context

    from guarded_tools.pipeline.gate import Gate

SessionOf: TypeAlias = Callable[["Context"], str]

_HTTP = frozenset({"sse", "streamable-http"})
_NO_SUCH_TOOL = "this server lists no tool of that name"


class GuardServerMiddleware(Middleware):
    """Enforces a policy on every tool call that a server's clients make; belongs last in ``middleware``."""

    def __init__(self, guard: Gate, session: SessionOf | None = None) -> None:
        self._guard = guard
        self._session = session
        if suspends(guard.approver):
            self._guard = copy.copy(guard)
            self._guard.approver = _cannot_suspend

    async def on_list_tools(
        self, context: MiddlewareContext[ListToolsRequest], call_next: CallNext[ListToolsRequest, Sequence[Tool]]
    ) -> Sequence[Tool]:
        """List what the client may see."""
        tools = await call_next(context)
        config = self._config(context.fastmcp_context, None)
        return [tool for tool in tools if self._guard.visible(tool.name, config)]

    async def on_call_tool(
        self,
        context: MiddlewareContext[CallToolRequestParams],
        call_next: CallNext[CallToolRequestParams, ToolResult],
    ) -> ToolResult:
        """Run the tool, or answer with a refusal that says it is an error.

        Raises:
            ToolDenied: the call was refused, and the guard's ``on_denied`` is ``"raise"``.
        """
        message, given = context.message, None
        info, tool = await self._find(context)

        async def body(judged: dict[str, Any]) -> ToolResult:
            nonlocal given
            given = await call_next(context.copy(message=message.model_copy(update={"arguments": judged})))
            return given

        result: ToolResult = await self._invocation(context, info, tool, body).arun()
        return result if result is given else fastmcp.as_changed(_as_error_where_unfit(result, given, tool))

    async def _find(self, context: MiddlewareContext[CallToolRequestParams]) -> tuple[ToolInfo, Tool | None]:
        """Look a tool up as the server does, and make it known to the guard.

        Some tools can also be called by an address that is not their name (``__<hash>_<name>``). Nothing says under
        which name a policy knows these, so they are none that the server lists.
        """
        name, here = context.message.name, context.fastmcp_context
        version = fastmcp.version_of(context.message)
        tool = None
        if here is not None:
            tool = await here.fastmcp.get_tool(name, VersionSpec(**version) if version else None)
        server = "" if here is None else given_name(here.fastmcp.name)
        if tool is None:
            return ToolInfo(name, server), None
        info = ToolInfo(name, server, tool.description or "", tool.parameters, output=tool.output_schema or False)
        hints = () if tool.annotations is None else (tool.annotations.model_dump(exclude_none=True),)
        info = info._replace(risk=raised(info, hints))
        if self._guard.info(name) != info:
            self._guard.register(info)
        return info, tool

    def _invocation(
        self,
        context: MiddlewareContext[CallToolRequestParams],
        info: ToolInfo,
        tool: Tool | None,
        body: Callable[[dict[str, Any]], Any],
    ) -> Invocation:
        here, fault = context.fastmcp_context, "" if tool is not None else _NO_SUCH_TOOL
        try:
            session = self.session_of(here)
        except Exception as error:  # noqa: BLE001 - the user's own function
            session, fault = "(unknown)", f"it cannot be told whose session this is: {type(error).__name__}"
        grant = self._guard.grant_for(self._config(here, session))
        request = None if here is None else here.request_context
        call_id = None if request is None else str(request.request_id)
        call = ToolCall(info.name, context.message.arguments or {}, session, grant, call_id)
        return Invocation(
            self._guard, call, info, _judge, body, lambda denied: _refusal(denied, info.name, tool), None, fault
        )

    def session_of(self, context: Context | None) -> str:
        """Name whose limits a request counts against.

        Raises:
            Exception: whatever ``session`` raises.
            TypeError: it gives no text.
        """
        if self._guard.named_session is not None:
            return self._guard.named_session
        if context is None or self._session is None:
            return _client_of(context)
        told = self._session(context)
        if not isinstance(told, str) or not told:
            raise TypeError(f"session gave no text, but {type(told).__name__}")
        return told

    def _config(self, context: Context | None, session: str | None) -> dict[str, Any]:
        """Return what a guard's ``grant`` is told of a request, where a run's config is told elsewhere."""
        token = None if context is None else get_access_token()
        known: dict[str, Any] = {"thread_id": session}
        if token is not None:
            client, issuer, subject = principal_components(token)
            claims = dict(token.claims or {})
            known["mcp"] = {"client_id": client, "issuer": issuer, "subject": subject, "claims": claims}
        return {"configurable": known}


def _client_of(context: Context | None) -> str:
    """Name the client of a request by what the server knows of it, and not by what it says of itself."""
    token = get_access_token()
    if token is not None:
        return f"user:{json.dumps(principal_components(token), ensure_ascii=False, separators=(',', ':'))}"
    request = None if context is None else context.request_context
    if context is None or request is None or context.transport not in _HTTP:
        stateless = request is None or request.protocol_version in MODERN_PROTOCOL_VERSIONS
        return "process" if context is None or stateless else f"mcp:{context.session_id}"
    kept = context.transport == "sse" or fastmcp.has_session(context)
    if request.protocol_version in MODERN_PROTOCOL_VERSIONS or not kept:
        return "anonymous"
    return f"mcp:{context.session_id}"


def _judge(result: object) -> BodyOutcome:
    """Judge a tool of this server. FastMCP makes one kind of error of whatever a body raises, which is its cause."""
    told = judge_plain(result)
    cause = result.__cause__ if isinstance(result, BaseException) else None
    return judge_plain(cause) if told == "error" and cause is not None else told


def _as_error_where_unfit(result: ToolResult, given: ToolResult | None, tool: Tool | None) -> ToolResult:
    """Say that a result is an error where it was cut or redacted so that it fits the tool's output schema no more.

    Clients hold what is no error against that schema, and would tell their model of a server that is broken.
    """
    schema = None if tool is None else tool.output_schema
    changed = given is not None and result.structured_content is not given.structured_content
    if schema is None or not changed or misfit_of_result(schema, result.structured_content) is None:
        return result
    return result.model_copy(update={"is_error": True})


def _refusal(denied: answers.Refusal, name: str, tool: Tool | None) -> ToolResult:
    text = answers.text(denied, name)
    if denied.outcome == "responded" and (tool is None or tool.output_schema is None):
        return ToolResult(content=text, meta={"guarded_tools": answers.artifact(denied)})
    # Clients hold what is no error against the tool's output schema, which no words of a human fit.
    return ToolResult(content=text, structured_content=answers.artifact(denied), is_error=True)


def _cannot_suspend(request: ApprovalRequest) -> Verdict:
    raise CannotAsk(
        f"{one_line(request.tool)} needs a human's approval, and this server's approver asks by suspending a run of"
        " LangGraph's, of which there is none here: give its guard one that answers by returning, as InboxApprover does"
    )
