"""What a comparison of two policies finds: findings, each with its direction, and calls that show it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal, NamedTuple, TypeAlias

from guarded_tools.authoring.replay.values import Fate

Kind: TypeAlias = Literal[
    "reachable",  # a tool that was refused whatever its arguments
    "hidden",  # a tool that is refused whatever its arguments, or that is kept out of lists
    "unasked",  # a human was asked and is not, or the other way round
    "predicate",  # which arguments are refused
    "schema",  # whether arguments have to fit the tool's own schema
    "limit",
    "session rule",  # labels, after, needs, flow
    "result",  # what is kept back of what a call brings
    "memory",  # how widely and how long an approval may be remembered
    "approval",  # on what terms, and how often, a human is asked
    "trial",  # what is decided, counted apart and logged, and stops nothing
    "setting",  # anything else that the policy says
]
Direction: TypeAlias = Literal["looser", "untold", "tighter", "changed"]
DIRECTIONS: Final[tuple[Direction, ...]] = ("looser", "untold", "tighter", "changed")
"""In the order in which they are told. ``untold``: which way it goes, or whether it matters, cannot be told."""


class CallStep(NamedTuple):
    """A call that is made ``times`` times at once, ``at`` so many seconds after the first.

    ``given_back``: nothing was sent, so that what was taken is given back where the limit says so.
    """

    tool: str
    args: Mapping[str, Any]
    at: float = 0.0
    times: int = 1
    session: str = "default"
    grant: str | None = None
    given_back: bool = False


class Example(NamedTuple):
    """Calls in their order, and what becomes of the last of them under each policy.

    All before it are let through by the one that holds less. ``begin`` is when the first is made, in seconds since the
    epoch, where that matters.
    """

    steps: tuple[CallStep, ...]
    old: Fate
    new: Fate
    begin: float | None = None

    @property
    def calls(self) -> int:
        """How many calls are made."""
        return sum(step.times for step in self.steps)

    @property
    def seconds(self) -> float:
        """How long they take together."""
        return self.steps[-1].at - self.steps[0].at


class PolicyChange(NamedTuple):
    """One thing that differs, at one tool or several alike. ``rule`` is the rule's pointer at the first of them.

    It stands in the policy that holds more. Of a policy's own settings there are no ``tools``.
    """

    kind: Kind
    direction: Direction
    tools: tuple[str, ...]
    words: str
    rule: str = ""
    example: Example | None = None


class Difference(NamedTuple):
    """All that was found, what is looser first.

    ``tools`` were compared; ``stand_ins`` says of those that nobody named what they stand for, as "any other tool".
    """

    changes: tuple[PolicyChange, ...]
    tools: tuple[str, ...]
    stand_ins: Mapping[str, str]

    def of(self, direction: Direction) -> tuple[PolicyChange, ...]:
        """Pick the findings of one direction."""
        return tuple(found for found in self.changes if found.direction == direction)

    @property
    def looser(self) -> tuple[PolicyChange, ...]:
        """What is held less than it was."""
        return self.of("looser")

    @property
    def tighter(self) -> tuple[PolicyChange, ...]:
        """What is held more than it was."""
        return self.of("tighter")

    @property
    def untold(self) -> tuple[PolicyChange, ...]:
        """What may be looser, and nobody can tell."""
        return self.of("untold")
