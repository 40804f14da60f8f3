"""A policy's own tests: calls, with time passing between them, and what has to become of each.

Every case starts with empty counters at its own point in time; a call that is allowed, or asked and approved, counts.
What judges and counts is the guard itself (:class:`Rehearsal`), so that a test cannot pass on a rule that the guard
reads otherwise.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from typing import Any, Final, NamedTuple, TypeAlias

from guarded_tools.approvers.protocol import Unanswered
from guarded_tools.audit import AuditLog
from guarded_tools.authoring.policy_cases import Case, Cases, Expected, HandedOn, Observed, Step
from guarded_tools.errors import ResultWithheld, ToolDenied
from guarded_tools.marks import Bound
from guarded_tools.pipeline.gate import Gate
from guarded_tools.policy.document import ApprovalLimits
from guarded_tools.policy.fields import MOST
from guarded_tools.policy.policy import Policy
from guarded_tools.stores import Store
from guarded_tools.stores.memory import MemoryStore
from guarded_tools.values import ApprovalRequest, AuditEvent, Effect, Outcome, ToolCall, ToolInfo


class Failure(NamedTuple):
    """The call at which a case went wrong; ``explained`` is what explains it.

    ``step`` and ``call`` count from 1. What the case's ``history`` tells is step 0, and not there to be refused.
    """

    step: int
    call: int
    judged: ToolCall
    expected: Expected
    seen: Observed
    explained: Any


class Result(NamedTuple):
    """How a case went; without a ``failure`` it passed."""

    case: Case
    calls: int
    failure: Failure | None


Explain: TypeAlias = Callable[[ToolCall, Store, float], Any]


def run(
    policy: Policy,
    cases: Cases,
    *,
    schemas: Mapping[str, Mapping[str, Any] | None],
    explain: Explain = lambda call, store, now: None,  # noqa: ARG005
) -> Iterator[Result]:
    """Run the cases one by one, each on a guard of its own; the first call that is not as expected ends its case.

    ``schemas`` are the input schemas of the tools, as far as they are known. ``explain`` is called with a failing call,
    the store as that call met it, and the time in seconds since the epoch.
    """
    for case in cases.cases:
        yield _run(policy, case, schemas, explain)


def _run(policy: Policy, case: Case, schemas: Mapping[str, Mapping[str, Any] | None], explain: Explain) -> Result:
    rehearsal = Rehearsal(policy, case, schemas)
    calls = 0
    for number, step, call in _calls(case):
        seen = rehearsal.call(step, first=call == 1)
        calls += 1
        if number == 0 and seen.effect != "deny":  # whether somebody was asked is not the point
            continue
        if any(True for _ in step.expect.differences(seen)):
            judged = _judged(step)
            # That call has counted by now: what it met is what the ones before it left behind.
            before = Rehearsal(policy, case, schemas)
            for _, earlier, nth in islice(_calls(case), calls - 1):
                before.call(earlier, first=nth == 1)
            before.wait(step, first=call == 1)
            explained = explain(judged, before.store, before.now)
            return Result(case, calls, Failure(number, call, judged, step.expect, seen, explained))
    return Result(case, calls, None)


def _calls(case: Case) -> Iterator[tuple[int, Step, int]]:
    """Every single call of a case: its step's number, the step, and the how manieth of the step it is."""
    for number, step in [(0, step) for step in case.history] + list(enumerate(case.steps, 1)):
        for call in range(1, step.times + 1):
            yield number, step, call


def _judged(step: Step) -> ToolCall:
    return ToolCall(step.tool, step.args, step.session, step.grant)


class _NoAudit(AuditLog):
    """Keeps nothing: a policy's tests leave no file behind, and are told of each event as an observer is."""

    def __init__(self) -> None:
        super().__init__(os.devnull)

    def write(self, event: AuditEvent) -> None:
        """Forget the event."""


class Rehearsal:
    """The real guard in front of tools that do nothing, on a store in memory, with the clock and the human of a case.

    Two things are not as in production, or no case could speak of the thirtieth question: the human has no end of
    patience (``approvals`` does not hold), and who does not approve leaves the question unanswered, since a call that
    was rejected twice is not asked about again. What a human says counts once: nothing is remembered.
    """

    def __init__(self, policy: Policy, case: Case, schemas: Mapping[str, Mapping[str, Any] | None]) -> None:
        self.now = case.at
        self.store = MemoryStore()
        self._events: list[AuditEvent] = []
        self._asked: ApprovalRequest | None = None
        self._approves = True
        self._gate = Gate(
            policy.model_copy(update={"approvals": ApprovalLimits(max_asks=MOST)}),
            store=self.store,
            approver=self._answer,
            audit=_NoAudit(),
            clock=lambda: self.now,
            observers=[self._events.append],
        )
        for tool in {step.tool for step in (*case.history, *case.steps)}:
            self._gate.register(ToolInfo(tool, policy.server or "", schema=schemas.get(tool)))

    def wait(self, step: Step, *, first: bool) -> None:
        """Let the time pass that is to pass before a step; only its first call waits."""
        self.now += (step.after or 0) if first else 0

    def call(self, step: Step, *, first: bool) -> Observed:
        """Make one call of a step, and say what became of it."""
        self.wait(step, first=first)
        self._events.clear()
        self._asked, self._approves = None, step.approved
        call, refused = _judged(step), None
        try:
            self._gate.call(call, lambda _: _given(step.result))
        except ToolDenied as denied:
            refused = denied
        except ResultWithheld:
            pass  # as its event says
        shadow = next((_ON_TRIAL[event.outcome] for event in self._events if event.kind == "shadow"), None)
        if shadow is None:
            shadow = self._on_trial(call)
        if self._asked is not None:
            asked = Observed("ask", self._asked.rule, self._asked.reason, None, shadow)
            return asked._replace(result=self._handed_on())
        if refused is not None:
            said = refused.decision
            return Observed("deny", said.rule, said.message, refused.retry_after, shadow)
        admitted = next(event for event in self._events if event.kind == "admitted")
        return Observed("allow", admitted.rule, "", None, shadow, self._handed_on())

    def _handed_on(self) -> HandedOn | None:
        """Say what became of the result of a call that ran; ``None`` of one that did not."""
        settled = next((event for event in self._events if event.kind == "settled"), None)
        did: HandedOn = "unchanged"
        return None if settled is None else (settled.result or {}).get("did", did)

    def _answer(self, request: ApprovalRequest) -> bool:
        self._asked = request
        if not self._approves:
            raise Unanswered
        return True

    def _on_trial(self, call: ToolCall) -> Effect | None:
        """What a rule on trial says of a call that did not get as far as the trial; there it counts nothing."""
        decision = self._gate.explain(call).shadow
        if decision is None:
            return None
        found = None if decision.effect == "deny" else self.store.peek(decision.charges, self.now, (), decision.across)
        if isinstance(found, Bound) and found.asks:
            return "ask"
        return decision.effect if found is None else "deny"


def _given(result: Any) -> Any:
    """Return what a tool gives back, where a case says so: structured content stands where MCP's artifacts have it."""
    if isinstance(result, Mapping) and "structured_content" in result:
        return result.get("content", ""), {"structured_content": result["structured_content"]}
    return result


_ON_TRIAL: Final[Mapping[Outcome | None, Effect]] = {
    "ok": "allow",
    "suspended": "ask",
    "denied": "deny",
    "limited": "deny",
}
