import asyncio
import dataclasses

import pytest

from guarded_tools.approval import workflow
from guarded_tools.flow import arun, run
from guarded_tools.stores import open_store
from guarded_tools.values import ApprovalRequest, digest


class Clock:
    def __init__(self):
        self.now = 1_700_000_000.0

    def __call__(self):
        return self.now


class Desk:
    """Asks on one store, under one clock, by one of the two drivers."""

    def __init__(self, store, clock, driver):
        self.store = store
        self.clock = clock
        self.driver = driver
        self.limits = workflow.ApprovalLimits()

    def drive(self, line):
        return run(line) if self.driver == "sync" else asyncio.run(arun(line))

    def request(self, args=None, **fields):
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

    def line(self, request, approver, **options):
        options.setdefault("limits", self.limits)
        return workflow.ask(request, store=self.store, approver=approver, clock=self.clock, **options)

    def ask(self, request, approver, **options):
        return self.drive(self.line(request, approver, **options))


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def store():
    return open_store("memory://")


@pytest.fixture(params=["sync", "async"])
def desk(request, store, clock):
    return Desk(store, clock, request.param)


@pytest.fixture
def sync_desk(store, clock):
    return Desk(store, clock, "sync")
