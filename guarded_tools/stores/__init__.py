"""Where counters, remembered approvals and open asks live.

:func:`open_store` picks the backend by URL; :class:`Store` is what each of them promises. A new one whose calls block
inherits from :class:`BlockingStore`, which adds the asyncio half.
"""

from __future__ import annotations

from guarded_tools.errors import StoreError, install
from guarded_tools.stores.base import BlockingStore, StopButton, Store
from guarded_tools.stores.disk.address import DiskAddress

__all__ = ["BlockingStore", "StopButton", "Store", "open_stop_button", "open_store", "opened"]


def open_store(url: str) -> Store:
    """Open ``disk:///path``, ``memory://`` or ``redis://…``.

    ``disk:///path?durability=power`` keeps counters through a power cut, at the price of a disk flush a call. What else
    a URL may say is told by :class:`~guarded_tools.stores.disk.address.DiskAddress` and
    :class:`~guarded_tools.stores.redis.address.Address`.

    Raises:
        StoreError: the URL names no backend, or the state behind it cannot be relied on.
    """
    scheme = url.partition("://")[0]
    if url == "memory://":
        from guarded_tools.stores.memory import MemoryStore

        return MemoryStore()
    if scheme == "disk":
        from guarded_tools.stores.disk.store import DiskStore

        address = DiskAddress.parse(url)
        return DiskStore(address.path, durability=address.durability)
    if scheme in {"redis", "rediss"}:
        return _open_redis(url)
    # Only the scheme: the rest may hold a password.
    raise StoreError(f"{scheme!r} is not a kind of store; use disk:///path, memory:// or redis://host")


def opened(store: Store | str) -> Store:
    """Open the store of a URL, and see that anything else is a store: a call would find out only once it runs.

    Raises:
        StoreError: as :func:`open_store`.
        TypeError: it is neither a URL nor a store.
    """
    if isinstance(store, str):
        return open_store(store)
    if isinstance(store, type):
        raise TypeError(f"store must be a URL or an open store, not the class {store.__name__}")
    # By ``hasattr``: ``isinstance`` does not see what a wrapper hands on with ``__getattr__``.
    missing = [name for name in dir(Store) if not name.startswith("_") and not hasattr(store, name)]
    if missing:
        said = f"{type(store).__name__}, which has no {', '.join(missing)}"
        raise TypeError(f"store must be a URL such as redis://host, or a guarded_tools.Store, not {said}")
    return store


def open_stop_button(url: str) -> StopButton:
    """Open only what halts calls. On disk that works also while the counters are locked, lost or damaged.

    Raises:
        StoreError: the URL names no backend, or a server does not answer.
    """
    if url.startswith("disk://"):
        from guarded_tools.stores.disk.store import DiskStopButton

        return DiskStopButton(DiskAddress.parse(url).path)
    return open_store(url)


def _open_redis(url: str) -> Store:
    try:
        from guarded_tools.stores.redis.store import RedisStore
    except ModuleNotFoundError as error:
        if error.name != "redis":
            raise
        raise StoreError(f"a store on Redis needs the redis package: {install('redis')}") from None
    return RedisStore(url)
