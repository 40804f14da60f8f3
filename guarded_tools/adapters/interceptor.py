"""The guard as an MCP interceptor: for tools that are made per connection and never pass through :meth:`Guard.wrap`."""

from __future__ import annotations

import warnings
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

from langchain_core.messages import ToolMessage
from langchain_core.runnables.config import var_child_runnable_config

from guarded_tools.adapters import answers
from guarded_tools.adapters.invocation import Invocation
from guarded_tools.adapters.outcome import judge_mcp
from guarded_tools.adapters.ticket import take
from guarded_tools.adapters.wrap import identity, is_mcp, policy_server
from guarded_tools.errors import GuardError, install
from guarded_tools.libraries import mcp_adapters
from guarded_tools.values import ToolCall, ToolInfo

try:
    from langchain_mcp_adapters.interceptors import MCPToolCallRequest
    from mcp.types import CallToolResult, TextContent
except ImportError as error:
    raise GuardError(
        f"interceptors are langchain-mcp-adapters' own: {install('adapters')}. With langchain.mcp, take guard.wrap(…)"
        " or guard.middleware()"
    ) from error

if TYPE_CHECKING:
    from guarded_tools.pipeline.gate import Gate

Handler: TypeAlias = Callable[[MCPToolCallRequest], Awaitable[Any]]


class GuardInterceptor:
    """Decides each call on its way to the MCP server, with the arguments as they will be sent.

    Belongs last in ``tool_interceptors``: what comes after it may still change a call that was judged. A call that was
    decided by a wrapped tool of the same guard passes without being counted again.

    Resources and prompts never come by here: the adapter reads them around every interceptor.
    """

    def __init__(self, guard: Gate) -> None:
        self._guard = guard
        self._warned = False

    async def __call__(self, request: MCPToolCallRequest, handler: Handler) -> Any:
        """Pass the call on, or answer with a refusal.

        Raises:
            ToolDenied: the call was refused, and the guard's ``on_denied`` is ``"raise"``.
        """
        self._warn_unless_last(handler)
        if take(self._guard, request.name, request.args):
            return await handler(request)
        return await self._invocation(request, handler).arun()

    def _invocation(self, request: MCPToolCallRequest, handler: Handler) -> Invocation:
        guard, name = self._guard, request.name
        config = getattr(request.runtime, "config", None)
        if not isinstance(config, Mapping):  # outside a graph, or written by a model
            config = var_child_runnable_config.get()
        call_id = getattr(request.runtime, "tool_call_id", None)
        return Invocation(
            guard,
            ToolCall(name, request.args, guard.session_for(config), guard.grant_for(config), call_id),
            self._info(request),
            judge_mcp(request.server_name, policy_server(guard)),
            lambda judged: handler(request.override(args=judged)),
            lambda denied: _refusal(denied, name, call_id),
        )

    def _info(self, request: MCPToolCallRequest) -> ToolInfo:
        """Learn a tool from the graph that runs it: a request carries neither schema nor description.

        Another server's tool of the same name is another tool: its pin, its risk and its approvals say nothing here.
        """
        server = "" if request.server_name == mcp_adapters.UNNAMED else request.server_name
        for tool in getattr(request.runtime, "tools", None) or ():
            # LangChain's name may carry a prefix; looking at the ending first spares a look into every tool.
            if not (tool.name.endswith(request.name) and is_mcp(tool)):
                continue
            info = identity(tool)
            if (info.name, info.server) == (request.name, server):
                if self._guard.info(info.name) != info:
                    self._guard.register(info)
                return info
        known = self._guard.info(request.name)
        return known if known.server == server else ToolInfo(request.name, server)

    def _warn_unless_last(self, handler: Handler) -> None:
        if self._warned or getattr(handler, "__name__", mcp_adapters.INNERMOST) == mcp_adapters.INNERMOST:
            return
        self._warned = True
        warnings.warn(
            "guard.interceptor is not the last of tool_interceptors: those after it can change or repeat a call that "
            "was judged. Put it last.",
            stacklevel=3,
        )


def _refusal(denied: answers.Refusal, tool: str, call_id: object) -> ToolMessage | CallToolResult:
    # The adapter drops the structured part of an error, so where a message can be made, it carries the details.
    if isinstance(call_id, str):
        return answers.message(denied, tool, call_id)
    text = TextContent(type="text", text=answers.text(denied, tool))
    return CallToolResult(
        content=[text], structuredContent=answers.artifact(denied), isError=denied.outcome != "responded"
    )
