"""The server of a Redis store: how it is reached, and what it has to be."""

from __future__ import annotations

import logging
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from guarded_tools.errors import StoreError
from guarded_tools.stores.redis.address import Address

log = logging.getLogger("guarded_tools")

# Of one event loop; tasks beyond that wait for one to be free. Each thread has its own while it is calling.
_CONNECTIONS = 50
_THREADS = 10_000


class Server:
    """Makes the clients of one server, blocking and asyncio ones alike, and puts its errors into words."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._driver = _driver()

    def connect(self, library: Any) -> Any:
        """Make a client, of ``redis`` or of ``redis.asyncio``; it connects when it is used.

        Raises:
            StoreError: no client can be made from the address.
        """
        address = self._address
        options: dict[str, Any] = {
            "socket_timeout": address.timeout,
            "socket_connect_timeout": address.timeout,
            # What was sent may have been counted: sent again it would be counted twice.
            "retry": Retry(NoBackoff(), 0),
        }
        if library is not redis:
            options |= self._driver
        if address.url.startswith("rediss://"):
            # redis-py before 6 takes any certificate that the authority signed, for whatever name.
            options["ssl_check_hostname"] = True
        try:
            if address.cluster:
                return library.RedisCluster.from_url(address.url, **options)
            if library is redis:
                return redis.Redis.from_url(address.url, max_connections=_THREADS, **options)
            # Tasks are cheap: a thousand of them must not mean a thousand connections.
            options |= {"timeout": address.timeout, "max_connections": _CONNECTIONS}
            return library.Redis.from_pool(library.BlockingConnectionPool.from_url(address.url, **options))
        except (RedisError, OSError, ValueError, TypeError) as error:
            raise self.failed(error) from error

    def inspect(self, client: Any) -> bool:
        """Say whether every write is kept on a disk; warn where nothing is.

        Raises:
            StoreError: the server might evict counters.
        """
        infos = self._infos(client)
        for info in infos:
            policy = info.get("maxmemory_policy")
            if policy != "noeviction":
                raise StoreError(
                    f"{self._address.name} may evict counters: set maxmemory-policy noeviction, not {policy}"
                )
            if not info.get("aof_enabled") and not _takes_snapshots(client):
                log.warning(
                    "%s keeps nothing on disk (appendonly no, save ''): a restart sets all counters to zero",
                    self._address.name,
                )
        return all(info.get("aof_enabled") for info in infos)

    def failed(self, error: Exception) -> StoreError:
        """Say that the server cannot be used. No address that is shown has a password in it."""
        return StoreError(f"the counters on {self._address.name} cannot be used: {error or type(error).__name__}")

    def _infos(self, client: Any) -> list[dict[str, Any]]:
        if not self._address.cluster:
            return [client.info()]
        told = client.info(target_nodes=redis.RedisCluster.PRIMARIES)
        # Of a single node it is that node's answer, of several, theirs by name.
        return [told] if "maxmemory_policy" in told else list(told.values())


def _driver() -> dict[str, Any]:
    """Return what a client tells of itself: redis-py would look that up in files, on the loop, at each connection.

    Before it had a ``DriverInfo`` it looked once, when it was imported.
    """
    try:
        from redis.driver_info import DriverInfo
    except ImportError:
        return {}
    return {"driver_info": DriverInfo()}


def _takes_snapshots(client: Any) -> bool:
    try:
        return bool(client.config_get("save").get("save"))
    except RedisError:
        # Managed servers keep their configuration to themselves.
        return True
