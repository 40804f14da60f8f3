"""The world as it would be under a policy: its counters, and what its sessions carry, call after call.

Judged by the engine and counted in a store, both as in earnest, with the times of the record as the clock. What is not
in the record is taken so, and the same for every call:

- A call that the policy would have let through counts, whether or not it ran in the record. If it did not run, it is
  taken to have ended well.
- A question that a human answered gets that answer. One that nobody was asked is taken to be approved.
- A call that would be refused takes nothing and leaves no mark, even if it ran.
- A call that cannot be judged counts as what really happened: if it ran, it takes what can be known of its charges and
  marks. Of the rest it leaves a doubt behind, and a later call that depends on it cannot be judged either.

Memory is bounded by what a guard keeps for as many sessions: what is asked and settled later is forgotten past
:data:`MOST_OPEN`, the oldest first.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from guarded_tools.authoring.recorded.events import RecordedEvent
from guarded_tools.authoring.replay.judgeable import CountedLimit, JudgeableRules, Missing
from guarded_tools.authoring.replay.values import Fate
from guarded_tools.marks import Bound, Mark, SessionRules
from guarded_tools.pipeline import messages
from guarded_tools.pipeline.session_rules import CHANGED, because, may_ask
from guarded_tools.policy.charging import SCOPES
from guarded_tools.policy.engine import SCHEMA_RULE
from guarded_tools.policy.policy import Policy, decide
from guarded_tools.stores.memory import MemoryStore
from guarded_tools.tools.risk import classify
from guarded_tools.values import (
    MOST_TOLD,
    Charge,
    Decision,
    Full,
    Halted,
    Reservation,
    Risk,
    ToolCall,
    ToolInfo,
    grant_scope,
    session_scope,
)

MOST_OPEN: Final = 32_768
_PRUNE_EVERY: Final = 20_000
_MOST_TOOLS: Final = 4096
_RESET: Final = re.compile(r"started (?:(all counters)|the counters of (.+)) (?:at zero|anew after)", re.DOTALL)
_APPROVED: Final = ("approve", "edit")


class _Judged(NamedTuple):
    """What a policy says of one call, and what it cannot say. ``lost`` are charges and marks that nobody can tell."""

    call: ToolCall
    decision: Decision
    missing: tuple[Missing, ...] = ()
    counters: tuple[tuple[str, str, int], ...] = ()
    marks: tuple[Mark, ...] = ()
    unchecked: bool = False


class Met(NamedTuple):
    """A call as the policy met it. ``shown`` are the rules across calls that a human was shown."""

    fate: Fate
    judged: _Judged
    shown: tuple[str, ...] = ()
    taken: Reservation | None = None


class _Bounded(dict[str, Any]):
    """Remembers of tools what takes a while to tell; a model may invent names without end."""

    def __setitem__(self, tool: str, value: object) -> None:
        if len(self) >= _MOST_TOOLS:
            self.clear()
        super().__setitem__(tool, value)


class OtherWorld:
    """One policy and everything that it has counted. ``infos`` are the tools as far as they are known.

    ``others`` are further policies, by which amounts in the record are understood.
    """

    def __init__(self, policy: Policy, infos: Mapping[str, ToolInfo], others: tuple[Policy, ...] = ()) -> None:
        self.forgotten = 0
        self.unchecked = 0
        self._policy = policy
        self._infos = infos
        self._store = MemoryStore()
        self._rules = JudgeableRules(policy)
        self._risks: dict[str, Risk] = _Bounded()
        self._strict: dict[str, bool] = _Bounded()
        self._counts_of = {each.fingerprint: each for each in (*others, policy)}
        self._amounts: dict[tuple[str, str], int | None] = {}
        self._open: dict[str, tuple[Reservation, tuple[Mark, ...]]] = {}
        self._doubts: dict[tuple[str, str, str], float] = {}
        self._until_pruned = _PRUNE_EVERY

    def meet(self, came: RecordedEvent) -> Met:
        """Judge a call as it comes. One that needs nobody takes what it takes at once."""
        judged = self._judge(came)
        decision = judged.decision
        if decision.effect == "deny":
            return Met(Fate("deny", decision.rule, decision.message), judged)
        unclear = self._cannot_judge(judged, came)
        if unclear is not None or decision.effect == "ask" or may_ask(decision):
            blocked = self._store.peek(decision.charges, came.time, (), decision.across)
            asks = isinstance(blocked, Bound) and blocked.asks
            refused = None if blocked is None or asks else self._refused(blocked)
            if refused is not None or unclear is not None:
                return Met(refused or unclear or Fate("unjudged"), judged)
            if isinstance(blocked, Bound):
                shown = tuple(dict.fromkeys(each.condition.rule for each in blocked.rules))
                rule = shown[0] if decision.effect == "allow" else decision.rule
                return Met(Fate("ask", rule, because(blocked)), judged, shown)
        if decision.effect == "ask":
            return Met(Fate("ask", decision.rule, decision.message), judged)
        taken = self._reserve(judged, (), came.time)
        if isinstance(taken, Reservation):
            return Met(Fate("allow", decision.rule, ran=True), judged, taken=taken)
        return Met(self._refused(taken), judged)

    def go_on(self, met: Met, event: RecordedEvent) -> Fate:
        """Say what becomes of a call where the record says that it ran, or was refused: ``event``."""
        fate, judged, taken = met.fate, met.judged, met.taken
        ran = event.kind == "admitted"
        if event.edited and taken is None:
            judged = self._judge(event)
        if fate.effect == "ask":
            if not ran and event.verdict and event.verdict not in _APPROVED:
                return fate
            fate, taken = self._approved(fate, judged, met.shown, event)
        if fate.effect == "unjudged" and ran:
            taken = self._count_anyway(judged, event.time)
        if taken is not None:
            self._keep(taken, judged, event, ran=ran)
        return fate

    def settle(self, event: RecordedEvent) -> None:
        """Give back what did not run, and mark what ended well, as the record says."""
        kept = self._open.pop(event.key, None)
        if kept is None:
            return
        taken, marks = kept
        if event.outcome == "never_ran":
            self._store.refund(taken, event.time)
            return
        if event.outcome in {"ok", "error"} and any(charge.result for charge in taken.charges):
            self._store.settle(taken, self._truth(taken.charges, event), event.time)
        if event.outcome == "ok" and marks:
            self._store.note(marks, event.time)

    def _truth(self, charges: tuple[Charge, ...], event: RecordedEvent) -> list[int]:
        """Say what a call took as its result told; where no result was counted then, nobody knows."""
        told = {(scope, counter): amount for scope, counter, amount in event.charges}
        for charge in charges:
            if charge.result and (charge.scope, charge.counter) not in told:
                self._in_doubt(charge.scope, charge.counter, charge.window, event.time)
        return [told.get((c.scope, c.counter), c.amount) if c.result else c.amount for c in charges]

    def _in_doubt(self, scope: str, counter: str, window: int, now: float) -> None:
        self._doubts["counter", scope, counter] = now + window * 65 / 64  # as long as a slot may be held

    def control(self, event: RecordedEvent) -> None:
        """Do what a human did to the state."""
        if event.rule == "(clear)":
            scope = session_scope(event.session) if event.grant is None else grant_scope(event.grant)
            for label in event.labels:
                self._store.clear(scope, label)
                self._doubts.pop(("label", scope, label), None)
        elif event.rule == "(reset)" and (found := _RESET.match(event.message)):
            whose = None if found[1] else str(found[2])
            self._store.reset(whose)
            self._doubts = {doubt: until for doubt, until in self._doubts.items() if whose and doubt[1] != whose}

    def _judge(self, came: RecordedEvent) -> _Judged:
        info = self._infos.get(came.tool)
        schema = None if info is None else info.schema
        call = ToolCall(came.tool, came.args, came.session, came.grant, came.call_id)
        risk = self._risk(came.tool, info) if self._policy.flow else None
        if came.complete:
            decision = decide(self._policy, call, schema, risk)
            return _Judged(call, decision, unchecked=schema is None and self._is_strict(came.tool))
        known = came.args
        rules = self._rules.of(came.tool, came.names, frozenset(known))
        decision = rules.decide(call._replace(args={**rules.args, **known} if known else rules.args), schema, risk)
        if decision.effect == "deny" or not (rules.amounts or rules.missing or rules.lost):
            return _Judged(call, decision, unchecked=rules.strict)
        charges, missing, counters = list(decision.charges), list(rules.missing), []
        for counted in rules.amounts:
            amount = self._amount(came, counted)
            scope = SCOPES[counted.limit.scope](call)
            if amount is None:
                missing.append(Missing(counted.rule, counted.path))
                counters.append((scope, counted.counter, counted.limit.window))
            elif amount:
                charges.append(_charge(scope, counted, amount))
        decision = decision._replace(charges=tuple(charges))
        return _Judged(
            call, decision, tuple(missing), tuple(counters), tuple(rules.lost_marks(call)), unchecked=rules.strict
        )

    def _risk(self, tool: str, info: ToolInfo | None) -> Risk:
        if tool not in self._risks:
            told = info or ToolInfo(tool)
            self._risks[tool] = told.risk or classify(tool, told.description, told.schema).risk
        return self._risks[tool]

    def _is_strict(self, tool: str) -> bool:
        if tool not in self._strict:
            self._strict[tool] = self._policy.compiled.rules(tool).strict
        return self._strict[tool]

    def _amount(self, came: RecordedEvent, counted: CountedLimit) -> int | None:
        """What the record says that a call took from a counter, if it was counted from the same argument."""
        amount = next((charge[2] for charge in came.charges if charge[1] == counted.counter), None)
        policy = self._counts_of.get(came.policy)
        if policy is not None:
            rules = policy.compiled.rules(came.tool).rule_sets
            limits = [limit for each in rules for _, limit, counter in each.limits if counter == counted.counter]
            same = len(limits) == 1 and limits[0].count == counted.limit.count
            # What takes nothing is not written down.
            return None if not same else 0 if amount is None and came.kind == "admitted" else amount
        if amount is None:
            return None
        # Of a policy that nobody has at hand: amounts that differ were counted from something.
        seen = self._amounts.setdefault((came.policy, counted.counter), amount)
        if seen is not None and seen != amount:
            self._amounts[came.policy, counted.counter] = seen = None
        return amount if seen is None else None

    def _cannot_judge(self, judged: _Judged, came: RecordedEvent) -> Fate | None:
        if judged.missing:
            first = judged.missing[0]
            return Fate("unjudged", first.rule, f"{first.path} was not recorded")
        if judged.unchecked:
            self.unchecked += 1
            if came.kind == "refused" and came.rule == SCHEMA_RULE:
                said = "the tool's schema refused it, and schema and arguments are not both known"
                return Fate("unjudged", SCHEMA_RULE, said)
        return self._doubt(judged.decision, came.time) if self._doubts else None

    def _doubt(self, decision: Decision, now: float) -> Fate | None:
        """Say which earlier call it is, of too little is known, on which this one depends."""
        for charge in decision.charges:
            if self._doubts.get(("counter", charge.scope, charge.counter), 0.0) > now:
                return Fate("unjudged", charge.rule, "what an earlier call took from this limit was not recorded")
        for each in () if decision.across is None else decision.across.conditions:
            # What is needed and found is there, whatever else may be.
            if each.then != "need" and any((each.kind, each.scope, name) in self._doubts for name in each.names):
                return Fate("unjudged", each.rule, "arguments of an earlier call that it depends on were not recorded")
        return None

    def _refused(self, blocked: Full | Bound | Halted) -> Fate:
        """Say what refuses a call that the policy itself would let through."""
        if isinstance(blocked, Full):
            charge = blocked.charge
            return Fate("deny", charge.rule, messages.used_up(blocked), charge.counter)
        assert isinstance(blocked, Bound)  # nothing is halted here
        condition = blocked.rules[0].condition
        if condition.then == "ask":  # another rule than the human was shown
            return Fate("deny", condition.rule, CHANGED)
        if condition.then == "need" and any(
            (condition.kind, condition.scope, n) in self._doubts for n in condition.names
        ):
            said = f"arguments of an earlier {condition.names[0]} were not recorded"
            return Fate("unjudged", condition.rule, said)
        return Fate("deny", condition.rule, because(blocked))

    def _approved(
        self, fate: Fate, judged: _Judged, shown: tuple[str, ...], event: RecordedEvent
    ) -> tuple[Fate, Reservation | None]:
        """Go on with a call that a human let through: judged anew if it was edited, and counted now."""
        if judged.decision.effect == "deny":
            return Fate("deny", judged.decision.rule, judged.decision.message), None
        if event.edited and (open_ := self._cannot_judge(judged, event)) is not None:
            return open_, None
        taken = self._reserve(judged, shown, event.time)
        if isinstance(taken, Reservation):
            return fate._replace(ran=True), taken
        return self._refused(taken), None

    def _reserve(self, judged: _Judged, shown: tuple[str, ...], now: float) -> Reservation | Full | Bound | Halted:
        self._prune(now)
        across = judged.decision.across
        if across is not None and shown:
            conditions = tuple(c for c in across.conditions if c.then != "ask" or c.rule not in shown)
            across = across._replace(conditions=conditions)
        return self._store.reserve(judged.decision.charges, now, (), across)

    def _count_anyway(self, judged: _Judged, now: float) -> Reservation:
        """Take what a call took that ran, as far as that is known, whether or not it fits."""
        decision, call = judged.decision, judged.call
        for scope, counter, window in judged.counters:
            self._in_doubt(scope, counter, window, now)
        charges = tuple(charge._replace(max=MOST_TOLD) for charge in decision.charges)
        marks = SessionRules(marks=decision.across.marks) if decision.across is not None else None
        taken = self._reserve(_Judged(call, decision._replace(charges=charges, across=marks)), (), now)
        assert isinstance(taken, Reservation)
        return taken

    def _keep(self, taken: Reservation, judged: _Judged, event: RecordedEvent, *, ran: bool) -> None:
        """Keep what the end of a call will need, if it needs anything; and what it left that nobody knows of."""
        self._doubts |= {(mark.kind, mark.scope, mark.name): math.inf for mark in judged.marks}
        marks = judged.decision.succeeded
        if not ran:
            if marks:
                self._store.note(marks, event.time)
        elif marks or taken.charges:
            if len(self._open) >= MOST_OPEN:
                del self._open[next(iter(self._open))]
                self.forgotten += 1
            self._open[event.key] = taken, marks

    def _prune(self, now: float) -> None:
        self._until_pruned -= 1
        if self._until_pruned <= 0:
            self._store.prune(now)
            self._doubts = {doubt: until for doubt, until in self._doubts.items() if until > now}
            self._until_pruned = max(_PRUNE_EVERY, self._store.scopes())


def _charge(scope: str, counted: CountedLimit, amount: int) -> Charge:
    limit = counted.limit
    return Charge(
        scope,
        counted.counter,
        min(amount, MOST_TOLD) if amount > limit.most else amount,
        limit.most,
        limit.window,
        counted.rule,
        limit.on_deny or "",
        limit.align,
        limit.counts == "successes",
    )
