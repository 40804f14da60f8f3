"""Where counters, remembered approvals and open asks live.

:func:`open_store` picks the backend by URL; :class:`Store` is what each of them promises.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol, runtime_checkable

from guarded_tools.errors import StoreError
from guarded_tools.stores.disk.address import DiskAddress
from guarded_tools.values import Charge, Full, Halted, Reservation, Usage


class StopButton(Protocol):
    """What halts calls: on disk it works without the counters, in whatever state these are."""

    def halt(self, scope: str, reason: str) -> None: ...  # noqa: D102
    def resume(self, scope: str) -> bool: ...  # noqa: D102
    def halts(self) -> list[Halted]: ...  # noqa: D102


@runtime_checkable
class Store(Protocol):
    """Counters that hold exactly across threads and processes, and a small keyed memory.

    Every method has an ``a…`` twin for asyncio callers, which never blocks the event loop while it waits for a lock.
    ``now`` is in seconds since the epoch and is handed in only where a clock was injected; otherwise the store uses
    its own clock. All raise :class:`~guarded_tools.errors.StoreError` when the state cannot be relied on.
    """

    def reserve(
        self, charges: Sequence[Charge], now: float | None = None, scopes: Sequence[str] = ()
    ) -> Reservation | Full | Halted:
        """Take all charges or none, in one transaction.

        A halt of any scope in ``scopes``, of any charge's scope or of ``global`` is seen in that same transaction, also
        where there are no charges. Of several charges that do not fit, the answer is the one that has to wait longest.
        """
        ...

    def refund(self, reservation: Reservation, now: float | None = None) -> int:
        """Give back the refundable charges of a reservation, each in the very slot it was taken from.

        At most ``max`` refunds a counter and window. A slot that has aged out is left alone. Returns how many
        charges were given back; a second refund of one reservation gives nothing.
        """
        ...

    def peek(
        self, charges: Sequence[Charge], now: float | None = None, scopes: Sequence[str] = ()
    ) -> Full | Halted | None:
        """Say what :meth:`reserve` would refuse, and change nothing."""
        ...

    def usage(self, scope: str | None = None, now: float | None = None) -> list[Usage]:
        """List the counters of one scope, or of all, busiest scopes first."""
        ...

    def reset(self, scope: str | None = None) -> int:
        """Forget the counters of one scope, or of all. Returns how many scopes were forgotten."""
        ...

    def prune(self, now: float | None = None) -> int:
        """Forget scopes that hold nothing any more and values that have expired. Returns how many.

        Never needed for a right answer, only for room; it takes short turns, so calls go on meanwhile.
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

    async def areserve(  # noqa: D102
        self, charges: Sequence[Charge], now: float | None = None, scopes: Sequence[str] = ()
    ) -> Reservation | Full | Halted: ...
    async def arefund(self, reservation: Reservation, now: float | None = None) -> int: ...  # noqa: D102
    async def apeek(  # noqa: D102
        self, charges: Sequence[Charge], now: float | None = None, scopes: Sequence[str] = ()
    ) -> Full | Halted | None: ...
    async def aput(self, key: str, value: bytes, ttl: float | None = None) -> None: ...  # noqa: D102
    async def aadd(self, key: str, value: bytes, ttl: float | None = None) -> bool: ...  # noqa: D102
    async def aget(self, key: str) -> bytes | None: ...  # noqa: D102
    async def atake(self, key: str) -> bytes | None: ...  # noqa: D102
    async def ascan(self, prefix: str) -> Iterable[tuple[str, bytes]]: ...  # noqa: D102


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
        raise StoreError("a store on Redis needs the redis package: pip install 'guarded-tools[redis]'") from None
    return RedisStore(url)
