"""The conformance table: what a policy says of a call, row by row."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import yaml

from guarded_tools.policy import Policy, decide
from guarded_tools.policy.explain import explain
from guarded_tools.policy.operators import OPERATORS
from guarded_tools.values import ToolCall
from tests.cases import every_case

BASE = {"version": "1", "default": "deny", "server": "s"}
COLUMNS = {
    "takes": "amount", "from": "scope", "windows": "window", "rules": "rule", "counters": "counter", "maxima": "max",
    "aligns": "align", "refundable": "refundable", "messages": "message",
}  # fmt: skip
KNOWN = {"tool", "args", "session", "grant", "allow", "ask", "deny", "says", "hides", "terms", "shadow", *COLUMNS}


@cache
def table():
    return yaml.load(Path(__file__).with_name("conformance.yaml").read_text(encoding="utf-8"), Loader=yaml.SafeLoader)


def document(block):
    if "whole" in block:
        return block["whole"]
    found = {**BASE, **block.get("policy", {})}
    if "t" in block:
        found["tools"] = {**found.get("tools", {}), "t": block["t"]}
    return found


def test_every_row():
    with every_case() as case:
        for number, block in enumerate(table(), 1):
            with case(f"block {number}"):
                policy = Policy.model_validate(document(block))
                for place, row in enumerate(block["calls"], 1):
                    with case(f"block {number}, call {place}"):
                        check(policy, block, row)


def check(policy, block, row):
    assert row.keys() <= KNOWN, "a column that nobody reads"
    effect = next(effect for effect in ("allow", "ask", "deny") if effect in row)
    call = ToolCall(row.get("tool", "t"), row.get("args", {}), row.get("session", "default"), row.get("grant"))
    decision = decide(policy, call, block.get("schema"))
    assert (decision.effect, decision.rule) == (effect, row[effect]), (block["about"], decision.message)
    assert row.get("says", "") in decision.message
    assert "hides" not in row or row["hides"] not in decision.message
    if effect == "deny":
        assert decision.message
        assert decision.charges == ()
    for column, field in COLUMNS.items():
        if column in row:
            assert [getattr(charge, field) for charge in decision.charges] == row[column], column
    assert (decision.ask is not None) == (effect == "ask")
    if "terms" in row:
        assert list(decision.ask) == row["terms"]
    if "shadow" in row:
        trial, rule, *scopes = row["shadow"]
        assert (decision.shadow.effect, decision.shadow.rule) == (trial, rule)
        assert [charge.scope for charge in decision.shadow.charges][: len(scopes)] == scopes
    else:
        assert decision.shadow is None
    agrees(explain(policy, call, block.get("schema")), decision)


def agrees(found, decision):
    """An explanation says what the decision says, and of whatever refuses, that it refuses."""
    assert found.decision == decision
    charges = tuple(quota.charge for quota in found.quotas if quota.charge and not quota.trial)
    assert charges[: len(decision.charges)] == decision.charges
    refusing = [seen.rule for seen in found.predicates if seen.refuses and not seen.trial]
    if decision.rule.rpartition("/")[0].endswith(("/require", "/deny_if", "/when")):
        assert decision.rule in refusing
    if decision.effect == "allow":
        assert refusing == []


def test_the_table_is_as_large_as_promised_and_speaks_of_every_operator():
    assert sum(len(block["calls"]) for block in table()) >= 250
    rules = {rule for block in table() for row in block["calls"] for rule in (row.get("deny"), row.get("ask")) if rule}
    for kind in ("require", "deny_if"):
        seen = {rule.partition("#")[0].rpartition("-")[2] for rule in rules if f"/{kind}/" in rule}
        # A bound is said the other way round in the other list.
        assert seen >= set(OPERATORS) - ({"gt"} if kind == "require" else {"lte", "gte"}), kind
