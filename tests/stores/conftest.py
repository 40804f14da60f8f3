"""The backends of the store contract, and what its tests hold in their hands."""

import asyncio
from dataclasses import dataclass, field
from typing import Any

import pytest

from guarded_tools.stores.clock import Clock
from guarded_tools.stores.disk import DiskStore
from guarded_tools.stores.memory import MemoryStore
from guarded_tools.values import Charge

T0 = 1_800_000_000.0


@dataclass
class Hands:
    """A clock in the hands of a test: wall time and boot time move together unless the wall is stepped."""

    wall: float = T0
    boot: float = 5_000.0
    boot_id: int = 7

    def __call__(self) -> Clock:
        return Clock(round(self.wall * 1e6), round(self.wall * 1e6) - round(self.boot * 1e6), self.boot_id)

    def pass_(self, seconds: float) -> None:
        self.wall += seconds
        self.boot += seconds

    def step(self, seconds: float) -> None:
        self.wall += seconds


@dataclass
class Backend:
    """One kind of store: ``open`` gives another handle on the same state."""

    name: str
    make: Any
    clock: Hands = field(default_factory=Hands)
    opened: list[Any] = field(default_factory=list)

    def open(self):
        store = self.make(self.clock)
        self.opened.append(store)
        return store


class AsyncRoad:
    """Calls the asyncio twin of a method where there is one."""

    def __init__(self, store, runner):
        self._store = store
        self._runner = runner

    def __getattr__(self, name):
        twin = getattr(self._store, f"a{name}", None)
        if twin is None:
            return getattr(self._store, name)
        return lambda *args, **kwargs: self._runner.run(twin(*args, **kwargs))


def memory(tmp_path):
    store = None

    def make(clock):
        nonlocal store
        store = store or MemoryStore(clock=clock)
        return store

    return make


def disk(tmp_path):
    return lambda clock: DiskStore(tmp_path / "state", clock=clock)


BACKENDS = {"memory": memory, "disk": disk}


@pytest.fixture(params=BACKENDS)
def backend(request, tmp_path):
    backend = Backend(request.param, BACKENDS[request.param](tmp_path))
    yield backend
    for store in backend.opened:
        store.close()


@pytest.fixture(params=["sync", "async"])
def store(request, backend):
    opened = backend.open()
    if request.param == "sync":
        yield opened
    else:
        with asyncio.Runner() as runner:
            yield AsyncRoad(opened, runner)


@pytest.fixture
def charge():
    def make(counter="pictify/render/calls", amount=1, max=3, window=60, scope="session:s", **rest):  # noqa: A002
        return Charge(scope, counter, amount, max, window, rest.pop("rule", f"/limits/{counter}"), **rest)

    return make


@pytest.fixture
def report(request, capsys):
    """Say what was counted, so that a run shows it: one line on the terminal, pytest's capturing aside."""

    def say(**counts):
        with capsys.disabled():
            print(f"\n  {request.node.name}: " + ", ".join(f"{name} {count}" for name, count in counts.items()), end="")

    return say
