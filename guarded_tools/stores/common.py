"""What the backends do alike around the counters: answers, scopes, and values that are kept for a while.

A backend keeps bytes under keys and makes steps atomic; everything that must come out the same on each of them is here
and in :mod:`~guarded_tools.stores.window`, :mod:`~guarded_tools.stores.carried` and
:mod:`~guarded_tools.stores.attempt`. Redis counts by a script of its own, and is held to the same answers by the
contract suite.

- **All or none.** What a call asks for is grouped by scope, since a scope is one row, read and written whole. It is
  tried on all of these rows, and they are kept only if nothing refuses it.
- **A receipt names slots.** :func:`reserved` says in which slot each charge went, so that ``give_back`` in
  ``window`` finds the very one. It counts its own refunds: the second one gives nothing, without asking the store.
- **A value expires by two clocks.** :func:`with_expiry` writes wall time and time since boot, :func:`if_alive` believes
  whichever says first that it is over, and the second only in the boot that it was written in. So a wall clock that is
  put back makes no approval last longer. That one put forward ends it early is the safe side: somebody is asked again.
- **A halt is looked for in the same transaction** as the charges, by all scopes of the call, ``global`` first.
"""

from __future__ import annotations

import bisect
import itertools
import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeVar

from guarded_tools.errors import StoreError
from guarded_tools.stores.clock import SECOND, Clock
from guarded_tools.values import GLOBAL, Charge, Halted, Reservation, Usage, is_scope

T = TypeVar("T")

# Wall time and time since boot at which a value expires, and which boot that was; all 0 for one that does not.
_EXPIRY = struct.Struct("<qqq")


def by_scope(charges: Sequence[Charge]) -> dict[str, list[int]]:
    """Tell which charges, by position, each scope has to bear."""
    groups: dict[str, list[int]] = {}
    for position, charge in enumerate(charges):
        groups.setdefault(charge.scope, []).append(position)
    return groups


def pick(items: Sequence[T], positions: Iterable[int]) -> list[T]:
    """Select by position."""
    return [items[position] for position in positions]


def reserved(charges: Sequence[Charge], slots: Sequence[int]) -> Reservation:
    """Make the receipt of charges that were taken."""
    return Reservation(tuple(charges), tuple(slots), itertools.count())


def settled(
    reservation: Reservation, amounts: Sequence[int], positions: Sequence[int]
) -> tuple[list[Charge], list[int], list[int]]:
    """Say of some charges, by position, what they are, in which slots, and what was really taken."""
    return pick(reservation.charges, positions), pick(reservation.slots, positions), pick(amounts, positions)


def busiest_first(usage: Iterable[Usage], most: int | None = None) -> list[Usage]:
    """Order counters by how close the fullest one of their scope is to its limit; of so many scopes at ``most``."""
    scopes: dict[str, list[Usage]] = {}
    for counter in usage:
        scopes.setdefault(counter.scope, []).append(counter)
    order = sorted(scopes, key=lambda scope: (-_fullest(scopes[scope]), scope))
    return [counter for scope in order[:most] for counter in scopes[scope]]


def busiest(at_most: Iterable[tuple[str, float]], look: Callable[[str], list[Usage]], most: int) -> list[Usage]:
    """Do as :func:`busiest_first` with scopes of which each is told with how full it is at most.

    Only those are looked at that can be among the ``most`` busiest. Of one that holds nothing ``look`` finds nothing.
    """
    found: list[tuple[float, str, list[Usage]]] = []
    for share, scope in sorted((-share, scope) for scope, share in at_most):
        if len(found) >= most and found[most - 1][:2] < (share, scope):
            break
        counters = look(scope)
        if counters:
            bisect.insort(found, (-_fullest(counters), scope, counters))
    return [counter for _, _, counters in found[:most] for counter in counters]


def _fullest(counters: Iterable[Usage]) -> float:
    return max(counter.used / counter.max if counter.max else 1.0 for counter in counters)


def halt_of(halts: Mapping[str, Halted], scopes: Iterable[str]) -> Halted | None:
    """Find the halt that stops a call of ``scopes``; the global one stops all."""
    if GLOBAL in halts:
        return halts[GLOBAL]
    return next((halts[scope] for scope in scopes if scope in halts), None)


def check_scope(scope: str) -> str:
    """Accept the name of a scope.

    Raises:
        StoreError: it is neither ``global`` nor ``session:<id>`` nor ``grant:<id>``.
    """
    if is_scope(scope):
        return scope
    raise StoreError(f"{scope!r} is not a scope; name one as session:<id>, grant:<id> or global")


def with_expiry(value: bytes, ttl: float | None, clock: Clock) -> bytes:
    """Wrap a value with the time it expires at."""
    if ttl is None:
        return _EXPIRY.pack(0, 0, 0) + value
    wall = clock.wall + round(ttl * SECOND)
    return _EXPIRY.pack(wall, wall - clock.offset if clock.boot else 0, clock.boot) + value


def if_alive(data: bytes, clock: Clock) -> bytes | None:
    """Read a value unless it has expired by wall time or by time since boot, whichever says so first.

    Raises:
        StoreError: the data was not written by :func:`with_expiry`.
    """
    if len(data) < _EXPIRY.size:
        raise StoreError("a kept value is damaged (it is too short)")
    wall, since_boot, boot = _EXPIRY.unpack_from(data)
    if wall and (clock.wall >= wall or (boot and boot == clock.boot and clock.wall - clock.offset >= since_boot)):
        return None
    return data[_EXPIRY.size :]
