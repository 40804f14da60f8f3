"""What is said to the script in ``counters.lua`` and its neighbours, and what its answers mean."""

from __future__ import annotations

import json
import re
import secrets
import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache, partial
from typing import Any, Generic, NamedTuple, TypeVar

from guarded_tools.errors import StateLost, StoreError
from guarded_tools.marks import Bound, Carried, Mark, SessionCondition, SessionRules
from guarded_tools.stores.carried import lookup, too_many
from guarded_tools.stores.clock import SECOND, ReadClock
from guarded_tools.stores.common import check_scope, reserved
from guarded_tools.stores.redis.opened import Opened, bound_of, carried_of, field_of, to_bytes, to_text
from guarded_tools.stores.slots import check_amount, check_charge
from guarded_tools.values import GLOBAL, Charge, Full, Halted, Reservation, Usage

R = TypeVar("R")

# Lua counts in doubles: beyond this they skip whole numbers.
_MOST = 2**53
# Calls whose words are remembered: an agent's calls are much alike.
_REMEMBERED = 1024

# First of an answer that is no receipt, beside 1 for full and 3 for a scope that is gone.
_HALTED, _BOUND, _NO_ROOM = 2, 4, 5

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

    def attempt(
        self,
        operation: bytes,
        charges: Sequence[Charge],
        now: float | None,
        scopes: Sequence[str],
        rules: SessionRules | None,
    ) -> Command[Reservation | Full | Halted | Bound]:
        """Take all charges and leave all marks, or neither: ``reserve``; or say only what refuses: ``peek``."""
        for charge in charges:
            # Before what is remembered is looked up: there 1 and True, and 60 and 60.0, are the same.
            check_charge(charge, _MOST - 1)
        rules = rules or SessionRules()
        conditions, marks = rules.conditions, rules.marks
        for condition in conditions:
            lookup(condition)
        keys, said = self._say(tuple(charges), tuple(scopes), conditions, marks)

        def meaning(answer: Any) -> Reservation | Full | Halted | Bound:
            if isinstance(answer, bytes):
                return reserved(charges, struct.unpack(f"<{len(answer) // 8}q", answer))
            if answer[0] == 1:
                _, which, used, wait = answer
                return Full(charges[which], used, None if wait < 0 else wait / SECOND)
            if answer[0] == _HALTED:
                return to_halted(*answer[1:])
            if answer[0] == _BOUND:
                return bound_of(conditions, answer[1:])
            raise self._refused(answer, marks)

        return Command(operation, self._now(now), keys, (said,), meaning)

    def note(self, marks: Sequence[Mark], now: float | None) -> Command[None]:
        """Keep marks."""
        opened = self._open(())
        said = _json([opened.groups, [opened.mark(mark) for mark in marks]])

        def meaning(answer: Any) -> None:
            if isinstance(answer, list):
                raise self._refused(answer, marks)

        return Command(b"note", self._now(now), [*opened.keys, self.listed], [said], meaning)

    def _refused(self, answer: Sequence[Any], marks: Sequence[Mark]) -> StoreError:
        """Make the error of a scope that is gone, or has no room."""
        if answer[0] == _NO_ROOM:
            return too_many(marks[answer[1]].scope, marks[answer[1]].name)
        scope = to_text(answer[1].removeprefix(self.scopes))
        return StateLost(
            f"the counters of {scope} were lost: the server evicted them, or somebody deleted them. Every call"
            " of it is refused until `guarded-tools reset --confirm` starts them at zero"
        )

    def _put_into_words(
        self,
        charges: tuple[Charge, ...],
        scopes: tuple[str, ...],
        conditions: tuple[SessionCondition, ...],
        marks: tuple[Mark, ...],
    ) -> tuple[list[bytes], bytes]:
        """Write what does not change from one call to the next like it."""
        opened = self._open(charges)
        names = [f"halt:{scope}" for scope in dict.fromkeys((GLOBAL, *scopes, *opened.places))]
        taken = [
            (
                opened.places[charge.scope],
                _field(charge),
                min(charge.amount, _MOST),
                charge.max,
                charge.window * SECOND,
                charge.align == "utc",
            )
            for charge in charges
        ]
        said = [names, opened.groups, taken]
        if conditions or marks:
            said += [[opened.condition(one) for one in conditions], [opened.mark(one) for one in marks]]
        return [*opened.keys, self.listed], _json(said)

    def _open(self, charges: Iterable[Charge]) -> Opened:
        opened = Opened(self.state, self.scope)
        for charge in charges:
            opened.add(charge.scope, _field(charge))
        return opened

    def refund(self, reservation: Reservation, now: float | None) -> Command[int]:
        """Give back what may be given back."""
        opened = self._open(reservation.charges)
        given = [
            (opened.places[charge.scope], _field(charge), charge.amount, charge.max, slot)
            for charge, slot in zip(reservation.charges, reservation.slots, strict=True)
            if charge.refundable and charge.amount
        ]
        return Command(b"refund", self._now(now), [*opened.keys, self.listed], [_json([opened.groups, given])], int)

    def settle(self, reservation: Reservation, amounts: Sequence[int], now: float | None) -> Command[None]:
        """Put true amounts in the place of reserved ones."""
        opened = self._open(reservation.charges)
        taken = [
            (
                opened.places[charge.scope],
                _field(charge),
                min(check_amount(amount), _MOST) - charge.amount,
                charge.max,
                charge.window * SECOND,
                charge.align == "utc",
                slot,
            )
            for charge, slot, amount in zip(reservation.charges, reservation.slots, amounts, strict=True)
        ]

        def meaning(answer: Any) -> None:
            if isinstance(answer, list):
                raise self._refused(answer, ())

        said = _json([opened.groups, taken])
        return Command(b"settle", self._now(now), [*opened.keys, self.listed], [said], meaning)

    def usage(self, scope: str, now: float | None, *, idle_too: bool) -> Command[list[Usage]]:
        """List the counters of a scope."""

        def meaning(answer: Any) -> list[Usage]:
            listed = []
            for field, used, limit, frees in zip(*[iter(answer)] * 4, strict=True):
                window, _, counter = to_text(field).split(":", 2)
                listed.append(Usage(scope, counter, used, limit, int(window), frees / SECOND))
            return listed

        return Command(b"usage", self._now(now), self._one(scope), [int(not idle_too)], meaning)

    def fullest(self, scopes: Sequence[str], now: float | None) -> Command[list[tuple[str, float]]]:
        """Say of each scope that holds something how full its fullest counter is."""

        def meaning(answer: Any) -> list[tuple[str, float]]:
            return [(scope, float(share)) for scope, share in zip(scopes, answer, strict=True) if share]

        keys = [self.state, *map(self.scope, scopes), self.listed]
        return Command(b"fullest", self._now(now), keys, [], meaning)

    def carried(self, scope: str, now: float | None) -> Command[list[Carried]]:
        """List the marks of a scope."""
        return Command(b"carried", self._now(now), self._one(scope), [], partial(carried_of, scope))

    def clear(self, scope: str, label: str) -> Command[bool]:
        """Take a label away."""
        return Command(b"clear", self._now(None), self._one(scope), [to_bytes(field_of("label", label, ""))], bool)

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


def _field(charge: Charge) -> str:
    return f"{charge.window}:{charge.align}:{charge.counter}"


def _json(value: object) -> bytes:
    return to_bytes(json.dumps(value, ensure_ascii=False, separators=(",", ":")))


def _same(answer: Any) -> Any:
    return answer
