"""The page of open questions: the same card as in the terminal, and every answer that the policy permits."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, Final, Literal, NamedTuple

from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import Response

from guarded_tools.approvers import card
from guarded_tools.approvers.inbox import Question, Receipt, answer, first_answer
from guarded_tools.audit.read import Record, when
from guarded_tools.audit.summary import answer as answered_with
from guarded_tools.policy.policy import decide
from guarded_tools.values import ToolCall, Verdict
from guarded_tools.web.desk import Desk
from guarded_tools.web.page import page, part

MOST_CARDS: Final = 10
"""Questions that one page shows in full."""
_MOST_ANSWERED: Final = 20
_LONGEST_REASON: Final = 2_000
_DIGITS: Final = 6


class CardShown(NamedTuple):
    """A question as its card: rows, all arguments where the rows leave something out, and what may be answered."""

    question: Question
    seal: str
    rows: Markup
    everything: Markup | None
    offers: dict[str, str]
    editable: str
    parameters: list[dict[str, Any]]


def show_all(request: Request) -> Response:
    """List what waits, oldest first, and what was answered."""
    desk: Desk = request.app.state.desk
    waiting = desk.questions()
    at = _number(request.query_params.get("from", "0"))
    cards = [_card(desk, question) for question in waiting[at : at + MOST_CARDS]]
    return page(
        request, "approvals.html", cards=cards, waiting=len(waiting), first=at, most=MOST_CARDS, one=False,
        answered=answered(desk.recent.records()),
    )  # fmt: skip


def look(desk: Desk) -> list[str]:
    """Name the questions that wait, those of the first page drawn before anybody asks for it."""
    waiting = desk.questions()
    for question in waiting[:MOST_CARDS]:
        _card(desk, question)
    return [question.id for question in waiting]


def show_one(request: Request) -> Response:
    """Show one question, to which a notice leads; or say what became of it."""
    desk: Desk = request.app.state.desk
    question = _find(desk, request.path_params["id"])
    if question is None:
        return _said(request, HTTPStatus.NOT_FOUND, f"This question is not open: {_gone(desk, request)}.")
    cards = [_card(desk, question)]
    below = answered(desk.recent.records())
    return page(request, "approvals.html", cards=cards, waiting=1, first=0, most=MOST_CARDS, one=True, answered=below)


def _gone(desk: Desk, request: Request) -> str:
    first = first_answer(desk.store(), request.path_params["id"])
    return f"somebody was first: {first}" if first else "it was answered, given up, or has expired"


def reply(request: Request) -> Response:
    """Answer one question as it was shown."""
    desk: Desk = request.app.state.desk
    form: dict[str, str] = request.state.form
    question = _find(desk, request.path_params["id"])
    if question is None:
        return _said(request, HTTPStatus.CONFLICT, f"Nothing was done: {_gone(desk, request)}.")
    if form.get("seal") != question.seal:
        why = "the question is not the one that you were shown: somebody altered it. Look again"
        return _said(request, HTTPStatus.CONFLICT, f"Nothing was done: {why}.")
    try:
        verdict = _verdict(form, question, request.state.user)
    except ValueError as error:
        return _said(request, HTTPStatus.UNPROCESSABLE_ENTITY, f"Nothing was done: {error}.")
    receipt = answer(desk.store(), question, verdict)
    status, text = _became(receipt)
    return _said(request, status, text)


def check(request: Request) -> Response:
    """Say whether edited arguments can be read, what they change, and whether the policy lets them through."""
    desk: Desk = request.app.state.desk
    question = _find(desk, request.path_params["id"])
    if question is None:
        return page(request, "check.html", HTTPStatus.CONFLICT, problem="the question is closed", changes=[], known="")
    problem, known = "", ""
    changes: list[card.CardRow] = []
    try:
        edited = card.parse_edit(request.state.form.get("args", ""))
        changes = card.diff(question.request.args, edited)
        problem, known = _judged(desk, question, edited)
    except ValueError as error:
        problem = str(error)
    return page(request, "check.html", problem=problem, changes=changes, known=known)


def answered(records: list[Record]) -> list[dict[str, Any]]:
    """List the latest answers in the audit, newest first."""
    found = [record for record in records if record.get("kind") == "answered"]
    return [
        {
            "when": when(record),
            "tool": str(record.get("tool", "")),
            "session": str(record.get("session", "")),
            "key": str(record.get("key", "")),
            "answer": answered_with(said),
            "by": str(said.get("by", "")),
            "message": str(record.get("message", "")),
        }
        for record in reversed(found[-_MOST_ANSWERED:])
        for said in [_approval(record)]
    ]


def _approval(record: Record) -> Record:
    said = record.get("approval")
    return said if isinstance(said, dict) else {}


def _card(desk: Desk, question: Question) -> CardShown:
    def draw(question: Question) -> CardShown:
        request = question.request
        info = desk.tools.get(request.tool)
        return CardShown(
            question,
            question.seal,
            part("rows", card.rows(request)),
            part("rows", card.arguments(request.args, full=True)) if card.is_folded(request.args) else None,
            card.durations(request),
            card.editable(request.args),
            described(info.schema if info is not None else None),
        )

    return desk.drawn(question, draw)


def described(schema: Any) -> list[dict[str, Any]]:
    """List the parameters of a tool's schema: name, what it takes, whether it has to be there, what it is."""
    properties = schema.get("properties") if isinstance(schema, dict) else None
    if not isinstance(properties, dict):
        return []
    needed = schema.get("required")
    required = needed if isinstance(needed, list) else []
    return [
        {
            "name": str(key),
            "takes": _takes(one if isinstance(one, dict) else {}),
            "required": key in required,
            "about": str(one.get("description", "")) if isinstance(one, dict) else "",
        }
        for key, one in properties.items()
    ]


def _takes(schema: dict[str, Any]) -> str:
    choices = schema.get("enum")
    if isinstance(choices, list):
        return "one of " + ", ".join(map(str, choices[:20]))
    bounds = [f"{word} {schema[key]}" for key, word in _BOUNDS.items() if key in schema]
    return ", ".join([str(schema.get("type", "anything")), *bounds])


_BOUNDS: Final = {
    "minimum": "from",
    "maximum": "to",
    "minLength": "at least",
    "maxLength": "at most",
    "pattern": "like",
    "format": "a",
}


def _find(desk: Desk, question_id: str) -> Question | None:
    return next((question for question in desk.questions() if question.id == question_id), None)


def _verdict(form: dict[str, str], question: Question, by: str) -> Verdict:
    """Read an answer from a form.

    Raises:
        ValueError: it is none that this question offers.
    """
    kind, message = form.get("answer", ""), form.get("message", "")[:_LONGEST_REASON].replace("\r\n", "\n")
    covers: dict[str, Literal["once", "same", "tool"]] = {"approve": "once"}
    offers = card.durations(question.request)
    covers |= {f"approve {wide}": wide for wide in ("same", "tool") if wide in offers}
    if kind in covers:
        return Verdict.approve(covers[kind], by=by)
    if kind == "edit":
        return Verdict.edit(card.parse_edit(form.get("args", "")), by=by)
    if kind == "reject":
        return Verdict.reject(message, by=by)
    if kind == "respond":
        if not message.strip():
            raise ValueError("write what the model shall read as the answer")
        return Verdict.respond(message, by=by)
    raise ValueError("this question cannot be answered like that")


def _became(receipt: Receipt) -> tuple[int, str]:
    return {
        "taken": (HTTPStatus.OK, "Answered: the agent goes on with it."),
        "late": (HTTPStatus.CONFLICT, "Too late: the question was answered, given up, or has expired."),
        "second": (HTTPStatus.CONFLICT, f"Somebody was first: {receipt.detail}."),
        "refused": (HTTPStatus.UNPROCESSABLE_ENTITY, f"The agent does not accept it: {receipt.detail}."),
        "unclaimed": (
            HTTPStatus.ACCEPTED,
            "Nobody picked the answer up yet. The asking program may be gone; then it expires with the question.",
        ),
    }[receipt.kind]


def _judged(desk: Desk, question: Question, edited: dict[str, Any]) -> tuple[str, str]:
    """Say why the policy would refuse edited arguments, and what is known of it: the agent judges them in any case."""
    if desk.policy is None:
        return "", "The agent checks them against its policy when you send them."
    asked = question.request
    info = desk.tools.get(asked.tool)
    schema = None if info is None else info.schema
    decision = decide(desk.policy(), ToolCall(asked.tool, edited, asked.session, asked.grant), schema, asked.risk)
    if decision.effect == "deny":
        return f"{decision.message or 'denied'} ({decision.rule})", ""
    return "", "The policy lets them through; the agent checks them once more."


def _said(request: Request, status: int, text: str) -> Response:
    return page(request, "said.html", status, text=text, back="/approvals", good=status < HTTPStatus.BAD_REQUEST)


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= _DIGITS else 0
