"""What tests hold in the place of time and of a bench to work at. Everything else they use is the real part.

``SteppedClock`` is what a store reads, wall time and time since boot; for seconds since the epoch there is
:class:`guarded_tools.testing.FrozenClock`. ``Approvals`` asks questions on one store, by one of the two drivers.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from guarded_tools.approval import workflow
from guarded_tools.approval.result import ApprovalResult
from guarded_tools.flow import Flow, arun, run
from guarded_tools.policy import ApprovalLimits
from guarded_tools.stores import Store
from guarded_tools.stores.clock import Clock
from guarded_tools.testing import FrozenClock
from guarded_tools.values import ApprovalRequest, digest

T0 = 1_800_000_000.0


@dataclass
class SteppedClock:
    """Wall time and boot time, which move together unless the wall is stepped."""

    wall: float = T0
    boot: float = 5_000.0
    boot_id: int = 7

    def __call__(self) -> Clock:
        return Clock(round(self.wall * 1e6), round(self.wall * 1e6) - round(self.boot * 1e6), self.boot_id)

    def pass_(self, seconds: float) -> None:
        """Let time pass."""
        self.wall += seconds
        self.boot += seconds

    def step(self, seconds: float) -> None:
        """Set the wall clock, as an administrator or NTP does."""
        self.wall += seconds


class Approvals:
    """Asks on one store, under one clock, by one of the two drivers."""

    def __init__(self, store: Store, clock: FrozenClock, driver: str) -> None:
        self.store = store
        self.clock = clock
        self.driver = driver
        self.limits = ApprovalLimits()

    def drive(self, flow: Flow[Any]) -> Any:
        """Walk a flow to its end."""
        return run(flow) if self.driver == "sync" else asyncio.run(arun(flow))

    def request(self, args: Mapping[str, Any] | None = None, **fields: Any) -> ApprovalRequest:
        """Make a request as the pipeline does."""
        args = {"x": 1} if args is None else args
        session, grant, tool = fields.get("session", "one"), fields.get("grant"), fields.get("tool", "t")
        base = ApprovalRequest(
            tool=tool,
            args=args,
            session=session,
            digest=digest("s", tool, None, session, grant, args),
            rule="/tools/t/approval",
            server="s",
            risk="write",
            timeout=5,
            expires_at=self.clock() + 600,
        )
        return dataclasses.replace(base, **fields)

    def flow(self, request: ApprovalRequest, approver: Any, **options: Any) -> Flow[ApprovalResult]:
        """Return the flow that asks."""
        options.setdefault("limits", self.limits)
        return workflow.ask(request, store=self.store, approver=approver, clock=self.clock, **options)

    def ask(self, request: ApprovalRequest, approver: Any, **options: Any) -> Any:
        """Ask, and return what became of the question."""
        return self.drive(self.flow(request, approver, **options))
