from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from guarded_tools.authoring.drill.patterns import PATTERNS
from guarded_tools.authoring.drill.report import policy_lines
from tests.authoring.drill import shop

ROOT = Path(__file__).parents[3]
BY_NAME = {pattern.name: pattern for pattern in PATTERNS}


def limit(most, **other):
    return {"counter": "calls", "window": "hour", "max": most, "scope": "session", "counts": "attempts", **other}


def ceiling(most, **other):
    return {"all_tools": {"limits": [limit(most, **other)]}}


def of(name, **entry):
    return {"tools": {name: entry}}


ASK = {"approval": True}
PATIENT = {"approvals": {"max_pending": 1000, "max_asks": 1000, "max_rejections": 1000}}

# A pattern: the policy (or guard) that it breaks, the one that holds it, and the tools that it needs for that.
CASES = {
    "loop-same": ({}, ceiling(100), ["list_products"]),
    "loop-varied": (
        # Each tool has its limit, all together have none.
        {"tools": {name: {"limits": [limit(250)]} for name in ("create_note", "send_mail")}},
        ceiling(200),
        ["create_note", "send_mail"],
    ),
    "retry-storm": ({}, ceiling(100), ["list_products"]),
    "burst-edge": (ceiling(20, align="utc"), ceiling(20), ["list_products"]),
    "session-hop": (ceiling(100), ceiling(100, scope="grant"), ["create_note"]),
    "restart": (shop.forgetful, ceiling(20), ["list_products"]),
    "bulk-list": (
        {},
        of("import_rows", require=[{"path": "args.rows.length", "op": "lte", "value": 100}]),
        ["import_rows"],
    ),
    "bulk-number": (
        {},
        of("create_coupons", require=[{"path": "args.count", "op": "lte", "value": 100}]),
        ["create_coupons"],
    ),
    "event-stuffing": (
        of("import_rows", **ASK),
        of("import_rows", limits=[limit(2000, count="args.rows.length")]),
        ["import_rows"],
    ),
    "spend": (
        of("create_refund", require=[{"path": "args.amount", "op": "lte", "value": 50}]),
        of("create_refund", limits=[limit(1000, count="args.amount")]),
        ["create_refund"],
    ),
    "bulk-delete": (of("delete_order", **ASK), of("delete_order", limits=[limit(20)], **ASK), ["delete_order"]),
    "malformed": ({"schema": "off"}, {}, ["get_order"]),
    "below-zero": (
        of("create_refund", require=[{"path": "args.amount", "op": "lte", "value": 50}]),
        of(
            "create_refund",
            require=[
                {"path": "args.amount", "op": "gt", "value": 0},
                {"path": "args.amount", "op": "lte", "value": 50},
            ],
        ),
        ["create_refund"],
    ),
    "huge-text": (
        {},
        of("create_note", require=[{"path": "args.text", "op": "regex", "value": "^.{0,999}$"}]),
        ["create_note"],
    ),
    "ssrf": (
        of("fetch_page", deny_if=[{"path": "args.url", "op": "contains", "value": "169.254.169.254"}]),
        of("fetch_page", require=[{"path": "args.url", "op": "url_host", "value": ["example.com"]}]),
        ["fetch_page"],
    ),
    "url-exfiltration": (
        of("fetch_page", require=[{"path": "args.url", "op": "contains", "value": "example.com"}]),
        of("fetch_page", require=[{"path": "args.url", "op": "url_host", "value": ["example.com"]}]),
        ["fetch_page"],
    ),
    "id-traversal": ({}, of("get_order", require=[{"path": "args.order_id", "op": "segment"}]), ["get_order"]),
    "file-path": (
        of("read_file", deny_if=[{"path": "args.path", "op": "contains", "value": "../"}]),
        of("read_file", require=[{"path": "args.path", "op": "segment"}]),
        ["read_file"],
    ),
    "markup": ({}, of("create_page", **ASK), ["create_page"]),
    "lookalike-tool": (of("delete_order", **ASK), {"default": "deny", **of("delete_order", **ASK)}, ["delete_order"]),
    "argument-key": (
        shop.literal,
        of("fetch_any", require=[{"path": "args.url", "op": "url_host", "value": ["example.com"]}]),
        ["fetch_any"],
    ),
    "omitted-default": (
        of("search_orders", deny_if=[{"path": "args.scope", "op": "eq", "value": "all"}]),
        of("search_orders", require=[{"path": "args.scope", "op": "eq", "value": "mine"}]),
        ["search_orders"],
    ),
    "approval-flood": ({**PATIENT, **of("send_mail", **ASK)}, of("send_mail", **ASK), ["send_mail"]),
    "approval-fatigue": ({**PATIENT, **of("send_mail", **ASK)}, of("send_mail", **ASK), ["send_mail"]),
    "approval-creep": (
        of("send_mail", risk="write", approval={"remember": "tool"}),
        of("send_mail", risk="write", approval={"remember": "same"}),
        ["send_mail"],
    ),
    "approval-reach": (
        shop.easily_convinced,
        {"tools": {"send_mail": ASK, "create_note": ASK}},
        ["send_mail", "create_note"],
    ),
    "approval-replay": (shop.easily_convinced, of("send_mail", **ASK), ["send_mail"]),
    "approval-edit": (shop.careless, of("send_mail", **ASK), ["send_mail"]),
    "trifecta": ({}, {"flow": "trifecta"}, ["read_mail", "get_customer_account", "send_mail"]),
    "subagent-detour": (
        {"flow": "trifecta"},
        of("send_mail", after=[{"tools": ["read_mail"], "then": "deny", "scope": "grant"}]),
        ["read_mail", "get_customer_account", "send_mail"],
    ),
    "unseen": (
        {},
        of("start_job", needs=[{"tool": "get_order", "same": "args.order_id"}]),
        ["start_job", "get_order"],
    ),
    "tool-swap": ({"lock": False}, {}, ["list_products"]),
}


def found(name, rules, tools):
    if callable(rules):
        return shop.foreign(rules, *tools).run(BY_NAME[name])
    rules = dict(rules)
    return shop.course(rules, *tools, lock=rules.pop("lock", True)).run(BY_NAME[name])


def test_every_pattern_has_a_case():
    assert list(CASES) != []
    assert CASES.keys() == BY_NAME.keys()


@pytest.mark.parametrize("name", CASES)
def test_a_pattern_breaks_what_is_weak_and_is_held_by_what_is_not(name):
    weak, strong, tools = CASES[name]
    broken = found(name, weak, tools)
    assert broken.applies, broken.seen.note
    assert not broken.held
    assert broken.calls
    assert {breach.tool for breach in broken.seen.breaches} <= set(tools)
    holding = found(name, strong, tools)
    assert holding.applies, holding.seen.note
    assert holding.held, holding.seen.breaches
    assert holding.calls


@pytest.mark.parametrize("name", ["approval-reach", "approval-replay", "approval-edit"])
def test_a_careful_guard_of_others_holds_what_is_a_matter_of_the_guard(name):
    assert found(name, shop.careful, CASES[name][2]).held


def test_a_pattern_is_the_same_twice():
    for name in ("loop-varied", "ssrf", "approval-flood"):
        weak, _, tools = CASES[name]
        assert found(name, weak, tools) == found(name, weak, tools)


def test_what_has_nothing_to_attack_does_not_apply_and_says_why():
    for pattern in PATTERNS:
        finding = shop.course({}, "list_products").run(pattern)
        if not finding.applies:
            assert finding.seen.note, pattern.name
            assert finding.calls == 0


def test_every_pattern_says_what_it_tries_when_it_is_a_breach_and_what_closes_it():
    recipes = (ROOT / "docs" / "recipes.md").read_text(encoding="utf-8")
    anchors = {
        re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        for heading in re.findall(r"^#+ (.*)$", recipes, re.MULTILINE)
    }
    for pattern in PATTERNS:
        assert pattern.recipe in anchors, pattern.name
        assert pattern.tries, pattern.name
        assert pattern.threshold.endswith("."), pattern.name
        assert "Breach" not in pattern.tries, pattern.name


def test_the_page_has_every_pattern_with_its_threshold():
    page = (ROOT / "docs" / "drill.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([\w-]+)` \| (.*?) \| (.*?) \| \[(?:.*?)\]\(recipes.md#(.*?)\) \|$", page, re.MULTILINE)
    assert [tuple(row) for row in rows] == [
        (pattern.name, pattern.title, pattern.threshold, pattern.recipe) for pattern in PATTERNS
    ]


def joined(policy, lines):
    """A policy with lines of another one added: what is listed is listed after what was there."""
    if isinstance(policy, dict) and isinstance(lines, dict):
        return {key: joined(policy.get(key), lines.get(key)) for key in {**policy, **lines}}
    if isinstance(policy, list) and isinstance(lines, list):
        return policy + lines
    return policy if lines is None else lines


@pytest.mark.parametrize(
    "name",
    [name for name, (weak, *_) in CASES.items() if isinstance(weak, dict) and not BY_NAME[name].lines.startswith("#")],
)
def test_the_lines_that_are_offered_close_what_passed(name):
    policy, _, tools = CASES[name]
    for _ in range(4):
        finding = shop.course(policy, *tools).run(BY_NAME[name])
        if finding.held:
            return
        policy = joined(policy, yaml.safe_load(policy_lines(finding)))
    pytest.fail(f"{policy} {finding.seen.breaches}")
