"""Buttons under a cell that has returned: they resume a LangGraph run that waits for approvals."""

from __future__ import annotations

import asyncio
import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from guarded_tools.approvers import card
from guarded_tools.text.visible import plain
from guarded_tools.values import ApprovalRequest


class Buttons:
    """The questions of one run, with a row of buttons for each. ``result`` is what the run returned last."""

    def __init__(self, run: Callable[[Any], Any], result: Any, session: str) -> None:
        import ipywidgets

        self._run = run
        self._session = session
        self._resuming: asyncio.Future[Any] | None = None
        self._places: dict[str, int] = {}
        self._cards: dict[str, tuple[Any, Any]] = {}
        self.result = result
        self.widget = ipywidgets.VBox()
        self._show()

    @property
    def pending(self) -> list[Any]:
        """The interrupts that wait for an answer."""
        if isinstance(self.result, Mapping):
            return list(self.result.get("__interrupt__", ()))
        return list(getattr(self.result, "interrupts", ()))

    def answer(self, interrupt_id: str, answer: Any) -> None:
        """Resume the run with the answer to one of its questions, as a click does."""
        from langgraph.types import Command

        self._lock(locked=True)
        try:
            result = self._run(Command(resume={interrupt_id: answer}))
        except BaseException as error:
            self._show(error)  # to the one who clicked; the run can still be resumed
            if not isinstance(error, Exception):
                raise
            return
        if inspect.isawaitable(result):
            self._resuming = asyncio.ensure_future(result)
            self._resuming.add_done_callback(self._returned)
        else:
            self.result = result
            self._show()

    def _returned(self, resuming: asyncio.Future[Any]) -> None:
        error = None if resuming.cancelled() else resuming.exception()
        if error is None and not resuming.cancelled():
            self.result = resuming.result()
        self._show(error)

    def _lock(self, *, locked: bool) -> None:
        for widget in _buttons(self.widget):
            widget.disabled = locked

    def _show(self, error: BaseException | None = None) -> None:
        import ipywidgets

        # LangGraph lists them in the order in which they came up; what a human is about to click must not move.
        for waiting in self.pending:
            self._places.setdefault(waiting.id, len(self._places))
        pending = sorted(self.pending, key=lambda one: self._places[one.id])
        self._cards = {waiting.id: self._card(waiting) for waiting in pending}
        parts = [part for _, part in self._cards.values()]
        if error is not None:
            parts.insert(0, ipywidgets.HTML(_line(f"the run failed: {type(error).__name__}: {error}", "danger")))
        elif not parts:
            parts.append(ipywidgets.HTML(_line(f"No question waits. The agent says: {_last_message(self.result)}")))
        shown, self.widget.children = self.widget.children, parts
        for part in shown:
            if part not in parts:
                _close(part)
        self._lock(locked=False)

    def _card(self, waiting: Any) -> tuple[Any, Any]:
        """What is asked, and where it is: the same as before if it asks the same, with what was written there."""
        value = waiting.value
        ours = isinstance(value, Mapping) and value.get("type") == "tool_approval"
        request = _request(value, self._session) if ours else None
        # By what is to be seen of it: to Python, 1 and True are equal.
        asked = repr(value) if request is None else (card.to_html(request), card.durations(request))
        before = self._cards.get(waiting.id)
        if before is not None and before[0] == asked:
            return before
        if request is None:
            return asked, _free_answer(waiting, self.answer)
        return asked, _Card(waiting.id, request, self.answer).widget


class _Card:
    """One question of a guard and what can be answered to it."""

    def __init__(self, interrupt_id: str, request: ApprovalRequest, answer: Callable[[str, Any], None]) -> None:
        import ipywidgets

        self._id = interrupt_id
        self._request = request
        self._answer = answer
        layout = ipywidgets.Layout(width="auto")
        self._text = ipywidgets.Text(placeholder="why not, or what to answer in its place", layout=layout)
        self._args = ipywidgets.Textarea(value=card.editable(request.args), layout=ipywidgets.Layout(width="auto"))
        self._problem = ipywidgets.HTML()
        approvals = [
            ("Approve", {}),
            *((f"Approve {what}", {"remember": k}) for k, what in card.durations(request).items()),
        ]
        buttons = [
            *(_button(label, "success", self._saying({"type": "approve", **more})) for label, more in approvals),
            _button("Run as edited below", "warning", self._edit),
            _button("Reject", "danger", lambda: self._say({"type": "reject", "message": self._text.value})),
            _button("Answer in its place", "", self._respond),
        ]
        row = ipywidgets.HBox(buttons, layout=ipywidgets.Layout(flex_flow="row wrap"))
        shown = ipywidgets.HTML(card.to_html(request))
        self.widget = ipywidgets.VBox([shown, row, self._text, self._args, self._problem])

    def _saying(self, answer: Mapping[str, Any]) -> Callable[[], None]:
        return lambda: self._say(answer)

    def _say(self, answer: Mapping[str, Any]) -> None:
        self._answer(self._id, dict(answer))

    def _respond(self) -> None:
        if self._text.value:
            self._say({"type": "respond", "message": self._text.value})
        else:
            self._problem.value = _line("write the answer first", "danger")

    def _edit(self) -> None:
        try:
            args = card.parse_edit(self._args.value)
        except ValueError as error:
            self._problem.value = _line(f"not accepted: {error}", "danger")
            return
        self._say({"type": "edit", "edited_action": {"name": self._request.tool, "args": args}})


def resume_with_buttons(
    agent: Any,
    result: Any,
    config: Mapping[str, Any] | None = None,
    *,
    run: Callable[[Any], Any] | None = None,
) -> Buttons:
    """Show buttons for each question that a LangGraph run waits for; a click answers it and resumes the run.

    Args:
        agent: The agent or graph, with a guard whose approver is an ``InterruptApprover``.
        result: What ``invoke`` or ``ainvoke`` returned.
        config: The config it was called with. Default: the one bound to the agent by ``with_config``.
        run: What resumes the run with a ``Command``; may be async, for agents whose tools are. Default:
            ``agent.invoke(command, config)``, in the kernel's main thread.

    Raises:
        ValueError: no ``thread_id`` says which run to resume.
        ImportError: ipywidgets is missing.
    """
    bound = config if config is not None else getattr(agent, "config", None) or {}
    thread = bound.get("configurable", {}).get("thread_id")
    if thread is None:
        raise ValueError("resume_with_buttons() needs the config the agent was called with: its thread_id is the run")
    from IPython.display import display

    buttons = Buttons(run or (lambda command: agent.invoke(command, bound)), result, str(thread))
    display(buttons.widget)  # type: ignore[no-untyped-call]
    return buttons


def _request(value: Mapping[str, Any], session: str) -> ApprovalRequest:
    """Rebuild what can be shown of a question from an interrupt's value."""
    names = ("tool", "server", "reason", "grant", "rule", "risk", "remember", "remember_for", "session")
    known = {name: value[name] for name in names if name in value}
    base = {"tool": value["name"], "session": session, "rule": ""}
    return ApprovalRequest(**{**base, **known, "args": value["args"], "digest": ""})


def _button(label: str, style: str, click: Callable[[], None]) -> Any:
    import ipywidgets

    button = ipywidgets.Button(description=label, tooltip=label, button_style=style)
    button.layout.width = "auto"
    button.on_click(lambda _: click())
    return button


def _buttons(widget: Any) -> Sequence[Any]:
    import ipywidgets

    found = [widget] if isinstance(widget, ipywidgets.Button) else []
    return [*found, *(button for child in getattr(widget, "children", ()) for button in _buttons(child))]


def _close(widget: Any) -> None:
    for child in getattr(widget, "children", ()):
        _close(child)
    widget.close()


def _free_answer(waiting: Any, answer: Callable[[str, Any], None]) -> Any:
    """Let a question that is not ours be answered by a text, or by JSON where the text is JSON."""
    import ipywidgets

    text = ipywidgets.Text(placeholder="the answer, as text or JSON")

    def send() -> None:
        try:
            value = json.loads(text.value)
        except ValueError:
            value = text.value
        answer(waiting.id, value)

    shown = ipywidgets.HTML(_line(f"The run asks: {waiting.value!r}"))
    return ipywidgets.VBox([shown, ipywidgets.HBox([text, _button("Send", "", send)])])


def _line(text: str, style: card.Style = "plain") -> str:
    return card.rows_to_html([card.CardRow(plain(text), style, "run")], "")


def _last_message(result: Any) -> str:
    values = result if isinstance(result, Mapping) else getattr(result, "value", {})
    messages = values.get("messages") if isinstance(values, Mapping) else None
    return str(getattr(messages[-1], "text", "")) if messages else "(nothing)"
