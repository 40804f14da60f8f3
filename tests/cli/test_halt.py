"""The stop button across processes: pressed in one, felt by every guard on the same store, on disk and on Redis."""

import json
import os
import sys

import pytest

from guarded_tools import Guard, Policy, ToolCall, open_store
from guarded_tools.values import Charge, Halted, Reservation
from tests import forked
from tests.redis_servers import start_redis

# Does as its standard input says, one line a word, and answers each with one line of JSON.
AGENT = """
import json, sys
from guarded_tools import Guard, Policy, ToolCall, ToolDenied

name, grant, store = sys.argv[1], sys.argv[2] or None, sys.argv[3]
policy = Policy.model_validate({"version": "1", "default": "deny", "tools": {
    "t": {"limits": [{"counter": "c", "window": "hour", "max": 1000}]},
    "free": {},
}})
guard = Guard(policy, store=store, session=name)

def say(*words):
    print(json.dumps(words), flush=True)

def hold(_):
    say("running")
    sys.stdin.readline()
    return "ran"

say("ready")
for line in sys.stdin:
    word, tool = line.split()
    try:
        say(guard.call(ToolCall(tool, {}, name, grant), hold if word == "hold" else lambda _: "ran"))
    except ToolDenied as error:
        say("denied", error.outcome, error.decision.rule, str(error))
"""


@pytest.fixture(scope="module")
def redis_url(tmp_path_factory):
    server = start_redis(tmp_path_factory.mktemp("redis"))
    yield server.url
    server.kill()


@pytest.fixture(params=["disk", "redis"])
def url(request, tmp_path):
    if request.param == "disk":
        return f"disk://{tmp_path / 'counters-of-all'}"
    return f"{request.getfixturevalue('redis_url')}?namespace={tmp_path.name}"


@pytest.fixture
def env(tmp_path):
    return {**os.environ, "GUARDED_TOOLS_HOME": str(tmp_path / "home"), "COLUMNS": "160"}


class Agent:
    def __init__(self, name, grant, url, env):
        self.process = forked.Popen(
            [sys.executable, "-c", AGENT, name, grant, url], stdin=forked.PIPE, stdout=forked.PIPE, env=env
        )

    def hears(self):
        line = self.process.stdout.readline()
        assert line, "the agent ended"
        return json.loads(line)

    def tell(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def call(self, tool="t"):
        self.tell(f"call {tool}")
        return self.hears()


@pytest.fixture
def agents(url, env):
    started = []

    def start(*names):
        parted = [name.partition(":") for name in names]
        fresh = [Agent(name, grant, url, env) for name, _, grant in parted]
        started.extend(fresh)
        for agent in fresh:
            assert agent.hears() == ["ready"]
        return fresh

    yield start
    for agent in started:
        agent.process.kill()
        agent.process.wait()
        agent.process.stdin.close()
        agent.process.stdout.close()


@pytest.fixture
def command(url, env):
    def run(*words, code=0):
        done = forked.run([sys.executable, "-m", "guarded_tools.cli", *words, "--store", url], env=env, timeout=60)
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    return run


def test_every_process_refuses_the_very_next_call(agents, command):
    crew = agents("a", "b", "c:alice")
    for agent in crew:
        assert agent.call() == ["ran"]
    command("halt", "--reason", "smoke in the rack")
    for agent in crew:
        for tool in ("t", "free"):  # with a limit and without: what charges nothing is stopped too
            kind, outcome, rule, text = agent.call(tool)
            assert (kind, outcome, rule) == ("denied", "denied", "(halted)")
            assert "smoke in the rack" in text
    (newcomer,) = agents("d")
    assert newcomer.call()[0] == "denied"
    command("resume")
    for agent in (*crew, newcomer):
        assert agent.call() == ["ran"]


def test_calls_in_flight_are_named_and_run_on(agents, command):
    busy, idle = agents("at-work", "idle")
    assert idle.call() == ["ran"]
    busy.tell("hold t")
    assert busy.hears() == ["running"]
    said = command("halt", "--reason", "stop")
    assert "at-work" in said
    assert "idle" not in said
    assert idle.call()[0] == "denied"
    busy.tell("")
    assert busy.hears() == ["ran"]
    assert busy.call()[0] == "denied"
    assert "No call is in flight" in command("halt", "--reason", "stop")


def test_one_session_or_grant_is_stopped_and_the_others_go_on(agents, command):
    a, b, alice = agents("a", "b", "c:alice")
    command("halt", "--session", "a", "--reason", "odd")
    assert [agent.call()[0] for agent in (a, b, alice)] == ["denied", "ran", "ran"]
    command("halt", "--grant", "alice", "--reason", "left")
    assert [agent.call()[0] for agent in (a, b, alice)] == ["denied", "ran", "denied"]
    assert "Still halted" in command("resume", "--session", "a")
    assert [agent.call()[0] for agent in (a, b, alice)] == ["ran", "ran", "denied"]


def test_a_refused_call_spends_nothing(agents, command, url):
    (agent,) = agents("a")
    assert agent.call() == ["ran"]
    command("halt", "--reason", "stop")
    for _ in range(5):
        assert agent.call()[0] == "denied"
    (usage,) = open_store(url).usage("session:a")
    assert usage.used == 1


def test_the_button_holds_while_calls_pour_in(url):
    """Pressed between two calls of a busy stream, it is seen by the first one after."""
    store, other = open_store(url), open_store(url)
    charge = [Charge("session:s", "c", 1, 10**6, 3600, "/limits/0")]
    for _ in range(30):
        assert isinstance(store.reserve(charge), Reservation)
        other.halt("session:s", "now")
        assert isinstance(store.reserve(charge), Halted)
        assert other.resume("session:s")


def test_on_redis_it_takes_no_round_trip_of_its_own(redis_url):
    """What it costs is measured, on either backend, by benchmarks/stores.py."""
    import redis

    store, client = open_store(redis_url), redis.Redis.from_url(redis_url.partition("?")[0])
    store.halt("session:somebody", "else")
    charge = [Charge("session:s", "c", 1, 10**6, 3600, "/limits/0")]
    store.reserve(charge)
    client.config_resetstat()
    for _ in range(50):
        assert isinstance(store.reserve(charge, scopes=("session:s", "grant:g")), Reservation)
    sent = {name: told["calls"] for name, told in client.info("commandstats").items() if "|" not in name}
    assert {name: calls for name, calls in sent.items() if name.startswith("cmdstat_eval")} == {"cmdstat_evalsha": 50}
    client.close()


def test_a_guard_in_this_process_feels_it_too(url, command, tmp_path):
    policy = Policy.model_validate({"version": "1", "default": "allow"})
    guard = Guard(policy, store=url, state=tmp_path / "own")
    assert guard.call(ToolCall("t", {}), lambda _: "ran") == "ran"
    command("halt", "--reason", "stop")
    seen = []
    with pytest.raises(Exception, match="stop"):
        guard.call(ToolCall("t", {}), seen.append)
    assert seen == []
    guard.audit.close()
    guard.store.close()
