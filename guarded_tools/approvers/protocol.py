"""What an approver is, what it may raise, and how it learns that nobody waits for it any more."""

from __future__ import annotations

import contextlib
import contextvars
import getpass
import inspect
import os
import socket
import sys
import threading
from collections.abc import Awaitable, Iterator, Mapping
from typing import Any, Literal, NamedTuple, NoReturn, Protocol, TypeGuard

from guarded_tools.errors import CannotAsk
from guarded_tools.values import ApprovalRequest, Verdict


class Approver(Protocol):
    """Asks a human. Any function of one request is one, sync or async.

    It may also be a :class:`CheckingApprover` or a :class:`SuspendingApprover`. Whatever any of their methods raises,
    but for LangGraph's interrupts and what ends the program, refuses the call and is recorded as the reason.
    """

    def __call__(self, request: ApprovalRequest, /) -> Verdict | bool | Awaitable[Verdict | bool]:
        """Ask, and return the answer within ``request.timeout`` seconds; a bool approves or rejects this one call.

        A sync approver runs in a thread of its own, with the caller's context variables. One that reads from a human
        looks at :func:`withdrawn` while it waits; while one that does not is still busy with a question that was given
        up, it is asked nothing else.

        Raises:
            CannotAsk: there is nobody to ask; its text says what to do about that.
            Unanswered: nobody answered.
        """
        ...


class CheckingApprover(Approver, Protocol):
    """An approver that can tell beforehand that it has nobody to ask."""

    def check(self, request: ApprovalRequest, /) -> None:
        """Come back at once if a human can be asked here. Called before anything is counted as a question.

        Raises:
            CannotAsk: nobody can; its text says what to do about that.
        """
        ...


class CallAddress(NamedTuple):
    """Where a suspended call is found again: its name within all runs, the task, and the run's thread and turn.

    ``turn`` grows as its thread goes on; "" where an approver tells neither.
    """

    call: str = ""
    task: str = ""
    thread: str = ""
    turn: str = ""


class SuspendingApprover(Approver, Protocol):
    """An approver that asks by leaving the call, as LangGraph's ``interrupt()`` does.

    It is called again when the run resumes, in the caller's own thread or task, and then returns the answer. All of
    its methods are sync and come back at once.
    """

    suspends: Literal[True]

    def address(self, request: ApprovalRequest, /) -> CallAddress | tuple[str, str]:
        """Name the call within all runs, and the task whose answers are handed out by order of arrival.

        Both are the same each time the same call comes by. A :class:`CallAddress` that also names the run's thread and
        turn lets the questions of earlier turns end when the thread goes on without an answer.

        Raises:
            CannotAsk: a run could not be suspended here.
        """
        ...

    def crowded(self, request: ApprovalRequest, /) -> CannotAsk:
        """Say that another call of this task is asked about: of several calls in one task only the first is."""
        ...

    def spent(self, request: ApprovalRequest, /) -> CannotAsk:
        """Say that this task had its answer: a second one could not be told from it when the run resumes once more."""
        ...


class AskingBeforehand(SuspendingApprover, Protocol):
    """A suspending approver that may ask about all calls of a model's message before any of them runs.

    What stands for it meanwhile names calls as this one does, and raises :class:`Suspended` where it would ask.
    """

    @property
    def beforehand(self) -> SuspendingApprover | None:
        """What stands for this approver then; ``None`` where it asks about each call as that runs."""
        ...

    @property
    def together(self) -> bool:
        """Whether :meth:`hear` asks all questions of a message in one; else it is given one at a time."""
        ...

    def value(self, request: ApprovalRequest, /) -> dict[str, Any]:
        """Make of a question what :meth:`hear` asks, as JSON that is kept until the answer comes."""
        ...

    def hear(self, asked: Mapping[str, Mapping[str, Any]], /) -> list[Verdict]:
        """Ask these questions, each a :meth:`value` by its id; return an answer for each.

        Raises:
            Misdelivered: what came are not the answers to these questions.
        """
        ...


_SUSPENDING = ("address", "crowded", "spent")


def suspends(approver: Approver) -> TypeGuard[SuspendingApprover]:
    """Whether an approver, that :func:`check_approver` let pass, asks by leaving the call."""
    return getattr(approver, "suspends", False) is True


def asks_beforehand(approver: Approver) -> TypeGuard[AskingBeforehand]:
    """Whether an approver asks about a message's calls before they run."""
    return getattr(approver, "beforehand", None) is not None


def checks(approver: Approver) -> TypeGuard[CheckingApprover]:
    """Whether an approver can tell beforehand that it has nobody to ask."""
    return hasattr(approver, "check")


def check_approver(approver: object) -> None:
    """See that something is an :class:`Approver`, with all that belongs to it.

    Raises:
        TypeError: it is not; the text says what is wrong or missing.
    """
    if isinstance(approver, type):
        raise _no_approver(f"the class {approver.__name__}: write {approver.__name__}(…)")
    if not callable(approver):
        raise _no_approver(repr(approver))
    name = type(approver).__name__
    if not _takes_one(approver):
        raise _no_approver(f"{approver!r}: it has to take one ApprovalRequest")
    suspending = getattr(approver, "suspends", False)
    if not isinstance(suspending, bool):
        raise _no_approver(f"{name}, whose suspends is {suspending!r}: it has to be True or False")
    if suspending and (missing := [each for each in _SUSPENDING if not hasattr(approver, each)]):
        raise _no_approver(f"{name}, which suspends and has no {', '.join(missing)}: see SuspendingApprover")
    if suspending and is_async(approver):
        raise _no_approver(f"{name}, which suspends and is async: it has to be sync")
    for each in ("check", *_SUSPENDING) if suspending else ("check",):
        if hasattr(approver, each):
            _check_method(name, each, getattr(approver, each))


def _check_method(name: str, what: str, method: object) -> None:
    if not callable(method):
        raise _no_approver(f"{name}, whose {what} is {method!r}: it has to be a method")
    if not _takes_one(method):
        raise _no_approver(f"{name}, whose {what} does not take one ApprovalRequest")
    if is_async(method):
        raise _no_approver(f"{name}, whose {what} is async: it has to be sync, and to come back at once")


def _no_approver(what: str) -> TypeError:
    return TypeError(f"approver must be a function, or an object that is called as one, not {what}")


def _takes_one(function: object) -> bool:
    try:
        inspect.signature(function).bind(None)  # type: ignore[arg-type]
    except TypeError:
        return False
    except ValueError:
        pass  # of a function in C, nobody knows
    return True


def is_async(function: object) -> bool:
    """Whether calling this gives something to await, as far as that can be seen."""
    call = getattr(function, "__call__", None)  # noqa: B004 - what it is called by, not whether it can be
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(call)


waiting: contextvars.ContextVar[threading.Event] = contextvars.ContextVar("guarded_tools.withdrawn")
"""Set for a sync approver at work: the event that is set once its question was given up."""


class Unanswered(Exception):  # noqa: N818 - not a failure of this package: it says that no answer came
    """No answer came in time."""


class Suspended(Exception):  # noqa: N818 - as above
    """What a :class:`SuspendingApprover` raises that leaves a call by itself, and not by LangGraph's interrupts.

    Whoever made the call catches it, has ``request`` answered, and makes the same call once more.
    """

    def __init__(self, request: ApprovalRequest) -> None:
        super().__init__(f"{request.tool} waits for an answer")
        self.request = request


class Misdelivered(Exception):  # noqa: N818 - as above
    """What a run was resumed with does not answer what was asked."""


class Altered(Exception):  # noqa: N818 - as above
    """What was answered is not what was asked."""


def withdrawn() -> bool:
    """Whether nobody waits any longer for the answer that the running sync approver is about to give.

    An approver that reads from a human looks at this a few times a second, and takes its question back.
    """
    given_up = waiting.get(None)
    return given_up is not None and given_up.is_set()


@contextlib.contextmanager
def withdrawn_by(event: threading.Event) -> Iterator[None]:
    """Let :func:`withdrawn` be true in here once ``event`` is set, for an approver that is called directly."""
    token = waiting.set(event)
    try:
        yield
    finally:
        waiting.reset(token)


def kernel() -> Any:
    """Return the Jupyter kernel that this runs in, or ``None``."""
    running = sys.modules.get("IPython")  # a kernel has imported it
    return None if running is None else getattr(running.get_ipython(), "kernel", None)


def who() -> str:
    """Name whoever answers here, for the audit: the user this process runs as, and the host."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError, ImportError):
        user = "?"
    return f"{user}@{socket.gethostname()}"


def is_gone(asker: str, pid: int) -> bool:
    """Whether the process that asked is certainly no more: one of this user's on this host. False in doubt."""
    if asker != who() or os.name != "posix":  # elsewhere this way of looking ends what it looks at
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):
        pass  # it is somebody's, or no process at all
    return False


class _DenyAll:
    """The approver where none was given."""

    def check(self, request: ApprovalRequest) -> None:
        self(request)

    def __call__(self, request: ApprovalRequest) -> NoReturn:
        raise CannotAsk(
            f"{request.tool} needs a human's approval and no approver was given to the guard: "
            "pass approver=TerminalApprover(), NotebookApprover(), InterruptApprover() or a function"
        )

    def __repr__(self) -> str:
        return "deny_all"


deny_all = _DenyAll()
"""Refuses every call that needs a human."""
