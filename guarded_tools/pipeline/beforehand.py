"""The way of calls that are asked about before they are made, all calls of a model's message in one step.

::

    pose each call ── nothing to ask, or refused ─→ said when it is made
      └─ the questions that wait → kept → asked together → the answers, handed to the calls

Nothing is reserved or admitted here: a call that was asked about takes the whole line when it is made, as any other
that was suspended, and finds its answer there (see :mod:`guarded_tools.approval.handed`).
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from guarded_tools.approval import handed, workflow
from guarded_tools.approval.handed import Together
from guarded_tools.approvers.protocol import SuspendingApprover
from guarded_tools.flow import Flow
from guarded_tools.pipeline.context import CallContext, freeze
from guarded_tools.pipeline.pipeline import Pipeline, Read
from guarded_tools.pipeline.recorder import Recorder
from guarded_tools.pipeline.registry import Registry
from guarded_tools.stores import Store
from guarded_tools.values import ApprovalRequest, ToolCall, ToolInfo, Verdict


class BeforehandPipeline(Pipeline):
    """Asks about calls before they are made. ``approver`` is what stands for the guard's own meanwhile."""

    def __init__(
        self,
        registry: Registry,
        store: Store,
        approver: SuspendingApprover,
        recorder: Recorder,
        clock: Callable[[], float] | None,
    ) -> None:
        super().__init__(registry, store, approver, recorder, clock)
        self._stand_in = approver

    def pose(self, call: ToolCall, info: ToolInfo, read: Read | None) -> Flow[None]:
        """Ask about a call, if a human has to be asked. What refuses it is said and recorded when it is made.

        Raises:
            Suspended: it was asked about, and holds the question.
            ValueError: its arguments cannot be judged.
        """
        info, policy, call = self._registry.current(info), self._registry.policy(call.grant), freeze(call)
        decision = self._registry.judge(policy, call, info)
        context = CallContext(call, info, decision, os.urandom(8).hex(), time.perf_counter(), policy)
        question, blocked = yield from self._in_question(context)
        if blocked is not None or question.decision.effect != "ask":
            return
        request, human = (yield from self._shown(question, read)), self._human(question)
        answer = yield from workflow.resume(request, **human)
        if answer is None:
            answer = yield from workflow.ask(request, **human)
        if answer.outcome is not None:
            yield from handed.hand_refusal(request, self._stand_in, answer, self._store)

    def asked(self, step: str) -> Flow[list[Together]]:
        """Return what a step has asked and still waits for.

        Raises:
            StoreError: it cannot be read.
        """
        return (yield from handed.kept(step, self._store))

    def waiting(
        self, posed: Sequence[ApprovalRequest], value: Callable[[ApprovalRequest], Mapping[str, Any]]
    ) -> Flow[list[Together]]:
        """Return what a step is to ask, and how that is shown.

        Raises:
            StoreError: it cannot be read.
        """
        asked: dict[str, Together] = {}
        for request in posed:
            waits = yield from handed.waiting(request, self._stand_in, value(request), self._store)
            if waits is not None:
                asked.setdefault(waits.id, waits)  # a message may repeat a call with its id
        return list(asked.values())

    def keep(self, step: str, asked: Sequence[Together]) -> Flow[None]:
        """Keep what a step has asked.

        Raises:
            StoreError: it could not be kept.
        """
        yield from handed.keep(step, asked, self._moment(), self._store)

    def hand(self, asked: Sequence[Together], answers: Sequence[Verdict | str]) -> Flow[None]:
        """Hand each question its answer, or why what came is none.

        Raises:
            StoreError: one could not be handed over; its call is asked about once more.
        """
        for question, answer in zip(asked, answers, strict=True):
            yield from handed.hand(question, answer, self._moment(), self._store)
