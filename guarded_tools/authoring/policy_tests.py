"""A policy's own tests: calls, with time passing between them, and what has to become of each.

Every case starts with empty counters at its own point in time; a call that is allowed, or asked and approved, counts.
What judges and counts is the guard itself (:class:`Rehearsal`), so that a test cannot pass on a rule that the guard
reads otherwise.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Mapping
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, Final, NamedTuple, TypeAlias

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError, model_validator

from guarded_tools.approvers.protocol import Unanswered
from guarded_tools.audit import AuditLog
from guarded_tools.errors import PolicyError, Problem, ToolDenied
from guarded_tools.marks import Bound
from guarded_tools.pipeline.gate import Gate
from guarded_tools.policy.diagnostics import Reporter, explain_errors, suggest
from guarded_tools.policy.document import ApprovalLimits
from guarded_tools.policy.fields import MOST, Name, Part, Text, Window, wrong
from guarded_tools.policy.policy import Policy
from guarded_tools.policy.reading.source import read_source
from guarded_tools.stores import Store
from guarded_tools.stores.memory import MemoryStore
from guarded_tools.values import ApprovalRequest, AuditEvent, Effect, Outcome, ToolCall, ToolInfo

# In seconds since the epoch: as far as dates go. In microseconds, a store still holds it.
_END_OF_TIME: Final = datetime(9999, 12, 31, tzinfo=UTC).timestamp()


class Observed(NamedTuple):
    """What became of a call. ``retry_after`` is in seconds; ``shadow`` is what a rule on trial would have done."""

    effect: Effect
    rule: str
    message: str = ""
    retry_after: float | None = None
    shadow: Effect | None = None


def _time(value: object) -> object:
    moment = value
    if type(value) is str:
        try:
            found = datetime.fromisoformat(value)
        except ValueError:
            raise wrong("not a point in time", 'write "2026-03-01T23:59:30Z"') from None
        moment = found.replace(tzinfo=found.tzinfo or UTC).timestamp()
    if type(moment) in {int, float} and not 0 <= moment < _END_OF_TIME:  # type: ignore[operator]
        raise wrong("not a point in time that counters know", "write one from 1970 to 9999")
    return moment


def _some(found: tuple[Any, ...]) -> tuple[Any, ...]:
    # As a bound of the field it would be broken as soon as one entry is.
    if not found:
        raise wrong("must not be empty", "what tests nothing always passes")
    return found


def _expected(value: object) -> object:
    return {"effect": value} if type(value) is str else value


class Expected(Part):
    """What has to become of a call. ``message`` is a part of the text; what is left out may be anything."""

    effect: Effect
    rule: Text | None = None
    message: Text | None = None
    retry_after: float | None = Field(default=None, description="Seconds until it would fit, to the millisecond.")
    shadow: Effect | None = Field(default=None, description="What a rule on trial would have done.")

    def differences(self, seen: Observed) -> Iterator[tuple[str, Any, Any]]:
        """Give every part that is not as it should be: its name, what was expected, what was seen."""
        for part in ("effect", "rule", "shadow"):
            wanted, found = getattr(self, part), getattr(seen, part)
            if wanted is not None and wanted != found:
                yield part, wanted, found
        if self.message is not None and self.message not in seen.message:
            yield "message", self.message, seen.message
        if self.retry_after is not None and round(self.retry_after, 3) != round(seen.retry_after or 0.0, 3):
            yield "retry_after", self.retry_after, seen.retry_after


class Step(Part):
    """One call, or the same one many times. ``after`` is how long after the step before it."""

    tool: Name
    args: Mapping[str, Any] = Field(default_factory=dict)
    session: Name = "default"
    grant: Name | None = None
    after: Window | None = None
    times: Annotated[int, Field(ge=1, le=100_000)] = 1
    approved: bool = Field(default=True, description="What a human answers where one is asked.")
    expect: Annotated[Expected, BeforeValidator(_expected)]


def _earlier(value: object) -> object:
    entry = {"tool": value} if type(value) is str else value
    return {**entry, "expect": "allow"} if isinstance(entry, dict) and "expect" not in entry else entry


Earlier: TypeAlias = Annotated[Step, BeforeValidator(_earlier)]


class Case(Part):
    """A step of its own, or several in a row. ``history`` is what the session did before, and has to have run."""

    name: Name
    history: Annotated[tuple[Earlier, ...], Field(strict=False)] = ()
    at: Annotated[float, BeforeValidator(_time)] = datetime(2026, 1, 1, tzinfo=UTC).timestamp()
    steps: Annotated[tuple[Step, ...], Field(strict=False), AfterValidator(_some)]

    @model_validator(mode="before")
    @classmethod
    def _single(cls, data: Any) -> Any:
        if isinstance(data, dict) and "steps" not in data:
            own = {key: data[key] for key in data if key in {"name", "at", "history"}}
            return {**own, "steps": [{key: data[key] for key in data if key not in own}]}
        return data


class Cases(Part):
    """The cases of one file."""

    cases: Annotated[tuple[Case, ...], Field(strict=False), AfterValidator(_some)]

    @classmethod
    def from_file(cls, path: str | Path, tools: Collection[str] = ()) -> Cases:
        """Read cases from a YAML or JSON file. ``tools`` are the names that exist, where they are known.

        Raises:
            PolicyError: everything that is wrong with the file, each with its place.
        """
        source = read_source(Path(path))
        problems = list(source.problems)

        def problem(at: str, message: str, hint: str = "", *, key: bool = False) -> Problem:
            return source.problem(_written(source.data, at), message, hint, key=key)

        try:
            cases = cls.model_validate(source.data)
        except ValidationError as error:
            problems += explain_errors(error, cls, problem)
        else:
            problems += [*_repeated_names(cases, problem), *_unknown_tools(cases, problem, tools)]
            if not problems:
                return cases
        raise PolicyError(tuple(sorted(problems, key=lambda found: (found.line, found.column))))


def _written(data: Any, at: str) -> str:
    """Where in the file a part of a case stands that was written without ``steps``."""
    parts = at.split("/")
    if len(parts) > 4 and parts[3] == "steps" and parts[4] == "0":  # noqa: PLR2004 - /cases/N/steps/0
        try:
            written = data["cases"][int(parts[2])]
        except (LookupError, TypeError, ValueError):
            return at
        if "steps" not in written:
            return "/".join(parts[:3] + parts[5:])
    return at


def _repeated_names(cases: Cases, problem: Reporter) -> Iterator[Problem]:
    seen: set[str] = set()
    for place, case in enumerate(cases.cases):
        if case.name in seen:
            message = f"two cases are called {case.name!r}"
            yield problem(f"/cases/{place}/name", message, "a name says which one failed: give each its own")
        seen.add(case.name)


def _unknown_tools(cases: Cases, problem: Reporter, tools: Collection[str]) -> Iterator[Problem]:
    # A misspelt tool is refused by default, and a case that expects a refusal would pass for ever.
    for place, case in enumerate(cases.cases):
        for part, number, step in (*_numbered("history", case.history), *_numbered("steps", case.steps)):
            if tools and step.tool not in tools and not (step.expect.rule or "").startswith("(default"):
                at = f"/cases/{place}/{part}/{number}/tool"
                hint = suggest(step.tool, tools) or 'if that is the point, expect the rule "(default deny)"'
                yield problem(at, f"{step.tool!r} is no tool of the server", hint)


def _numbered(part: str, steps: tuple[Step, ...]) -> Iterator[tuple[str, int, Step]]:
    yield from ((part, number, step) for number, step in enumerate(steps))


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
            self._gate.call(call, lambda _: None)
        except ToolDenied as denied:
            refused = denied
        shadow = next((_ON_TRIAL[event.outcome] for event in self._events if event.kind == "shadow"), None)
        if shadow is None:
            shadow = self._on_trial(call)
        if self._asked is not None:
            return Observed("ask", self._asked.rule, self._asked.reason, None, shadow)
        if refused is not None:
            said = refused.decision
            return Observed("deny", said.rule, said.message, refused.retry_after, shadow)
        admitted = next(event for event in self._events if event.kind == "admitted")
        return Observed("allow", admitted.rule, "", None, shadow)

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


_ON_TRIAL: Final[Mapping[Outcome | None, Effect]] = {
    "ok": "allow",
    "suspended": "ask",
    "denied": "deny",
    "limited": "deny",
}
