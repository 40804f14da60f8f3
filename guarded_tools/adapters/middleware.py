"""The guard as a middleware of LangChain's agents: hides and guards tools, and counts what the model takes."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import TYPE_CHECKING, Any, Generic, TypeAlias, TypeVar

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, ToolMessage
from langchain_core.runnables.config import var_child_runnable_config
from langchain_core.tools import BaseTool

from guarded_tools.adapters import answers
from guarded_tools.adapters.invocation import Invocation
from guarded_tools.adapters.model_calls import model_call
from guarded_tools.adapters.outcome import OutcomeClassifier, judge_plain
from guarded_tools.adapters.wrap import clone, identity, is_mcp, taken
from guarded_tools.errors import GuardError, not_installed
from guarded_tools.libraries.langgraph import INNERMOST
from guarded_tools.text.visible import one_line
from guarded_tools.values import BodyOutcome, ToolCall

try:
    from langchain.agents.middleware import AgentMiddleware, ModelRequest, ModelResponse
    from langgraph.prebuilt.tool_node import ToolCallRequest
    from langgraph.types import Command

    from guarded_tools.adapters.delegation import unguarded_below
except ImportError as error:
    raise not_installed("LangChain's agents are not installed", "agent") from error

if TYPE_CHECKING:
    from guarded_tools.pipeline.gate import Gate

ModelAnswer: TypeAlias = ModelResponse[Any] | AIMessage
T = TypeVar("T")
ToolAnswer: TypeAlias = ToolMessage | Command[Any]

_MOST_KNOWN = 1024
_MOST_NAMED = 12


class Made(Generic[T]):
    """What was made of each tool, kept with the tool: an id can be used again, but not while we hold its owner."""

    def __init__(self, make: Callable[[BaseTool], T]) -> None:
        self._make = make
        self._known: dict[int, tuple[BaseTool, T]] = {}

    def __call__(self, tool: BaseTool) -> T:
        """Return what was made of a tool, made now if need be."""
        known = self._known.get(id(tool))
        if known is not None and known[0] is tool:
            return known[1]
        if len(self._known) >= _MOST_KNOWN:
            self._known.clear()
        made = self._make(tool)
        self._known[id(tool)] = (tool, made)
        return made


class GuardMiddleware(AgentMiddleware[Any, Any, Any]):
    """Enforces a policy on every tool call of an agent; belongs last in ``middleware``.

    It does not decide where it stands: it hands on the tool, guarded, so that the guard sits around the tool's body
    whatever other middleware does to the call on its way there. A tool that the agent does not know, invented or
    supplied by middleware further in, is decided here.

    A tool that hands work to agents whose tools run without a guard is refused, and a warning says so when the model
    is first told of it; ``trusting`` names those that may (see :mod:`guarded_tools.adapters.delegation`).
    """

    def __init__(self, guard: Gate, *, trusting: Collection[str] = ()) -> None:
        super().__init__()
        self._guard = guard
        self._trusting = frozenset([trusting] if isinstance(trusting, str) else trusting)
        self._guarded = Made(functools.partial(clone, guard))
        self._fault = Made(self._examine)
        self._warned = False

    def wrap_model_call(
        self, request: ModelRequest[Any], handler: Callable[[ModelRequest[Any]], ModelAnswer]
    ) -> ModelAnswer:
        """Show the model what it may see, and count what it takes where the policy has a budget.

        Raises:
            ToolDenied: the budget is full, and the guard's ``on_denied`` is ``"raise"``.
            PriceUnknown: the budget is in dollars, and nobody knows what the model costs.
            GuardError: the model cannot be given tools.
        """
        request = self._filtered(request)
        call = model_call(self._guard, request)
        try:
            answer: ModelAnswer = handler(request) if call is None else call.run(lambda: handler(request))
        except NotImplementedError as error:
            raise _without_tools(request, error) from error
        return answer

    async def awrap_model_call(
        self, request: ModelRequest[Any], handler: Callable[[ModelRequest[Any]], Awaitable[ModelAnswer]]
    ) -> ModelAnswer:
        """As :meth:`wrap_model_call`."""
        request = self._filtered(request)
        call = model_call(self._guard, request)
        try:
            answer: ModelAnswer = await (handler(request) if call is None else call.arun(lambda: handler(request)))
        except NotImplementedError as error:
            raise _without_tools(request, error) from error
        return answer

    def wrap_tool_call(self, request: ToolCallRequest, handler: Callable[[ToolCallRequest], ToolAnswer]) -> ToolAnswer:
        """Guard the tool that runs.

        Raises:
            ToolDenied: the call was refused, and the guard's ``on_denied`` is ``"raise"``.
            TypeError: the tool runs in a way that a guard cannot see.
        """
        self._warn_unless_last(handler)
        tool = request.tool
        fault = "" if tool is None else self._fault(tool)
        if tool is not None and not fault:
            return handler(request.override(tool=self._guarded(tool)))
        answer: ToolAnswer = self._invocation(request, handler, fault).run()
        return answer

    async def awrap_tool_call(
        self, request: ToolCallRequest, handler: Callable[[ToolCallRequest], Awaitable[ToolAnswer]]
    ) -> ToolAnswer:
        """As :meth:`wrap_tool_call`."""
        self._warn_unless_last(handler)
        tool = request.tool
        fault = "" if tool is None else self._fault(tool)
        if tool is not None and not fault:
            return await handler(request.override(tool=self._guarded(tool)))
        answer: ToolAnswer = await self._invocation(request, handler, fault).arun()
        return answer

    def _invocation(
        self, request: ToolCallRequest, handler: Callable[[ToolCallRequest], Any], fault: str
    ) -> Invocation:
        """Describe the call of a tool that the agent does not know, or of one that must not run."""
        guard, asked = self._guard, request.tool_call
        config = request.runtime.config if request.runtime is not None else None
        call = ToolCall(asked["name"], asked["args"], guard.session_for(config), guard.grant_for(config), asked["id"])

        def body(judged: dict[str, Any]) -> Any:
            return handler(request.override(tool_call={**request.tool_call, "args": judged}))

        return Invocation(guard, call, guard.info(call.tool), _judge(request), body, _refusal(request), fault=fault)

    def _filtered(self, request: ModelRequest[Any]) -> ModelRequest[Any]:
        config = var_child_runnable_config.get()
        shown = [tool for tool in request.tools if self._guard.visible(_name(tool), config)]
        for tool in shown:
            if isinstance(tool, BaseTool):
                self._fault(tool)  # now, so that its warning comes before anything happens
        return request.override(tools=shown)

    def _examine(self, tool: BaseTool) -> str:
        """Say why a tool must not run, whatever the policy says of it."""
        if is_mcp(tool) and (fault := taken(self._guard, identity(tool))):
            return fault
        unguarded = () if tool.name in self._trusting else unguarded_below(tool, GuardMiddleware)
        if not unguarded:
            return ""
        warnings.warn(_advice(tool.name, unguarded), stacklevel=2)
        return f"it hands work to an agent whose tools run without a guard: {_listed(unguarded)}"

    def _warn_unless_last(self, handler: Callable[..., Any]) -> None:
        if self._warned or getattr(handler, "__name__", INNERMOST) == INNERMOST:
            return
        self._warned = True
        warnings.warn(
            "guard.middleware() is not the last middleware that wraps tool calls. Arguments and repetitions are still "
            "judged where the tool runs, but middleware after it that runs something else in the tool's place is not. "
            "Put the guard last.",
            stacklevel=3,
        )


def _without_tools(request: ModelRequest[Any], error: NotImplementedError) -> Exception:
    """Say that a model takes no tools, where that is what it raised: LangChain's own error says nothing at all."""
    model = request.model
    if not request.tools or getattr(type(model), "bind_tools", None) is not BaseChatModel.bind_tools:
        return error
    return GuardError(
        f"the chat model {type(model).__name__} takes no tools, so no agent with tools can run on it: take one that"
        ' does, as init_chat_model("openai:gpt-5") makes it'
    )


def _advice(tool: str, unguarded: Sequence[str]) -> str:
    return (
        f"Calls of {one_line(tool)} are refused: it hands work to an agent whose tools run without a guard "
        f"({_listed(unguarded)}). Give that agent guard.middleware() as well, or tools of guard.wrap(); for those of a "
        f"deep agent, subagents=guard.subagents([…]). If they may run: guard.middleware(trusting=[{tool!r}])."
    )


def _listed(names: Sequence[str]) -> str:
    told = ", ".join(one_line(name) for name in names[:_MOST_NAMED])
    return told if len(names) <= _MOST_NAMED else f"{told} and {len(names) - _MOST_NAMED} more"


def _refusal(request: ToolCallRequest) -> Callable[[answers.Refusal], ToolMessage]:
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
