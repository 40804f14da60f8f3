"""One connection to a server, and how a request of the script crosses it: with an event loop and without one."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import weakref
from collections.abc import Callable, Sequence
from importlib.resources import files
from typing import Any, TypeVar

import redis
import redis.asyncio
from redis.exceptions import NoScriptError, RedisError

from guarded_tools.errors import StateLost, StoreError
from guarded_tools.stores.clock import ReadClock
from guarded_tools.stores.redis.address import Address
from guarded_tools.stores.redis.cancellation import cancellable
from guarded_tools.stores.redis.protocol import Command, Script, is_elsewhere
from guarded_tools.stores.redis.server import Server
from guarded_tools.stores.redis.server_time import ServerTime

R = TypeVar("R")

log = logging.getLogger("guarded_tools")

_SCRIPT = "\n".join(
    files(__package__).joinpath(part).read_text(encoding="utf-8")
    for part in ("counters.lua", "marks.lua", "operations.lua")
)
_SHA = hashlib.sha1(_SCRIPT.encode(), usedforsecurity=False).hexdigest()


class RedisConnection:
    """Sends requests and follows the state behind them. Each is one round trip, but for those that have to be repeated.

    Repeated is the first after the server forgot the script, and one that met another state than this one knew of.
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

    def close(self) -> None:
        """Let go of the connections of synchronous callers. The store may be used again afterwards."""
        if self._address.cluster:
            self._client.close()
        else:
            # Those that nobody is using: a connection that is taken from under a call of another thread fails in ways
            # that are no errors of a server.
            self._client.connection_pool.disconnect(inuse_connections=False)

    async def aclose(self) -> None:
        """Let go of the connections of the running event loop."""
        client = self._loops.pop(asyncio.get_running_loop(), None)
        if client is not None:
            await client.aclose()

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
