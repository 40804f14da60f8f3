"""More of the model's budget: what humans allowed beyond its limits, kept until it ends.

Each allowance is an entry of its own in the store, so that of two that are given at once none is lost. It raises the
limit while it lasts; what was spent by it stays counted, so the limit holds again once it has ended.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Sequence
from typing import Final

from guarded_tools.flow import Await, Flow
from guarded_tools.stores import Store
from guarded_tools.values import Charge, digest

_PREFIX: Final = "budget/more/"
_GRACE: Final = 60.0


def key_of(charge: Charge) -> str:
    """Begin the keys under which allowances beyond one limit are kept."""
    return f"{_PREFIX}{digest(charge.scope, charge.counter, charge.window)[:32]}/"


def allowance(charge: Charge, amount: int, now: float, lasts: float) -> tuple[str, bytes, float]:
    """Make the entry that allows ``amount`` beyond a limit for ``lasts`` seconds: its key, value and time to live."""
    kept = json.dumps({"amount": amount, "until": now + lasts}).encode()
    return key_of(charge) + secrets.token_hex(8), kept, lasts + _GRACE


def raised(charges: Sequence[Charge], store: Store, now: float) -> Flow[tuple[Charge, ...]]:
    """Return charges with the limits that hold right now, allowances in."""
    found = []
    for charge in charges:
        more = 0
        for _, kept in (yield Await(store.scan, store.ascan, (key_of(charge),))):
            entry = json.loads(kept)
            more += entry["amount"] if now < entry["until"] else 0
        found.append(charge._replace(max=charge.max + more) if more else charge)
    return tuple(found)
