"""Counters of a fleet, on a Redis or Valkey server: exact across machines, one round trip a call."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import weakref
from collections.abc import Callable, Iterator, Sequence
from importlib.resources import files
from typing import Any, TypeVar

import redis
import redis.asyncio
from redis.exceptions import NoScriptError, RedisError

from guarded_tools.errors import StateLost, StoreError
from guarded_tools.marks import Bound, Carried, Mark, SessionRules
from guarded_tools.stores.carried import in_order
from guarded_tools.stores.clock import ReadClock
from guarded_tools.stores.common import busiest_first, check_scope
from guarded_tools.stores.redis.address import Address
from guarded_tools.stores.redis.cancellation import cancellable
from guarded_tools.stores.redis.opened import to_bytes, to_text
from guarded_tools.stores.redis.protocol import (
    HALT,
    RESET,
    Command,
    Script,
    halts_in,
    is_elsewhere,
    literal,
    names_range,
)
from guarded_tools.stores.redis.server import Server
from guarded_tools.stores.redis.server_time import ServerTime
from guarded_tools.values import Charge, Full, Halted, Reservation, Usage

R = TypeVar("R")
T = TypeVar("T")

log = logging.getLogger("guarded_tools")

_SCRIPT = "\n".join(
    files(__package__).joinpath(part).read_text(encoding="utf-8")
    for part in ("counters.lua", "marks.lua", "operations.lua")
)
_SHA = hashlib.sha1(_SCRIPT.encode(), usedforsecurity=False).hexdigest()
_PAGE = 500


class RedisStore:
    """A store on a Redis server, version 6.2 or newer, or on Valkey.

    Args:
        url: ``redis://[[user]:password@]host[:port][/db]``, or ``rediss://`` for TLS; see
            :class:`~guarded_tools.stores.redis.address.Address` for its options.
        clock: Where the time comes from when a call hands in none. Default: the server's own.

    Raises:
        StoreError: the server cannot be reached, or might forget counters by itself.
    """

    def __init__(self, url: str, *, clock: ReadClock | None = None) -> None:
        self._address = Address.parse(url)
        self._server = Server(self._address)
        self._script = Script(self._address.namespace, clock)
        self._time = ServerTime()
        self._checked = False
        self._durable = False
        self._id = b""
        self._client = self._server.connect(redis)
        self._loops: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Any] = weakref.WeakKeyDictionary()
        self._run(self._client.ping)

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

    def usage(self, scope: str | None = None, now: float | None = None) -> list[Usage]:
        """List the counters of one scope, or of all scopes that hold something, busiest first."""
        if scope is not None:
            listed = self._ask(self._script.usage(scope, now, idle_too=True))
            return busiest_first(listed)
        return busiest_first(
            usage for name in self._scopes() for usage in self._ask(self._script.usage(name, now, idle_too=False))
        )

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

    def close(self) -> None:
        """Let go of the connections of synchronous callers. The store may be used again afterwards."""
        if self._address.cluster:
            self._client.close()
        else:
            # Those that nobody is using: a connection that is taken from under a call of another thread fails in ways
            # that are no errors of a server.
            self._client.connection_pool.disconnect(inuse_connections=False)

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

    async def aclose(self) -> None:
        """Let go of the connections of the running event loop."""
        client = self._loops.pop(asyncio.get_running_loop(), None)
        if client is not None:
            await client.aclose()

    def _sift(self, names: Sequence[bytes]) -> list[tuple[str, bytes]]:
        return [entry for page in _pages(names) for entry in self._ask(self._script.sift(page))]

    def _scopes(self) -> list[str]:
        prefix = self._script.scopes
        found = self._run(lambda: set(self._client.scan_iter(literal(prefix) + b"*", count=_PAGE)))
        return [to_text(key[len(prefix) :]) for key in found]

    # The two drivers. Each request is one round trip, but for the first after the server forgot the script.

    def _ask(self, request: Command[R]) -> R:
        send = self._client.execute_command
        while True:
            try:
                if not self._checked:
                    self._check()
                asked, words = self._said(request)
                try:
                    answer = send("EVALSHA", _SHA, *words)
                except NoScriptError:
                    answer = send("EVAL", _SCRIPT, *words)
            except (RedisError, OSError) as error:
                raise self._failed(error) from error
            if not is_elsewhere(answer):
                shown, told = answer
                self._time.answered(asked, shown)
                return request.meaning(told)
            self._follow(answer)

    async def _aask(self, request: Command[R]) -> R:
        send = self._aclient().execute_command
        while True:
            try:
                if not self._checked:
                    await asyncio.to_thread(self._check)
                asked, words = self._said(request)
                try:
                    answer = await cancellable(send("EVALSHA", _SHA, *words))
                except NoScriptError:
                    answer = await cancellable(send("EVAL", _SCRIPT, *words))
            except (RedisError, OSError) as error:
                raise self._failed(error) from error
            if not is_elsewhere(answer):
                shown, told = answer
                self._time.answered(asked, shown)
                return request.meaning(told)
            self._follow(answer)

    def _said(self, request: Command[Any]) -> tuple[int, Sequence[Any]]:
        operation, now, keys, words, _ = request
        asked, at_most = self._time.ask()
        return asked, (len(keys), *keys, operation, at_most if now == b"" else now, self._id, *words)

    def _follow(self, answer: Sequence[Any]) -> None:
        """Go on with the state that is there now, if that may be: nothing is done yet in it.

        Raises:
            StateLost: it was kept on a disk, so it should not be another one, and nobody reset it.
        """
        _, there, reset = answer
        lost = f"counters on {self._address.name} were lost: the server does not know the state any more"
        if self._durable and not reset:
            raise StateLost(f"{lost}. Every call is refused until `guarded-tools reset --confirm`")
        if not reset:
            log.error("%s, and keeps none on disk: they start at zero", lost)
        self._id = there
        self._checked = bool(there)

    def _run(self, command: Callable[..., Any], *words: Any) -> Any:
        try:
            if not self._checked:
                self._check()
            return command(*words)
        except (RedisError, OSError) as error:
            raise self._failed(error) from error

    def _failed(self, error: Exception) -> StoreError:
        # Whatever comes back may be another server, or the same with other settings.
        self._checked = False
        return self._server.failed(error)

    def _check(self) -> None:
        self._durable = self._server.inspect(self._client)
        self._checked = True
        if not self._id:
            self._id = self._ask(self._script.hello())

    def _aclient(self) -> Any:
        loop = asyncio.get_running_loop()
        client = self._loops.get(loop)
        if client is None:
            # A copy, made in one go: other threads' loops come and go meanwhile.
            for other in self._loops.keyrefs():
                ended = other()
                if ended is not None and ended.is_closed():
                    self._loops.pop(ended, None)
            client = self._loops[loop] = self._server.connect(redis.asyncio)
        return client


def _refusal(answer: Reservation | Full | Halted | Bound) -> Full | Halted | Bound | None:
    return None if isinstance(answer, Reservation) else answer


def _pages(names: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    return (names[first : first + _PAGE] for first in range(0, len(names), _PAGE))
