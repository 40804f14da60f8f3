"""Whatever happens to the directory: calls are denied or counted right, and never one too many is admitted."""

import gc
import json
import os
import pickle
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
from collections import Counter
from functools import partial
from pathlib import Path

import diskcache
import pytest

from guarded_tools.errors import StateLost, StoreError
from guarded_tools.stores import open_stop_button
from guarded_tools.stores.disk.cache import OneConnection
from guarded_tools.stores.disk.database import Database
from guarded_tools.stores.disk.store import DiskStore, start_over
from guarded_tools.values import Charge, Full, Halted, Reservation
from tests import forked

HAMMER = Path(__file__).with_name("hammer.py")
LIMIT = 30
T = 1_800_000_000.0


def run(kind, path, limit, *more):
    words = [sys.executable, HAMMER, kind, path, limit, *more]
    ended = forked.run([str(word) for word in words], timeout=60)
    assert ended.returncode in {0, -signal.SIGKILL}, ended.stderr
    assert not ended.stderr, ended.stderr
    return json.loads(ended.stdout.splitlines()[-1])


def charge(limit=LIMIT, scope="session:s"):
    return Charge(scope, "calls", 1, limit, 3600, "/limits")


@pytest.fixture
def counters(path):
    return path / "counters"


@pytest.fixture
def opened():
    """Open stores that are closed in the end."""
    stores = []

    def open_(path, **options):
        stores.append(DiskStore(path, **options))
        return stores[-1]

    yield open_
    for store in stores:
        store.close()


def attempts(*makers, times=5):
    """What calls were told that may not be admitted: denials by name of the error."""
    denials = []
    for make in makers:
        for _ in range(times):
            try:
                answer = make().reserve([charge()])
            except StoreError as error:
                denials.append(type(error))
            else:
                assert isinstance(answer, Full), f"admitted over the limit: {answer}"
                denials.append(Full)
    return denials


def test_kill_9_at_random_points(path, report):
    limit = 100_000
    told = run("kills", path, limit, 120)
    store = DiskStore(path)
    used = {usage.scope: usage.used for usage in store.usage()}
    database = sqlite3.connect(path / "counters" / "cache.db")
    assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    database.close()
    report(kills=told["killed"], admitted=told["admitted"], counted=used["global"], limit=limit)
    assert told["killed"] >= 100
    assert "ended" not in told
    assert used["session:s"] == used["global"], "a call was counted in part"
    # A writer that died between being admitted and saying so has spent its charge.
    assert told["admitted"] <= used["global"] <= told["admitted"] + told["killed"]
    assert isinstance(store.reserve([charge(used["global"], scope) for scope in ("session:s", "global")]), Full)
    store.close()


def test_kill_9_at_the_limit(path, report):
    limit = 300
    told = run("kills", path, limit, 100)
    (usage,) = (one for one in DiskStore(path).usage("global") if one.max)
    report(kills=told["killed"], admitted=told["admitted"], counted=usage.used, limit=limit)
    assert told["admitted"] <= usage.used == limit


@pytest.mark.parametrize("room", [0, 5_000, 60_000])
def test_disk_full(path, room, report):
    limit = 500
    told = run("no_room", path, limit, room)
    report(admitted=told["admitted"], limit=limit, faults=told["faults"])
    assert told["faults"] == 20
    assert told["admitted"] == limit
    assert told["refused"] == 1


@pytest.mark.skipif(os.getuid() != 0, reason="only root can mount a small file system")
def test_a_small_file_system_that_is_full(path, tmp_path, report):
    path.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8m,mode=700", "tmpfs", str(path)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("no file system can be mounted here")
    store = DiskStore(path)
    try:
        admitted = sum(isinstance(store.reserve([charge()]), Reservation) for _ in range(10))
        filler = path / "filler"
        with filler.open("wb", buffering=0) as file:
            try:
                while file.write(b"x" * 4096):
                    pass
            except OSError:
                pass
        faults = 0
        for i in range(3000):
            try:
                admitted += isinstance(store.reserve([charge()]), Reservation)
                store.put(f"k{i}", b"x" * 500)
            except StoreError:
                faults += 1
                if faults == 20:
                    break
        filler.unlink()
        while isinstance(store.reserve([charge()]), Reservation):
            admitted += 1
        report(admitted=admitted, limit=LIMIT, faults=faults)
        assert admitted == LIMIT
        assert faults == 20
    finally:
        store.close()
        # What errors still hold of a connection holds the file system as well.
        gc.collect()
        subprocess.run(["umount", str(path)], check=True)


@pytest.fixture
def root():
    """A directory with an ``own`` in it that belongs to somebody whom file modes bind."""
    with tempfile.TemporaryDirectory() as root:
        Path(root).chmod(0o755)
        own = Path(root, "own")
        own.mkdir(mode=0o700)
        if os.getuid() == 0:
            os.chown(own, 65534, 65534)
        yield root


def test_a_halt_in_a_directory_that_cannot_be_listed(root):
    """Who cannot see whether they are halted must not go on."""
    assert run("unlisted", root, LIMIT) == {"faults": 3, "halted": 1}


def test_damage_that_cannot_be_noted(path, counters, opened):
    """Two faults at once are still one kind of error: whoever calls knows no other."""
    store = opened(path)
    for n in range(200):
        store.reserve([charge(scope=f"session:{n}")])
    store.close()
    store.reserve([charge(scope="session:0")])
    _garble("cache.db", 4096, 60_000)(counters)
    (counters / "lock").unlink()
    (counters / "lock").mkdir()
    for _ in range(2):
        with pytest.raises(StoreError):
            store.usage()
    (counters / "lock").rmdir()
    (counters / "cache.db").unlink()
    (counters / "cache.db").mkdir()
    with pytest.raises(StoreError, match="cannot remove"):
        start_over(path)


def test_read_only_directory(root, report):
    limit = 20
    told = run("not_root", root, limit)
    report(admitted=told["admitted"], limit=limit, faults=told["faults"])
    assert told["faults"] == 10
    assert told["admitted"] == limit
    assert "admitted while read-only" not in told


def _delete(*names):
    return lambda counters: [(counters / name).unlink(missing_ok=True) for name in names]


def _truncate(name, share):
    def damage(counters):
        file = counters / name
        os.truncate(file, int(file.stat().st_size * share))

    return damage


def _garble(name, offset, length):
    def damage(counters):
        with (counters / name).open("r+b") as file:
            file.seek(offset)
            file.write(random.Random(1).randbytes(length))

    return damage


def _replace_by_new(counters):
    new = counters / "new.db"
    made = sqlite3.connect(new)
    made.execute("PRAGMA journal_mode = wal")
    made.execute("CREATE TABLE t (x)")
    made.close()
    new.replace(counters / "cache.db")


DAMAGES = {
    "database deleted": _delete("cache.db"),
    "log deleted": _delete("cache.db-wal"),
    "log and index deleted": _delete("cache.db-wal", "cache.db-shm"),
    "all deleted": _delete("cache.db", "cache.db-wal", "cache.db-shm"),
    "directory deleted": shutil.rmtree,
    "database emptied": _truncate("cache.db", 0),
    "database halved": _truncate("cache.db", 0.5),
    "database to an odd size": _truncate("cache.db", 0.37),
    "log emptied": _truncate("cache.db-wal", 0),
    "header garbled": _garble("cache.db", 0, 200),
    "database garbled": _garble("cache.db", 100, 30_000),
    "log garbled": _garble("cache.db-wal", 0, 4000),
    "database replaced by an empty one": _replace_by_new,
    "marker garbled": _garble("store.json", 0, 10),
}
# Nothing is left that could say that there was something.
NOTHING_LEFT = {"directory deleted"}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_while_open(path, counters, damage, opened, report):
    store = opened(path)
    admitted = run("fill", path, LIMIT)["admitted"]
    assert admitted == LIMIT
    assert isinstance(store.reserve([charge()]), Full)
    DAMAGES[damage](counters)
    denials = attempts(lambda: store, *([] if damage in NOTHING_LEFT else [lambda: opened(path)]))
    report(admitted=admitted, limit=LIMIT, denied=len(denials))
    start_over(path)
    for one in (store, opened(path)):
        assert isinstance(one.reserve([charge(2)]), Reservation), "a reset does not help"
    assert isinstance(store.reserve([charge(2)]), Full)


@pytest.mark.parametrize(
    ("damage", "ended"),
    [
        (damage, ended)
        for damage in DAMAGES
        for ended in ("closed", "killed")
        # Whoever closes leaves no log.
        if damage not in NOTHING_LEFT and not (damage.startswith("log") and ended == "closed")
    ],
)
def test_damage_between_runs(path, counters, damage, ended, opened, report):
    # What an earlier run left is in the database; the rest of what this one did may be in the log only.
    admitted = run("fill", path, 10)["admitted"]
    told = run("fill" if ended == "closed" else "fill_and_die", path, LIMIT)
    assert told == {"admitted": LIMIT - 10, "refused": 1}
    assert (counters / "cache.db-wal").exists() == (ended == "killed")
    DAMAGES[damage](counters)
    denials = attempts(partial(opened, path))
    report(admitted=admitted + told["admitted"], limit=LIMIT, denied=len(denials))
    start_over(path)
    assert isinstance(opened(path).reserve([charge(1)]), Reservation), "a reset does not help"


def test_a_process_that_died_while_it_entered_is_no_loss(path, counters, opened):
    """The database counts entries first, then the marker: killed in between, the database is ahead."""
    run("fill", path, LIMIT)
    database = sqlite3.connect(counters / "cache.db")
    database.execute("UPDATE guarded_tools SET entry = entry + 1")
    database.commit()
    database.close()
    assert isinstance(opened(path).reserve([charge()]), Full)


@pytest.mark.parametrize("point", ["before", "after"])
def test_a_process_that_died_while_it_left_is_no_loss(path, opened, point):
    """The log goes with whoever is the last to close. Killed after that, nobody would say that it was empty."""
    run("die_closing", path, LIMIT, point)
    assert isinstance(opened(path).reserve([charge()]), Full)


@pytest.mark.parametrize("failing", [KeyboardInterrupt, StoreError("another schema")])
def test_to_enter_in_vain_is_no_loss(path, counters, opened, monkeypatch, failing):
    """SQLite takes a dead process's log away when the next one closes, also one that did not get far."""
    run("fill_and_die", path, LIMIT)
    assert (counters / "cache.db-wal").exists()

    def identify(self):
        raise failing

    with monkeypatch.context() as patch:
        patch.setattr(Database, "_identify", identify)
        with pytest.raises((KeyboardInterrupt, StoreError)):
            DiskStore(path)
    assert not (counters / "cache.db-wal").exists(), "the test shows nothing"
    assert isinstance(opened(path).reserve([charge()]), Full)


def test_an_older_database_is_taken_for_lost(path, counters, tmp_path):
    run("fill", path, 10)
    shutil.copy(counters / "cache.db", tmp_path / "backup")
    run("fill", path, LIMIT)
    shutil.copy(tmp_path / "backup", counters / "cache.db")
    with pytest.raises(StateLost, match="older than its last use"):
        DiskStore(path)


def test_a_database_that_vanishes_while_it_is_opened(path, counters, opened, monkeypatch):
    """diskcache would make a new one, at zero, beside the one that is being read."""
    run("fill", path, LIMIT)
    init = OneConnection.__init__
    vanish = [counters / "cache.db", counters / "cache.db-wal", counters / "cache.db-shm"]

    def late(self, *args, **settings):
        for file in vanish:
            file.unlink(missing_ok=True)
        vanish.clear()
        init(self, *args, **settings)

    monkeypatch.setattr(OneConnection, "__init__", late)
    assert Full not in attempts(partial(opened, path)), "the test shows nothing"


def test_lost_state_stays_lost_until_it_is_reset(path, counters, opened):
    store = opened(path)
    store.reserve([charge()])
    store.halt("session:x", "mine")
    (counters / "cache.db").unlink()
    for _ in range(3):
        with pytest.raises(StateLost, match=r"reset --confirm"):
            store.reserve([charge()])
        with pytest.raises(StateLost, match=r"reset --confirm"):
            opened(path)
        with pytest.raises(StateLost):
            store.put("k", b"v")
    start_over(path)
    assert isinstance(store.reserve([charge()]), Reservation)
    assert isinstance(store.reserve([], scopes=["session:x"]), Halted), "a halt must outlive a reset"


def test_a_killed_process_is_no_loss(path, opened):
    for round_ in range(3):
        run("fill_and_die", path, 10 * (round_ + 1))
    assert [usage.used for usage in opened(path).usage("session:s")] == [30]


@pytest.mark.parametrize("between", [True, False])
def test_another_opener_that_changes_settings(path, counters, opened, between, report):
    store = opened(path)
    admitted = run("fill", path, LIMIT)["admitted"]
    if between:
        store.close()
    other = diskcache.Cache(str(counters), eviction_policy="least-recently-used", cull_limit=100, size_limit=1)
    evicted = 0
    for i in range(20):
        try:
            other.set(i, b"x" * 1000)
            evicted += other.cull()
        except (sqlite3.DatabaseError, diskcache.Timeout):
            pass
    other.reset("sqlite_synchronous", 0)
    if between:
        other.reset("sqlite_journal_mode", "delete")
    other.close()
    assert isinstance(store.reserve([charge()]), Full)
    assert isinstance(opened(path).reserve([charge()]), Full)
    report(admitted=admitted, limit=LIMIT, evicted_of_its_own=evicted)


class Bomb:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


@pytest.mark.parametrize("how", ["pickled value", "pickled key", "value in a file", "text value", "number"])
def test_planted_rows_run_no_code_and_touch_no_file(path, counters, tmp_path, opened, how, report):
    store = opened(path)
    run("fill", path, LIMIT)
    store.put("ask", b"x")
    bomb, victim = tmp_path / "bomb", tmp_path / "victim"
    victim.write_bytes(b"precious")
    planted = {
        "pickled value": ("mode = 4, value = ?", pickle.dumps(Bomb(bomb))),
        "pickled key": ("raw = 0, key = ?", pickle.dumps(Bomb(bomb))),
        "value in a file": ("mode = 2, value = NULL, filename = ?", "../../victim"),
        "text value": ("value = ?", "text"),
        "number": ("value = ?", 7),
    }[how]
    database = sqlite3.connect(counters / "cache.db")
    # A planted row beside ours, and ours turned into one.
    database.execute("DROP TRIGGER IF EXISTS counters_are_not_evicted")
    for key in ("session:s", "ask"):
        which = key.encode() if key != "ask" else key
        set_, value = planted
        if how == "pickled key":
            value += key.encode()
        database.execute(f"UPDATE Cache SET {set_} WHERE key = ?", (value, which))
    database.commit()
    database.close()
    outcomes = []
    for work in (
        lambda: store.reserve([charge()]),
        lambda: opened(path).reserve([charge()]),
        lambda: store.peek([charge()]),
        store.usage,
        lambda: store.get("ask"),
        lambda: store.take("ask"),
        lambda: store.scan(""),
        lambda: store.add("ask", b"y"),
        lambda: store.put("ask", b"y"),
        store.prune,
        lambda: store.reset("session:s"),
        store.reset,
    ):
        try:
            outcomes.append(type(work()).__name__)
        except StoreError:
            outcomes.append("denied")
    report(answers=dict(Counter(outcomes)))
    assert not bomb.exists(), "code ran"
    assert victim.read_bytes() == b"precious"
    if how != "pickled key":  # there the row itself is gone: whoever writes the database can do that
        assert outcomes[:2] == ["denied", "denied"]


def test_what_we_write_is_plain(path, counters, opened):
    store = opened(path)
    store.reserve([charge(), charge(scope="global")])
    store.put("ask", b"x", 60)
    store.reset("global")
    database = sqlite3.connect(counters / "cache.db")
    rows = database.execute("SELECT raw, mode, filename, typeof(value) FROM Cache").fetchall()
    database.close()
    assert set(rows) == {(1, 1, None, "blob")}
    assert {file.name for file in counters.iterdir()} <= {
        "cache.db", "cache.db-wal", "cache.db-shm", "store.json", "lock"
    }  # fmt: skip
    assert counters.stat().st_mode & 0o777 == 0o700


def test_a_directory_others_may_write_into_is_refused(path, counters, opened):
    opened(path).close()
    counters.chmod(0o777)
    with pytest.raises(StoreError, match="chmod 700"):
        DiskStore(path)


@pytest.mark.parametrize("schema", [0, 2, 99])
def test_another_schema_is_refused_with_a_message(path, counters, schema):
    DiskStore(path).close()
    database = sqlite3.connect(counters / "cache.db")
    database.execute(f"PRAGMA user_version = {schema}")
    if schema == 99:
        database.execute("ALTER TABLE guarded_tools RENAME COLUMN store TO something_else")
    database.close()
    with pytest.raises(StoreError, match=f"has schema {schema}; this version of guarded_tools knows 1"):
        DiskStore(path)


def test_a_diskcache_of_somebody_else_is_refused(counters):
    with diskcache.Cache(str(counters)) as cache:
        cache["k"] = "v"
    with pytest.raises(StoreError, match="not ours"):
        DiskStore(counters.parent)


def test_a_path_that_is_a_file(tmp_path):
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(StoreError):
        DiskStore(file)


STEPS = {"seconds": 5, "an hour": 3600, "a year": 365 * 86_400}


@pytest.mark.parametrize("size", STEPS)
@pytest.mark.parametrize("reopen", [False, True])
@pytest.mark.parametrize("backend", ["disk"], indirect=True)
def test_clock_steps(path, size, reopen, backend, report):
    """A wall clock that is set back and forth at the worst moments; time that really passed is what counts."""
    clock, dice = backend.clock, random.Random(size)
    store = DiskStore(path, clock=clock)
    minute = Charge("session:s", "calls", 1, LIMIT, 60, "/limits")
    admitted, steps, refused = [], 0, 0
    for _ in range(3000):
        clock.pass_(dice.choice((0.0, 0.01, 0.3, 2.0)))
        if dice.random() < 0.05:
            clock.step(dice.choice((-1, 1)) * dice.uniform(0.2, 1) * STEPS[size])
            steps += 1
            if reopen and dice.random() < 0.2:
                store.close()
        answer = store.reserve([minute])
        if isinstance(answer, Reservation):
            admitted.append(clock.boot)
        else:
            refused += 1
            assert answer.retry_after <= 60 + 60 / 64, "held longer than its window"
    worst = max(sum(at <= other < at + 60 for other in admitted[i : i + LIMIT + 1]) for i, at in enumerate(admitted))
    report(steps=steps, admitted=len(admitted), refused=refused, worst_window=worst, limit=LIMIT)
    assert worst == LIMIT
    # And no more is denied than that: the whole time could have held this many.
    assert len(admitted) > 0.8 * LIMIT * (clock.boot - 5_000) / 61
    store.close()


@pytest.mark.parametrize("seconds", [-3600, 3600])
@pytest.mark.parametrize("backend", ["memory", "disk"], indirect=True)
def test_a_step_of_the_clock_makes_nothing_idle_that_is_not(backend, seconds):
    """What takes a row for idle after a step forgets a full counter, and hides it from whoever asks."""
    clock = backend.clock
    store = backend.open()
    minute = charge()._replace(window=60)
    assert sum(isinstance(store.reserve([minute]), Reservation) for _ in range(LIMIT + 5)) == LIMIT
    clock.step(seconds)
    assert [usage.used for usage in store.usage()] == [LIMIT]
    assert store.prune() == 0
    assert isinstance(store.reserve([minute]), Full)
    clock.pass_(62)
    clock.step(seconds)
    assert store.usage() == []
    assert store.prune() == 1


@pytest.mark.parametrize("boot_id", [8, 0], ids=["another boot", "a boot nobody can name"])
@pytest.mark.parametrize("backend", ["memory", "disk"], indirect=True)
def test_a_reboot_starts_no_window_anew(backend, boot_id):
    """Time since boot says nothing across a boot; the wall clock does, and what it says of the future is not believed."""
    clock = backend.clock
    store = backend.open()
    minute = charge()._replace(window=60)
    assert sum(isinstance(store.reserve([minute]), Reservation) for _ in range(LIMIT + 5)) == LIMIT
    store.put("ask", b"v", 60)
    clock.pass_(50)
    clock.boot, clock.boot_id = 20.0, boot_id
    again = backend.open()
    assert again.get("ask") == b"v"
    assert 9 <= again.reserve([minute]).retry_after <= 11
    # It came up with a clock that had not heard of the time yet.
    clock.step(-86_400)
    assert again.reserve([minute]).retry_after <= 61
    clock.step(86_400)
    clock.pass_(61)
    assert isinstance(again.reserve([minute]), Reservation)
    assert again.get("ask") is None


def _flip(counters, dice):
    file = counters / "cache.db"
    data = bytearray(file.read_bytes())
    data[dice.randrange(len(data))] ^= 1 << dice.randrange(8)
    file.write_bytes(data)


def _swap_pages(counters, dice):
    file = counters / "cache.db"
    data = file.read_bytes()
    one, other = (dice.randrange(len(data)) // 4096 * 4096 for _ in range(2))
    file.write_bytes(data[:one] + data[other : other + 4096] + data[one + 4096 :])


@pytest.mark.parametrize("damage", [_flip, _swap_pages])
def test_a_bit_that_flips_or_a_page_in_the_wrong_place(tmp_path, damage, report):
    """SQLite notices neither where it strikes an index: the counter would not be found, and start at zero."""
    charges = [Charge(f"session:{n}", "calls", 1, 3, 3600, "/limits") for n in range(40)]
    store = DiskStore(tmp_path / "whole")
    for charge in charges:
        for _ in range(3):
            store.reserve([charge])
    store.close()
    dice, told = random.Random(3), Counter()
    for n in range(150):
        path = shutil.copytree(tmp_path / "whole", tmp_path / str(n))
        damage(path / "counters", dice)
        try:
            store = DiskStore(path)
            answers = [type(store.reserve([charge])) for charge in charges]
            store.close()
        except StoreError:
            answers = [StoreError]
        told["over" if Reservation in answers else answers[0].__name__] += 1
    report(directories=told.total(), **told)
    assert "over" not in told
    assert told["StoreError"] > 10


def test_what_is_damaged_can_be_reset(path, counters, opened):
    """As the message says; and until then it stays refused, for those who have it open as well."""
    opened(path).reserve([charge()])
    run("fill_and_die", path, LIMIT)
    _garble("cache.db", 0, 200)(counters)
    _delete("cache.db-wal")(counters)
    for _ in range(2):
        with pytest.raises(StateLost, match="reset --confirm"):
            opened(path)
    start_over(path)
    assert isinstance(opened(path).reserve([charge()]), Reservation)


@pytest.mark.parametrize("trouble", ["locked", "lost"])
def test_the_stop_button_works_whatever_became_of_the_counters(path, counters, opened, trouble):
    """Calls without limits go on while the database is locked: they have to be stopped all the same."""
    store = opened(path, timeout=0.2)
    store.reserve([charge()])
    if trouble == "locked":
        locker = sqlite3.connect(counters / "cache.db", isolation_level=None)
        locker.execute("BEGIN IMMEDIATE")
    else:
        (counters / "cache.db").unlink()
    button = open_stop_button(f"disk://{path}")
    button.halt("global", "now")
    store.halt("session:x", "too")
    assert (
        [halted.scope for halted in button.halts()] == ["global", "session:x"] == [one.scope for one in store.halts()]
    )
    if trouble == "locked":
        assert isinstance(store.reserve([]), Halted)
        assert isinstance(store.peek([charge()]), Halted)
        locker.close()
    assert button.resume("global")
    assert store.resume("session:x")
    assert button.halts() == []
