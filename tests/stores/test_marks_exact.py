"""Rules across calls under processes, kills and restarts: what denies each other never runs together."""

import json
import os
import random
import signal
import sys
import time
import uuid
from pathlib import Path

import pytest

from guarded_tools.errors import StateLost, StoreError
from guarded_tools.marks import Bound, Carried, Mark, SessionCondition, SessionRules
from guarded_tools.stores import carried as marks_of_a_scope
from guarded_tools.stores.clock import at
from guarded_tools.stores.disk.address import disk_url
from guarded_tools.stores.row import Row
from guarded_tools.stores.row_bytes import pack, unpack
from guarded_tools.values import Reservation
from tests import forked
from tests.stores.marks_hammer import opened

HAMMER = Path(__file__).with_name("marks_hammer.py")
SESSIONS = 40


@pytest.fixture(params=["disk", "redis"])
def url(request, tmp_path):
    if request.param == "disk":
        return disk_url(tmp_path / "state")
    return f"{request.getfixturevalue('redis_server').url}?namespace={uuid.uuid4().hex}"


def start(*words):
    command = [sys.executable, HAMMER, *words]
    return forked.Popen([str(word) for word in command], stdin=forked.PIPE, stdout=forked.PIPE, stderr=forked.PIPE)


def test_of_two_kinds_that_deny_each_other_one_is_admitted(url, report):
    processes = [start("either", url, *kinds, SESSIONS) for kinds in (("a", "b"), ("b", "a")) for _ in range(3)]
    for process in processes:
        process.stdout.readline()
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    told = [json.loads(process.communicate(timeout=120)[0].splitlines()[-1]) for process in processes]
    admitted = {
        kind: [sum(counts) for counts in zip(*some, strict=True)] for kind, some in (("a", told[:3]), ("b", told[3:]))
    }
    store = opened(url)
    for session in range(SESSIONS):
        # Two threads and two tasks of three processes, all of one kind, and of the other none.
        assert sorted(admitted[kind][session] for kind in "ab") == [0, 12], session
        won = "a" if admitted["a"][session] else "b"
        for scope in (f"session:{session}", f"grant:{session}"):
            assert [mark[1:3] for mark in store.carried(scope)] == [("label", won), ("admitted", won)]
        assert [usage.used for usage in store.usage(f"session:{session}")] == [12]
    report(sessions=SESSIONS, won_by_a=sum(count > 0 for count in admitted["a"]), calls=24 * SESSIONS)
    store.close()


def test_kill_9_leaves_all_of_a_call_or_nothing(url, tmp_path, report):
    """Also with the write of several rows half way, and with a note that was not heard of."""
    dice, journals, kills = random.Random(5), [], 0
    for _ in range(12):
        some = [tmp_path / f"journal{len(journals) + n}" for n in range(2)]
        journals += some
        writers = [start("until_killed", url, journal) for journal in some]
        deadline = time.monotonic() + 60
        while not all(journal.exists() and journal.stat().st_size for journal in some):
            assert time.monotonic() < deadline
            assert all(writer.poll() is None for writer in writers), [writer.stderr.read() for writer in writers]
            time.sleep(0.002)
        for writer in writers:
            time.sleep(dice.uniform(0, 0.02))
            os.kill(writer.pid, signal.SIGKILL)
            kills += 1
        for writer in writers:
            writer.communicate(timeout=10)
    said = [line.split() for journal in journals for line in journal.read_text().splitlines()]
    store = opened(url)
    carried: dict[str, set[tuple[str, str]]] = {}
    for mark in store.carried():
        carried.setdefault(mark.scope, set()).add(mark[1:3])
    names = {scope.rpartition(":")[2] for scope in carried}
    label, fact = ("label", "untrusted"), ("succeeded", "t")
    for name in names:
        of = [carried.get(f"{kind}:{name}") for kind in ("session", "grant", "shadow:session")]
        assert of in ([{label}] * 3, [{label, fact}] * 3), (name, of)
    for name, what in said:
        assert (label if what == "admitted" else fact) in carried[f"session:{name}"]
    (everyone,) = store.usage("global")
    assert everyone.used == len(names) == sum(usage.scope.startswith("session:") for usage in store.usage())
    report(kills=kills, admitted=len(names), heard_of=sum(what == "admitted" for _, what in said))
    assert len(names) <= sum(what == "admitted" for _, what in said) + kills
    store.close()


def rules(*conditions, marks=()):
    return SessionRules(conditions, tuple(marks))


LABEL = Mark("session:s", "label", "untrusted", "t")
DENY = SessionCondition("session:s", "label", ("untrusted",), "deny", "/after/0")
FACT = LABEL._replace(kind="succeeded")
NEED = DENY._replace(kind="succeeded", then="need")


class TestRedis:
    def key(self, store, scope="session:s"):
        return store._script.scope(scope)

    def opened(self, redis_server):
        return opened(f"{redis_server.url}?namespace={uuid.uuid4().hex}")

    def test_a_scope_with_labels_does_not_expire(self, redis_server, charge):
        store = self.opened(redis_server)
        ttl = lambda: store._client.ttl(self.key(store))  # noqa: E731
        store.reserve([charge()])
        assert 0 < ttl() < 3 * 86_400
        store.note([FACT])
        assert 30 * 86_400 < ttl() < 33 * 86_400
        store.note([LABEL])
        assert ttl() == -1
        assert isinstance(store.reserve([charge()]), Reservation)
        assert ttl() == -1
        assert store.clear("session:s", "untrusted")
        assert 30 * 86_400 < ttl() < 33 * 86_400
        assert isinstance(store.reserve([charge()], None, (), rules(DENY, NEED)), Reservation)
        store.close()

    @pytest.mark.parametrize("how", ["evicted", "list and all"])
    def test_labels_that_somebody_deleted_are_missed_until_that_scope_is_reset(self, own_redis, how):
        store = opened(own_redis("--appendonly", "yes").url)
        store.reserve([], None, (), rules(marks=[LABEL]))
        store._client.delete(self.key(store))
        if how != "evicted":
            store._client.delete(store._script.listed)
        for call in (
            lambda: store.reserve([], None, (), rules(DENY)),
            lambda: store.peek([], None, (), rules(DENY)),
            lambda: store.note([FACT]),
        ):
            with pytest.raises(StateLost, match="session:s were lost"):
                call()
        store.reset("session:s" if how == "evicted" else None)
        assert isinstance(store.reserve([], None, (), rules(DENY)), Reservation)
        store.close()

    def test_a_version_that_knows_no_marks_fails(self, redis_server, charge):
        """It unpacks four doubles from the field of no name, wherever there is one; and without marks there are."""
        store = self.opened(redis_server)
        store.reserve([charge()])
        assert len(store._client.hget(self.key(store), "")) == 40
        store.note([LABEL])
        assert store._client.hget(self.key(store), "") == b"2"
        assert store.clear("session:s", "untrusted")
        assert sorted(map(len, store._client.hgetall(self.key(store)))) == [0, len("60:rolling:pictify/render/calls")]
        store._client.hset(self.key(store), "", "3")
        with pytest.raises(StoreError, match="newer version"):
            store.reserve([charge()])
        store.close()

    def test_one_round_trip(self, redis_server, charge):
        store = self.opened(redis_server)
        store.reserve([charge()])
        sent = []
        send = store._client.execute_command
        store._client.execute_command = lambda *words: (sent.append(words[0]), send(*words))[1]
        scopes = ("session:s", "grant:g")
        marks = [LABEL._replace(scope=scope) for scope in scopes]
        charges = [charge(scope=scope) for scope in (*scopes, "global")]
        store.reserve(charges, None, scopes, rules(DENY, NEED._replace(scope="global", then="deny"), marks=marks))
        store.note(marks)
        store.clear("session:s", "untrusted")
        assert sent == ["EVALSHA"] * 3
        store.close()


class TestRows:
    def test_a_row_without_marks_is_what_it_was(self, charge):
        row = Row()
        now = row.advance(at(1e9))
        row.take([charge()], now, now)
        before = row.encode()
        row.bring([LABEL], now)
        with_marks = row.encode()
        assert before[8:16] == (1).to_bytes(8, "little")
        assert with_marks[8:16] == (2).to_bytes(8, "little")
        again = Row.decode(with_marks)
        assert again.carried("session:s", at(1e9)) == [Carried("session:s", "label", "untrusted", "t", 1e9, 1e9)]
        assert again.clear("untrusted")
        assert again.encode() == before == Row.decode(before).encode()

    @pytest.mark.parametrize("length", [-5, 0, 4, 10, 10**6])
    def test_marks_that_do_not_add_up_are_damage(self, length):
        row = Row()
        row.bring([LABEL], row.advance(at(1e9)))
        words, names = unpack(row.encode(), 7)
        words[-1] = length
        with pytest.raises(StoreError, match="do not add up"):
            Row.decode(pack(words, names))

    def test_ids_that_share_a_word_are_told_apart(self, monkeypatch):
        """Half of a hash can be made to collide; all of it cannot."""
        ids = {"a": (7, 1), "b": (7, 2), "c": (7, 3)}
        monkeypatch.setattr(marks_of_a_scope, "mark_id", lambda kind, name, same: ids[name])
        marks = marks_of_a_scope.CarriedMarks()
        marks.bring([LABEL._replace(name=name) for name in "ab"], 5)
        assert [marks._find(ids[name]) for name in "abc"] == [0, 5, -1]
        marks.bring([LABEL._replace(name="a")], 9)
        assert [(mark.name, mark.last) for mark in marks.carried("s")] == [("a", 9e-6), ("b", 5e-6)]


@pytest.mark.parametrize("boot_id", [8, 0])
def test_after_a_reboot_the_wall_clock_tells_an_age(backend, boot_id):
    if backend.name == "redis":
        pytest.skip("the clock of a server has no boots")
    store, clock = backend.open(), backend.clock
    deny, need = DENY._replace(within=60), NEED._replace(within=60)
    store.note([LABEL, FACT])
    clock.pass_(30)
    clock.boot, clock.boot_id = 3.0, boot_id
    assert isinstance(store.reserve([], None, (), rules(deny)), Bound)
    assert isinstance(store.reserve([], None, (), rules(need)), Reservation)
    # A clock that lost its battery shows too little: what binds goes on, and what is needed is not believed.
    clock.step(-10_000)
    clock.boot_id = 9
    assert isinstance(store.reserve([], None, (), rules(deny)), Bound)
    assert isinstance(store.reserve([], None, (), rules(need)), Bound)
    clock.pass_(61)
    assert isinstance(store.reserve([], None, (), rules(deny)), Reservation)
    assert isinstance(store.reserve([], None, (), rules(need)), Bound)
    store.note([FACT])
    assert isinstance(store.reserve([], None, (), rules(need)), Reservation)
