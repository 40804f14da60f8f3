"""Whether the words of a name, or of a description, speak of what bills somebody. Pure; :mod:`risk` asks it.

Two words make it: one that does something to a bill (`create`, `finalize`, `cancel`) and one that is one (`invoice`,
`subscription`). Whatever only hangs on a bill is none: its attachments, its templates, the alerts about it. Words that
are as often something else (`subscription`, `order`, `plan`, `transaction`) count unless the words beside them say so.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

from guarded_tools.tools.words import vocabulary

ENDING = vocabulary("cancel void terminate revoke expire close end stop")
"""What ends a bill, or what goes on billing. Most of these destroy other things; to delete destroys a bill, too."""

_ACTS = ENDING | vocabulary(
    "accept activate add adjust amend apply approve bill capture change charge clone complete confirm create "
    "deactivate decline disable downgrade duplicate edit enable execute finalise finalize generate grant increase "
    "initiate insert issue make mark modify notify pause pay place process publish reactivate redeem refund reject "
    "remind renew request resend resume reverse schedule send set settle start submit subscribe suspend swap switch "
    "transfer update upgrade upsert waive write"
)
_BILLS = vocabulary(
    "bill bills billing charge charges chargeback chargebacks checkout checkouts cost costs coupon coupons deposit "
    "deposits discount discounts dispute disputes donation donations fee fees funds invoice invoices loan loans money "
    "order orders payment payments payout payouts payroll price prices purchase purchases refund refunds "
    "reimbursement reimbursements remittance settlement settlements subscription subscriptions tariff voucher "
    "vouchers withdrawal withdrawals"
)
_PAIRS = frozenset(
    {("credit", "note"), ("credit", "notes"), ("gift", "card"), ("gift", "cards"), ("bank", "transaction")}
    | {("bank", "transactions"), ("promotion", "code"), ("promo", "code"), ("standing", "order")}
)
# Deals of any kind: a database has transactions, too, so that only what moves something makes money of them.
_DEALS = vocabulary("trade transaction transactions")
_MOVING = vocabulary("create make send submit place process execute initiate issue confirm capture transfer schedule")
_CHANGING_PLANS = vocabulary("upgrade downgrade subscribe switch swap")

# What one may subscribe to for nothing, and what else has an order.
_FREE = vocabulary(
    "alert alerts calendar channel event events feed graphql issue newsletter notification notifications pubsub push "
    "repository resource thread topic topics webhook webhooks"
)
_SEQUENCES = vocabulary(
    "axis boot byte column display draw execution field index item layer list load play reading row sort stacking tab "
    "task z"
)
# What hangs on a bill, at the end of a name.
_HANGERS = vocabulary(
    "alert alerts attachment attachments attribute attributes categories category center comment comments definition "
    "definitions export exports field fields file label labels limit report reports setting settings tag tags template "
    "templates view views webhook webhooks"
)

_SAID = re.compile(
    r"\W*(?:this (?:tool|endpoint) (?:will )?|use this tool to |used to )?([a-z]+)\s+"
    r"(?:(?:an?|the|one|or more|another|any|all|your|this|given|new|draft|existing|specific|specified|active|recurring|"
    r"one-time|full|partial|\w+'s)\s+){0,4}([a-z]+)(?:\s+([a-z]+))?",
    re.IGNORECASE,
)

_AMOUNT = vocabulary("amount amounts")
_BESIDE_AMOUNT = vocabulary("bank beneficiary card currency iban payee recipient receiver wallet")


def billing(words: Sequence[str], acts: Collection[str]) -> str | None:
    """Say which of the verbs ``acts`` does something to what bills somebody, in a name of these words."""
    doing = [word for word in words if word in acts and word in _ACTS]
    doing.sort(key=_BILLS.__contains__)  # stable: of `update_refund`, it is `update` that is done
    if not doing or (words and words[-1] in _HANGERS):
        return None
    if any(_is_bill(words, at) for at in range(len(words))):
        return doing[0]
    moving = [act for act in doing if act in _MOVING]
    if moving and not _DEALS.isdisjoint(words):
        return moving[0]
    changing = [act for act in doing if act in _CHANGING_PLANS]
    return changing[0] if changing and not {"plan", "plans"}.isdisjoint(words) else None


def _is_bill(words: Sequence[str], at: int) -> bool:
    word, before = words[at], words[at - 1] if at else ""
    if (before, word) in _PAIRS:
        return True
    if word in ("subscription", "subscriptions"):
        return _FREE.isdisjoint(words)
    if word in ("order", "orders"):
        return before not in _SEQUENCES
    return word in _BILLS


def looks_at_bill(words: Sequence[str]) -> bool:
    """Whether a word that is a bill stands right before the last one: `order_status`, `refund_details`."""
    return len(words) > 1 and _is_bill(words, len(words) - 2)


def said_billing(sentence: str) -> str | None:
    """Say the verb of a sentence that begins with an act on what bills: `Finalizes an invoice of a customer`."""
    said = _SAID.match(sentence[:200])
    if not said:
        return None
    words = [word.lower() for word in said.groups() if word]
    act = next((stem for stem in (words[0], words[0][:-1], words[0][:-2]) if stem in _ACTS), "")
    if words[1:3] in (["order", "of"], ["order", "in"]):
        return None
    if not _FREE.isdisjoint(re.findall(r"[a-z]+", sentence[:200].lower())):
        words = [word for word in words if not word.startswith("subscription")]
    return billing([act, *words[1:]], [act])


def takes_amount(words: Collection[str]) -> bool:
    """Whether a tool with these words in the names of its parameters is told how much money goes where."""
    return not _AMOUNT.isdisjoint(words) and not _BESIDE_AMOUNT.isdisjoint(words)
