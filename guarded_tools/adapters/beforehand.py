"""The middleware of an approver that asks about all calls of a model's message before any of them runs.

It has a step of its own between the model and its tools. Each call is walked up to its guard there, through the agent's
own kind of tool node, so that what a human is shown is what the tool would receive; no body runs. The questions are
kept, then asked by one interrupt (or one after the other), and the answers handed to the calls, which run in tasks of
their own.

A step that is resumed asks what it has kept, and works nothing out anew: the set of its questions, and with that the
order of the answers, cannot have changed. It keeps them once they were asked. An answer that is there before, as in a
replay from an older checkpoint, answers nothing: its question is handed that, and keeps it.

What comes up later (a rule across calls that a call beside it brought about, a server that asks back, arguments that
other middleware has changed) is asked about in its own task, or refused, as by any other approver.
"""

from __future__ import annotations

import contextlib
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from langchain_core.messages import AIMessage, ToolMessage
from langchain_core.runnables.config import RunnableConfig, var_child_runnable_config
from langchain_core.tools import BaseTool

from guarded_tools.adapters.invocation import Posing, posing
from guarded_tools.adapters.middleware import GuardMiddleware, Made, ModelAnswer
from guarded_tools.approval.calling import acall_in_place, call_in_place
from guarded_tools.approval.handed import Together
from guarded_tools.approval.suspension import is_suspension
from guarded_tools.approvers.protocol import AskingBeforehand, Misdelivered, Suspended, asks_beforehand
from guarded_tools.errors import StoreError
from guarded_tools.flow import Await, Flow, run
from guarded_tools.values import ApprovalRequest, Verdict, canonical

if TYPE_CHECKING:
    from langchain.agents.middleware import ModelRequest
    from langgraph.prebuilt import ToolNode

    from guarded_tools.pipeline.gate import Gate

log = logging.getLogger("guarded_tools")

_MOST_AGENTS = 500
_STRAY = "what the run was resumed with came before this question was asked, and is no answer to it"


def middleware(guard: Gate, *, trusting: Collection[str] = ()) -> GuardMiddleware:
    """Make the middleware that a guard's approver takes."""
    approver = guard.approver
    if asks_beforehand(approver):
        return AskingMiddleware(guard, approver, trusting=trusting)
    return GuardMiddleware(guard, trusting=trusting)


class AskingMiddleware(GuardMiddleware):
    """Enforces a policy as its base does, and asks about the calls of a message before any of them runs."""

    def __init__(self, guard: Gate, approver: AskingBeforehand, *, trusting: Collection[str] = ()) -> None:
        super().__init__(guard, trusting=trusting)
        self._asker = approver
        self._nodes = Made(self._node)
        self._tools: OrderedDict[tuple[str, str], dict[str, BaseTool]] = OrderedDict()

    def wrap_model_call(
        self, request: ModelRequest[Any], handler: Callable[[ModelRequest[Any]], ModelAnswer]
    ) -> ModelAnswer:
        """As the base; the tools that the model is shown are those that it may call next."""
        self._remember(request)
        return super().wrap_model_call(request, handler)

    async def awrap_model_call(
        self, request: ModelRequest[Any], handler: Callable[[ModelRequest[Any]], Awaitable[ModelAnswer]]
    ) -> ModelAnswer:
        """As :meth:`wrap_model_call`."""
        self._remember(request)
        return await super().awrap_model_call(request, handler)

    def after_model(self, state: Mapping[str, Any], runtime: Any) -> None:  # noqa: ARG002 - LangChain passes it
        """Ask about the calls of the model's message.

        Raises:
            GraphInterrupt: they wait for an answer.
        """
        run(self._ask(state))

    async def aafter_model(self, state: Mapping[str, Any], runtime: Any) -> None:  # noqa: ARG002 - as above
        """As :meth:`after_model`."""
        await self._guard.drive(self._ask(state))

    def _ask(self, state: Mapping[str, Any]) -> Flow[None]:
        stand_in, calls = self._asker.beforehand, _calls(state)
        if stand_in is None or not calls:
            return
        line, step, fresh = self._guard.beforehand(stand_in), canonical(_place()), False
        answers: list[Verdict | str] = []
        try:
            asked = yield from line.asked(step)
            if not asked:
                posed = []
                for call in calls:
                    request = yield Await(self._pose, self._apose, (call, state), foreign=True)
                    posed += [] if request is None else [request]
                asked, fresh = (yield from line.waiting(posed, self._asker.value)), True
            for some in self._groups(asked):
                said = yield Await(call_in_place, acall_in_place, (self._hear, some), foreign=True)
                if fresh:  # at once: should a later question interrupt, this must not be its answer next time
                    yield from line.hand(some, [_STRAY] * len(some))
                answers += said
        except StoreError:
            log.exception("Nothing can be asked beforehand; each call is refused or asked about where it runs")
            return
        except Exception as error:
            if fresh and is_suspension(error):
                yield from line.keep(step, asked)
            raise
        if not fresh:
            yield from line.hand(asked, answers)

    def _groups(self, asked: list[Together]) -> list[list[Together]]:
        if self._asker.together:
            return [asked] if asked else []
        return [[question] for question in asked]

    def _hear(self, asked: list[Together]) -> list[Verdict] | list[str]:
        try:
            return self._asker.hear({question.id: question.value for question in asked})
        except Misdelivered as error:
            return [f"the answers that came do not fit what was asked: {error}"] * len(asked)

    def _pose(self, call: Mapping[str, Any], state: Mapping[str, Any]) -> ApprovalRequest | None:
        """Walk a call up to its guard; return the question about it, if there is one."""
        node = self._node_of(call)
        if node is None:
            return None
        with self._walking() as config:
            try:
                node.invoke({"__type": "tool_call_with_context", "tool_call": call, "state": state}, config)
            except Exception as error:  # noqa: BLE001 - whatever it is, the call meets it again when it is made
                return _question(error)
        return None

    async def _apose(self, call: Mapping[str, Any], state: Mapping[str, Any]) -> ApprovalRequest | None:
        """As :meth:`_pose`."""
        node = self._node_of(call)
        if node is None:
            return None
        with self._walking() as config:
            try:
                await node.ainvoke({"__type": "tool_call_with_context", "tool_call": call, "state": state}, config)
            except Exception as error:  # noqa: BLE001 - as above
                return _question(error)
        return None

    @contextlib.contextmanager
    def _walking(self) -> Iterator[RunnableConfig]:
        """Have guards ask, and not make calls; nobody who watches the run sees a tool begin."""
        stand_in = self._asker.beforehand
        token = posing.set(None if stand_in is None else Posing(self._guard.family, stand_in))
        try:
            yield RunnableConfig(**{**(var_child_runnable_config.get() or {}), "callbacks": []})
        finally:
            posing.reset(token)

    def _remember(self, request: ModelRequest[Any]) -> None:
        agent = _agent()
        self._tools[agent] = {tool.name: tool for tool in request.tools if isinstance(tool, BaseTool)}
        self._tools.move_to_end(agent)
        while len(self._tools) > _MOST_AGENTS:
            self._tools.popitem(last=False)

    def _node_of(self, call: Mapping[str, Any]) -> ToolNode | None:
        """Return what runs a tool of the agent; ``None`` where it is unknown, or is not to run at all."""
        tool = self._tools.get(_agent(), {}).get(call["name"])
        return None if tool is None or self._fault(tool) else self._nodes(tool)

    def _node(self, tool: BaseTool) -> ToolNode:
        from langgraph.prebuilt import ToolNode

        return ToolNode([self._guarded(tool)], handle_tool_errors=False)


def _question(error: Exception) -> ApprovalRequest | None:
    return error.request if isinstance(error, Suspended) else None


def _calls(state: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the calls of the model's latest message that nothing has answered yet, and that can be told apart."""
    messages = state["messages"]
    said = next((at for at in reversed(range(len(messages))) if isinstance(messages[at], AIMessage)), None)
    if said is None:
        return []
    answered = {message.tool_call_id for message in messages[said:] if isinstance(message, ToolMessage)}
    calls = [{**call, "type": "tool_call"} for call in messages[said].tool_calls]
    return [call for call in calls if call["id"] and call["id"] not in answered]


def _place() -> tuple[str, str]:
    """Name the run's thread, and the task that this is."""
    configurable = (var_child_runnable_config.get() or {}).get("configurable") or {}
    return str(configurable.get("thread_id")), str(configurable.get("checkpoint_ns") or "")


def _agent() -> tuple[str, str]:
    """Name the run's thread, and the agent in it whose task this is."""
    thread, task = _place()
    return thread, task.rpartition("|")[0]
