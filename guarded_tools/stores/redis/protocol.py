"""What is said to the script in ``counters.lua``, and what its answers mean."""

from __future__ import annotations

import json
import re
import secrets
import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Generic, NamedTuple, TypeVar

from guarded_tools.errors import StateLost
from guarded_tools.stores.clock import SECOND, ReadClock
from guarded_tools.stores.common import check_scope, reserved
from guarded_tools.stores.slots import check_charge
from guarded_tools.values import GLOBAL, Charge, Full, Halted, Reservation, Usage

R = TypeVar("R")

# Lua counts in doubles: beyond this they skip whole numbers.
_MOST = 2**53
# Calls whose words are remembered: an agent's calls are much alike.
_REMEMBERED = 1024

# First of an answer: the counters of a scope are gone.
_MISSING = 3

HALT = b"halt:"
RESET = b"reset"


class Command(NamedTuple, Generic[R]):
    """One run of the script: an operation, at what time, on which keys, with what words, and what its answer means."""

    operation: bytes
    now: object
    keys: Sequence[bytes]
    words: Sequence[object]
    meaning: Callable[[Any], R]


class Script:
    """Puts operations into words. All keys of a namespace share one hash tag, so a cluster keeps them on one node."""

    def __init__(self, namespace: str, clock: ReadClock | None) -> None:
        self._tag = b"{%b}:" % to_bytes(namespace)
        self._clock = clock
        self._say = lru_cache(maxsize=_REMEMBERED)(self._put_into_words)
        self.state = self._tag + b"state"
        self.names = self._tag + b"names"
        self.scopes = self._tag + b"scope:"
        self.listed = self._tag + b"scopes"

    def reserve(
        self, charges: Sequence[Charge], now: float | None, scopes: Sequence[str]
    ) -> Command[Reservation | Full | Halted]:
        """Take all charges or none."""
        return self._take(b"reserve", charges, now, scopes)

    def peek(
        self, charges: Sequence[Charge], now: float | None, scopes: Sequence[str]
    ) -> Command[Reservation | Full | Halted]:
        """Say what :meth:`reserve` would."""
        return self._take(b"peek", charges, now, scopes)

    def _take(
        self, operation: bytes, charges: Sequence[Charge], now: float | None, scopes: Sequence[str]
    ) -> Command[Reservation | Full | Halted]:
        for charge in charges:
            # Before what is remembered is looked up: there 1 and True, and 60 and 60.0, are the same.
            check_charge(charge, _MOST - 1)
        keys, said = self._say(tuple(charges), tuple(scopes))

        def meaning(answer: Any) -> Reservation | Full | Halted:
            if isinstance(answer, bytes):
                return reserved(charges, struct.unpack(f"<{len(answer) // 8}q", answer))
            if answer[0] == 1:
                _, which, used, wait = answer
                return Full(charges[which], used, None if wait < 0 else wait / SECOND)
            if answer[0] == _MISSING:
                scope = to_text(answer[1].removeprefix(self.scopes))
                raise StateLost(
                    f"the counters of {scope} were lost: the server evicted them, or somebody deleted them. Every call"
                    " of it is refused until `guarded-tools reset --confirm` starts them at zero"
                )
            return to_halted(*answer[1:])

        return Command(operation, self._now(now), keys, (said,), meaning)

    def _put_into_words(self, charges: tuple[Charge, ...], scopes: tuple[str, ...]) -> tuple[list[bytes], bytes]:
        """Write what does not change from one call to the next like it."""
        keys, groups, places = self._group(charges)
        keys.append(self.listed)
        names = [f"halt:{scope}" for scope in dict.fromkeys((GLOBAL, *scopes, *places))]
        taken = [
            (
                places[charge.scope],
                _field(charge),
                min(charge.amount, _MOST),
                charge.max,
                charge.window * SECOND,
                charge.align == "utc",
            )
            for charge in charges
        ]
        return keys, _json([names, groups, taken])

    def _group(self, charges: Iterable[Charge]) -> tuple[list[bytes], list[list[object]], dict[str, int]]:
        """Give the keys; which counters are in each, as the script opens them; and where each scope is among these."""
        keys = [self.state]
        groups: list[list[object]] = []
        places: dict[str, int] = {}
        for charge in charges:
            if charge.scope not in places:
                keys.append(self.scope(charge.scope))
                groups.append([len(keys)])
                places[charge.scope] = len(groups)
            groups[places[charge.scope] - 1].append(_field(charge))
        return keys, groups, places

    def refund(self, reservation: Reservation, now: float | None) -> Command[int]:
        """Give back what may be given back."""
        keys, groups, places = self._group(reservation.charges)
        keys.append(self.listed)
        given = [
            (places[charge.scope], _field(charge), charge.amount, charge.max, slot)
            for charge, slot in zip(reservation.charges, reservation.slots, strict=True)
            if charge.refundable and charge.amount
        ]
        return Command(b"refund", self._now(now), keys, [_json([groups, given])], int)

    def usage(self, scope: str, now: float | None, *, idle_too: bool) -> Command[list[Usage]]:
        """List the counters of a scope."""

        def meaning(answer: Any) -> list[Usage]:
            listed = []
            for field, used, limit, frees in zip(*[iter(answer)] * 4, strict=True):
                window, _, counter = to_text(field).split(":", 2)
                listed.append(Usage(scope, counter, used, limit, int(window), frees / SECOND))
            return listed

        return Command(b"usage", self._now(now), self._one(scope), [int(not idle_too)], meaning)

    def prune(self, scope: str, now: float | None) -> Command[int]:
        """Forget a scope that holds nothing."""
        return Command(b"prune", self._now(now), self._one(scope), [], int)

    def hello(self) -> Command[bytes]:
        """Learn the id of the state; a new one is given one."""
        return Command(b"hello", b"", [self.state], [secrets.token_hex(16)], _same)

    def halt(self, scope: str, reason: str) -> Command[int]:
        """Write down that a scope is halted."""
        return Command(b"halt", self._now(None), [self.state], [to_bytes(check_scope(scope)), to_bytes(reason)], int)

    def keep(self, key: str, value: bytes, ttl: float | None, *, only_new: bool) -> Command[bool]:
        """Keep a value for ``ttl`` seconds; with ``only_new``, unless the key is held. Answers whether it was kept."""
        name = to_bytes(key)
        words = [name, value, "" if ttl is None else round(ttl * SECOND), int(only_new)]
        return Command(b"keep", self._now(None), [self.state, self.names, self._value(name)], words, bool)

    def get(self, key: str) -> Command[bytes | None]:
        """Read a value, and leave it; one that has expired is ``None``."""
        return self._kept(b"get", key)

    def take(self, key: str) -> Command[bytes | None]:
        """Read and remove a value."""
        return self._kept(b"take", key)

    def _kept(self, operation: bytes, key: str) -> Command[bytes | None]:
        name = to_bytes(key)
        return Command(operation, self._now(None), [self.state, self.names, self._value(name)], [name], _same)

    def sift(self, names: Sequence[bytes]) -> Command[list[tuple[str, bytes]]]:
        """Read the values of those names that live, and drop the others."""

        def meaning(answer: Any) -> list[tuple[str, bytes]]:
            return [(to_text(name), value) for name, value in zip(names, answer, strict=True) if value is not None]

        keys = [self.state, self.names, *map(self._value, names)]
        return Command(b"sift", self._now(None), keys, names, meaning)

    def _one(self, scope: str) -> list[bytes]:
        return [self.state, self.scope(scope), self.listed]

    def scope(self, scope: str) -> bytes:
        """Name the key of a scope's counters."""
        return self.scopes + to_bytes(scope)

    def _value(self, name: bytes) -> bytes:
        return self._tag + b"value:" + name

    def _now(self, now: float | None) -> object:
        if now is not None:
            return round(now * SECOND)
        return b"" if self._clock is None else self._clock().wall


def is_elsewhere(answer: object) -> bool:
    """Whether nothing was done, because the state has another id than the caller knows."""
    return type(answer) is list and len(answer) > 0 and answer[0] == -1


def literal(key: bytes) -> bytes:
    """Write the pattern that only this very key matches."""
    return re.sub(rb"([\[\]*?^\\])", rb"\\\1", key)


def names_range(prefix: str) -> tuple[bytes, bytes]:
    """Give the ends of all names that begin with a prefix, as ZRANGEBYLEX wants them."""
    start = to_bytes(prefix)
    return (b"[" + start, b"(" + start + b"\xff") if start else (b"-", b"+")


def to_halted(scope: bytes, halt: bytes) -> Halted:
    """Make a halt of the field and the value that the state holds it in: microseconds, a colon, the reason."""
    since, _, reason = halt.partition(b":")
    return Halted(to_text(scope.removeprefix(HALT)), to_text(reason), int(since) / SECOND)


def halts_in(state: Mapping[bytes, bytes]) -> list[Halted]:
    """List the halts in the state of a namespace, oldest first."""
    halts = (to_halted(field, halt) for field, halt in state.items() if field.startswith(HALT))
    return sorted(halts, key=lambda halted: halted.since)


def to_bytes(text: str) -> bytes:
    """Write text so that any string survives."""
    return text.encode("utf-8", "surrogatepass")


def to_text(data: bytes) -> str:
    """Read what :func:`to_bytes` wrote."""
    return data.decode("utf-8", "surrogatepass")


def _field(charge: Charge) -> str:
    return f"{charge.window}:{charge.align}:{charge.counter}"


def _json(value: object) -> bytes:
    return to_bytes(json.dumps(value, ensure_ascii=False, separators=(",", ":")))


def _same(answer: Any) -> Any:
    return answer
