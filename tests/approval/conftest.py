"""Questions on a store in memory, by either driver."""

from __future__ import annotations

import pytest

from guarded_tools.stores import open_store
from tests.fakes import Approvals, FrozenClock


@pytest.fixture
def clock():
    return FrozenClock()


@pytest.fixture
def store():
    return open_store("memory://")


@pytest.fixture(params=["sync", "async"])
def approvals(request, store, clock):
    return Approvals(store, clock, request.param)


@pytest.fixture
def sync_approvals(store, clock):
    return Approvals(store, clock, "sync")
