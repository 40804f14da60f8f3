"""Counters of a fleet, on a Redis or Valkey server: exact across machines, one round trip a call."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeVar

from redis.exceptions import RedisError

from guarded_tools.marks import Bound, Carried, Mark, SessionRules
from guarded_tools.stores.carried import in_order
from guarded_tools.stores.common import busiest, busiest_first, check_scope
from guarded_tools.stores.redis.cancellation import cancellable
from guarded_tools.stores.redis.connection import RedisConnection
from guarded_tools.stores.redis.opened import to_bytes, to_text
from guarded_tools.stores.redis.protocol import (
    HALT,
    RESET,
    halts_in,
    literal,
    names_range,
)
from guarded_tools.values import Charge, Full, Halted, Reservation, Usage

_PAGE = 500

T = TypeVar("T")


class RedisStore(RedisConnection):
    """A store on a Redis server, version 6.2 or newer, or on Valkey.

    Args:
        url: ``redis://[[user]:password@]host[:port][/db]``, or ``rediss://`` for TLS; see
            :class:`~guarded_tools.stores.redis.address.Address` for its options.
        clock: Where the time comes from when a call hands in none. Default: the server's own.

    Raises:
        StoreError: the server cannot be reached, or might forget counters by itself.
    """

    def reserve(
        self,
        charges: Sequence[Charge],
        now: float | None = None,
        scopes: Sequence[str] = (),
        rules: SessionRules | None = None,
    ) -> Reservation | Full | Halted | Bound:
        """Take all charges and leave all marks, or neither, in one round trip."""
        return self._ask(self._script.attempt(b"reserve", charges, now, scopes, rules))

    def peek(
        self,
        charges: Sequence[Charge],
        now: float | None = None,
        scopes: Sequence[str] = (),
        rules: SessionRules | None = None,
    ) -> Full | Halted | Bound | None:
        """Say what :meth:`reserve` would refuse, and change nothing."""
        return _refusal(self._ask(self._script.attempt(b"peek", charges, now, scopes, rules)))

    def refund(self, reservation: Reservation, now: float | None = None) -> int:
        """Give back the refundable charges of a reservation, once, each in the slot it was taken from."""
        return 0 if next(reservation.refunds, 1) else self._ask(self._script.refund(reservation, now))

    def settle(self, reservation: Reservation, amounts: Sequence[int], now: float | None = None) -> None:
        """Put what a call has really taken in the place of what was reserved, once."""
        if not next(reservation.refunds, 1):
            self._ask(self._script.settle(reservation, amounts, now))

    def note(self, marks: Sequence[Mark], now: float | None = None) -> None:
        """Keep marks, all or none."""
        self._ask(self._script.note(marks, now))

    def carried(self, scope: str | None = None, now: float | None = None) -> list[Carried]:
        """List the marks of one scope, or of all: labels first, then by when they were brought."""
        names = self._scopes() if scope is None else [scope]
        return in_order(mark for name in names for mark in self._ask(self._script.carried(name, now)))

    def clear(self, scope: str, label: str) -> bool:
        """Take a label away from a scope."""
        return self._ask(self._script.clear(scope, label))

    def usage(self, scope: str | None = None, now: float | None = None, most: int | None = None) -> list[Usage]:
        """List the counters of one scope, or of all (the ``most`` busiest that hold something), busiest first."""
        if scope is not None:
            listed = self._ask(self._script.usage(scope, now, idle_too=True))
            return busiest_first(listed)

        def held(name: str) -> list[Usage]:
            return self._ask(self._script.usage(name, now, idle_too=False))

        names = self._scopes()
        if most is None:
            return busiest_first(usage for name in names for usage in held(name))
        pages = (self._ask(self._script.fullest(page, now)) for page in _pages(names))
        return busiest((told for page in pages for told in page), held, most)

    def reset(self, scope: str | None = None) -> int:
        """Forget the counters and marks of one scope, or of all."""
        names = self._scopes() if scope is None else [scope]
        # Off the list first: what is on it and gone would be missed.
        if scope is None:
            self._run(self._client.zremrangebyscore, self._script.listed, "-inf", "(inf")
            # If the list is what was lost, there is one again.
            self._run(self._client.zadd, self._script.listed, {"": "inf"})
        else:
            self._run(self._client.zrem, self._script.listed, self._script.scope(scope))
        forgotten: int = sum(self._run(self._client.delete, self._script.scope(name)) for name in names)
        if scope is None:
            # Whoever missed the state that was before may go on with this one.
            self._run(self._client.hset, self._script.state, RESET, 1)
        return forgotten

    def prune(self, now: float | None = None) -> int:
        """Forget scopes that hold nothing and values that have expired, before the server does. Returns how many."""
        idle = sum(self._ask(self._script.prune(name, now)) for name in self._scopes())
        names = self._run(self._client.zrangebylex, self._script.names, *names_range(""))
        return idle + len(names) - len(self._sift(names))

    def halt(self, scope: str, reason: str) -> None:
        """Admit no call of ``scope`` any more, on any machine."""
        self._ask(self._script.halt(scope, reason))

    def resume(self, scope: str) -> bool:
        """Admit calls of ``scope`` again."""
        return bool(self._run(self._client.hdel, self._script.state, HALT + to_bytes(check_scope(scope))))

    def halts(self) -> list[Halted]:
        """List what is halted, oldest first."""
        return halts_in(self._run(self._client.hgetall, self._script.state))

    def put(self, key: str, value: bytes, ttl: float | None = None) -> None:
        """Keep ``value`` for ``ttl`` seconds, replacing what was there."""
        self._ask(self._script.keep(key, value, ttl, only_new=False))

    def add(self, key: str, value: bytes, ttl: float | None = None) -> bool:
        """Keep ``value`` unless the key is held; of many adders exactly one is told ``True``."""
        return self._ask(self._script.keep(key, value, ttl, only_new=True))

    def get(self, key: str) -> bytes | None:
        """Read what :meth:`put` kept, or ``None``."""
        return self._ask(self._script.get(key))

    def take(self, key: str) -> bytes | None:
        """Read and remove; of many takers exactly one gets the value."""
        return self._ask(self._script.take(key))

    def scan(self, prefix: str) -> list[tuple[str, bytes]]:
        """List the live entries whose key begins with ``prefix``, in the order of their keys."""
        return self._sift(self._run(self._client.zrangebylex, self._script.names, *names_range(prefix)))

    async def areserve(
        self,
        charges: Sequence[Charge],
        now: float | None = None,
        scopes: Sequence[str] = (),
        rules: SessionRules | None = None,
    ) -> Reservation | Full | Halted | Bound:
        """:meth:`reserve`, for asyncio."""
        return await self._aask(self._script.attempt(b"reserve", charges, now, scopes, rules))

    async def apeek(
        self,
        charges: Sequence[Charge],
        now: float | None = None,
        scopes: Sequence[str] = (),
        rules: SessionRules | None = None,
    ) -> Full | Halted | Bound | None:
        """:meth:`peek`, for asyncio."""
        return _refusal(await self._aask(self._script.attempt(b"peek", charges, now, scopes, rules)))

    async def arefund(self, reservation: Reservation, now: float | None = None) -> int:
        """:meth:`refund`, for asyncio."""
        return 0 if next(reservation.refunds, 1) else await self._aask(self._script.refund(reservation, now))

    async def asettle(self, reservation: Reservation, amounts: Sequence[int], now: float | None = None) -> None:
        """:meth:`settle`, for asyncio."""
        if not next(reservation.refunds, 1):
            await self._aask(self._script.settle(reservation, amounts, now))

    async def anote(self, marks: Sequence[Mark], now: float | None = None) -> None:
        """:meth:`note`, for asyncio."""
        await self._aask(self._script.note(marks, now))

    async def aput(self, key: str, value: bytes, ttl: float | None = None) -> None:
        """:meth:`put`, for asyncio."""
        await self._aask(self._script.keep(key, value, ttl, only_new=False))

    async def aadd(self, key: str, value: bytes, ttl: float | None = None) -> bool:
        """:meth:`add`, for asyncio."""
        return await self._aask(self._script.keep(key, value, ttl, only_new=True))

    async def aget(self, key: str) -> bytes | None:
        """:meth:`get`, for asyncio."""
        return await self._aask(self._script.get(key))

    async def atake(self, key: str) -> bytes | None:
        """:meth:`take`, for asyncio."""
        return await self._aask(self._script.take(key))

    async def ascan(self, prefix: str) -> list[tuple[str, bytes]]:
        """:meth:`scan`, for asyncio."""
        try:
            names = await cancellable(self._aclient().zrangebylex(self._script.names, *names_range(prefix)))
        except (RedisError, OSError) as error:
            raise self._failed(error) from error
        return [entry for page in _pages(names) for entry in await self._aask(self._script.sift(page))]

    def _sift(self, names: Sequence[bytes]) -> list[tuple[str, bytes]]:
        return [entry for page in _pages(names) for entry in self._ask(self._script.sift(page))]

    def _scopes(self) -> list[str]:
        prefix = self._script.scopes
        found = self._run(lambda: set(self._client.scan_iter(literal(prefix) + b"*", count=_PAGE)))
        return [to_text(key[len(prefix) :]) for key in found]


def _refusal(answer: Reservation | Full | Halted | Bound) -> Full | Halted | Bound | None:
    return None if isinstance(answer, Reservation) else answer


def _pages(names: Sequence[T]) -> Iterator[Sequence[T]]:
    return (names[first : first + _PAGE] for first in range(0, len(names), _PAGE))
