"""The guard as a middleware of LangChain's agents: hides tools from the model, and guards those that run."""

from __future__ import annotations

import warnings
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeAlias

from langchain_core.messages import AIMessage, ToolMessage
from langchain_core.runnables.config import var_child_runnable_config
from langchain_core.tools import BaseTool

from guarded_tools.adapters import answers
from guarded_tools.adapters.invocation import Invocation
from guarded_tools.adapters.outcome import OutcomeClassifier, judge_plain
from guarded_tools.adapters.wrap import clone, identity
from guarded_tools.errors import GuardError, ToolDenied
from guarded_tools.values import BodyOutcome, ToolCall

try:
    from langchain.agents.middleware import AgentMiddleware, ModelRequest, ModelResponse
    from langgraph.prebuilt.tool_node import ToolCallRequest
    from langgraph.types import Command
except ImportError as error:
    raise GuardError("LangChain's agents are not installed: pip install 'guarded-tools[agent]'") from error

if TYPE_CHECKING:
    from guarded_tools.pipeline.gate import Gate

ModelAnswer: TypeAlias = ModelResponse[Any] | AIMessage
ToolAnswer: TypeAlias = ToolMessage | Command[Any]

_MOST_CLONES = 1024
_INNERMOST = "execute"
"""The name of the function by which LangGraph's tool node runs a tool, when no other middleware is in between."""


class GuardMiddleware(AgentMiddleware[Any, Any, Any]):
    """Enforces a policy on every tool call of an agent; belongs last in ``middleware``.

    It does not decide where it stands: it hands on the tool, guarded, so that the guard sits around the tool's body
    whatever other middleware does to the call on its way there. A tool that the agent does not know, invented or
    supplied by middleware further in, is decided here.
    """

    def __init__(self, guard: Gate) -> None:
        super().__init__()
        self._guard = guard
        self._clones: dict[int, tuple[BaseTool, BaseTool]] = {}
        self._warned = False

    def wrap_model_call(
        self, request: ModelRequest[Any], handler: Callable[[ModelRequest[Any]], ModelAnswer]
    ) -> ModelAnswer:
        """Show the model what it may see."""
        return handler(self._filtered(request))

    async def awrap_model_call(
        self, request: ModelRequest[Any], handler: Callable[[ModelRequest[Any]], Awaitable[ModelAnswer]]
    ) -> ModelAnswer:
        """As :meth:`wrap_model_call`."""
        return await handler(self._filtered(request))

    def wrap_tool_call(self, request: ToolCallRequest, handler: Callable[[ToolCallRequest], ToolAnswer]) -> ToolAnswer:
        """Guard the tool that runs.

        Raises:
            ToolDenied: the call was refused, and the guard's ``on_denied`` is ``"raise"``.
            TypeError: the tool runs in a way that a guard cannot see.
        """
        self._warn_unless_last(handler)
        if request.tool is not None:
            return handler(request.override(tool=self._guarded(request.tool)))
        answer: ToolAnswer = self._invocation(request, handler).run()
        return answer

    async def awrap_tool_call(
        self, request: ToolCallRequest, handler: Callable[[ToolCallRequest], Awaitable[ToolAnswer]]
    ) -> ToolAnswer:
        """As :meth:`wrap_tool_call`."""
        self._warn_unless_last(handler)
        if request.tool is not None:
            return await handler(request.override(tool=self._guarded(request.tool)))
        answer: ToolAnswer = await self._invocation(request, handler).arun()
        return answer

    def _invocation(self, request: ToolCallRequest, handler: Callable[[ToolCallRequest], Any]) -> Invocation:
        """Describe the call of a tool that the agent does not know."""
        guard, asked = self._guard, request.tool_call
        config = request.runtime.config if request.runtime is not None else None
        call = ToolCall(asked["name"], asked["args"], guard.session_for(config), guard.grant_for(config), asked["id"])

        def body(judged: dict[str, Any]) -> Any:
            return handler(request.override(tool_call={**request.tool_call, "args": judged}))

        return Invocation(guard, call, guard.info(call.tool), _judge(request), body, _refusal(request))

    def _filtered(self, request: ModelRequest[Any]) -> ModelRequest[Any]:
        config = var_child_runnable_config.get()
        return request.override(tools=[tool for tool in request.tools if self._guard.visible(_name(tool), config)])

    def _guarded(self, tool: BaseTool) -> BaseTool:
        known = self._clones.get(id(tool))
        if known is not None and known[0] is tool:  # an id can be used again, but not while we hold its owner
            return known[1]
        if len(self._clones) >= _MOST_CLONES:
            self._clones.clear()
        guarded = clone(self._guard, tool)
        self._clones[id(tool)] = (tool, guarded)
        return guarded

    def _warn_unless_last(self, handler: Callable[..., Any]) -> None:
        if self._warned or getattr(handler, "__name__", _INNERMOST) == _INNERMOST:
            return
        self._warned = True
        warnings.warn(
            "guard.middleware() is not the last middleware that wraps tool calls. Arguments and repetitions are still "
            "judged where the tool runs, but middleware after it that runs something else in the tool's place is not. "
            "Put the guard last.",
            stacklevel=3,
        )


def _refusal(request: ToolCallRequest) -> Callable[[ToolDenied], ToolMessage]:
    asked = request.tool_call
    return lambda denied: answers.message(denied, asked["name"], asked["id"] or "")


def _judge(request: ToolCallRequest) -> OutcomeClassifier:
    """Return the judge of a call that LangGraph's tool node may refuse by itself, before anything runs."""
    unknown = f"Error: {request.tool_call['name']} is not a valid tool, "

    def judge(result: object) -> BodyOutcome:
        if isinstance(result, ToolMessage) and result.status == "error" and str(result.content).startswith(unknown):
            return "never_ran"
        return judge_plain(result)

    return judge


def _name(tool: BaseTool | dict[str, Any]) -> str:
    if not isinstance(tool, dict):
        return identity(tool).name
    function = tool.get("function")
    inner = function.get("name") if isinstance(function, dict) else None
    return str(tool.get("name") or inner or tool.get("type") or "")
