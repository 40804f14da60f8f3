"""What became of an answer to a LangGraph interrupt, told from what the run returned next."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from guarded_tools.approvers.card import CardRow, Style
from guarded_tools.text.redaction import mask
from guarded_tools.text.visible import plain

_LONGEST = 300
_BRIEF = 100
_GOOD: Final = "added"
_BAD: Final = "removed"
_OTHER = "answered"
_RAN = {"approve": "approved", "edit": "run as edited"}
_REFUSED = {"approve": "approved, and refused", "edit": "your edit was refused"}
_REFUSED |= {"reject": "rejected, and refused", "respond": "your answer came to nothing"}
_IN_PLACE = {"reject": "rejected", "respond": "answered in its place"}


def became(asked: Mapping[str, Any], answer: Mapping[str, Any], result: Any, waiting: Sequence[Any]) -> CardRow:
    """Tell in a line what became of the answer to a question of a guard, so that nobody has to look for it.

    Args:
        asked: The interrupt's value.
        answer: What the run was resumed with.
        result: What it returned then.
        waiting: The values of the interrupts that wait now.
    """
    style: Style
    kind, message = str(answer.get("type")), _answer(asked, result)
    refused = _refusal(message, kind)
    unclear = next((one["error"] for one in waiting if _is_about(one, asked) and one.get("error")), None)
    if unclear is not None:
        text, style = f"asked once more: {unclear}", _BAD
    elif refused is not None:
        text, style = f"{_REFUSED.get(kind, _REFUSED['approve'])}: {refused}", _BAD
    elif kind in _IN_PLACE:
        said = answer.get("message")
        text, style = f"{_IN_PLACE[kind]}: {said}" if said else _IN_PLACE[kind], "plain"
    elif message is not None:
        text, style = _ran(kind, message)
    else:
        text, style = f"{_RAN.get(kind, _OTHER)}; the run went on", _GOOD
    edited = answer.get("edited_action") if kind == "edit" else None
    args = mask(json.dumps((edited or asked).get("args"), ensure_ascii=False))
    return CardRow(f"{plain(text, _LONGEST)}  ·  {plain(args, _BRIEF)}", style, plain(str(asked.get("name")), 60))


def values_of(result: Any) -> Mapping[str, Any]:
    """Return the state that a run returned, or nothing where it is no mapping."""
    values = result if isinstance(result, Mapping) else getattr(result, "value", {})
    return values if isinstance(values, Mapping) else {}


def _is_about(value: Any, asked: Mapping[str, Any]) -> bool:
    """Whether an interrupt asks about the same call; it may go by another id."""
    return isinstance(value, Mapping) and value.get("tool_call_id", "") == asked.get("tool_call_id")


def _refusal(message: Any, kind: str) -> str | None:
    """Why the guard refused the call all the same; ``None`` where it did not, or the human did."""
    artifact = getattr(message, "artifact", None)
    if not isinstance(artifact, Mapping) or not artifact.get("denied"):
        return None
    if kind == "reject" and artifact.get("outcome") == "rejected":
        return None
    return str(artifact.get("reason") or artifact.get("rule"))


def _ran(kind: str, message: Any) -> tuple[str, Style]:
    text = str(getattr(message, "text", ""))
    if kind == "edit" and text.startswith("NOTE: "):  # it tells the model of the edit
        text = text.partition("\n\n")[2]
    failed = getattr(message, "status", "") == "error"
    return f"{_RAN.get(kind, _OTHER)} → {'failed: ' if failed else ''}{text}", _BAD if failed else _GOOD


def _answer(asked: Mapping[str, Any], result: Any) -> Any:
    """Find the message that answers the call, wherever the state keeps messages; ``None`` where there is none yet."""
    call = asked.get("tool_call_id")
    found = [each for each in _listed(values_of(result)) if call and getattr(each, "tool_call_id", None) == call]
    return found[-1] if found else None


def _listed(values: Mapping[str, Any]) -> Iterator[Any]:
    for value in values.values():
        if isinstance(value, Sequence) and not isinstance(value, str | bytes):
            yield from value
