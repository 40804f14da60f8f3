"""What every store promises, and the asyncio half of those whose calls block.

:class:`Store` is the contract, which one suite of tests runs against every backend, both ways. Three things of it are
easily overlooked by whoever writes another one:

- *One transaction* covers halts, limits, rules across calls, charges and marks. What is looked at first and taken later
  can be taken twice.
- *Refused is refused*: where a store cannot tell what was counted, it raises ``StoreError``, and no call is admitted.
  It never begins at zero by itself.
- *A clock is handed in or it is not.* With ``now`` the store uses no clock of its own in that call, so that a test, or
  a replay, gets the same answer on every machine.

:class:`BlockingStore` makes the asyncio half out of the other one: each twin is its sync method in one thread of the
store's own (:class:`~guarded_tools.flow.worker.Worker`). One thread and not a pool, since calls of one process would
only wait for each other at the store's lock. A task that is cancelled does not stop what that thread has begun:

=====================  =================================================================================================
cancelled              and so
=====================  =================================================================================================
before it was begun    it is not begun
while it runs          it is brought to its end; what :meth:`~BlockingStore.areserve` took by then is given back, in the
                       thread's next turn, since no body will run for it
after it has ended     the same: the answer reached nobody
=====================  =================================================================================================
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol, runtime_checkable

from guarded_tools.flow import blocks
from guarded_tools.flow.worker import Worker
from guarded_tools.marks import Bound, Carried, Mark, SessionRules
from guarded_tools.values import Charge, Full, Halted, Reservation, Usage


class StopButton(Protocol):
    """What halts calls: on disk it works without the counters, in whatever state these are."""

    def halt(self, scope: str, reason: str) -> None:
        """Press the stop button, as :meth:`Store.halt`."""
        ...

    def resume(self, scope: str) -> bool:
        """Release it, as :meth:`Store.resume`."""
        ...

    def halts(self) -> list[Halted]:
        """List what is halted, as :meth:`Store.halts`."""
        ...


@runtime_checkable
class Store(Protocol):
    """Counters that hold exactly across threads and processes, and a small keyed memory.

    Those that a call needs have an ``a…`` twin for asyncio callers, which never blocks the event loop. Inherit from
    :class:`BlockingStore` to get them all.
    ``now`` is in seconds since the epoch and is handed in only where a clock was injected; otherwise the store uses
    its own clock. All raise :class:`~guarded_tools.errors.StoreError` when the state cannot be relied on.
    """

    def reserve(
        self,
        charges: Sequence[Charge],
        now: float | None = None,
        scopes: Sequence[str] = (),
        rules: SessionRules | None = None,
    ) -> Reservation | Full | Halted | Bound:
        """Take all charges and leave all marks of ``rules``, or neither, in one transaction.

        What refuses comes in this order: a halt of any scope in ``scopes``, of any charge's scope or of ``global``; the
        first rule that denies, or needs what it does not find; of the charges that do not fit the one that has to wait
        longest; all rules that ask. Rules are judged by what was there before this call's own marks.

        Raises:
            StoreError: a scope would carry more than 64 labels and names of tools. Of calls that succeeded it knows 128
                of one tool and 512 in all; there the oldest give way.
        """
        ...

    def refund(self, reservation: Reservation, now: float | None = None) -> int:
        """Give back the refundable charges of a reservation, each in the very slot it was taken from.

        At most ``max`` refunds a counter and window. A slot that has aged out is left alone. Returns how many
        charges were given back; a second refund of one reservation gives nothing.
        """
        ...

    def settle(self, reservation: Reservation, amounts: Sequence[int], now: float | None = None) -> None:
        """Put what a call has really taken in the place of what was reserved, in one transaction.

        ``amounts`` are the true ones, one a charge. What is more than was reserved is kept, also beyond the limit, so
        that it blocks the calls that come next; where the slot has freed meanwhile, it counts from now on. What is less
        is given back, unless the slot has freed. A reservation is settled or refunded, and once: whatever comes second
        does nothing.

        Raises:
            StoreError: an amount is negative or no whole number, or the state cannot be relied on. What was reserved
                stays.
        """
        ...

    def peek(
        self,
        charges: Sequence[Charge],
        now: float | None = None,
        scopes: Sequence[str] = (),
        rules: SessionRules | None = None,
    ) -> Full | Halted | Bound | None:
        """Say what :meth:`reserve` would refuse, and change nothing."""
        ...

    def note(self, marks: Sequence[Mark], now: float | None = None) -> None:
        """Keep what is to be known of a call that has ended: all marks or none, in one transaction."""
        ...

    def carried(self, scope: str | None = None, now: float | None = None) -> list[Carried]:
        """List the marks of one scope, or of all: labels first, then by when they were brought first.

        Calls of a tool that succeeded are one entry, however many digests there are.
        """
        ...

    def clear(self, scope: str, label: str) -> bool:
        """Take a label away from a scope, in one transaction. Returns whether it was there.

        That, and :meth:`reset`, is all that ends a label: a human does it.
        """
        ...

    def usage(self, scope: str | None = None, now: float | None = None, most: int | None = None) -> list[Usage]:
        """List the counters of one scope, or of all (the ``most`` busiest that hold something), busiest first."""
        ...

    def reset(self, scope: str | None = None) -> int:
        """Forget the counters and marks of one scope, or of all. Returns how many scopes were forgotten."""
        ...

    def prune(self, now: float | None = None) -> int:
        """Forget scopes that hold nothing any more and values that have expired. Returns how many.

        A scope that carries a label, or knows of a call that was admitted, is never forgotten; one that only knows what
        succeeded is after thirty days without a call. Never needed for a right answer, only for room; it takes short
        turns, so calls go on meanwhile.
        """
        ...

    def halt(self, scope: str, reason: str) -> None:
        """Press the stop button for ``session:<id>``, ``grant:<id>`` or ``global``.

        No call of that scope is admitted from now on. It outlives restarts and :meth:`reset`. A scope that is halted
        already keeps its time and gets the new reason.
        """
        ...

    def resume(self, scope: str) -> bool:
        """Release the stop button of ``scope``. Returns whether it was pressed."""
        ...

    def halts(self) -> list[Halted]:
        """List what is halted, oldest first."""
        ...

    def put(self, key: str, value: bytes, ttl: float | None = None) -> None:
        """Keep ``value`` for ``ttl`` seconds, replacing what was there."""
        ...

    def add(self, key: str, value: bytes, ttl: float | None = None) -> bool:
        """Keep ``value`` unless the key is held, atomically: of many adders exactly one is told ``True``."""
        ...

    def get(self, key: str) -> bytes | None:
        """Read what :meth:`put` kept, or ``None``."""
        ...

    def take(self, key: str) -> bytes | None:
        """Read and remove, atomically: of many takers exactly one gets the value."""
        ...

    def scan(self, prefix: str) -> Iterable[tuple[str, bytes]]:
        """List the live entries whose key begins with ``prefix``."""
        ...

    def close(self) -> None:
        """Let go of files and connections. The store may be used again afterwards."""
        ...

    async def areserve(
        self,
        charges: Sequence[Charge],
        now: float | None = None,
        scopes: Sequence[str] = (),
        rules: SessionRules | None = None,
    ) -> Reservation | Full | Halted | Bound:
        """Do as :meth:`reserve`, off the event loop."""
        ...

    async def arefund(self, reservation: Reservation, now: float | None = None) -> int:
        """Do as :meth:`refund`, off the event loop."""
        ...

    async def asettle(self, reservation: Reservation, amounts: Sequence[int], now: float | None = None) -> None:
        """Do as :meth:`settle`, off the event loop."""
        ...

    async def apeek(
        self,
        charges: Sequence[Charge],
        now: float | None = None,
        scopes: Sequence[str] = (),
        rules: SessionRules | None = None,
    ) -> Full | Halted | Bound | None:
        """Do as :meth:`peek`, off the event loop."""
        ...

    async def anote(self, marks: Sequence[Mark], now: float | None = None) -> None:
        """Do as :meth:`note`, off the event loop."""
        ...

    async def aput(self, key: str, value: bytes, ttl: float | None = None) -> None:
        """Do as :meth:`put`, off the event loop."""
        ...

    async def aadd(self, key: str, value: bytes, ttl: float | None = None) -> bool:
        """Do as :meth:`add`, off the event loop."""
        ...

    async def aget(self, key: str) -> bytes | None:
        """Do as :meth:`get`, off the event loop."""
        ...

    async def atake(self, key: str) -> bytes | None:
        """Do as :meth:`take`, off the event loop."""
        ...

    async def ascan(self, prefix: str) -> Iterable[tuple[str, bytes]]:
        """Do as :meth:`scan`, off the event loop."""
        ...


class BlockingStore:
    """Gives a store whose calls block its asyncio half: each twin is its sync method, in the store's own thread.

    A guard on such a store has its lines walk in that same thread (:mod:`guarded_tools.flow.worker`), and the
    twins are for everybody else. One whose caller is cancelled is not begun if it had not, and brought to its end
    otherwise.
    """

    # What the twins call; see Store.
    reserve: Callable[..., Reservation | Full | Halted | Bound]
    refund: Callable[..., int]
    settle: Callable[..., None]
    peek: Callable[..., Full | Halted | Bound | None]
    note: Callable[..., None]
    put: Callable[..., None]
    add: Callable[..., bool]
    get: Callable[..., bytes | None]
    take: Callable[..., bytes | None]
    scan: Callable[..., Iterable[tuple[str, bytes]]]

    _worker: Worker | None = None
    _making = threading.Lock()

    @property
    def worker(self) -> Worker:
        """The thread that calls this store for tasks; there is one from the first time it is asked for."""
        if self._worker is None:
            with self._making:
                self._worker = self._worker or Worker("guarded-tools-store")
        return self._worker

    @blocks
    async def areserve(
        self,
        charges: Sequence[Charge],
        now: float | None = None,
        scopes: Sequence[str] = (),
        rules: SessionRules | None = None,
    ) -> Reservation | Full | Halted | Bound:
        """:meth:`Store.reserve`, for asyncio; what was taken for a caller who was cancelled meanwhile is given back."""
        taken: list[Reservation | Full | Halted | Bound] = []

        def reserve() -> Reservation | Full | Halted | Bound:
            taken.append(self.reserve(charges, now, scopes, rules))
            return taken[0]

        def give_back() -> None:
            for each in taken:
                if isinstance(each, Reservation):
                    self.refund(each, now)

        try:
            return await self.worker.call(reserve)
        except BaseException:
            self.worker.later(give_back)  # comes after it
            raise

    @blocks
    async def arefund(self, reservation: Reservation, now: float | None = None) -> int:
        """:meth:`Store.refund`, for asyncio."""
        return await self.worker.call(self.refund, reservation, now)

    @blocks
    async def asettle(self, reservation: Reservation, amounts: Sequence[int], now: float | None = None) -> None:
        """:meth:`Store.settle`, for asyncio."""
        return await self.worker.call(self.settle, reservation, amounts, now)

    @blocks
    async def apeek(
        self,
        charges: Sequence[Charge],
        now: float | None = None,
        scopes: Sequence[str] = (),
        rules: SessionRules | None = None,
    ) -> Full | Halted | Bound | None:
        """:meth:`Store.peek`, for asyncio."""
        return await self.worker.call(self.peek, charges, now, scopes, rules)

    @blocks
    async def anote(self, marks: Sequence[Mark], now: float | None = None) -> None:
        """:meth:`Store.note`, for asyncio."""
        return await self.worker.call(self.note, marks, now)

    @blocks
    async def aput(self, key: str, value: bytes, ttl: float | None = None) -> None:
        """:meth:`Store.put`, for asyncio."""
        return await self.worker.call(self.put, key, value, ttl)

    @blocks
    async def aadd(self, key: str, value: bytes, ttl: float | None = None) -> bool:
        """:meth:`Store.add`, for asyncio."""
        return await self.worker.call(self.add, key, value, ttl)

    @blocks
    async def aget(self, key: str) -> bytes | None:
        """:meth:`Store.get`, for asyncio."""
        return await self.worker.call(self.get, key)

    @blocks
    async def atake(self, key: str) -> bytes | None:
        """:meth:`Store.take`, for asyncio."""
        return await self.worker.call(self.take, key)

    @blocks
    async def ascan(self, prefix: str) -> Iterable[tuple[str, bytes]]:
        """:meth:`Store.scan`, for asyncio."""
        return await self.worker.call(self.scan, prefix)
