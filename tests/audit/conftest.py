import json

import pytest

from guarded_tools.audit import AuditLog
from guarded_tools.values import AuditEvent


class DictStore:
    """The two methods of a store that the audit needs, over a dictionary; can be made to fail."""

    def __init__(self):
        self.kept = {}
        self.broken = False

    def get(self, key):
        if self.broken:
            raise OSError("down")
        return self.kept.get(key)

    def put(self, key, value, ttl=None):
        if self.broken:
            raise OSError("down")
        self.kept[key] = value


class Ticking:
    """A clock that moves one second a look."""

    def __init__(self, now=1_700_000_000.0):
        self.now = now

    def __call__(self):
        self.now += 1
        return self.now


@pytest.fixture
def path(tmp_path):
    return tmp_path / "state" / "audit.jsonl"


@pytest.fixture
def store():
    return DictStore()


@pytest.fixture
def event():
    def make(number=0, **more):
        fields = {"kind": "settled", "tool": f"tool_{number}", "session": "s", "outcome": "ok"} | more
        return AuditEvent(**fields)

    return make


@pytest.fixture
def make_log(path):
    logs = []

    def make(**options):
        log = AuditLog(options.pop("path", path), clock=options.pop("clock", Ticking()), **options)
        logs.append(log)
        return log

    yield make
    for log in logs:
        log.close()


@pytest.fixture
def written(make_log, event, path):
    """A log of ten lines, closed."""
    with make_log() as log:
        for number in range(1, 11):
            log.write(event(number))
    return path


@pytest.fixture
def lines(path):
    def get():
        return [json.loads(line) for line in path.read_bytes().splitlines()]

    return get
