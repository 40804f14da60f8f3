"""Asks by interrupting a LangGraph run, which someone resumes: in another process, on another day."""

from __future__ import annotations

import inspect
import json
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from guarded_tools.approvers import card
from guarded_tools.approvers.described import described
from guarded_tools.approvers.protocol import CallAddress
from guarded_tools.errors import CannotAsk
from guarded_tools.libraries import langgraph
from guarded_tools.text.visible import plain
from guarded_tools.values import BUDGET_CALL, ApprovalRequest, Verdict, canonical

_KINDS = {"approve": "approve", "accept": "approve", "edit": "edit", "reject": "reject", "ignore": "reject"}
_KINDS |= {"respond": "respond", "response": "respond"}
EditCheck: TypeAlias = Callable[[Mapping[str, Any]], str]


class InterruptApprover:
    """Interrupts the run once per call; the value it is resumed with is the answer.

    The interrupt's value names the call (``type``, ``tool_call_id``, ``name``, ``args``, ``description``) and carries
    ``action_requests`` and ``review_configs`` of length one for front ends that know only those. Answer with one
    decision or a list of one, also inside ``{"decisions": …}``: ``{"type": "approve"}``, ``{"type": "edit",
    "edited_action": {"name", "args"}}``, ``{"type": "reject", "message"}``, ``{"type": "respond", "message"}``; the
    answers of Agent Inbox (``accept``, ``edit``, ``response``, ``ignore``) count too. ``"remember": "same" | "tool"``
    beside an approval asks to remember it. Where several calls wait, address each answer by its interrupt's id:
    ``Command(resume={id: answer})``. An answer that cannot be understood is asked for again.

    Raises:
        CannotAsk: outside a graph, without a checkpointer, in a node that runs several calls in one task, where an
            answer could reach the wrong call, or a second time in one task, as for a retry of what was approved.
    """

    suspends = True

    def check(self, request: ApprovalRequest) -> None:
        """Make sure that the run can be resumed, and with the right answer, before anything is kept for it.

        Raises:
            CannotAsk: it cannot; the message says what to build differently.
        """
        _configurable(request)

    def address(self, request: ApprovalRequest) -> CallAddress:
        """Name the call within all runs, and the task whose answers LangGraph hands out by order of arrival.

        The turn is the checkpoint that the thread's outermost run stands at. Checkpoints are numbered by time: whatever
        was asked at an earlier one was answered, or the thread went on without an answer.

        Raises:
            CannotAsk: as :meth:`check`.
        """
        configurable = _configurable(request)
        # As text, which it becomes on the way: LangGraph's get_state() writes "7" over the 7 of its caller's config.
        thread = str(configurable.get("thread_id"))
        place = configurable.get("checkpoint_ns") or ""
        task = canonical([thread, place])
        graph = place.rpartition("|")[0]  # models number the calls of each agent alike
        call = canonical([thread, graph, request.call_id]) if request.call_id else task
        return CallAddress(call, task, thread, str((configurable.get("checkpoint_map") or {}).get("", "")))

    def crowded(self, request: ApprovalRequest) -> CannotAsk:
        """Return the error for a call whose task waits for the answer to another call: answers go by order there."""
        return _cannot(request, _SHARED)

    def spent(self, request: ApprovalRequest) -> CannotAsk:
        """Return the error for a task that had its answer: run again, it would get that one first."""
        return _cannot(request, "again in a task that used its answer already: let the model call the tool once more")

    def __call__(self, request: ApprovalRequest) -> Verdict:
        """Interrupt, or return the answer with which the run was resumed. One that says nothing is asked for again.

        Raises:
            GraphInterrupt: LangGraph's way of suspending the run; it has to pass through untouched.
        """
        from langgraph.types import interrupt

        schema = _schema(request)
        typed = {"response_schema": schema} if "response_schema" in inspect.signature(interrupt).parameters else {}
        payload = _payload(request, schema)
        while True:
            _keep_check(payload, request.check_edit)
            # An answer that was refused stays the task's first; the next interrupt() has an answer of its own.
            answer = interrupt(payload, **typed)
            try:
                return _verdict(request.tool, answer)
            except ValueError as error:
                payload = {**_payload(request, schema), "error": f"the last answer was not understood: {error}"}


# An interrupt's value is JSON in a checkpoint, and a check is a function: it stays where the question was asked.
_MOST_CHECKS = 500
_checks: OrderedDict[str, EditCheck] = OrderedDict()


def check_of(value: Mapping[str, Any]) -> EditCheck | None:
    """Return what says why an edit would be refused, for an interrupt's value; ``None`` where another process asked."""
    try:
        return _checks.get(canonical(value))
    except ValueError:  # not ours, whatever it calls itself
        return None


def _keep_check(payload: Mapping[str, Any], check: EditCheck | None) -> None:
    if check is not None:
        _checks[canonical(payload)] = check
        while len(_checks) > _MOST_CHECKS:
            _checks.popitem(last=False)


_SHARED = (
    "in a task that runs several tool calls, where an answer could reach another call: use create_agent, or send each "
    "call to the tool node on its own (from the edge before it, return [Send('tools', {'__type': "
    "'tool_call_with_context', 'tool_call': call, 'state': state}) for each call])"
)


def _configurable(request: ApprovalRequest) -> Mapping[str, Any]:
    problem = "outside a LangGraph run"
    try:
        from langgraph.config import get_config

        config = get_config()
    except ImportError:
        problem = "without LangGraph: install guarded-tools[agent]"
    except RuntimeError:
        pass  # no run
    else:
        configurable = config.get("configurable", {})
        if not langgraph.is_task(configurable):
            pass  # a runnable's config
        elif not langgraph.is_kept(configurable):
            problem = "in a graph without a checkpointer, which could never be resumed: compile it with one"
        elif not langgraph.runs_alone(config) and request.tool != BUDGET_CALL:  # of that, a task asks once
            problem = _SHARED
        else:
            return configurable
    raise _cannot(request, problem)


def _cannot(request: ApprovalRequest, problem: str) -> CannotAsk:
    return CannotAsk(f"{request.tool} needs a human's approval, and InterruptApprover cannot ask {problem}")


def _payload(request: ApprovalRequest, schema: Mapping[str, Any]) -> dict[str, Any]:
    args = json.loads(canonical(request.args))
    description = described(request)
    return {
        "type": "tool_approval",
        "tool_call_id": request.call_id,
        "name": request.tool,
        "args": args,
        "description": description,
        "server": request.server,
        "risk": request.risk,
        "rule": request.rule,
        "reason": request.reason,
        "session": request.session,
        "grant": request.grant,
        "remember": request.remember,
        "remember_for": request.remember_for,
        "expires_at": request.expires_at,
        "response_schema": schema,
        "action_requests": [{"name": request.tool, "args": args, "arguments": args, "description": description}],
        "review_configs": [
            {"action_name": request.tool, "allowed_decisions": ["approve", "edit", "reject", "respond"]},
        ],
    }


def _schema(request: ApprovalRequest) -> dict[str, Any]:
    """What one answer looks like, as JSON Schema."""

    def decision(kind: str, properties: Mapping[str, Any], *required: str) -> dict[str, Any]:
        of_kind = {"type": {"const": kind}, **properties}
        return {"type": "object", "properties": of_kind, "required": ["type", *required], "additionalProperties": False}

    text = {"type": "string"}
    action = {"name": {"const": request.tool}, "args": {"type": "object"}}
    edited = {"type": "object", "properties": action, "required": ["name", "args"], "additionalProperties": False}
    offers = card.durations(request)
    meaning = "; ".join(f"{kind}: {what}" for kind, what in offers.items())
    durations = {"remember": {"enum": ["once", *offers], "description": meaning}} if offers else {}
    return {
        "oneOf": [
            decision("approve", durations),
            decision("edit", {"edited_action": edited}, "edited_action"),
            decision("reject", {"message": text}),
            decision("respond", {"message": text}, "message"),
        ]
    }


class _Unclear(ValueError):  # noqa: N818 - says what an answer is
    """An answer that says nothing."""


# What is understood depends on the answer alone: when the run goes by here again, each answer has to be taken, or
# refused, as it was the first time. What the policy thinks of an edit is for the guard to say.


def _verdict(tool: str, answer: object) -> Verdict:
    """Read an answer.

    Raises:
        ValueError: it is none, or more than one.
    """
    decision = _decision(answer)
    kind = _KINDS.get(str(decision.get("type")))
    if kind == "approve":
        remember = decision.get("remember", "once")
        if remember not in ("once", "same", "tool"):
            raise _Unclear("remember has to be once, same or tool")
        return Verdict.approve(remember)
    if kind == "edit":
        return Verdict.edit(_edited(tool, decision))
    if kind == "reject":
        return Verdict.reject(_message(decision))
    if kind == "respond" and _message(decision):
        return Verdict.respond(_message(decision))
    raise _Unclear("type has to be approve, edit, reject, or respond with a message")


def _decision(answer: object) -> Mapping[str, Any]:
    if isinstance(answer, Mapping) and "decisions" in answer:
        answer = answer["decisions"]
    if isinstance(answer, list):
        if len(answer) != 1:
            raise _Unclear(f"one call takes one decision, and this is a list of {len(answer)}")
        answer = answer[0]
    if not isinstance(answer, Mapping):
        raise _Unclear(f"a decision is an object with a type, not {type(answer).__name__}")
    return answer


def _message(decision: Mapping[str, Any]) -> str:
    message = decision.get("message", decision.get("args"))  # Agent Inbox puts its text into args
    if message is None:
        return ""
    if not isinstance(message, str):
        raise _Unclear("message has to be a text")
    return message


def _edited(tool: str, decision: Mapping[str, Any]) -> dict[str, Any]:
    action = decision.get("edited_action", decision.get("args"))
    if not isinstance(action, Mapping):
        raise _Unclear("an edit needs edited_action, an object with name and args")
    name = action.get("name", action.get("action", tool))
    if name != tool:
        raise _Unclear(f"an edit cannot switch the tool from {tool} to {plain(str(name), 80)}")
    args = action.get("args")
    if not isinstance(args, dict):
        raise _Unclear("the edited args have to be an object")
    return json.loads(canonical(args))  # type: ignore[no-any-return]
