"""Buttons under a cell that has returned: they resume a LangGraph run that waits for approvals."""

from __future__ import annotations

import asyncio
import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from guarded_tools.approvers import card
from guarded_tools.approvers.became import became, values_of
from guarded_tools.approvers.interrupt import check_of
from guarded_tools.errors import not_installed
from guarded_tools.text.visible import plain
from guarded_tools.values import ApprovalRequest, digest


class _Question(NamedTuple):
    """An interrupt that waits. ``request`` is what is shown of it, ``None`` where it is not a guard's."""

    id: str
    value: Any
    request: ApprovalRequest | None

    @property
    def key(self) -> str:
        """Names the question by all that is to be seen of it: to Python, 1 and True are equal."""
        return digest(self.id, self.html, json.dumps(self.offers), repr(self.value) if self.request is None else "")

    @property
    def html(self) -> str:
        return _line(f"The run asks: {self.value!r}") if self.request is None else card.to_html(self.request)

    @property
    def offers(self) -> list[tuple[str, str]] | None:
        if self.request is None:
            return None
        durations = card.durations(self.request).items()
        return [("Approve", "once"), *((f"Approve {what}", kind) for kind, what in durations)]

    def shown(self) -> dict[str, Any]:
        args = "" if self.request is None else card.editable(self.request.args)
        return {"key": self.key, "html": self.html, "args": args, "offers": self.offers}


class Buttons:
    """The questions of one run, with buttons for each, and what became of those that were answered.

    ``result`` is what the run returned last, ``widget`` what is displayed.
    """

    def __init__(self, run: Callable[[Any], Any], result: Any, session: str) -> None:
        from guarded_tools.approvers.button_widget import ButtonWidget

        self._run = run
        self._session = session
        self._resuming: asyncio.Future[Any] | None = None
        self._places: dict[str, int] = {}
        self._became: list[card.CardRow] = []
        self._turn = 0
        self.result = result
        self.widget = ButtonWidget(self._heard, self._board())

    @property
    def pending(self) -> list[Any]:
        """The interrupts that wait for an answer."""
        if isinstance(self.result, Mapping):
            return list(self.result.get("__interrupt__", ()))
        return list(getattr(self.result, "interrupts", ()))

    def answer(self, interrupt_id: str, answer: Any) -> None:
        """Resume the run with the answer to one of its questions, as a click does."""
        from langgraph.types import Command

        question = next((one for one in self._questions() if one.id == interrupt_id), None)
        self._show(busy=True)
        try:
            result = self._run(Command(resume={interrupt_id: answer}))
        except BaseException as error:
            self._show(error)  # to the one who clicked; the run can still be resumed
            if not isinstance(error, Exception):
                raise
            return
        if inspect.isawaitable(result):
            self._resuming = asyncio.ensure_future(result)
            self._resuming.add_done_callback(lambda resuming: self._returned(resuming, question, answer))
        else:
            self._went_on(result, question, answer)

    def _returned(self, resuming: asyncio.Future[Any], question: _Question | None, answer: Any) -> None:
        self._resuming = None
        error = None if resuming.cancelled() else resuming.exception()
        if error is not None or resuming.cancelled():
            self._show(error)
        else:
            self._went_on(resuming.result(), question, answer)

    def _went_on(self, result: Any, question: _Question | None, answer: Any) -> None:
        self.result = result
        if question is not None:
            self._became.append(_told(question, answer, result, [one.value for one in self.pending]))
        self._show()

    def _questions(self) -> list[_Question]:
        """Those that wait, in the order in which they came up; what a human is about to click must not move."""
        for waiting in self.pending:
            self._places.setdefault(waiting.id, len(self._places))
        pending = sorted(self.pending, key=lambda one: self._places[one.id])
        return [_Question(one.id, one.value, _request(one.value, self._session)) for one in pending]

    def _show(self, error: BaseException | None = None, *, busy: bool = False) -> None:
        self.widget.board = self._board(error, busy=busy)

    def _board(self, error: BaseException | None = None, *, busy: bool = False) -> dict[str, Any]:
        self._turn += 1
        questions = self._questions()
        below = "" if questions else _line(f"No question waits. The agent says: {_last_message(self.result)}")
        if error is not None:
            below = _line(f"the run failed: {type(error).__name__}: {error}", "danger")
        return {
            "turn": self._turn,
            "questions": [question.shown() for question in questions],
            "above": card.rows_to_html(self._became, "What became of your answers") if self._became else "",
            "below": below,
            "busy": busy,
        }

    def _heard(self, said: Mapping[str, Any]) -> None:
        """Do what was pressed, unless what it was pressed on is no longer there."""
        question = next((one for one in self._questions() if one.key == said.get("key")), None)
        if question is None or self._resuming is not None:
            self._show(busy=self._resuming is not None)
            return
        text = str(said.get("text", ""))
        kind = said.get("kind")
        if kind == "check":
            self._tell(question, _checked(question, text), number=said.get("number"))
        elif kind == "free":
            self.answer(question.id, _read(text))
        elif kind == "approve":
            self.answer(question.id, {"type": "approve", "remember": said.get("remember", "once")})
        elif kind == "reject":
            self.answer(question.id, {"type": "reject", "message": text})
        elif kind == "respond" and text:
            self.answer(question.id, {"type": "respond", "message": text})
        elif kind == "respond":
            self._tell(question, _line("write the answer first", "danger"))
            self._show()
        elif kind == "edit" and question.request is not None:
            self._edit(question, question.request.tool, text)

    def _edit(self, question: _Question, tool: str, text: str) -> None:
        try:
            args = _accepted(question, text)
        except ValueError:
            self._tell(question, _checked(question, text))
            self._show()
            return
        self.answer(question.id, {"type": "edit", "edited_action": {"name": tool, "args": args}})

    def _tell(self, question: _Question, html: str, **more: Any) -> None:
        self.widget.send({"key": question.key, "html": html, **more})


def resume_with_buttons(
    agent: Any,
    result: Any,
    config: Mapping[str, Any] | None = None,
    *,
    run: Callable[[Any], Any] | None = None,
) -> Buttons:
    """Show buttons for each question that a LangGraph run waits for; a click answers it and resumes the run.

    What became of each answer is told above the buttons. An edit is checked as it is typed: that it is JSON, and, where
    this process asked the question, by the schema and the policy.

    Args:
        agent: The agent or graph, with a guard whose approver is an ``InterruptApprover``.
        result: What ``invoke`` or ``ainvoke`` returned.
        config: The config it was called with. Default: the one bound to the agent by ``with_config``.
        run: What resumes the run with a ``Command``; may be async, for agents whose tools are. Default:
            ``agent.invoke(command, config)``, in the kernel's main thread.

    Raises:
        ValueError: no ``thread_id`` says which run to resume.
        GuardError: anywidget or IPython is missing: the extra ``notebook`` has both.
    """
    bound = config if config is not None else getattr(agent, "config", None) or {}
    thread = bound.get("configurable", {}).get("thread_id")
    if thread is None:
        raise ValueError("resume_with_buttons() needs the config the agent was called with: its thread_id is the run")
    try:
        from IPython.display import display

        buttons = Buttons(run or (lambda command: agent.invoke(command, bound)), result, str(thread))
    except ModuleNotFoundError as error:
        raise not_installed(f"{error.name} is not installed", "notebook") from error
    display(buttons.widget)  # type: ignore[no-untyped-call]
    return buttons


def _request(value: Any, session: str) -> ApprovalRequest | None:
    """Rebuild what can be shown of a question from an interrupt's value; ``None`` where it is not a guard's."""
    if not isinstance(value, Mapping) or value.get("type") != "tool_approval":
        return None
    names = ("tool", "server", "reason", "grant", "rule", "risk", "remember", "remember_for", "session")
    known = {name: value[name] for name in names if name in value}
    base = {"tool": value["name"], "session": session, "rule": ""}
    return ApprovalRequest(**{**base, **known, "args": value["args"], "digest": "", "check_edit": check_of(value)})


def _accepted(question: _Question, text: str) -> dict[str, Any]:
    """Read an edit.

    Raises:
        ValueError: it is no JSON object, or would be refused; the message says why.
    """
    args = card.parse_edit(text)
    check = question.request.check_edit if question.request else None
    if check is not None and (problem := check(args)):
        raise ValueError(problem)
    return args


def _checked(question: _Question, text: str) -> str:
    """Say why an edit would be refused, or what it changes."""
    try:
        args = _accepted(question, text)
    except ValueError as error:
        return _line(f"not accepted: {error}", "danger")
    before = question.request.args if question.request else {}
    return card.rows_to_html(card.diff(before, args), "Your edit")


def _told(question: _Question, answer: Any, result: Any, waiting: Sequence[Any]) -> card.CardRow:
    if question.request is None or not isinstance(answer, Mapping):
        return card.CardRow(plain(f"answered: {answer!r}", 300), "plain", "the run's question")
    return became(question.value, answer, result, waiting)


def _read(text: str) -> Any:
    """Read a free answer: JSON where it is JSON, else the text itself."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def _line(text: str, style: card.Style = "plain") -> str:
    return card.rows_to_html([card.CardRow(plain(text), style, "run")], "")


def _last_message(result: Any) -> str:
    messages = values_of(result).get("messages")
    return str(getattr(messages[-1], "text", "")) if messages else "(nothing)"
