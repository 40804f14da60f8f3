"""What an approver is, what it may raise, and how it learns that nobody waits for it any more."""

from __future__ import annotations

import contextlib
import contextvars
import getpass
import socket
import threading
from collections.abc import Iterator
from typing import NoReturn

from guarded_tools.errors import CannotAsk
from guarded_tools.values import ApprovalRequest

waiting: contextvars.ContextVar[threading.Event] = contextvars.ContextVar("guarded_tools.withdrawn")
"""Set for a sync approver at work: the event that is set once its question was given up."""


class Unanswered(Exception):  # noqa: N818 - not a failure of this package: it says that no answer came
    """No answer came in time."""


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


def who() -> str:
    """Name whoever answers here, for the audit: the user this process runs as, and the host."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError, ImportError):
        user = "?"
    return f"{user}@{socket.gethostname()}"


class _DenyAll:
    """The approver where none was given."""

    def check(self, request: ApprovalRequest) -> None:
        self(request)

    def __call__(self, request: ApprovalRequest) -> NoReturn:
        raise CannotAsk(
            f"{request.tool} needs a human's approval and no approver was given to the guard: "
            "pass approver=TerminalApprover(), approver=InterruptApprover() or a function"
        )

    def __repr__(self) -> str:
        return "deny_all"


deny_all = _DenyAll()
"""Refuses every call that needs a human."""
