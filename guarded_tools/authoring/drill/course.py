"""What patterns work with: the guard that is drilled, the tools to attack, and worlds in which nothing happened yet."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from guarded_tools.authoring.drill.arguments import fit
from guarded_tools.authoring.drill.subjects import GuardedPolicy
from guarded_tools.authoring.drill.values import Human, Pattern, PatternResult, Target
from guarded_tools.authoring.drill.world import Subject, World, refuses
from guarded_tools.policy import Policy
from guarded_tools.policy.names import Names
from guarded_tools.policy.session_parts import PRIVATE, SECRET
from guarded_tools.tools.labels import propose
from guarded_tools.tools.lock import Lock
from guarded_tools.tools.risk import classify, verb_told
from guarded_tools.values import ToolInfo, is_grave


class Course:
    """What a pattern works with: the guard, the tools, and fresh worlds. ``policy`` is unknown of a foreign guard."""

    def __init__(self, subject: Subject, targets: Sequence[Target], policy: Policy | None = None) -> None:
        self.subject = subject
        self.targets = tuple(targets)
        self.policy = policy
        self.worlds: list[World] = []

    @property
    def attackable(self) -> list[Target]:
        """The tools of which a plausible call is known."""
        return [target for target in self.targets if target.args is not None]

    @property
    def locked(self) -> bool | None:
        """Whether the guard was given pins of the tools; ``None`` where nobody can say."""
        return self.subject.lock is not None if isinstance(self.subject, GuardedPolicy) else None

    def world(
        self, targets: Iterable[Target], human: Human = refuses, store: str | None = None, *, pinned: bool = True
    ) -> World:
        """Make a world with these tools, in which nothing happened yet; not ``pinned``, the guard is given no pins."""
        made = self.aside(targets, human, store, pinned=pinned)
        self.worlds.append(made)
        return made

    def aside(
        self, targets: Iterable[Target], human: Human = refuses, store: str | None = None, *, pinned: bool = True
    ) -> World:
        """As :meth:`world`, to look at how things are: what is called there is no part of the attack."""
        subject = self.subject
        if isinstance(subject, GuardedPolicy) and not pinned:
            subject = subject._replace(lock=None)
        return World(subject, targets, human, store)

    def run(self, pattern: Pattern) -> PatternResult:
        """Run one pattern and tell what it did."""
        self.worlds = []
        seen = pattern.run(self)
        rules: Counter[str] = Counter()
        for world in self.worlds:
            rules += world.rules
        held_by = tuple(rule for rule, _ in rules.most_common(3) if rule)
        made = self.worlds if seen.bound else []
        return PatternResult(
            pattern,
            seen,
            sum(world.calls for world in made),
            sum(len(world.ran) for world in made),
            sum(world.unasked for world in made),
            sum(len(world.asked) for world in made),
            held_by if made else (),
        )


def targets_of(
    tools: Iterable[tuple[ToolInfo, Mapping[str, Any]]],
    policy: Policy | None,
    known: Callable[[str], Any] = lambda _: None,
) -> list[Target]:
    """Class the tools, label them, and find arguments for each. Of two tools of one name, the first counts."""
    found: dict[str, Target] = {}
    for info, hints in tools:
        if info.name in found or not info.name.strip():
            continue
        said = policy.risk(info.name) if policy is not None else None
        told = classify(info.name, info.description, info.schema, hints)
        risk = said or known(info.name) or info.risk or told.risk
        # A policy that calls what deletes a read is what is drilled here; where no word tells, it may know better.
        if known(info.name) is None and is_grave(told.risk) and not is_grave(risk) and verb_told(info.name):
            risk = told.risk
        schema = info.schema or {}
        args = fit(policy, info.name, schema, risk)
        offered = policy is None or policy.compiled.rules(info.name).refusal is None
        labels = _labels(info, hints, policy, risk)
        # Attacks have something to begin with all the same: the policy may refuse what is harmless.
        found[info.name] = Target(info, risk, labels, args, offered)
    return list(found.values())


def _labels(info: ToolInfo, hints: Mapping[str, Any], policy: Policy | None, risk: Any) -> frozenset[str]:
    """What a tool brings: as its own words tell, and what its policy says besides; a policy's silence hides nothing."""
    told: set[str] = {found.label for found in propose(info.name, info.description, info.schema, hints, risk)}
    entry = None if policy is None else Names(policy).entry(info.name)
    if entry is not None and entry.tool.labels is not None:
        written = {rule.label for rule in entry.tool.labels}
        # Somebody looked: what they left out of the three that a result holds, they meant to.
        told = {*written, *(told & {"outward"})}
    return frozenset({*told, *({PRIVATE} if SECRET in told else ())})


def pinned(targets: Iterable[Target]) -> Lock:
    """Pin the tools as they are, as ``guarded-tools lock`` does."""
    return Lock.of([target.info for target in targets])
