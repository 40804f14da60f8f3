"""The thread that blocks: what it hands back, what becomes of lines whose callers leave, and of forks and ends."""

import asyncio
import contextlib
import contextvars
import gc
import os
import subprocess
import threading

import pytest

from guarded_tools import Guard, Policy, ToolCall, open_store
from guarded_tools.audit import AuditLog, verify
from guarded_tools.flow import Await, blocks, together
from guarded_tools.flow.job import Left
from guarded_tools.flow.worker import Worker
from guarded_tools.stores.memory import MemoryStore
from guarded_tools.values import Charge, Reservation
from tests import forked

POLICY = Policy.model_validate(
    {"version": "1", "default": "deny", "tools": {"t": {"limits": [{"counter": "c", "window": 3600, "max": 1000}]}}}
)
ONE = (Charge("session:s", "c", 1, 1000, 3600, "/limits/c"),)


def give(value):
    return value


def fail(error):
    raise error


class Gate:
    """Keeps a worker inside a step until a test lets it out."""

    def __init__(self):
        self.inside = threading.Event()
        self.out = threading.Event()

    def __call__(self, value=None):
        self.inside.set()
        assert self.out.wait(10)
        return value

    async def entered(self):
        await asyncio.to_thread(self.inside.wait, 10)


async def settled(worker):
    """Wait until the worker did all that was left to it, and what came of that."""
    for _ in range(3):
        await worker.call(int)


@pytest.fixture
def worker():
    return Worker()


async def test_a_line_walks_in_a_thread_of_its_own_and_awaits_in_its_task(worker):
    seen: dict[str, object] = {}

    async def here():
        seen["awaited"] = (threading.current_thread(), asyncio.current_task())
        return 2

    def line():
        seen["line"] = threading.current_thread()
        one = yield Await(give, None, (1,))
        two = yield Await(give, here)
        return [one, two]

    assert await worker.drive(line()) == [1, 2]
    assert seen["line"] is not threading.current_thread()
    assert seen["awaited"] == (threading.current_thread(), asyncio.current_task())


@pytest.mark.parametrize("error", [ValueError("v"), KeyError("k"), SystemExit(3), asyncio.CancelledError("c")])
async def test_what_a_step_raises_reaches_the_line_and_comes_back_as_the_same_object(worker, error):
    seen = []

    def line():
        try:
            yield Await(fail, None, (error,))
        except BaseException as caught:
            seen.append(caught)
            raise

    with pytest.raises(type(error)) as raised:
        await worker.drive(line())
    assert raised.value is error
    assert seen == [error]


async def test_a_line_sees_the_context_variables_of_its_caller_in_each_of_its_turns(worker):
    who = contextvars.ContextVar("who", default="nobody")
    who.set("ann")

    async def here():
        await asyncio.sleep(0)

    def line():
        first = who.get()
        yield Await(give, here)
        return first, who.get(), (yield Await(who.get, None))

    assert await worker.drive(line()) == ("ann", "ann", "ann")


async def test_a_marked_twin_is_its_sync_method_in_the_worker(worker):
    @blocks
    async def never():
        raise AssertionError("it is not awaited")

    def line():
        return (yield Await(threading.current_thread, never))

    assert await worker.drive(line()) is not threading.current_thread()


class Many:
    """Does something for many at once, and says how many they were."""

    def __init__(self):
        self.sizes = []

    @together("doubled_together")
    def doubled(self, value):
        return 2 * value

    def doubled_together(self, calls):
        self.sizes.append(len(calls))
        return [KeyError(value) if value % 10 == 9 else 2 * value for (value,) in calls]


async def test_what_waits_together_is_done_together_and_each_gets_its_own(worker):
    many, gate = Many(), Gate()

    def line(value):
        return (yield Await(many.doubled, None, (value,)))

    blocker = asyncio.create_task(worker.call(gate))
    await gate.entered()
    tasks = [asyncio.create_task(worker.drive(line(value))) for value in range(50)]
    await asyncio.sleep(0)
    gate.out.set()
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    await blocker
    assert many.sizes == [50]
    for value, answer in enumerate(answers):
        assert (isinstance(answer, KeyError) and answer.args == (value,)) if value % 10 == 9 else answer == 2 * value


async def test_a_companion_that_fails_fails_each(worker):
    many, gate = Many(), Gate()
    many.doubled_together = lambda calls: fail(OSError("gone"))

    def line(value):
        return (yield Await(many.doubled, None, (value,)))

    blocker = asyncio.create_task(worker.call(gate))
    await gate.entered()
    tasks = [asyncio.create_task(worker.drive(line(value))) for value in range(3)]
    await asyncio.sleep(0)
    gate.out.set()
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    await blocker
    assert [type(answer) for answer in answers] == [OSError] * 3


# Callers who leave


async def test_a_line_whose_caller_left_before_its_turn_never_begins(worker):
    gate, begun = Gate(), []
    blocker = asyncio.create_task(worker.call(gate))
    await gate.entered()
    task = asyncio.create_task(worker.call(begun.append, 1))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    gate.out.set()
    await blocker
    await settled(worker)
    assert begun == []


async def test_a_line_whose_caller_left_in_its_turn_is_brought_to_its_end(worker):
    gate, seen = Gate(), []

    async def body():
        raise AssertionError("nobody waits for this")

    def line():
        yield Await(gate, None)
        try:
            yield Await(give, body, foreign=True)
        except Left:
            seen.append((yield Await(give, None, ("given back",))))
            raise

    task = asyncio.create_task(worker.drive(line()))
    await gate.entered()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):  # at once: the worker is still inside
        await task
    gate.out.set()
    await settled(worker)
    assert seen == ["given back"]


async def test_a_caller_cancelled_between_the_workers_answer_and_its_own_turn_leaves_nothing_behind(worker):
    """The answer is on its way and nobody will take it: the narrowest gap there is, and every wait falls into it."""
    seen = []

    async def body():
        raise AssertionError("nobody waits for this")

    def line(done):
        try:
            yield Await(done.set, None)
            yield Await(give, body, foreign=True)
        except Left:
            seen.append("given back")
            raise

    for _ in range(20):
        done = threading.Event()
        task = asyncio.create_task(worker.drive(line(done)))
        await asyncio.sleep(0)
        while not done.wait(0.001):  # holds the loop up, so that the answer cannot be taken before the cancellation
            pass
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    await settled(worker)
    assert seen == ["given back"] * 20


async def test_what_was_on_its_way_to_a_caller_who_left_is_done_where_it_is_not_the_callers_own(worker):
    """As above, at a step of the guard's that its task would have awaited: what follows a body must not be lost."""
    told = []

    async def atell(_):
        raise AssertionError("nobody waits for this")

    def line(done, number):
        yield Await(done.set, None)
        with contextlib.suppress(ValueError):
            yield Await(told.append if number % 2 else fail, atell, (number if number % 2 else ValueError(),))
        told.append(number)

    for number in range(20):
        done = threading.Event()
        task = asyncio.create_task(worker.drive(line(done, number)))
        await asyncio.sleep(0)
        while not done.wait(0.001):  # holds the loop up, as above
            pass
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    await settled(worker)
    assert told == [number for each in range(20) for number in ([each, each] if each % 2 else [each])]


async def test_steps_with_a_client_of_their_own_are_done_where_nobody_waits_any_more(worker):
    gate, undone = Gate(), []

    async def aundo(_):
        raise AssertionError("no loop waits for this")

    def line():
        yield Await(gate, None)
        try:
            yield Await(give, give, foreign=True)
        except Left:
            yield Await(undone.append, aundo, (1,))
            raise

    task = asyncio.create_task(worker.drive(line()))
    await gate.entered()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    gate.out.set()
    await settled(worker)
    assert undone == [1]


def test_a_loop_that_is_closed_over_a_waiting_line_leaves_nothing_behind(worker):
    gate, seen = Gate(), []

    def line():
        yield Await(gate, None)
        try:
            yield Await(give, give, foreign=True)
        except Left:
            seen.append("given back")
            raise

    loop = asyncio.new_event_loop()
    task = loop.create_task(worker.drive(line()))
    loop.run_until_complete(gate.entered())
    loop.run_until_complete(loop.shutdown_default_executor())
    loop.close()
    gate.out.set()
    asyncio.run(settled(worker))
    assert seen == ["given back"]
    task._log_destroy_pending = False


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_task_that_is_thrown_away_in_its_body_is_recorded_as_of_unknown_outcome(tmp_path):
    store = MemoryStore()
    guard = Guard(POLICY, store=store, audit=tmp_path / "audit.jsonl", session="s")

    started = asyncio.Event()

    async def body(_):
        started.set()
        await asyncio.Event().wait()

    loop = asyncio.new_event_loop()

    async def begin():
        task = asyncio.create_task(guard.acall(ToolCall("t", {}, "s"), body))
        await started.wait()
        return task

    task = loop.run_until_complete(begin())
    loop.close()
    task._log_destroy_pending = False
    task.get_coro().close()  # as the garbage collector does
    asyncio.run(settled(guard._worker))
    assert '"outcome":"unknown"' in (tmp_path / "audit.jsonl").read_text()
    assert [usage.used for usage in store.usage("session:s")] == [1]


async def test_what_was_reserved_for_a_caller_who_left_is_given_back(tmp_path):
    store = await asyncio.to_thread(open_store, f"disk://{tmp_path}")
    with store._access._lock:
        task = asyncio.create_task(store.areserve(ONE))
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    await settled(store.worker)
    assert sum(usage.used for usage in await asyncio.to_thread(store.usage)) == 0
    assert isinstance(await store.areserve(ONE), Reservation)


async def test_a_call_cancelled_while_it_is_admitted_runs_nothing_and_gives_its_charge_back(tmp_path):
    store = MemoryStore()
    audit = AuditLog(tmp_path / "audit.jsonl")
    guard = Guard(POLICY, store=store, audit=audit, session="s")
    ran = []

    async def body(_):
        ran.append(1)

    for _ in range(10):
        audit._lock.acquire()  # as another thread of the process would
        task = asyncio.create_task(guard.acall(ToolCall("t", {}, "s"), body))
        while not any(usage.used for usage in await asyncio.to_thread(store.usage, "session:s")):
            pass
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        audit._lock.release()
        await settled(guard._worker)
        assert [usage.used for usage in await asyncio.to_thread(store.usage, "session:s")] == [0]
    assert ran == []
    lines = (tmp_path / "audit.jsonl").read_text()
    assert lines.count('"kind":"admitted"') == lines.count('"outcome":"never_ran"') == 10


# Many callers


def test_loops_threads_and_sync_callers_of_one_guard_are_counted_exactly(tmp_path):
    guard = Guard(POLICY, store=f"disk://{tmp_path}", audit=tmp_path / "audit.jsonl", session="s")
    ran = []

    async def body(_):
        ran.append(1)

    def of_a_loop():
        async def main():
            await asyncio.gather(*(guard.acall(ToolCall("t", {}, "s"), body) for _ in range(40)))

        asyncio.run(main())

    def sync():
        for _ in range(40):
            guard.call(ToolCall("t", {}, "s"), lambda _: ran.append(1))

    threads = [threading.Thread(target=target) for target in (of_a_loop, of_a_loop, of_a_loop, sync, sync)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(ran) == 200
    assert [usage.used for usage in guard.usage("s")] == [200]
    lines = (tmp_path / "audit.jsonl").read_text().splitlines()
    assert len(lines) == 400
    assert verify(tmp_path / "audit.jsonl") == []


@pytest.mark.parametrize("scopes", [["session"], ["session", "global"]], ids=["one scope", "two scopes"])
def test_of_many_at_once_exactly_so_many_pass_as_the_limit_allows(tmp_path, scopes):
    limits = [
        {"counter": f"c{scope}", "window": 3600, "max": 30 if scope == "session" else 60, "scope": scope}
        for scope in scopes
    ]
    policy = Policy.model_validate({"version": "1", "default": "deny", "tools": {"t": {"limits": limits}}})
    guard = Guard(policy, store=f"disk://{tmp_path}", audit=tmp_path / "audit.jsonl", session="s")
    ran = []

    async def body(_):
        ran.append(1)

    async def main():
        calls = (guard.acall(ToolCall("t", {}, "s"), body) for _ in range(100))
        return await asyncio.gather(*calls, return_exceptions=True)

    answers = asyncio.run(main())
    assert len(ran) == 30
    assert [answer.outcome for answer in answers if answer is not None] == ["limited"] * 70
    assert {usage.used for usage in guard.usage()} == {30}


# Forks and ends


@pytest.mark.may_block("a fork, which closes what must not be open meanwhile, holds up everybody in any case")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no forks here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_has_a_worker_of_its_own_and_leaves_the_parents_lines_alone(tmp_path):
    guard = Guard(POLICY, store=f"disk://{tmp_path}", audit=tmp_path / "audit.jsonl", session="s")

    async def one():
        async def body(_):
            return "done"

        return await guard.acall(ToolCall("t", {}, "s"), body)

    async def parent():
        async def body(_):
            if (child := os.fork()) == 0:
                try:
                    code = []
                    thread = threading.Thread(target=lambda: code.append(asyncio.run(one())))
                    thread.start()
                    thread.join(20)
                    os._exit(0 if code == ["done"] else 1)
                finally:
                    os._exit(2)
            _, status = await asyncio.to_thread(os.waitpid, child, 0)
            return os.waitstatus_to_exitcode(status)

        return await guard.acall(ToolCall("t", {}, "s"), body)

    assert asyncio.run(parent()) == 0
    assert [usage.used for usage in guard.usage("s")] == [2]
    assert len((tmp_path / "audit.jsonl").read_text().splitlines()) == 4


ENDS = """
import asyncio, sys, threading
from guarded_tools import Guard, Policy, ToolCall

policy = Policy.model_validate({"version": "1", "default": "allow"})
guard = Guard(policy, store=f"disk://{sys.argv[1]}", audit=f"{sys.argv[1]}/audit.jsonl", session="s")

async def body(_):
    ended.set()

async def leave():
    task = asyncio.create_task(guard.acall(ToolCall("t", {}, "s"), body))
    while not ended.is_set():
        await asyncio.sleep(0)
    # The loop stops here, and the program with it, while the line of what the body did is still to be written.

ended = threading.Event()
loop = asyncio.new_event_loop()
loop.run_until_complete(leave())
"""


def test_a_program_that_ends_with_work_queued_writes_it_down(tmp_path):
    for _ in range(3):
        ended = subprocess.run(
            [forked.PYTHON, "-c", ENDS, str(tmp_path)], capture_output=True, text=True, timeout=60, check=False
        )
        assert ended.returncode == 0, ended.stderr
    lines = (tmp_path / "audit.jsonl").read_text()
    assert lines.count('"kind":"admitted"') == lines.count('"kind":"settled"') == 3
    assert verify(tmp_path / "audit.jsonl") == []


AT_THE_END = """
import asyncio, atexit, sys
from guarded_tools import Guard, Policy, ToolCall

async def call():
    async def body(_):
        return "done"
    return await guard.acall(ToolCall("t", {}, "s"), body)

def last():
    try:
        print(asyncio.run(call()))
    except Exception as error:
        print(type(error).__name__)

atexit.register(last)
policy = Policy.model_validate({"version": "1", "default": "allow"})
guard = Guard(policy, store="memory://", audit=f"{sys.argv[1]}/audit.jsonl", session="s")
print(asyncio.run(call()))
"""


def test_a_call_made_while_the_program_ends_is_answered(tmp_path):
    ended = subprocess.run(
        [forked.PYTHON, "-c", AT_THE_END, str(tmp_path)], capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.stdout.split() == ["done", "done"], ended.stderr


def test_a_worker_that_is_dropped_ends_its_thread():
    worker = Worker("dropped")
    asyncio.run(worker.call(int))
    thread = worker._thread
    assert thread.is_alive()
    del worker
    gc.collect()
    thread.join(10)
    assert not thread.is_alive()
