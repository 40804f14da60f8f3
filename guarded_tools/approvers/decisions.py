"""Reads what a LangGraph run is resumed with, whichever front end sent it.

What is understood depends on the answer alone: when a run goes by here again, each answer has to be taken, or refused,
as it was the first time. What the policy thinks of an edit is for the guard to say.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from guarded_tools.text.visible import plain
from guarded_tools.values import Verdict, canonical

_KINDS = {"approve": "approve", "accept": "approve", "edit": "edit", "reject": "reject", "ignore": "reject"}
_KINDS |= {"respond": "respond", "response": "respond"}


class _Unclear(ValueError):  # noqa: N818 - says what an answer is
    """An answer that says nothing."""


def verdict(tool: str, args: Mapping[str, Any], answer: object) -> Verdict:
    """Read the answer to the question about one call, which was shown with these arguments.

    Raises:
        ValueError: it says nothing, or more than one thing, or what was approved is not what was shown.
    """
    said = _listed(answer)
    if len(said) != 1:
        raise _Unclear(f"one call takes one decision, and this is a list of {len(said)}")
    read = _read(tool, said[0])
    if read.kind == "approve" and isinstance(said[0], Mapping):
        _compare(args, _action(tool, said[0]))
    return read


def verdicts(questions: Sequence[tuple[str, str]], answer: object) -> list[Verdict]:
    """Read the answer to several questions, each given by its id and its tool: one decision for each, in their order.

    A decision that names a ``question``, or a tool, has to name its own.

    Raises:
        ValueError: they are not the answers to these questions, or one of them says nothing.
    """
    said = _listed(answer)
    if len(said) != len(questions):
        raise _Unclear(f"{len(questions)} calls take {len(questions)} decisions, and this is {len(said)}")
    return [_read(tool, decision, question) for (question, tool), decision in zip(questions, said, strict=True)]


def _listed(answer: object) -> list[object]:
    if isinstance(answer, Mapping) and "decisions" in answer:
        answer = answer["decisions"]
    return answer if isinstance(answer, list) else [answer]


def _read(tool: str, decision: object, question: str | None = None) -> Verdict:
    if not isinstance(decision, Mapping):
        raise _Unclear(f"a decision is an object with a type, not {type(decision).__name__}")
    if question is not None and decision.get("question", question) != question:
        raise _Unclear("a decision names another question than the one in its place")
    kind = _KINDS.get(str(decision.get("type")))
    if kind == "approve":
        _action(tool, decision)
        if decision.get("edited_action") is not None:
            raise _Unclear("an approval has no edited_action: of type edit it runs that, without it what was shown")
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


def _message(decision: Mapping[str, Any]) -> str:
    message = decision.get("message", decision.get("args"))  # Agent Inbox puts its text into args
    if message is None:
        return ""
    if not isinstance(message, str):
        raise _Unclear("message has to be a text")
    return message


def _action(tool: str, decision: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the call that a decision speaks of; Agent Inbox says of an approval, too, what it was shown."""
    action = decision.get("edited_action", decision.get("args"))
    if not isinstance(action, Mapping):
        return None
    name = action.get("name", action.get("action", tool))
    if name != tool:
        raise _Unclear(f"an answer cannot switch the tool from {tool} to {plain(str(name), 80)}")
    return action


def _compare(shown: Mapping[str, Any], approved: Mapping[str, Any] | None) -> None:
    """Refuse an approval that says of which arguments it is, where those are others: a second click, perhaps."""
    args = None if approved is None else approved.get("args")
    try:
        same = not isinstance(args, Mapping) or _in_a_page(args) == _in_a_page(shown)
    except RecursionError:
        same = False
    if not same:
        raise _Unclear("an approval of other arguments than were asked about is the answer to another question")


def _in_a_page(args: Mapping[str, Any]) -> dict[str, str]:
    """Write arguments as they are after a page: its numbers have 53 bits, and what was edited and put back is text."""
    return {name: value if isinstance(value, str) else canonical(_as_numbers(value)) for name, value in args.items()}


def _as_numbers(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _as_numbers(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_as_numbers(each) for each in value]
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value
    try:
        number = float(value)
    except OverflowError:
        return value
    return int(number) if number.is_integer() else number


def _edited(tool: str, decision: Mapping[str, Any]) -> dict[str, Any]:
    action = _action(tool, decision)
    if action is None:
        raise _Unclear("an edit needs edited_action, an object with name and args")
    args = action.get("args")
    if not isinstance(args, dict):
        raise _Unclear("the edited args have to be an object")
    return json.loads(canonical(args))  # type: ignore[no-any-return]
