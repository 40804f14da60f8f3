"""Asks by interrupting a LangGraph run, which someone resumes: in another process, on another day."""

from __future__ import annotations

import inspect
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, Literal, TypeAlias, get_args

from guarded_tools.approvers import decisions, questions
from guarded_tools.approvers.protocol import CallAddress, Misdelivered, Suspended, SuspendingApprover
from guarded_tools.errors import CannotAsk, install
from guarded_tools.libraries import langgraph
from guarded_tools.values import BUDGET_CALL, ApprovalRequest, Verdict, canonical

EditCheck: TypeAlias = Callable[[Mapping[str, Any]], str]


class InterruptApprover:
    """Interrupts the run, once per call unless told otherwise; the value it is resumed with is the answer.

    The interrupt's value names the call (``type``, ``tool_call_id``, ``name``, ``args``, ``description``) and carries
    ``action_requests`` and ``review_configs`` of length one for front ends that know only those. Answer with one
    decision or a list of one, also inside ``{"decisions": …}``: ``{"type": "approve"}``, ``{"type": "edit",
    "edited_action": {"name", "args"}}``, ``{"type": "reject", "message"}``, ``{"type": "respond", "message"}``; the
    answers of Agent Inbox (``accept``, ``edit``, ``response``, ``ignore``) count too. ``"remember": "same" | "tool"``
    beside an approval asks to remember it. Where several calls wait, address each answer by its interrupt's id:
    ``Command(resume={id: answer})``. An answer that cannot be understood is asked for again.

    Args:
        form: ``"per_call"``, or one of two for front ends that resume a run without an interrupt's id. Both take
            ``guard.middleware()``, and ask about all calls of a model's message before any of them runs.
            ``"batched"``: one interrupt for all of them (LangChain's form, for Agent Chat UI), answered by a list of
            decisions in the order of the questions; a list that does not fit them refuses all calls.
            ``"agent_inbox"``: one interrupt after the other, in Agent Inbox's own form, which can refuse.

    Raises:
        ValueError: there is no such form.
        CannotAsk: when called, outside a graph, without a checkpointer, in a node that runs several calls in one task,
            where an answer could reach the wrong call, or a second time in one task, as for a retry of what was
            approved.
    """

    def __init__(self, form: questions.Form = "per_call") -> None:
        if form not in get_args(questions.Form):
            raise ValueError(f"form has to be one of {', '.join(get_args(questions.Form))}, not {form!r}")
        self._form = form

    suspends = True

    @property
    def beforehand(self) -> SuspendingApprover | None:
        """What stands for this approver while a message's calls are asked about before they run; ``None``: nothing."""
        return None if self._form == "per_call" else _Beforehand()

    @property
    def together(self) -> bool:
        """Whether one interrupt asks about all calls of a message."""
        return self._form == "batched"

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
        return _address(request)

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
        return _answered(questions.question(request, self._form), request.check_edit)

    def value(self, request: ApprovalRequest) -> dict[str, Any]:
        """Make of a question what :meth:`hear` asks, as JSON: it may be asked again by another process."""
        return questions.question(request, self._form)

    def hear(self, asked: Mapping[str, Mapping[str, Any]]) -> list[Verdict]:
        """Ask questions, each a :meth:`value` by its id, in a task that asks nothing else; return the answers.

        Raises:
            Misdelivered: what came are not the answers to these questions.
            GraphInterrupt: as when called.
        """
        if self._form == "agent_inbox":
            return [_answered(value) for value in asked.values()]
        value = questions.batch(list(asked.values()), list(asked))
        try:
            return decisions.verdicts([(name, one["name"]) for name, one in asked.items()], _interrupt(value))
        except ValueError as error:
            raise Misdelivered(str(error)) from None


class _Beforehand:
    """Asks nobody: it says where the question about a call is kept, and leaves whoever asks with that question."""

    suspends: Literal[True] = True

    def check(self, request: ApprovalRequest) -> None:
        _configurable(request, alone=False)

    def address(self, request: ApprovalRequest) -> CallAddress:
        address = _address(request, alone=False)
        return address._replace(task=canonical([address.task, address.call]))  # an answer knows its question here

    def crowded(self, request: ApprovalRequest) -> CannotAsk:
        return self.spent(request)

    def spent(self, request: ApprovalRequest) -> CannotAsk:
        return _cannot(request, "again in a step that asked about it already: let the model call the tool once more")

    def __call__(self, request: ApprovalRequest) -> Verdict:
        raise Suspended(request)


def _answered(value: Mapping[str, Any], check: EditCheck | None = None) -> Verdict:
    """Interrupt until there is an answer that says something."""
    shown = dict(value)
    while True:
        _keep_check(shown, check)
        # An answer that was refused stays the task's first; the next interrupt() has an answer of its own.
        answer = _interrupt(shown)
        try:
            return decisions.verdict(value["name"], value["args"], answer)
        except ValueError as error:
            shown = {**value, "error": f"the last answer was not understood: {error}"}


def _interrupt(value: Mapping[str, Any]) -> Any:
    from langgraph.config import get_config
    from langgraph.types import interrupt

    if not langgraph.forget_old_resume(get_config()["configurable"]):
        raise CannotAsk("this LangGraph does not tell an answer from an earlier one: resume by the interrupt's id")
    typed = "response_schema" in inspect.signature(interrupt).parameters
    return interrupt(value, **({"response_schema": value["response_schema"]} if typed else {}))


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


def _address(request: ApprovalRequest, *, alone: bool = True) -> CallAddress:
    configurable = _configurable(request, alone=alone)
    # As text, which it becomes on the way: LangGraph's get_state() writes "7" over the 7 of its caller's config.
    thread = str(configurable.get("thread_id"))
    place = configurable.get("checkpoint_ns") or ""
    task = canonical([thread, place])
    graph = place.rpartition("|")[0]  # models number the calls of each agent alike
    call = canonical([thread, graph, request.call_id]) if request.call_id else task
    return CallAddress(call, task, thread, str((configurable.get("checkpoint_map") or {}).get("", "")))


def _configurable(request: ApprovalRequest, *, alone: bool = True) -> Mapping[str, Any]:
    problem = "outside a LangGraph run"
    try:
        from langgraph.config import get_config

        config = get_config()
    except ImportError:
        problem = f"without LangGraph: {install('agent')}"
    except RuntimeError:
        pass  # no run
    else:
        configurable = config.get("configurable", {})
        if not langgraph.is_task(configurable):
            pass  # a runnable's config
        elif not langgraph.is_kept(configurable):
            problem = "in a graph without a checkpointer, which could never be resumed: compile it with one"
        elif alone and not langgraph.runs_alone(config) and request.tool != BUDGET_CALL:  # of that, a task asks once
            problem = _SHARED
        else:
            return configurable
    raise _cannot(request, problem)


def _cannot(request: ApprovalRequest, problem: str) -> CannotAsk:
    return CannotAsk(f"{request.tool} needs a human's approval, and InterruptApprover cannot ask {problem}")
