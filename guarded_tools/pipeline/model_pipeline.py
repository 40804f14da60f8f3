"""The line that a call of the agent's own model takes: that of a tool, and where its budget is full, a human.

::

    the model ── limited ─→ would more help, and may a human be asked? ── no ─→ refused
                              └─ yes → the line of a tool, for more → kept → the model, once more

Whether there shall be more is a call of its own, so that it is asked, resumed, edited, counted and recorded as every
question is. What a human allows is kept right after: a process that ends in between loses an allowance, and gives none.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from guarded_tools.errors import ToolDenied
from guarded_tools.flow import Await, Flow
from guarded_tools.pipeline.body import Ended, OutcomeClassifier
from guarded_tools.pipeline.budget import allowance, raised
from guarded_tools.pipeline.pipeline import Pipeline
from guarded_tools.policy.model_budget import in_counts
from guarded_tools.policy.model_rules import limits_in_question, offered, thing
from guarded_tools.values import BUDGET_CALL, MODEL_CALL, Charge, Full, ToolCall, ToolInfo

MODEL: Final = ToolInfo(MODEL_CALL, kind="model", risk="read")
BUDGET: Final = ToolInfo(
    BUDGET_CALL,
    description="Lets the agent's model go on beyond its budget: by this much more, for so many seconds.",
    kind="budget",
    risk="financial",
)


class ModelPipeline(Pipeline):
    """Takes calls of the agent's own model past its budget."""

    def execute_model(
        self,
        call: ToolCall,
        invoke: Callable[[dict[str, Any]], Any],
        judge: OutcomeClassifier,
        tells: Callable[[Any], Any],
        permitted: Callable[[dict[str, Any]], Any],
    ) -> Flow[Ended]:
        """Walk one call of a model. ``permitted`` hands on what a human let through, and is awaited where calls are.

        Raises:
            ToolDenied: the model was not called.
        """
        try:
            return (yield from self.execute(call, invoke, MODEL, judge, None, tells=tells))
        except ToolDenied as denied:
            full, asked = denied, (yield from self._offer(call, denied))
            if asked is None:
                raise
        more = call._replace(tool=BUDGET_CALL, args=asked, id="budget")
        try:
            allowed = yield from self.execute(more, permitted, BUDGET, lambda _: "ok", None)
        except ToolDenied as unanswered:
            if unanswered.outcome != "unanswered":
                raise
            said = f"{full} Nobody let it go on: {unanswered.decision.message.rstrip('. ')}."
            raise ToolDenied(said, full.decision, full.outcome, full.retry_after) from unanswered
        yield from self._keep(allowed.call)
        return (yield from self.execute(call, invoke, MODEL, judge, None, tells=tells))

    def _offer(self, call: ToolCall, denied: ToolDenied) -> Flow[dict[str, Any] | None]:
        """Say what a human would be asked for; ``None`` where nobody may be asked, or where it would not help."""
        policy = self._registry.policy(call.grant)
        if denied.outcome != "limited" or policy is None or policy.model is None or policy.model.approval is None:
            return None
        most = policy.model.approval.more
        full: list[Charge] = []
        taken = self._registry.judge(policy, call, MODEL).charges
        for charge in (yield from raised(taken, self._store, self._moment())):
            if isinstance((yield self._would(charge)), Full):
                if thing(charge) not in most:
                    return None
                more = in_counts(thing(charge), most[thing(charge)])
                if isinstance((yield self._would(charge._replace(max=charge.max + more))), Full):
                    return None
                full.append(charge)
        return offered(policy.model, call.args["model"], full) if full else None

    def _would(self, charge: Charge) -> Await:
        return Await(self._store.peek, self._store.apeek, ((charge,), self._now()))

    def _keep(self, allowed: ToolCall) -> Flow[None]:
        policy = self._registry.policy(allowed.grant)
        if policy is None:
            return
        more, lasts = allowed.args["more"], allowed.args["for"]
        for charge in limits_in_question(policy, allowed):
            entry = allowance(charge, in_counts(thing(charge), more[thing(charge)]), self._moment(), lasts)
            yield Await(self._store.put, self._store.aput, entry)
