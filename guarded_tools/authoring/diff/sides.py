"""A tool under one policy: what rules speak for it, how its calls are judged, and a world in which they are made."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from guarded_tools.authoring.diff.values import CallStep
from guarded_tools.authoring.diff.windows import Held
from guarded_tools.authoring.replay.values import Fate
from guarded_tools.marks import Bound, SessionRules
from guarded_tools.pipeline import messages
from guarded_tools.pipeline.session_rules import because
from guarded_tools.policy.compile import counter_prefix
from guarded_tools.policy.engine import ToolRules
from guarded_tools.policy.policy import Policy, decide
from guarded_tools.stores.memory import MemoryStore
from guarded_tools.tools.risk import classify
from guarded_tools.values import Charge, Decision, Full, Reservation, Risk, ToolCall, ToolInfo, widest_memory

_DAY = 86_400
BEGIN = 20_454 * _DAY
"""When examples begin, in seconds since the epoch: at midnight UTC, so that windows of days and hours begin there."""


class Side(NamedTuple):
    """A tool under one policy. ``told`` is its risk as far as the tool itself tells it."""

    policy: Policy
    info: ToolInfo
    rules: ToolRules
    told: Risk

    @property
    def risk(self) -> Risk:
        """What the tool counts as: what the policy says, else what the tool tells."""
        return self.policy.risk(self.info.name) or self.told

    @property
    def limits(self) -> list[Held]:
        """The limits in force."""
        shared = counter_prefix(self.policy.server or "", "*")
        found = [] if self.rules.refusal else [limit for each in self.rules.rule_sets for limit in each.limits]
        return [Held(rule, limit, counter, counter.startswith(shared)) for rule, limit, counter in found]

    def decide(self, args: Mapping[str, Any], session: str = "default", grant: str | None = None) -> Decision:
        """Judge a call, as a guard does."""
        return decide(self.policy, ToolCall(self.info.name, args, session, grant), self.info.schema, self.told)

    def remembers(self, decision: Decision) -> str:
        """Say how widely an approval may be remembered."""
        return "never" if decision.ask is None else widest_memory(self.risk, decision.ask.remember)


def side_of(policy: Policy, info: ToolInfo) -> Side:
    """Look a tool up in a policy."""
    told = info.risk or classify(info.name, info.description, info.schema).risk
    return Side(policy, info, policy.compiled.rules(info.name), told)


class SideWorld:
    """Calls that are made one after another under one policy, with counters and sessions of their own.

    A human who is asked agrees. Times are in seconds since :data:`BEGIN`.
    """

    def __init__(self, side_for: Callable[[str], Side], begin: float = BEGIN) -> None:
        self._side_for = side_for
        self._store = MemoryStore()
        self.begin = begin

    def make(self, step: CallStep) -> Fate:
        """Make the calls of a step, all or none, and say what becomes of them."""
        decision = self._decide(step)
        if decision.effect == "deny":
            return Fate("deny", decision.rule, decision.message)
        charges = many(decision, step.times)
        now, across, asked = self.begin + step.at, decision.across, decision.effect == "ask"
        rule, message = decision.rule, decision.message
        met = self._store.reserve(charges, now, (), across)
        if isinstance(met, Bound) and met.asks and across is not None:
            rule, message, asked = (rule if asked else met.rules[0].condition.rule), because(met), True
            met = self._store.reserve(charges, now, (), _agreed(across))
        if isinstance(met, Full):
            return Fate("deny", met.charge.rule, messages.used_up(met))
        if isinstance(met, Bound):
            return Fate("deny", met.rules[0].condition.rule, because(met))
        assert isinstance(met, Reservation)
        if step.given_back:
            self._store.refund(met, now)
        elif decision.succeeded:
            self._store.note(decision.succeeded, now)
        return Fate("ask" if asked else "allow", rule, message)

    def room(self, step: CallStep) -> tuple[int, float | None]:
        """Say how many such calls fit at once, and in how many seconds one more would; ``None``: never."""
        decision = self._decide(step)
        if decision.effect == "deny":
            return 0, None
        now = self.begin + step.at
        used = {
            (scope, each.counter, each.window): each.used
            for scope in {charge.scope for charge in decision.charges}
            for each in self._store.usage(scope, now)
        }
        room = [
            (charge.max - used.get((charge.scope, charge.counter, charge.window), 0)) // charge.amount
            for charge in decision.charges
        ]
        full = self._store.peek(many(decision, max(min(room, default=0), 0) + 1), now) if room else None
        if isinstance(full, Full) and min(room) <= 0:
            return 0, full.retry_after
        return min(room, default=2**53), None

    def _decide(self, step: CallStep) -> Decision:
        return self._side_for(step.tool).decide(step.args, step.session, step.grant)


def many(decision: Decision, times: int) -> tuple[Charge, ...]:
    """What so many calls take together."""
    return tuple(charge._replace(amount=charge.amount * times) for charge in decision.charges)


def _agreed(across: SessionRules) -> SessionRules:
    """What is left of the rules across calls once a human agreed."""
    return across._replace(conditions=tuple(each for each in across.conditions if each.then != "ask"))
