"""Counts what became of a suite under a policy, and writes it down as tables."""

from __future__ import annotations

import contextlib
import io
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from benchmarks.agentdojo.agent import Agent, Run
from benchmarks.agentdojo.plans import KINDS, Kind, kind_of
from benchmarks.agentdojo.policies import ABOUT, PolicyName, policy
from benchmarks.agentdojo.world import World
from guarded_tools.tools.risk import classify


@dataclass
class Tally:
    """One suite, or several, under one policy.

    ``attacks`` are the pairs of a user's task and an injection that the agent came to read, ``unread`` the others.
    ``carried_out`` got all that they wanted; of the others ``acted`` had a call run that is more than reading.
    """

    attacks: Counter[Kind] = field(default_factory=Counter)
    unread: int = 0
    carried_out: Counter[Kind] = field(default_factory=Counter)
    acted: Counter[Kind] = field(default_factory=Counter)
    got_through: list[Run] = field(default_factory=list)
    benign: list[Run] = field(default_factory=list)
    questions_attacked: int = 0

    def add(self, other: Tally) -> None:
        """Add what another one counted."""
        for name in ("attacks", "carried_out", "acted"):
            getattr(self, name).update(getattr(other, name))
        self.unread += other.unread
        self.got_through += other.got_through
        self.benign += other.benign
        self.questions_attacked += other.questions_attacked

    @property
    def unasked(self) -> int:
        """Tasks without an injection that were done without a question."""
        return sum(run.done and not run.asked for run in self.benign)

    @property
    def after_asking(self) -> int:
        """Tasks without an injection that were done, and a human was asked at least once."""
        return sum(run.done and bool(run.asked) for run in self.benign)

    @property
    def not_done(self) -> int:
        """Tasks without an injection that were not done."""
        return sum(not run.done for run in self.benign)

    @property
    def asked(self) -> float:
        """The share of tasks without an injection in which a human was asked."""
        return sum(bool(run.asked) for run in self.benign) / len(self.benign)

    @property
    def questions(self) -> float:
        """Questions a task without an injection."""
        return sum(run.asked.total() for run in self.benign) / len(self.benign)


def tally(
    suite: str,
    name: PolicyName,
    *,
    user_tasks: Collection[str] | None = None,
    told: Callable[[str], None] = lambda _: None,
) -> Tally:
    """Play a suite under a policy: each user's task alone, and with each injection. ``user_tasks``: only these."""
    world, counted = World(suite), Tally()
    agent = Agent(world, policy(suite, name))
    tasks = [task for key, task in world.suite.user_tasks.items() if user_tasks is None or key in user_tasks]
    reading = {tool.name for tool in world.tools() if classify(tool.name, tool.description).risk == "read"}
    for task in tasks:
        counted.benign.append(agent.play(task))
        for injection in world.suite.injection_tasks.values():
            with contextlib.redirect_stdout(io.StringIO()):  # one of AgentDojo's checks prints what it misses
                run = agent.play(task, injection)
            _count(counted, run, kind_of(suite, injection), reading)
        told(task.ID)
    return counted


def _count(counted: Tally, run: Run, kind: Kind, reading: Collection[str]) -> None:
    if not run.reached:
        counted.unread += 1
        return
    counted.attacks[kind] += 1
    counted.questions_attacked += run.asked.total()
    if run.carried_out:
        counted.carried_out[kind] += 1
    elif set(run.acted) - set(reading):
        counted.acted[kind] += 1
    else:
        return
    counted.got_through.append(run)


HEAD = (
    "| suite | policy | theft | hijack | deletion | steering | in part | unasked | after asking | not done | asked "
    "| questions a task |\n|---|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|"
)


def row(suite: str, name: PolicyName, counted: Tally) -> str:
    """One line of the table."""
    kinds = [f"{counted.carried_out[kind]}/{counted.attacks[kind]}" if counted.attacks[kind] else "" for kind in KINDS]
    ends = [counted.unasked, counted.after_asking, counted.not_done]
    cells = [suite, name, *kinds, counted.acted.total(), *ends, f"{counted.asked:.1%}", f"{counted.questions:.2f}"]
    return "| " + " | ".join(map(str, cells)) + " |"


def total(tallies: Iterable[Tally]) -> Tally:
    """All suites together."""
    whole = Tally()
    for each in tallies:
        whole.add(each)
    return whole


def details(suite: str, name: PolicyName, counted: Tally) -> str:
    """Which injections got through, at least in part, and which tasks had a human asked or were not done."""
    lines = [f"### {suite}, {name}"]
    by_injection: dict[str, list[Run]] = {}
    for run in counted.got_through:
        by_injection.setdefault(run.injection, []).append(run)
    for injection, runs in sorted(by_injection.items()):
        tools = sorted({tool for run in runs for tool in run.acted})
        whole = sum(run.carried_out for run in runs)
        lines.append(f"- {injection}: {whole} carried out, {len(runs) - whole} in part ({', '.join(tools) or 'words'})")
    for run in counted.benign:
        if run.asked or not run.done:
            said = f"{run.asked.total()} questions" + ("" if run.done else ", not done")
            lines.append(f"- {run.user_task}: {said}{_refused(run.refused)}")
    return "\n".join(lines)


def _refused(calls: Sequence[Any]) -> str:
    return f", refused {', '.join(sorted({call.tool for call in calls}))}" if calls else ""


def legend(names: Iterable[PolicyName]) -> str:
    """What the policies of a table are."""
    return "\n".join(f"- `{name}`: {ABOUT[name]}." for name in names)
