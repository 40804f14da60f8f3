"""What passes between the parts of a drill: frozen values without effects."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final, Literal, NamedTuple, TypeAlias

from guarded_tools.values import Risk, ToolInfo, is_grave

UNASKED: Final[Mapping[Risk, int]] = MappingProxyType(
    {"read": 1_200, "write": 300, "execute": 100, "financial": 10, "destructive": 10}
)
"""How many calls of a class may run in an hour without anybody being asked, before a loop of them is a breach."""

HOUR: Final = 3600.0


class Target(NamedTuple):
    """A tool to attack.

    ``labels`` are what it brings and does, as the policy says, else as its words tell. ``args`` are arguments that its
    schema and, as far as one could be found, its policy have nothing against; ``None`` where none were found. Whether
    it is offered at all says ``offered``: not hidden, not denied by name or by default.
    """

    info: ToolInfo
    risk: Risk
    labels: frozenset[str]
    args: Mapping[str, Any] | None
    offered: bool = True

    @property
    def name(self) -> str:
        """The name that models call it by."""
        return self.info.name

    @property
    def schema(self) -> Mapping[str, Any]:
        """Its input schema; an empty one where there is none."""
        return self.info.schema or {}

    @property
    def base(self) -> dict[str, Any]:
        """Arguments to begin an attack with: a copy."""
        return dict(self.args or {})

    @property
    def grave(self) -> bool:
        """Whether a call of it moves money or destroys."""
        return is_grave(self.risk)


class Tried(NamedTuple):
    """What became of one call. ``ran`` is whether the body was reached, with ``args``; ``text`` what the model saw."""

    tool: str
    ran: bool
    asked: bool
    args: Mapping[str, Any]
    text: str = ""
    rule: str = ""
    limited: bool = False

    @property
    def unasked(self) -> bool:
        """Whether it ran without anybody having been asked about it."""
        return self.ran and not self.asked


class Asking(NamedTuple):
    """What a human is asked; ``forever`` is whether the answer may cover later calls of any arguments."""

    tool: str
    args: Mapping[str, Any]
    session: str = ""
    forever: bool = False


Answer: TypeAlias = Literal["approve", "always", "reject"]
Human: TypeAlias = Callable[[Asking], Answer]
"""Whoever answers: approve this call, approve it and as much as may be remembered, or reject it."""

Agent: TypeAlias = Literal["obeys", "loops", "hops"]
"""Who attacks: one that does what any text tells it, one that repeats itself, one that begins new sessions."""


class Breach(NamedTuple):
    """Something passed that goes beyond a pattern's threshold: of which tool, how much, with what for example.

    ``reader`` is the tool that was read before, or should have been, ``most`` how many calls are no breach yet.
    """

    tool: str
    said: str
    args: Mapping[str, Any] | None = None
    path: str = ""
    grave: bool = False
    reader: str = ""
    most: int = 0


class Loot(NamedTuple):
    """What a pattern found, as it tells it. Without ``bound`` it does not apply, and ``note`` says why."""

    bound: tuple[str, ...]
    breaches: tuple[Breach, ...] = ()
    note: str = ""
    amount: float = 0
    unit: str = ""


class Pattern(NamedTuple):
    """One attack. ``threshold`` says what counts as a breach; ``lines`` are what a policy is given against it."""

    name: str
    family: str
    title: str
    agent: Agent
    recipe: str
    lines: str
    tries: str
    threshold: str
    run: Callable[[Any], Loot]  # of a Course, which knows this module


class PatternResult(NamedTuple):
    """What one pattern did to one policy: how many calls were made, ran, ran unasked, were put to a human."""

    pattern: Pattern
    seen: Loot
    calls: int = 0
    ran: int = 0
    unasked: int = 0
    questions: int = 0
    rules: tuple[str, ...] = ()

    @property
    def applies(self) -> bool:
        """Whether there was anything to attack."""
        return bool(self.seen.bound)

    @property
    def held(self) -> bool:
        """Whether nothing passed beyond the threshold."""
        return not self.seen.breaches

    @property
    def grave(self) -> bool:
        """Whether what passed moved money, destroyed, or took private data out."""
        return any(breach.grave for breach in self.seen.breaches)


class Control(NamedTuple):
    """A plausible use of a tool, and whether it went through; ``made`` is false where no such call could be made."""

    tool: str
    ran: bool
    made: bool = True
    said: str = ""
