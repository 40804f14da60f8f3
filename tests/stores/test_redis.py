"""A store on Redis: exact between processes, whoever dies; refused where the server cannot be relied on."""

import asyncio
import logging
import os
import shutil
import signal
import subprocess
import sys
import threading
import time

import pytest

from guarded_tools.errors import StateLost, StoreError
from guarded_tools.marks import Bound, Mark, SessionCondition, SessionRules
from guarded_tools.stores import open_store
from guarded_tools.values import Charge, Full, Halted, Reservation

redis = pytest.importorskip("redis")
pytest.importorskip("redis.asyncio")

from guarded_tools.stores.redis.address import Address  # noqa: E402
from guarded_tools.stores.redis.server import Server  # noqa: E402
from guarded_tools.stores.redis.server_time import ServerTime  # noqa: E402
from tests import forked  # noqa: E402

WORKER = """
import asyncio, sys, threading
from guarded_tools.stores import open_store
from guarded_tools.values import Charge, Reservation

url, tries, limit, out = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
store = open_store(url)
charges = [Charge("session:s", "t/calls", 1, limit, 3600, "/r"), Charge("global", "t/*", 2, 10**9, 3600, "/r"),
           Charge("session:s", "t/other", 3, 10**9, 3600, "/r")]
log = open(out, "a", buffering=1)

def admitted(answer):
    if isinstance(answer, Reservation):
        log.write("x")
        log.flush()

def work():
    for _ in range(tries // 4):
        admitted(store.reserve(charges))

async def tasks():
    async def one():
        for _ in range(tries // 8):
            admitted(await store.areserve(charges))
    await asyncio.gather(*(one() for _ in range(4)))
    await store.aclose()

threads = [threading.Thread(target=work) for _ in range(2)]
for thread in threads: thread.start()
asyncio.run(tasks())
for thread in threads: thread.join()
"""
DURABLE = ("--appendonly", "yes", "--appendfsync", "always")


def start(code, *args):
    return forked.Popen([sys.executable, "-c", code, *map(str, args)], stderr=forked.PIPE)


def used(store, scope="session:s"):
    return {usage.counter: usage.used for usage in store.usage(scope)}


def one(limit=3, scope="session:s"):
    return [Charge(scope, "t/calls", 1, limit, 3600, "/r")]


def answers(errors, call, times=1):
    got = []
    for _ in range(times):
        try:
            got.append(call())
        except StoreError as error:
            errors.append(error)
    return got


class TestProcesses:
    def test_eight_processes_of_threads_and_tasks_admit_exactly_the_limit(self, redis_server, tmp_path, report):
        url = f"{redis_server.url}?namespace={tmp_path.name}"
        workers = [start(WORKER, url, 400, 500, tmp_path / f"log{i}") for i in range(8)]
        for worker in workers:
            assert worker.wait(120) == 0, worker.stderr.read()
            worker.stderr.close()
        admitted = sum(len((tmp_path / f"log{i}").read_text()) for i in range(8))
        store = open_store(url)
        report(processes=8, tried=8 * 400, limit=500, admitted=admitted)
        assert admitted == 500
        assert used(store) == {"t/calls": 500, "t/other": 1500}
        assert used(store, "global") == {"t/*": 1000}
        store.close()

    def test_kill_9_of_clients(self, redis_server, tmp_path, report):
        url, kills, logs, seed = f"{redis_server.url}?namespace={tmp_path.name}", 0, [], 12345
        while kills < 24:
            workers = []
            for i in range(4):
                logs.append(tmp_path / f"log{kills}-{i}")
                workers.append(start(WORKER, url, 100_000, 10**9, logs[-1]))
            while not all(log.exists() for log in logs[-4:]):
                time.sleep(0.005)
            for worker in workers:
                seed = (seed * 1103515245 + 12345) % 2**31
                time.sleep(seed % 40 / 1000)
                assert worker.poll() is None, worker.stderr.read()
                os.kill(worker.pid, signal.SIGKILL)
                kills += 1
            for worker in workers:
                worker.wait(10)
                worker.stderr.close()
        ran = sum(len(log.read_text()) for log in logs)
        store = open_store(url)
        counted = used(store)["t/calls"]
        report(kills=kills, ran=ran, counted=counted)
        assert used(store) == {"t/calls": counted, "t/other": 3 * counted}
        assert used(store, "global") == {"t/*": 2 * counted}
        # Each has two threads and four tasks in flight.
        assert ran <= counted <= ran + 6 * kills
        store.close()

    def test_a_forked_child_counts_on(self, redis_server, tmp_path):
        store = open_store(f"{redis_server.url}?namespace={tmp_path.name}")
        store.reserve(one(30))
        children = []
        for _ in range(4):
            child = os.fork()
            if not child:
                admitted = 0
                try:
                    while isinstance(store.reserve(one(30)), Reservation):
                        admitted += 1
                finally:
                    os._exit(admitted)
            children.append(child)
        total = sum(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children)
        assert total == 29
        assert isinstance(store.reserve(one(30)), Full)
        store.close()


class TestServerGone:
    @pytest.mark.serial
    def test_kill_9_of_the_server_counts_on_where_it_stopped(self, own_redis, report):
        server = own_redis(*DURABLE)
        store = open_store(f"{server.url}?timeout=1")
        admitted, denied = [], []
        for round_ in range(5):
            for i in range(100):
                if i == 50:
                    server.kill()
                began = time.monotonic()
                admitted += answers(denied, lambda: store.reserve(one(10_000)))
                assert time.monotonic() - began < 2
                if i == 60:
                    server.start()
            assert used(store)["t/calls"] >= len(admitted), round_
        report(kills=5, admitted=len(admitted), counted=used(store)["t/calls"], denied=len(denied))
        assert used(store)["t/calls"] == len(admitted)
        assert 50 <= len(denied) <= 60
        store.close()

    def test_a_server_killed_in_the_middle_of_calls(self, own_redis, tmp_path, report):
        """What was admitted is counted; what the server could not answer may be counted without having run."""
        server = own_redis(*DURABLE)
        url = f"{server.url}?timeout=1"
        code = (
            WORKER.replace("admitted(store.reserve(charges))", "attempt()")
            .replace(
                "def work",
                "def attempt():\n    try:\n        admitted(store.reserve(charges))\n    except Exception: pass\n\ndef work",
            )
            .replace("asyncio.run(tasks())", "")
        )
        workers = [start(code, url, 200_000, 10**9, tmp_path / f"log{i}") for i in range(4)]
        kills = 0
        while not all((tmp_path / f"log{i}").exists() for i in range(4)):
            time.sleep(0.01)
        while kills < 5:
            time.sleep(0.1)
            server.kill()
            server.start()
            kills += 1
        time.sleep(0.1)
        for worker in workers:
            worker.kill()
            worker.wait()
            worker.stderr.close()
        ran = sum(len((tmp_path / f"log{i}").read_text()) for i in range(4))
        store = open_store(url)
        counted = used(store)["t/calls"]
        report(kills=kills, ran=ran, counted=counted)
        assert ran <= counted <= ran + 8 * (kills + 1)
        assert used(store) == {"t/calls": counted, "t/other": 3 * counted}
        store.close()

    @pytest.mark.serial
    def test_nobody_there_from_the_start(self):
        began = time.monotonic()
        with pytest.raises(StoreError, match=r"redis://127\.0\.0\.1:1/0 cannot be used"):
            open_store("redis://127.0.0.1:1/0")
        assert time.monotonic() - began < 2

    @pytest.mark.serial
    def test_a_server_that_does_not_answer_is_refused_within_the_bound(self, own_redis):
        server = own_redis()
        store = open_store(f"{server.url}?timeout=0.3")
        server.process.send_signal(signal.SIGSTOP)

        async def call():
            try:
                return await store.areserve(one())
            finally:
                await store.aclose()

        for reserve in (lambda: store.reserve(one()), lambda: asyncio.run(call())):
            began = time.monotonic()
            with pytest.raises(StoreError, match="cannot be used"):
                reserve()
            assert time.monotonic() - began < 1.5
        server.process.send_signal(signal.SIGCONT)
        deadline = time.monotonic() + 5
        errors = []
        while not answers(errors, lambda: store.reserve(one(10_000))):
            assert time.monotonic() < deadline
        assert isinstance(asyncio.run(call()), Reservation | Full)
        store.close()

    def test_asyncio_callers_come_back_too(self, own_redis):
        server = own_redis(*DURABLE)
        store = open_store(server.url)

        async def story():
            assert isinstance(await store.areserve(one()), Reservation)
            server.kill()
            for _ in range(3):
                with pytest.raises(StoreError):
                    await store.areserve(one())
            await asyncio.to_thread(server.start)
            assert isinstance(await store.areserve(one()), Reservation)
            await store.aclose()

        asyncio.run(story())
        assert used(store) == {"t/calls": 2}
        store.close()

    def test_closing_takes_no_connection_from_under_a_call(self, redis_server):
        store = open_store(redis_server.url)
        failed, over = [], threading.Event()

        def work():
            while not over.is_set():
                try:
                    store.peek(one())
                except Exception as error:  # whatever it is
                    failed.append(error)

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for _ in range(200):
            store.close()
            store.peek(one())
        over.set()
        for thread in threads:
            thread.join()
        assert not failed
        store.close()
        assert all(idle._sock is None for idle in store._client.connection_pool._available_connections)

    def test_loops_of_many_threads_come_and_go(self, redis_server):
        """Each new loop looks for those that ended; another that comes meanwhile must not stop it with a traceback."""
        store = open_store(redis_server.url)
        failed = []

        async def come():
            store._aclient()

        def work():
            for _ in range(150):
                loop = asyncio.new_event_loop()
                try:
                    loop.run_until_complete(come())
                except Exception as error:  # whatever it is
                    failed.append(error)
                loop.close()

        threads = [threading.Thread(target=work) for _ in range(8)]
        often = sys.getswitchinterval()
        sys.setswitchinterval(1e-6)
        try:
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        finally:
            sys.setswitchinterval(often)
        assert not failed
        assert len(store._loops) <= len(threads), "loops that ended are held on to"
        store.close()

    def test_a_server_that_forgot_the_script_is_told_again(self, redis_server, tmp_path):
        store = open_store(f"{redis_server.url}?namespace={tmp_path.name}")
        store._client.script_flush()
        assert isinstance(store.reserve(one()), Reservation)
        store._client.script_flush()

        async def call():
            answer = await store.areserve(one())
            await store.aclose()
            return answer

        assert isinstance(asyncio.run(call()), Reservation)
        store.close()


class TestLoss:
    def test_without_a_disk_a_restart_starts_at_zero_and_says_so(self, own_redis, caplog):
        server = own_redis()
        with caplog.at_level(logging.WARNING, "guarded_tools"):
            store = open_store(server.url)
        assert "a restart sets all counters to zero" in caplog.text
        store.reserve(one(1))
        server.kill()
        server.start()
        caplog.clear()
        errors = []
        assert any(isinstance(answer, Reservation) for answer in answers(errors, lambda: store.reserve(one(1)), 2))
        assert "were lost" in caplog.text
        assert isinstance(store.reserve(one(1)), Full)
        store.close()

    @pytest.mark.parametrize("how", ["flushed", "restarted without its files"])
    def test_with_a_disk_a_loss_is_refused_until_a_reset(self, own_redis, how):
        server = own_redis(*DURABLE)
        store = open_store(server.url)
        store.reserve(one(1))
        if how == "flushed":
            store._client.flushall()
        else:
            server.kill()
            shutil.rmtree(server.directory / "appendonlydir")
            server.start()
        for _ in range(3):
            with pytest.raises(StateLost, match="reset --confirm"):
                store.reserve(one(1))
            with pytest.raises(StateLost):
                store.peek(one(1))
            with pytest.raises(StateLost):
                store.put("k", b"v")
        other = open_store(server.url)
        with pytest.raises(StateLost):
            store.reserve(one(1))
        other.reset()
        assert isinstance(store.reserve(one(1)), Reservation)
        assert isinstance(other.reserve(one(1)), Full)
        store.close()
        other.close()

    @pytest.mark.parametrize("policy", ["allkeys-lru", "volatile-ttl", "allkeys-random"])
    def test_a_server_that_evicts_is_refused(self, own_redis, policy):
        server = own_redis("--maxmemory", "50mb", "--maxmemory-policy", policy)
        with pytest.raises(StoreError, match=f"maxmemory-policy noeviction, not {policy}"):
            open_store(server.url)

    def test_a_server_that_begins_to_evict_is_noticed_when_it_comes_back(self, own_redis):
        server = own_redis(*DURABLE)
        store = open_store(server.url)
        server.kill()
        server.options = (*DURABLE, "--maxmemory-policy", "allkeys-lru")
        with pytest.raises(StoreError):
            store.reserve(one())
        server.start()
        with pytest.raises(StoreError, match="noeviction"):
            store.reserve(one())
        store.close()

    @pytest.mark.parametrize("policy", ["volatile-lru", "allkeys-lru"])
    def test_a_server_that_begins_to_evict_under_us_is_noticed(self, own_redis, policy):
        """Exactly the counters go, for they have a time to live; what is listed and gone is missed."""
        server = own_redis("--appendonly", "yes")
        store, admin = open_store(server.url), redis.Redis(port=server.port)
        for _ in range(3):
            assert isinstance(store.reserve(one(3)), Reservation)
        admin.config_set("maxmemory-policy", policy)
        admin.config_set("maxmemory", admin.info()["used_memory"] + 50_000)
        for n in range(3_000):
            try:
                admin.set(f"cache{n}", "x" * 1_000)
            except redis.exceptions.ResponseError:
                break  # nothing is left that may be evicted
        assert not [key for key in admin.scan_iter("*scope:*", count=10_000)]  # noqa: C416 - a cursor may repeat a key
        admin.config_set("maxmemory", 0)
        admin.config_set("maxmemory-policy", "noeviction")
        for ask in (store.reserve, store.peek):
            with pytest.raises(StateLost, match=r"lost.*reset --confirm"):
                ask(one(3))
        store.reset()
        assert isinstance(open_store(server.url).reserve(one(3)), Reservation)

    def test_counters_that_somebody_deleted_are_missed_until_that_scope_is_reset(self, own_redis):
        server = own_redis("--appendonly", "yes")
        store, admin = open_store(server.url), redis.Redis(port=server.port)
        for scope in ("session:a", "session:b", "global"):
            assert isinstance(store.reserve(one(1, scope)), Reservation)
        admin.delete("{guarded-tools}:scope:session:a")
        with pytest.raises(StateLost, match="session:a"):
            store.reserve([*one(1, "session:c"), *one(1, "session:a")])
        assert isinstance(store.reserve(one(1, "session:b")), Full)
        assert isinstance(store.reserve(one(1, "session:c")), Reservation)
        assert store.reset("session:a") == 0
        assert isinstance(store.reserve(one(1, "session:a")), Reservation)
        admin.delete("{guarded-tools}:scopes")
        with pytest.raises(StateLost, match="session:d"):
            store.reserve(one(1, "session:d"))
        assert isinstance(store.reserve(one(1, "session:a")), Full)
        store.reset()
        for scope in ("session:a", "session:d"):
            assert isinstance(store.reserve(one(1, scope)), Reservation)

    def test_a_full_server_refuses_and_recovers(self, own_redis, report):
        store = open_store(own_redis().url)
        admitted, denied = [], []
        both = [*one(10), *one(10, "global")]
        admitted += answers(denied, lambda: store.reserve(both), 5)
        store._client.config_set("maxmemory", 1)
        admitted += answers(denied, lambda: store.reserve(both), 5)
        store._client.config_set("maxmemory", 0)
        admitted += answers([], lambda: store.reserve(both), 10)
        ran = sum(isinstance(answer, Reservation) for answer in admitted)
        report(admitted=ran, limit=10, faults=len(denied))
        assert ran == 10
        assert len(denied) == 5
        assert used(store) == used(store, "global") == {"t/calls": 10}
        store.close()


class TestAddress:
    def test_one_server_holds_many_namespaces(self, redis_server, tmp_path):
        urls = [f"{redis_server.url}?namespace={tmp_path.name}-{i}" for i in range(2)]
        stores = [open_store(url) for url in urls]
        for store in stores:
            assert isinstance(store.reserve(one(1)), Reservation)
        stores[0].halt("global", "stop")
        assert isinstance(stores[0].reserve(one(1)), Halted)
        assert isinstance(stores[1].reserve(one(1)), Full)
        assert stores[0].reset() == 1
        assert isinstance(stores[1].reserve(one(1)), Full)
        for store in stores:
            store.close()

    def test_all_keys_share_one_hash_tag(self, own_redis):
        server = own_redis()
        store = open_store(f"{server.url}?namespace=team")
        store.reserve([*one(), *one(scope="global")])
        store.put("k", b"v")
        store.halt("global", "stop")
        keys = store._client.keys("*")
        assert len(keys) == 6
        assert all(key.startswith(b"{team}:") for key in keys)
        store.close()

    def test_a_password_is_used_and_never_shown(self, own_redis):
        server = own_redis("--requirepass", "s3cret")
        url = server.url.replace("redis://", "redis://:{}@")
        store = open_store(url.format("s3cret"))
        assert isinstance(store.reserve(one()), Reservation)
        server.kill()
        with pytest.raises(StoreError) as gone:
            store.reserve(one())
        server.start()
        with pytest.raises(StoreError) as wrong:
            open_store(url.format("wr0ng"))
        for error in (gone, wrong):
            told = f"{error.value!r} {error.value.__cause__!r}"
            assert "s3cret" not in told
            assert "wr0ng" not in told
        store.close()

    def test_tls(self, own_redis, tmp_path):
        if shutil.which("openssl") is None:
            pytest.skip("openssl is not installed, which makes the certificate")
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=elsewhere",
             "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", tmp_path / "key", "-out", tmp_path / "cert"],
            check=True, capture_output=True,
        )  # fmt: skip
        cert, key = str(tmp_path / "cert"), str(tmp_path / "key")
        server = own_redis(
            "--tls-cert-file",
            cert,
            "--tls-key-file",
            key,
            "--tls-ca-cert-file",
            cert,
            "--tls-auth-clients",
            "no",
            tls=True,
        )
        store = open_store(f"rediss://127.0.0.1:{server.port}/0?ssl_ca_certs={cert}")
        assert isinstance(store.reserve(one()), Reservation)

        async def call():
            answer = await store.areserve(one())
            await store.aclose()
            return answer

        assert isinstance(asyncio.run(call()), Reservation)
        with pytest.raises(StoreError, match="certificate"):
            open_store(f"rediss://127.0.0.1:{server.port}/0")
        # For another name than the server is reached by; redis-py before 6 takes it unless it is told not to.
        with pytest.raises(StoreError, match=r"[Hh]ostname mismatch|not valid for"):
            open_store(f"rediss://localhost:{server.port}/0?ssl_ca_certs={cert}")
        for library in (redis, redis.asyncio):
            client = Server(Address.parse(f"rediss://localhost:{server.port}/0")).connect(library)
            assert client.connection_pool.connection_kwargs["ssl_check_hostname"] is True
        store.close()

    def test_a_cluster(self, own_redis):
        server = own_redis("--cluster-enabled", "yes")
        subprocess.run(
            ["redis-cli", "-p", str(server.port), "cluster", "addslotsrange", "0", "16383"],
            check=True,
            capture_output=True,
        )
        deadline = time.monotonic() + 10
        errors, store = [], None
        while store is None:
            assert time.monotonic() < deadline, errors
            time.sleep(0.1)
            store = next(iter(answers(errors, lambda: open_store(f"{server.url}?cluster=yes"))), None)
        assert isinstance(store.reserve([*one(2), *one(9, "global"), *one(9, "grant:g")]), Reservation)

        async def call():
            answer = await store.areserve([*one(2), *one(9, "global")])
            await store.aput("k", b"v")
            found = await store.ascan("")
            await store.aclose()
            return answer, found

        answer, found = asyncio.run(call())
        assert isinstance(answer, Reservation)
        assert found == [("k", b"v")]
        assert isinstance(store.reserve([*one(2), *one(9, "global")]), Full)
        assert [(usage.scope, usage.used) for usage in store.usage()] == [
            ("session:s", 2),
            ("global", 2),
            ("grant:g", 1),
        ]
        store.halt("grant:g", "stop")
        assert isinstance(store.reserve([], scopes=["grant:g"]), Halted)
        assert store.reset() == 3
        store.close()

    @pytest.mark.parametrize(
        ("url", "wrong"),
        [
            ("redis://h?namespce=x", "unknown option namespce"),
            ("redis://h?timeout=soon", "timeout=soon"),
            ("redis://h?timeout=-1", "timeout=-1"),
            ("redis://h?timeout=nan", "timeout=nan"),
            ("redis://h?cluster=1", "cluster=1"),
            ("redis://h?namespace=", "namespace="),
            ("redis://h?namespace={x}", "braces"),
            ("redis://h?decode_responses=true", "decode_responses"),
            ("redis://h:port", "address"),
            ("redis://user:hunter2@h?nonsense=1", "unknown option nonsense"),
        ],
    )
    def test_what_an_address_cannot_say(self, url, wrong):
        with pytest.raises(StoreError, match=wrong) as told:
            open_store(url)
        assert "hunter2" not in str(told.value)


def test_the_server_s_clock_counts(redis_server, tmp_path, monkeypatch):
    """The clocks of the machines that call do not matter."""
    store = open_store(f"{redis_server.url}?namespace={tmp_path.name}")
    minute = [Charge("session:s", "c", 1, 1, 60, "/r")]
    assert isinstance(store.reserve(minute), Reservation)
    monkeypatch.setattr(time, "time", lambda: 5e9)
    refusal = store.reserve(minute)
    assert isinstance(refusal, Full)
    assert 55 < refusal.retry_after <= 61
    store.close()


SHIM = """
#define _GNU_SOURCE
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>
int gettimeofday(struct timeval *now, void *zone) {
    struct stat ahead;
    int done = syscall(SYS_gettimeofday, now, zone);
    if (stat("ahead", &ahead) == 0) now->tv_sec += ahead.st_size;
    return done;
}
"""


@pytest.fixture
def stepped_redis(own_redis, tmp_path, monkeypatch):
    """A server whose clock is ahead by as many seconds as a file of it has bytes."""
    if shutil.which("gcc") is None:
        pytest.skip("gcc is not installed, which makes the clock that can be set")
    (tmp_path / "shim.c").write_text(SHIM)
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", tmp_path / "shim.so", tmp_path / "shim.c"], check=True)
    monkeypatch.setenv("LD_PRELOAD", str(tmp_path / "shim.so"))
    server = own_redis("--appendonly", "yes")
    monkeypatch.delenv("LD_PRELOAD")
    return server


class TestServerClock:
    @pytest.mark.parametrize("align", ["rolling", "utc"])
    @pytest.mark.parametrize("road", ["sync", "async"])
    def test_a_step_forward_frees_nothing_for_any_guard_that_was_there(self, stepped_redis, align, road):
        day = [one(3)[0]._replace(window=86_400, align=align)]
        first, second = open_store(stepped_redis.url), open_store(stepped_redis.url)

        def ask(store):
            if road == "sync":
                return store.reserve(day)

            async def task():
                answer = await store.areserve(day)
                await store.aclose()
                return answer

            return asyncio.run(task())

        assert [type(ask(first)) for _ in range(4)] == [Reservation] * 3 + [Full]
        second.put("approval", b"kept", 600)
        ahead = stepped_redis.directory / "ahead"
        for seconds in (3_600, 80_000, 0, 40_000):
            ahead.write_bytes(b"." * seconds)
            for store in (second, first, open_store(stepped_redis.url)):
                assert isinstance(ask(store), Full), seconds
        assert second.get("approval") == b"kept"
        # The step is taken back as far as it went: time goes on, and a refund finds its slot.
        assert first.usage("session:s")[0].used == 3

    def test_a_step_ages_no_mark(self, stepped_redis):
        label = Mark("session:s", "label", "untrusted", "t")
        deny = SessionCondition("session:s", "label", ("untrusted",), "deny", "/after/0", within=600)
        need = deny._replace(kind="succeeded", then="need")
        first, second = open_store(stepped_redis.url), open_store(stepped_redis.url)
        for store in (first, second):
            store.note([label, label._replace(kind="succeeded")])
        ahead = stepped_redis.directory / "ahead"
        for seconds in (3_600, 80_000):
            ahead.write_bytes(b"." * seconds)
            for store in (second, first, open_store(stepped_redis.url)):
                assert isinstance(store.reserve([], None, (), SessionRules((deny,))), Bound), seconds
                assert isinstance(store.reserve([], None, (), SessionRules((need,))), Reservation), seconds
        # Back again, nobody can tell how much time went by: it goes on binding, and satisfies nobody.
        ahead.write_bytes(b"")
        for store in (second, first, open_store(stepped_redis.url)):
            assert isinstance(store.reserve([], None, (), SessionRules((deny,))), Bound)
            assert isinstance(store.reserve([], None, (), SessionRules((need,))), Bound)

    def test_what_passes_here_is_what_passes_there(self):
        passed = [1_000]
        told = ServerTime(lambda: passed[0])
        assert told.ask() == (1_000, b"")
        told.answered(1_000, 5_000_000)
        passed[0] += 3_000_000
        asked, most = told.ask()
        assert (asked, most) == (3_001_000, b"<8003000")
        told.answered(asked, 0)
        assert told.ask()[1] == most


def test_idle_counters_and_values_leave_the_server_by_themselves(redis_server, tmp_path):
    store = open_store(f"{redis_server.url}?namespace={tmp_path.name}")
    store.reserve(one())
    store.put("k", b"v", 60)
    store.put("forever", b"v")
    client, tag = store._client, f"{{{tmp_path.name}}}"
    assert 86_400 < client.ttl(f"{tag}:scope:session:s") <= 2 * 86_400 + 3700
    assert 86_400 < client.ttl(f"{tag}:value:k") <= 86_400 + 60
    assert client.ttl(f"{tag}:value:forever") == -1
    store.close()


def test_without_the_client_library_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "redis", None)
    for name in ("store", "connection"):
        monkeypatch.delitem(sys.modules, f"guarded_tools.stores.redis.{name}", raising=False)
    with pytest.raises(StoreError, match=r"guarded-tools\[redis\]"):
        open_store("redis://localhost")


class CancelledAt:
    """Awaits a coroutine, and cancels the task it runs in when it waits for the ``step``-th time."""

    def __init__(self, work, step):
        self.work, self.step, self.waited = work, step, 0

    def __await__(self):
        waits = self.work.__await__()
        send, value = waits.send, None
        while True:
            try:
                waited_for = send(value)
            except StopIteration as end:
                return end.value
            self.waited += 1
            if self.waited == self.step:
                asyncio.current_task().cancel()
            try:
                send, value = waits.send, (yield waited_for)
            except BaseException as error:
                send, value = waits.throw, error


@pytest.mark.parametrize("work", [lambda store: store.areserve(one(10**6)), lambda store: store.ascan("x/")])
def test_a_cancellation_is_felt_wherever_a_task_waits_for_the_server(redis_server, tmp_path, work):
    store = open_store(f"{redis_server.url}?namespace={tmp_path.name}")

    async def cancelled_at(step):
        asking = CancelledAt(work(store), step)

        async def ask():
            return await asking

        task = asyncio.create_task(ask())
        await asyncio.wait({task})
        assert task.cancelled() == (asking.waited >= step), f"cancelled at wait {step} of {asking.waited}"
        return task.cancelled()

    async def story():
        await work(store)  # connected
        step = 1
        while await cancelled_at(step):
            await work(store)
            step += 1
        await store.aclose()
        return step - 1

    assert asyncio.run(story()) >= 1
    store.close()
