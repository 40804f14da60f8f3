"""What became of a question: a human's answer, or why there is none."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Literal, NamedTuple, TypeAlias

from guarded_tools.approvers.protocol import Altered, Unanswered
from guarded_tools.errors import CannotAsk
from guarded_tools.values import Outcome, Verdict, canonical

Cause: TypeAlias = Literal[
    "human",  # a human answered
    "remembered",  # an earlier answer covers the call
    "timeout",  # nobody answered in time
    "expired",  # the answer came after the question had expired
    "failed",  # the approver raised
    "invalid",  # the approver returned something that is no answer
    "unavailable",  # there was nobody to ask
    "pending",  # too many questions are open
    "asks",  # too many questions were asked
    "closed",  # humans rejected this tool too often in this session
    "repeated",  # humans rejected this very call twice in this session
    "stray",  # an answer to a question that is not open: used, expired, or another call's
    "changed",  # the call is no longer the one the human was shown
    "unknown",  # it was approved and ran, or may have, before its run came back here
]

_OUTCOMES: Mapping[Cause, Outcome] = {
    "pending": "limited",
    "asks": "limited",
    "closed": "rejected",
    "repeated": "rejected",
    "unknown": "unknown",
}


class Spent(NamedTuple):
    """An answer that was heard by resuming a run.

    The ``key`` of its question, what is kept there for once more, the key of its ``task``, and the ``claim`` on that.
    ``handed``: it was handed over, and a run that is resumed once more does not hear it again.
    """

    key: str
    record: bytes
    task: str
    claim: str
    handed: bool = False


class ApprovalResult(NamedTuple):
    """What became of a question. ``verdict`` is a rejection unless a human's approval, edit or response stands.

    ``detail`` says how it came to that. ``waited`` and ``retry_after`` are in seconds. ``spent`` is set where the
    answer came by resuming a run.
    """

    verdict: Verdict
    cause: Cause
    detail: str = ""
    waited: float = 0.0
    retry_after: float | None = None
    spent: Spent | None = None
    across: tuple[str, ...] = ()

    @property
    def outcome(self) -> Outcome | None:
        """How the call ended, or ``None`` where it may go on."""
        if self.verdict.kind in ("approve", "edit"):
            return None
        if self.cause == "human":
            return "rejected" if self.verdict.kind == "reject" else "responded"
        return _OUTCOMES.get(self.cause, "unanswered")

    @property
    def text(self) -> str:
        """What the model is told: the response, or why the call did not run."""
        if self.cause != "human" or self.outcome is None:
            return self.detail
        if self.outcome == "responded":
            return self.verdict.message
        return f'a human rejected it: "{self.verdict.message}"' if self.verdict.message else "a human rejected it"


def judge(said: object, waited: float) -> ApprovalResult:
    """Tell an answer from everything else."""
    if isinstance(said, Exception):
        return _silence(said, waited)
    if isinstance(said, bool):
        said = Verdict.approve() if said else Verdict.reject()
    if not isinstance(said, Verdict):
        return refusal("invalid", f"the approver returned {type(said).__name__}, which is no answer", waited)
    problem = _problem(said)
    if problem:
        return refusal("invalid", f"the approver returned a verdict {problem}", waited)
    if said.kind == "edit":
        said = dataclasses.replace(said, args=json.loads(canonical(said.args)))
    return ApprovalResult(said, "human", waited=waited)


def _silence(error: Exception, waited: float) -> ApprovalResult:
    if isinstance(error, Unanswered):
        return refusal("timeout", str(error), waited)
    if isinstance(error, CannotAsk):
        return refusal("unavailable", str(error), waited)
    if isinstance(error, Altered):
        return refusal("changed", str(error), waited)
    return refusal("failed", f"the approver failed with {type(error).__name__}: {error}", waited)


def _problem(verdict: Verdict) -> str:
    if verdict.kind not in ("approve", "edit", "reject", "respond"):
        return f"of unknown kind {verdict.kind!r}"
    if verdict.remember not in ("once", "same", "tool"):
        return f"to remember {verdict.remember!r}"
    if not (isinstance(verdict.message, str) and isinstance(verdict.by, str)):
        return "whose message is no text"
    if verdict.kind == "edit":
        try:
            exact = isinstance(verdict.args, dict) and json.loads(canonical(verdict.args)) == verdict.args
        except ValueError:
            exact = False
        if not exact:
            return "whose arguments are no JSON object"
    return ""


def refusal(cause: Cause, detail: str, waited: float = 0.0) -> ApprovalResult:
    """Make the answer of a question that nobody answered."""
    return ApprovalResult(Verdict.reject(), cause, detail, waited)
