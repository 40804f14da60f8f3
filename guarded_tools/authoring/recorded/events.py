"""The values of the stream: one step of one recorded call, and what is known of the call's arguments.

A call is a few events in a row, told apart by their ``key``: perhaps ``asked`` and ``answered``, then ``admitted`` or
``refused``, then perhaps ``settled``. They are events and not rows, since a limit is a matter of *when*: what a call
takes, it takes when it is admitted, and what it gives back, it gives back when it is settled. ``control`` is what a
human did to the state in between, and ``made`` is a call of which nothing tells what became of it.

**What is known of arguments** is ``names``, every top-level argument that was there (``None`` where some may be
missing from the list), and ``args``, the values of those of which they were recorded whole. A name without a value was
there, and nobody knows what it held.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, Literal, NamedTuple, TypeAlias

from guarded_tools.values import BUDGET_CALL, MODEL_CALL

Kind: TypeAlias = Literal["asked", "answered", "admitted", "refused", "settled", "control", "made"]
Charged: TypeAlias = tuple[str, str, int]
"""What was taken: scope, counter, amount."""
Progress: TypeAlias = Callable[[int], None]
"""Told how many bytes more were read."""

NO_TOOLS: Final = (MODEL_CALL, BUDGET_CALL)
"""Names under which a guard writes down what is no call of a tool. It is passed over, whatever recorded it."""
NO_ARGS: Final[Mapping[str, Any]] = {}


class RecordedEvent(NamedTuple):
    """One step of one call. ``time`` is in seconds since the epoch.

    ``verdict`` is what a human or the memory of one said, ``edited`` are the paths of the arguments that were changed
    then. ``policy`` is the fingerprint of the policy that decided. ``outcome`` is one of
    :data:`guarded_tools.values.Outcome`, or ``""`` where nobody knows it.
    """

    kind: Kind
    time: float
    tool: str
    session: str = "default"
    key: str = ""
    grant: str | None = None
    call_id: str | None = None
    outcome: str = ""
    rule: str = ""
    message: str = ""
    names: tuple[str, ...] | None = None
    args: Mapping[str, Any] = NO_ARGS
    policy: str = ""
    charges: tuple[Charged, ...] = ()
    labels: tuple[str, ...] = ()
    verdict: str = ""
    edited: tuple[str, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether every argument is known, with its value."""
        return self.names is not None and len(self.names) == len(self.args)
