"""The backends of the store contract, and what its tests hold in their hands."""

import asyncio
import uuid
from dataclasses import dataclass, field
from typing import Any

import pytest

from guarded_tools.stores.disk.store import DiskStore
from guarded_tools.stores.memory import MemoryStore
from guarded_tools.values import Charge
from tests.fakes import SteppedClock
from tests.redis_servers import start_redis


@dataclass
class Backend:
    """One kind of store: ``open`` gives another handle on the same state."""

    name: str
    make: Any
    clock: SteppedClock = field(default_factory=SteppedClock)
    opened: list[Any] = field(default_factory=list)

    def open(self):
        store = self.make(self.clock)
        self.opened.append(store)
        return store


async def leave_loop(store):
    """Close what belongs to the running loop, where a store has such."""
    if hasattr(store, "aclose"):
        await store.aclose()


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


def memory(request):
    store = None

    def make(clock):
        nonlocal store
        store = store or MemoryStore(clock=clock)
        return store

    return make


def disk(request):
    path = request.getfixturevalue("tmp_path") / "state"
    return lambda clock: DiskStore(path, clock=clock)


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory):
    server = start_redis(tmp_path_factory.mktemp("redis"))
    yield server
    server.kill()


@pytest.fixture
def own_redis(tmp_path):
    """Start servers that a test may do anything to."""
    servers = []

    def start(*options, tls=False):
        directory = tmp_path / f"redis{len(servers)}"
        directory.mkdir()
        servers.append(start_redis(directory, *options, tls=tls))
        return servers[-1]

    yield start
    for server in servers:
        server.kill()


def redis(request):
    from guarded_tools.stores.redis.store import RedisStore

    url = f"{request.getfixturevalue('redis_server').url}?namespace={uuid.uuid4().hex}"
    return lambda clock: RedisStore(url, clock=clock)


BACKENDS = {"memory": memory, "disk": disk, "redis": redis}


@pytest.fixture(params=BACKENDS)
def backend(request):
    backend = Backend(request.param, BACKENDS[request.param](request))
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
            runner.run(leave_loop(opened))


@pytest.fixture
def at_once():
    """Run many calls of a store as tasks of one loop."""

    async def gather(store, calls):
        try:
            return await asyncio.gather(*calls)
        finally:
            await leave_loop(store)

    return lambda store, calls: asyncio.run(gather(store, calls))


@pytest.fixture
def charge():
    def make(counter="pictify/render/calls", amount=1, max=3, window=60, scope="session:s", **rest):  # noqa: A002
        return Charge(scope, counter, amount, max, window, rest.pop("rule", f"/limits/{counter}"), **rest)

    return make


@pytest.fixture
def path(tmp_path):
    return tmp_path / "state"


@pytest.fixture
def report(request, capsys):
    """Say what was counted, so that a run shows it: one line on the terminal, pytest's capturing aside."""

    def say(**counts):
        with capsys.disabled():
            print(
                f"\n  {request.node.name}: "
                + ", ".join(f"{name.replace('_', ' ')} {count}" for name, count in counts.items()),
                end="",
            )

    return say
