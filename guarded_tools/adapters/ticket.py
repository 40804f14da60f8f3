"""One call through two adapters of one guard is one call: the outer leaves a ticket, the inner takes it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, NamedTuple

from guarded_tools.values import canonical

if TYPE_CHECKING:
    from guarded_tools.pipeline.gate import Gate


class _Ticket(NamedTuple):
    """Good for one entry with this very call. ``uses`` is shared by every context that inherited the ticket."""

    guard: object
    tool: str
    args: Mapping[str, Any]
    uses: deque[None]


_ticket: ContextVar[_Ticket | None] = ContextVar("guarded_tools_ticket", default=None)


@contextmanager
def admitted(guard: Gate, tool: str, args: Mapping[str, Any]) -> Iterator[None]:
    """Let one inner adapter of ``guard`` pass this call, which was decided and counted already."""
    ticket = _Ticket(guard.family, tool, args, deque([None]))
    token = _ticket.set(ticket)
    try:
        yield
    finally:
        _ticket.reset(token)
        ticket.uses.clear()  # a task that the body left behind has it still


def take(guard: Gate, tool: str, args: Mapping[str, Any]) -> bool:
    """Use up the ticket for this call, if there is one.

    Another guard, another tool or other arguments are another call: their ticket stays where it is.
    """
    ticket = _ticket.get()
    if ticket is None or ticket.guard is not guard.family or ticket.tool != tool:
        return False
    try:
        if canonical(ticket.args) != canonical(args):
            return False
        ticket.uses.pop()
    except (ValueError, IndexError):
        return False
    return True
