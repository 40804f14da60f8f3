"""The thread that blocks, so that no event loop does.

SQLite, files and their locks hold up whoever calls them; on an event loop's thread that is everybody (LangGraph's
server ends a run that does it). So whatever tasks have to do with a store and its audit is done by one thread, a
:class:`Worker`. A line (:mod:`guarded_tools.flow`) walks in that thread, in the caller's context variables, for as long
as it only computes and blocks, and comes back to its task where something has to be awaited: a guarded call crosses
over twice, once before the tool's body and once after.

**Together.** Lines that wait at the same time go in step. Where several have come to a method that has a companion for
many (:func:`guarded_tools.flow.together`), that is called once: one transaction for all reservations, one lock and one
write for all lines of the audit. Results go back by one wake-up of each loop. What the companion promises is its own
business; this thread only makes sure that each line gets its own result or its own error.

**Whose turn it is.** A line is either the worker's (queued or walking) or its task's (waiting at a step of its own).
It goes back to the task by taking the one token of its turn; a task that leaves (it is cancelled, or its loop is
gone) takes that token as well. There is one token, so exactly one of them has it:

- the worker has it: the task owns the line; a task that leaves now hands it back to the worker;
- the task has it, and the line had not begun: it never begins, and nothing was done;
- the task has it otherwise: the worker walks on to the line's end with nobody waiting. Steps that block are done, so
  that what was begun is finished, recorded and given back. At a step that is the caller's own it raises
  :class:`~guarded_tools.flow.job.Left` instead: no body runs, and nobody is asked, for a caller that is gone.

**Fork and exit.** A child has none of this: its worker starts anew, and lines of the parent's tasks are the parent's.
A program that ends waits for what is queued, five seconds at most, before its stores and audits close.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import logging
import os
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from queue import SimpleQueue
from typing import Any, ParamSpec, TypeVar

from guarded_tools.flow import Await, Flow
from guarded_tools.flow.job import Job, taken

T = TypeVar("T")
P = ParamSpec("P")

log = logging.getLogger("guarded_tools")

_AT_MOST = 256
"""How many lines walk in step. Whoever comes while they do waits for the next turn."""

_PATIENCE = 5.0


class Worker:
    """A thread that walks lines for the tasks of any number of event loops.

    It is started by the first line, and ends when the worker is dropped or the program ends. ``name`` is the thread's.
    """

    def __init__(self, name: str = "guarded-tools") -> None:
        self._name = name
        self._starting = threading.Lock()
        self._begin()
        _alive.add(self)

    def _begin(self) -> None:
        """Take up the state without a thread: at first, and in a forked child."""
        self._queue: SimpleQueue[Job | None] = SimpleQueue()
        self._thread: threading.Thread | None = None

    async def drive(self, line: Flow[T]) -> T:
        """Walk a line to its end, and return its value or raise what it raises. Nothing of it blocks the loop.

        A caller who is cancelled comes back at once; what had begun is brought to an end without it (see above).
        """
        job = Job(line, asyncio.get_running_loop())
        while True:
            await self._turn(job)
            step = job.step
            if step is None:
                if job.error is not None:
                    raise job.error
                result: T = job.value
                return result
            assert step.async_ is not None
            queue = self._queue
            try:
                job.next = (line.send, await step.async_(*step.args))
            except GeneratorExit:  # this coroutine is thrown away, and cannot wait for anything
                job.next, job.left = (line.throw, asyncio.CancelledError()), True
                if queue is self._queue:  # in a forked child it is the parent's, which has another queue
                    self._put(job)
                raise
            except BaseException as error:  # noqa: BLE001 - the line decides; what it does not catch comes back out
                job.next = (line.throw, error)

    async def call(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Do what blocks in the worker's thread, and return or raise what it does."""
        return await self.drive(_once(work, args, kwargs))

    def later(self, work: Callable[P, object], *args: P.args, **kwargs: P.kwargs) -> None:
        """Do what blocks in the worker's thread, after all that was asked before. Does not wait; errors are logged."""
        self._put(Job(_once(work, args, kwargs), None))

    async def _turn(self, job: Job) -> None:
        """Have the worker walk a line for as far as it can."""
        queue = self._queue
        assert job.loop is not None
        job.future, job.token = job.loop.create_future(), [None]
        self._put(job)
        try:
            await job.future
        except BaseException:
            if job.leave() and queue is self._queue and job.step is not None:
                job.next = (job.catch_up, job.step)
                self._put(job)
            raise

    def _put(self, job: Job) -> None:
        job.queued = time.monotonic()
        if self._thread is None:
            self._start()
        if self._thread is None or _ending.is_set():
            _walk([job])
        else:
            self._queue.put(job)

    def _start(self) -> None:
        with self._starting:
            if self._thread is None and not _ending.is_set():
                thread = threading.Thread(target=_work, args=(self._queue,), name=self._name, daemon=True)
                with contextlib.suppress(RuntimeError):  # there may be no more threads: then it is done where it is
                    thread.start()
                    self._thread = thread
                if self._thread is None:
                    return
                _threads[thread] = self._queue
                # Garbage is collected anywhere; this queue may be put to from within itself.
                weakref.finalize(self, self._queue.put, None).atexit = False
                # What is registered last runs first: the stores and audits that lines are about are still open.
                atexit.unregister(_at_exit)
                atexit.register(_at_exit)


def _once(work: Callable[..., T], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Flow[T]:
    result: T = yield Await(partial(work, **kwargs) if kwargs else work, None, args)
    return result


def _work(queue: SimpleQueue[Job | None]) -> None:
    """Walk what is queued, until told to end."""
    while True:
        job = queue.get()
        jobs = []
        while job is not None:
            jobs.append(job)
            if len(jobs) == _AT_MOST or queue.empty():
                break
            job = queue.get()
        _walk(jobs)
        if job is None:
            return
        del job, jobs  # an idle worker holds on to nobody's line


def _walk(jobs: Sequence[Job]) -> None:
    """Walk lines in step, each until it ends or has come to a step that is its task's."""
    now = time.monotonic()
    going = [job for job in jobs if job.comes_up(now)]
    while going:
        here: list[Job] = []
        back: list[Job] = []
        for job in going:
            (here if job.walk() and job.is_done_here() else back).append(job)
        if back:
            here += _hand_back(back)
        _take(here)
        going = here


def _take(jobs: Sequence[Job]) -> None:
    """Do the steps that lines have come to: alike ones together, the others one after the other."""
    groups: dict[tuple[int, str], list[Job]] = {}
    for job in jobs:
        step = job.step
        assert step is not None
        name = getattr(step.sync, "together", None) if len(jobs) > 1 else None
        if name is None:
            job.take(step)
        else:
            groups.setdefault((id(step.sync.__self__), name), []).append(job)  # type: ignore[attr-defined]
    for (_, name), members in groups.items():
        _take_together(name, members)


def _take_together(name: str, jobs: Sequence[Job]) -> None:
    """Do one step of many lines by the companion for many."""
    steps = [step for job in jobs if (step := job.step) is not None]
    if len(jobs) == 1:
        return jobs[0].take(steps[0])
    try:
        results = getattr(steps[0].sync.__self__, name)([step.args for step in steps])  # type: ignore[attr-defined]
    except BaseException as error:  # noqa: BLE001 - each line decides for itself
        results = [error] * len(jobs)
    for job, result in zip(jobs, results, strict=True):
        job.given(result)
    return None


def _hand_back(jobs: Iterable[Job]) -> list[Job]:
    """Give lines back to their tasks, one wake-up a loop; returns those that go on here, for nobody waits for them."""
    alone: list[Job] = []
    homes: dict[asyncio.AbstractEventLoop, list[Job]] = {}
    for job in jobs:
        if job.loop is not None and taken(job.token):
            homes.setdefault(job.loop, []).append(job)
        else:
            alone.append(job)
    for loop, home in homes.items():
        try:
            loop.call_soon_threadsafe(_wake, home)
        except RuntimeError:  # it is closed
            for job in home:
                job.left = True
            alone += home
    for job in alone:
        if job.step is None and job.loop is None and job.error is not None:
            log.error("What was left to the worker failed", exc_info=job.error)
    return [job for job in alone if job.step is not None]


def _wake(jobs: Iterable[Job]) -> None:
    for job in jobs:
        if job.future is not None and not job.future.done():
            job.future.set_result(None)


_alive: weakref.WeakSet[Worker] = weakref.WeakSet()
_threads: weakref.WeakKeyDictionary[threading.Thread, SimpleQueue[Job | None]] = weakref.WeakKeyDictionary()
_ending = threading.Event()


def _at_exit() -> None:
    _ending.set()
    deadline = time.monotonic() + _PATIENCE
    for thread, queue in list(_threads.items()):
        queue.put(None)
        thread.join(max(deadline - time.monotonic(), 0))


def _after_fork() -> None:
    _threads.clear()
    for worker in list(_alive):
        worker._starting = threading.Lock()  # noqa: SLF001
        worker._begin()  # noqa: SLF001


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
