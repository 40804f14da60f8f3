"""The format of a policy's own tests: calls, with time passing between them, and what has to become of each.

What runs them is :mod:`guarded_tools.authoring.policy_tests`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final, Literal, NamedTuple, Self, TypeAlias

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError, model_validator

from guarded_tools.errors import PolicyError, Problem
from guarded_tools.policy.diagnostics import Reporter, explain_errors, suggest
from guarded_tools.policy.fields import Name, Part, Text, Window, wrong
from guarded_tools.policy.reading.source import read_source
from guarded_tools.values import Effect

# In seconds since the epoch: as far as dates go. In microseconds, a store still holds it.
_END_OF_TIME: Final = datetime(9999, 12, 31, tzinfo=UTC).timestamp()


HandedOn: TypeAlias = Literal["unchanged", "redacted", "cut", "withheld"]


class Observed(NamedTuple):
    """What became of a call. ``retry_after`` is in seconds; ``shadow`` is what a rule on trial would have done.

    ``result`` is what became of what it brought back; ``None`` where it did not run.
    """

    effect: Effect
    rule: str
    message: str = ""
    retry_after: float | None = None
    shadow: Effect | None = None
    result: HandedOn | None = None


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
    result: HandedOn | None = Field(default=None, description="What becomes of the result that the step gives.")

    def differences(self, seen: Observed) -> Iterator[tuple[str, Any, Any]]:
        """Give every part that is not as it should be: its name, what was expected, what was seen."""
        for part in ("effect", "rule", "shadow", "result"):
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
    result: Annotated[Any, Field(description="What the tool gives back.")] = None
    expect: Annotated[Expected, BeforeValidator(_expected)]

    @model_validator(mode="after")
    def _gives_what_is_expected(self) -> Self:
        if self.expect.result is not None and self.result is None:
            raise wrong("nothing is given back of which this could be expected", 'say "result" beside "expect"')
        return self


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
