"""Every exception this package raises.

::

    Exception
    └── GuardError              everything below; catch this one
        ├── PolicyError         a policy cannot be used; ``.problems`` lists all that is wrong with it
        ├── ToolDenied          a call was refused; ``.decision``, ``.outcome``, ``.retry_after``
        ├── ResultWithheld      a call was executed, and its result is not handed on; ``.rule``, ``.reason``
        ├── StoreError          counters could not be read or written; the call was refused
        │   └── StateLost       counters that were there are gone; refuses until an explicit reset
        ├── AuditError          a decision could not be recorded; the call was refused
        ├── CannotAsk           an approver has nobody to ask where it runs; the call was refused
        └── ConnectionFailed    an MCP server did not start, did not answer, or died
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from guarded_tools.text.visible import one_line

if TYPE_CHECKING:
    from guarded_tools.values import Decision


class GuardError(Exception):
    """Base of every error of this package."""


def install(extra: str) -> str:
    """Say which command installs an extra of this package."""
    return f"pip install 'guarded-tools[{extra}]'"


def not_installed(said: str, extra: str) -> GuardError:
    """Make the error of who lacks what an extra brings: ``said`` says what is not installed."""
    return GuardError(f"{said}: {install(extra)}")


class Problem(NamedTuple):
    """One thing that is wrong with a policy file, and where.

    ``line`` and ``column`` count from 1; both are 0 for a policy that came from a Python object.
    """

    file: str
    line: int
    column: int
    pointer: str
    message: str
    hint: str = ""

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        hint = f" ({self.hint})" if self.hint else ""
        pointer = f"{self.pointer or '/'}: " if self.line or self.pointer else ""
        # A draft made from a server's list has that server's names as its keys.
        return one_line(f"{place}: {pointer}{self.message}{hint}")


class PolicyError(GuardError):
    """A policy that cannot be used. Nothing of it is in force.

    ``unreadable`` is true where there was nothing to check: no such file, or no policy in it.
    """

    def __init__(self, problems: tuple[Problem, ...], *, unreadable: bool = False) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = problems
        self.unreadable = unreadable


class ToolDenied(GuardError):  # noqa: N818 - the name is public, and says what happened
    """A call was refused and did not run.

    ``str()`` of it is the text a model is given. ``outcome`` is one of the denial outcomes of
    :data:`guarded_tools.values.Outcome`. ``retry_after`` is in seconds, ``None`` where waiting does not help.
    """

    def __init__(self, text: str, decision: Decision, outcome: str, retry_after: float | None = None) -> None:
        super().__init__(text)
        self.decision = decision
        self.outcome = outcome
        self.retry_after = retry_after


class ResultWithheld(GuardError):  # noqa: N818 - the name is public, and says what happened
    """A call was executed, and its result is not handed on: it broke a rule on results, or could not be checked.

    ``str()`` of it is the text a model is given, and nothing in it is the result's. ``rule`` is the JSON pointer of the
    rule, or ``(guard)``. ``outcome`` is what became of the call, as the audit has it.
    """

    def __init__(self, text: str, rule: str, reason: str, outcome: str) -> None:
        super().__init__(text)
        self.rule = rule
        self.reason = reason
        self.outcome = outcome


class UnfitResult(RuntimeError):  # noqa: N818 - says what happened
    """A tool has run, and its structured result does not fit the output schema that its server lists."""


class StoreError(GuardError):
    """Counters could not be read or written in time. The call that needed them is refused."""


class StateLost(StoreError):  # noqa: N818 - says what happened, as ToolDenied does
    """Counters that were there are gone. Every call is refused until an explicit reset."""


class AuditError(GuardError):
    """A decision could not be recorded. The call is refused."""


class CannotAsk(GuardError):  # noqa: N818 - says what happened, as ToolDenied does
    """An approver has no way to reach a human where it runs. ``str()`` of it says what to do about that.

    Approvers raise it; the call is refused, and nobody counts as having been asked.
    """


class ConnectionFailed(GuardError):  # noqa: N818 - says what happened, as ToolDenied does
    """An MCP server did not start, did not answer in time, or died. Never carries a key.

    ``sent`` is false only where the call certainly did not reach the server; otherwise it may have run.
    """

    def __init__(self, message: str, *, sent: bool = True) -> None:
        super().__init__(message)
        self.sent = sent
