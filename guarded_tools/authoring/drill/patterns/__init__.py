"""Every attack, one file per family. A pattern has a policy, or a guard, that it breaks and one that holds it.

Promises an order that stays the same. To add one: a function under the decorator of
:mod:`~guarded_tools.authoring.drill.pattern`, its name here, its row in docs/drill.md, and both policies in the tests.
"""

from __future__ import annotations

from typing import Final

from guarded_tools.authoring.drill.patterns import addresses, approvals, bulk, flows, loops, malformed, names
from guarded_tools.authoring.drill.values import Pattern

PATTERNS: Final[tuple[Pattern, ...]] = (
    loops.same_call,
    loops.varied_calls,
    loops.retry_storm,
    loops.burst,
    loops.session_hop,
    loops.restart,
    bulk.long_list,
    bulk.big_number,
    bulk.stuffing,
    bulk.spend,
    bulk.deletions,
    malformed.malformed,
    malformed.below_zero,
    malformed.huge_text,
    addresses.internal,
    addresses.outside,
    addresses.ids,
    addresses.files,
    addresses.markup,
    names.lookalikes,
    names.keys,
    names.omitted,
    approvals.flood,
    approvals.fatigue,
    approvals.creep,
    approvals.reach,
    approvals.replayed,
    approvals.edited,
    flows.trifecta,
    flows.unseen,
    flows.swap,
    flows.subagent,
)
"""All patterns, in the order in which they are run and told."""
