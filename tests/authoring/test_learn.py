"""What is learnt of a record lets its own calls through, is a policy, and never holds less than a base."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from guarded_tools.authoring.learn import run
from guarded_tools.authoring.learn.arguments import rules_of
from guarded_tools.authoring.learn.base import Base
from guarded_tools.authoring.learn.draft import KnownTool
from guarded_tools.authoring.learn.glimpse import glimpses
from guarded_tools.authoring.learn.hold_out import is_held_out
from guarded_tools.authoring.learn.run import Given, learn_from
from guarded_tools.authoring.learn.seen import SeenRecord
from guarded_tools.authoring.learn.terms import Terms
from guarded_tools.authoring.learn.windows import Busiest
from guarded_tools.authoring.learn.written import draft_yaml
from guarded_tools.authoring.recorded.events import RecordedEvent
from guarded_tools.authoring.recorded.shelf import RecordedCall, Shelf
from guarded_tools.authoring.replay.engine import Replay
from guarded_tools.errors import GuardError, PolicyError
from guarded_tools.policy import Policy, decide
from guarded_tools.stores.memory import MemoryStore
from guarded_tools.values import Charge, Reservation, ToolCall, ToolInfo

START = 1_767_225_600.0
HEALTH = {"suppress_health_check": [HealthCheck.too_slow, HealthCheck.filter_too_much], "deadline": None}


def events(calls):
    shelf = Shelf()
    shelf.fill(calls)
    found = list(shelf.events())
    shelf.close()
    return found


def learnt(calls, **given_):
    found = calls if calls and isinstance(calls[0], RecordedEvent) else events(calls)
    return learn_from(lambda: found, Given(given_.pop("known", {}), **given_), steps=True)


def refunds(sessions=6, *, each=3, tool="refund", **args):
    return [
        RecordedCall(tool, {"amount": 10 * (n + 1), "currency": "eur", **args}, START + 600 * s + 20 * n, f"s{s}")
        for s in range(sessions)
        for n in range(each)
    ]


def entry(calls, tool="refund", **given_):
    return learnt(calls, **given_).draft.policy["tools"][tool]


def predicates(calls, **given_):
    made = entry(calls, **given_)
    return {(p["path"], p["op"]): p.get("value", True) for kind in ("require", "deny_if") for p in made.get(kind, ())}


# What teaches


def test_only_what_ran_and_ended_well_teaches():
    outcomes = ["denied", "limited", "rejected", "error", "unknown", "never_ran", "suspended", "failed_closed"]
    odd = [
        RecordedCall(f"tool_{o}", {}, START + n, "s0", outcome=o, untold=o == "suspended")
        for n, o in enumerate(outcomes)
    ]
    found = learnt([*refunds(), *odd])
    assert list(found.draft.policy["tools"]) == ["refund"]
    said = " ".join(found.remarks)
    assert all(f"tool_{outcome}" in said for outcome in outcomes)
    assert "4 refused, 3 failed, 1 of unknown end" in said
    with pytest.raises(GuardError, match="nothing to learn from"):
        learnt(odd)


def test_a_failing_loop_raises_no_limit():
    loop = [
        RecordedCall("refund", {"amount": 5, "currency": "eur"}, START + n, "s0", outcome="error") for n in range(90)
    ]
    quiet, loud = entry(refunds()), entry([*refunds(), *loop])
    assert (
        quiet["limits"]
        == loud["limits"]
        == [{"counter": "calls_per_hour", "window": "hour", "max": 5, "scope": "session"}]
    )
    found = learnt([*refunds(), *loop])
    assert found.bound["/tools/refund/limits/calls_per_hour"] > 80
    assert "this would have bound 8" in draft_yaml(found.draft, found.bound)


def test_a_session_that_was_halted_teaches_nothing():
    halt = RecordedEvent("control", START + 9_000, "", rule="(halt)", message="halted session:evil: odd: mails")
    calls = events(
        [*refunds(), RecordedCall("send_mail", {}, START, "evil"), RecordedCall("ping", {}, START, "evil: odd")]
    )
    assert set(learnt([*calls, halt]).draft.policy["tools"]) == {"refund"}
    assert set(learnt(calls).draft.policy["tools"]) == {"refund", "ping", "send_mail"}


def test_where_humans_were_asked_the_draft_asks():
    asked = [RecordedCall("list_orders", {}, START, f"s{s}", verdict="approve" if s == 3 else "") for s in range(6)]
    assert entry(asked, "list_orders")["approval"] is True
    assert "approval" not in entry([call._replace(verdict="") for call in asked], "list_orders")


def test_risk_labels_and_approval_are_those_of_scan():
    assert entry(refunds()) | {"limits": 0} == {
        "risk": "financial",
        "labels": ["outward"],
        "require": entry(refunds())["require"],
        "limits": 0,
        "approval": True,
    }
    known = {"refund": KnownTool(ToolInfo("refund", "shop", "Delete it all, permanently deleting the rest."))}
    assert entry(refunds(), known=known)["risk"] == "destructive"
    assert entry(refunds(tool="frobnicate"), "frobnicate")["risk"] == "destructive"


# Arguments


def test_few_words_amounts_hosts_and_ids_are_learnt():
    calls = refunds(url="https://shop.example/x?a=1", orderId="o-1", dry_run=True, page=7)
    assert predicates(calls) == {
        ("args.amount", "lte"): 45,
        ("args.amount", "gte"): 0,
        ("args.currency", "in"): ["eur"],
        ("args.dry_run", "in"): [True],
        ("args.orderId", "segment"): True,
        ("args.url", "url_host"): ["shop.example"],
    }


def test_what_may_be_left_out_is_denied_where_it_does_not_fit():
    calls = refunds(reasons=["late", "lost"])
    calls.append(RecordedCall("refund", {}, START, "s1"))
    assert predicates(calls) == {
        ("args.amount", "gt"): 45,
        ("args.amount", "lt"): 0,
        ("args.currency", "not_in"): ["eur"],
        ("args.reasons[*]", "not_in"): ["late", "lost"],
    }


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("note", "late"),
        ("query", "late"),
        ("kind", "sorry that it came so late"),
        ("kind", "ann@example.com"),
        ("kind", "4f3c2b1a9d8e"),
        ("kind", "1234567"),
        ("kind", "ünicode"),
        ("kind", "x" * 41),
        ("kind", None),
        ("kind", {}),
        ("page", 4),
        ("customer_id", 4),
        ("amount2", -4),
        ("amount2", 2**60),
        ("amount2", 1e300),
        ("link", "ftp://shop.example/"),
        ("link", "https://a@b@shop.example/"),
    ],
)
def test_what_is_not_learnt(name, value):
    made = predicates(refunds(**{name: value}))
    assert [op for path, op in made if path == f"args.{name}"] in ([], ["segment"])


def test_one_session_alone_teaches_no_value():
    calls = [call._replace(session="s0") for call in refunds()]
    assert predicates(calls) == {}
    few = [*refunds(), RecordedCall("refund", {"amount": 10, "currency": "usd"}, START, "s0")]
    assert ("args.currency", "in") not in predicates(few)


def test_more_values_than_are_few_teach_none():
    calls = [call._replace(args={"kind": f"k{n}"}) for n in range(4) for call in refunds()]
    assert predicates(calls) == {("args.kind", "in"): ["k0", "k1", "k2", "k3"]}
    assert predicates(calls, terms=Terms(most_values=3)) == {}


def test_an_argument_that_was_not_always_recorded_teaches_nothing():
    calls = refunds()
    calls[4] = calls[4]._replace(args=None, names=("amount", "currency"))
    assert predicates(calls) == {}
    calls[4] = calls[4]._replace(names=None)
    found = learnt(calls)
    assert "require" not in found.draft.policy["tools"]["refund"]
    assert "arguments were not recorded whole, so rules about them are missing: refund" in found.remarks


def test_an_id_that_was_seen_with_slashes_is_left_alone():
    assert ("args.repo", "segment") in predicates(refunds(repo="widgets"))
    assert ("args.repo", "segment") not in predicates(refunds(repo="acme/widgets"))


def test_an_id_that_was_seen_alone_and_in_lists_is_left_alone():
    calls = refunds(orderId="o-1")
    assert ("args.orderId[*]", "segment") in predicates(refunds(orderId=["o-1"]))
    calls[3] = calls[3]._replace(args={**calls[3].args, "orderId": ["o-1"]})
    assert not [path for path, _ in predicates(calls) if "orderId" in path]


def test_headroom_is_rounded_up():
    assert Terms().with_room(3) == 5
    assert Terms(Decimal(1)).with_room(2**53 - 1) == 2**53 - 1
    assert Terms(Decimal("1.1")).with_room(0.7) == 0.77
    assert Terms().with_room(0.1234) == 0.186


def test_memory_does_not_grow_with_what_a_model_makes_up():
    seen = SeenRecord()
    for n in range(70):
        for event in events([RecordedCall("t", {f"a{n}": f"v{n}", "same": f"v{n}"}, START, f"s{n}")]):
            seen.take(event)
    tool = seen.end().tools["t"]
    assert len(tool.arguments) == 64
    assert tool.arguments["args.same"].values is None
    assert len(glimpses({"list": list(range(9_999))})) == 256
    assert rules_of(tool, None, Terms())[0] == []


# Windows


@settings(max_examples=100, **HEALTH)
@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 8_000)), min_size=1, max_size=60), st.integers(0, 5))
def test_the_busiest_window_always_fits_a_store(calls, late):
    """A limit of what was counted lets all of them through: whatever the order in which they ended."""
    calls = sorted(calls, key=lambda call: call[1])
    busiest = Busiest()
    for session, moment in calls[late:] + calls[:late]:
        busiest.add("t", session, START + moment / 2)
    store, most = MemoryStore(), busiest.of("t")
    assert most["minute"] <= most["hour"] <= most["day"] <= len(calls)
    for session, moment in calls:
        charges = [
            Charge(f"session:{session}", f"/t/{name}", 1, most[name], length, "/r")
            for name, length in (("minute", 60), ("hour", 3600))
        ]
        assert isinstance(store.reserve(charges, START + moment / 2), Reservation)


# Whole drafts

VALUES = st.one_of(
    st.sampled_from(
        ["eur", "usd", "a/b", "https://a.example/x", "https://b.example", "x" * 50, "\ud800", "yes", "1.0", "#"]
    ),
    st.integers(-5, 50),
    st.floats(-2, 90, allow_nan=False),
    st.booleans(),
    st.none(),
    st.lists(st.sampled_from(["eur", "usd", 3, None]), max_size=3),
    st.fixed_dictionaries({"deep": st.sampled_from(["eur", 1, None])}),
)
NAMES = st.sampled_from(["amount", "kind", "orderId", "url", "a b", 'q"', "*", "length"])
TOOLS = st.sampled_from(["refund", "list_orders", "send_mail", "*", "a[b]", "odd: tool", "Refund", " ", "drop\x1b"])
CALLS = st.builds(
    lambda tool, args, session, moment, outcome, verdict: RecordedCall(
        tool, args, START + moment, session, outcome=outcome, verdict=verdict
    ),
    TOOLS,
    st.dictionaries(NAMES, VALUES, max_size=4),
    st.sampled_from([f"s{n}" for n in range(8)]),
    st.integers(0, 200_000),
    st.sampled_from(["", "", "", "ok", "error", "denied"]),
    st.sampled_from(["", "", "", "approve"]),
)


@st.composite
def records(draw):
    """Calls, some of them made over and over, so that there is something to learn."""
    once = draw(st.lists(CALLS, min_size=1, max_size=14))
    often = [
        call._replace(session=f"s{n}", time=(call.time or 0) + 30 * n, outcome="")
        for call in draw(st.lists(CALLS, max_size=3))
        for n in range(draw(st.integers(1, 7)))
    ]
    return events([*once, *often])


@settings(max_examples=100, **HEALTH)
@given(records())
def test_a_draft_is_a_policy_that_lets_its_own_record_through(tmp_path_factory, record):
    try:
        found = learnt(record, terms=Terms(Decimal(1)))
    except GuardError:
        assume(False)
    text = draft_yaml(found.draft, found.bound)
    path = tmp_path_factory.mktemp("drafts") / "draft.yaml"
    path.write_text(text)
    policy = Policy.from_file(path)
    assert policy == Policy.model_validate(found.draft.policy) == found.policy
    assert "\x1b" not in text
    assert text == draft_yaml(learnt(record, terms=Terms(Decimal(1))).draft, found.bound)
    assert policy.default == "deny"
    ended_well = {event.key for event in record if event.kind == "settled" and event.outcome == "ok"}
    taught = [
        event for event in record if event.kind != "settled" and event.key in ended_well and event.tool in policy.tools
    ]
    rows = list(
        Replay(policy).rows(event for event in record if event.key in ended_well and event.tool in policy.tools)
    )
    assert len(rows) == len(taught)
    assert {row.after.effect for row in rows} <= {"allow", "ask"}


# A base

PARTS = [
    {},
    {"action": "deny"},
    {"approval": True},
    {"approval": {"when": [{"path": "args.amount", "op": "gt", "value": 9}]}},
    {"require": [{"path": "args.kind", "op": "exists"}]},
    {"deny_if": [{"path": "args.amount", "op": "gt", "value": 20}]},
    {"rate_limit": "3/minute"},
    {"limits": [{"counter": "mine", "window": "hour", "max": 2}]},
    {
        "limits": [
            {"counter": "mine", "window": 3600, "max": 900, "scope": "global"},
            {"counter": "b", "window": 60, "max": 700},
        ]
    },
    {"labels": ["untrusted", "private"]},
    {"after": [{"tools": ["list_orders"], "then": "approve"}]},
    {"needs": [{"tool": "list_*", "same": {"args.kind": "args.kind"}}]},
    {"shadow": True, "deny_if": [{"path": "args.amount", "op": "gt", "value": 0}]},
    {"risk": "read"},
]
KEYS = st.sampled_from(["refund", "list_orders", "send_mail", "re*", "*", "list_*", "other"])


@st.composite
def bases(draw):
    data = {
        "version": "1",
        "default": draw(st.sampled_from(["deny", "allow"])),
        "hide": draw(st.sampled_from([[], [], ["send_*"]])),
        "tools": {
            key: {k: v for part in parts for k, v in part.items()}
            for key, parts in draw(
                st.dictionaries(KEYS, st.lists(st.sampled_from(PARTS), max_size=2), max_size=4)
            ).items()
        },
        "all_tools": draw(
            st.sampled_from([{}, {"limits": [{"counter": "all", "window": "hour", "max": 4}]}, {"approval": True}])
        ),
    }
    if draw(st.integers(0, 3)) == 0:
        data["flow"] = "trifecta"
    try:
        return Base(data, Policy.model_validate(data))
    except PolicyError:
        assume(False)


STRICT = {"allow": 0, "ask": 1, "deny": 2}


@settings(max_examples=120, **HEALTH)
@given(records(), bases(), st.lists(CALLS, max_size=6), st.sampled_from(["read", "write", None]))
def test_what_a_base_holds_stays_held(record, base, others, risk):
    try:
        found = learnt(record, base=base)
    except GuardError as error:
        said = str(error)
    else:
        said = ""
        judge(record, base.policy, found.policy, others, risk)
    assert not said or said.startswith(("there is nothing to learn", "the base refuses every tool")), said


def judge(record, base, result, others, risk):
    calls = [ToolCall(event.tool, event.args, event.session) for event in record if event.kind != "settled"]
    calls += [ToolCall(other.tool, other.args or {}, other.session) for other in others]
    for call in calls:
        before, after = decide(base, call, None, risk), decide(result, call, None, risk)
        assert STRICT[after.effect] >= STRICT[before.effect], (call, before, after)
        if after.effect == "deny":
            continue
        assert conditions(before) <= conditions(after)
        # Every limit of the base is there, no higher, or one that is at least as strict.
        for charge in before.charges:
            assert any(
                other.max <= charge.max
                and other.window >= charge.window
                and other.amount >= charge.amount
                and other.scope in (charge.scope, "global")
                for other in after.charges
            ), (charge, after.charges)


def conditions(decision):
    return set() if decision.across is None else {(c.then, c.kind, c.names) for c in decision.across.conditions}


def test_a_base_keeps_its_names_and_gets_lower_limits():
    data = {
        "version": "1",
        "default": "deny",
        "tools": {
            "refund": {
                "limits": [
                    {"counter": "mine", "window": "hour", "max": 50},
                    {"counter": "all", "window": "day", "max": 90, "scope": "global"},
                ]
            },
            "re*": {},
            "drop_table": {"action": "deny", "reason": "never"},
            "other": {},
        },
    }
    found = learnt(refunds(), base=Base(data, Policy.model_validate(data)))
    tools = found.draft.policy["tools"]
    assert list(tools) == ["refund", "drop_table"]
    assert [(limit["counter"], limit["max"]) for limit in tools["refund"]["limits"]] == [("mine", 5), ("all", 90)]
    assert "Not seen, or seen by name, and taken out: re*, other." in found.draft.remarks
    assert "risk" not in tools["refund"]
    assert "labels" not in tools["refund"]


def test_a_base_on_trial_or_without_the_tools_is_refused():
    for data, said in [
        ({"shadow": True, "tools": {"refund": {}}}, "on trial"),
        ({"tools": {"other": {}}}, "refuses every tool"),
    ]:
        policy = {"version": "1", "default": "deny", **data}
        with pytest.raises(GuardError, match=said):
            learnt(refunds(), base=Base(policy, Policy.model_validate(policy)))


def test_rules_across_calls_keep_what_they_speak_of():
    data = {
        "version": "1",
        "default": "deny",
        "tools": {"refund": {"after": [{"tools": ["fetch"], "then": "deny"}]}, "fetch": {}},
    }
    found = learnt(refunds(), base=Base(data, Policy.model_validate(data)))
    assert list(found.draft.policy["tools"]) == ["refund", "fetch"]
    assert "Not seen, and as the base has them, since rules across calls speak of them: fetch." in found.draft.remarks


def test_needs_of_a_tool_that_was_not_seen_stay_for_they_have_others_read_more_closely():
    needs = [{"tool": "list_*", "same": {"args.kind": "args.kind"}}]
    data = {"version": "1", "default": "allow", "tools": {"send_mail": {"needs": needs}}}
    base = Base(data, Policy.model_validate(data))
    policy = learnt(refunds(tool="list_orders"), base=base).policy
    call = ToolCall("list_orders", {"Kind": "x", "amount": 10, "currency": "eur"})
    assert decide(base.policy, call).effect == decide(policy, call).effect == "deny"


def test_a_name_that_only_looks_like_one_that_was_not_seen_stays_refused():
    needs = [{"tool": "list_*", "same": {"args.kind": "args.kind"}}]
    data = {"version": "1", "default": "deny", "tools": {"other": {}, "list_orders": {}, "*": {"needs": needs}}}
    base = Base(data, Policy.model_validate(data))
    policy = learnt(refunds(tool="list_orders"), base=base).policy
    assert decide(base.policy, ToolCall("Other", {})).effect == decide(policy, ToolCall("Other", {})).effect == "deny"


def test_a_draft_that_would_loosen_its_base_is_refused(monkeypatch):
    data = {"version": "1", "default": "deny", "tools": {"refund": {"action": "approve"}}}
    monkeypatch.setattr(run, "on_top", lambda draft, _: draft._replace(policy=data | {"tools": {"refund": {}}}))
    with pytest.raises(GuardError, match="would loosen the base"):
        learnt(refunds(), base=Base(data, Policy.model_validate(data)))


# Hold-out


def test_what_the_others_do_is_judged_by_a_draft_that_never_saw_them():
    held = [f"s{n}" for n in range(20) if is_held_out(f"s{n}")]
    assert held
    calls = [*refunds(20), RecordedCall("refund", {"amount": 99, "currency": "eur"}, START, held[0])]
    calls += [RecordedCall("rare", {}, START, held[0]), RecordedCall("gone", {}, START, held[0], outcome="denied")]
    found = learnt(calls)
    told = found.hold_out
    assert told is not None
    assert (told.trained, told.judged) == (20 - len(held), len(held))
    assert dict(told.effects) == {"ask": 3 * len(held), "deny": 2}
    assert dict(told.refused) == {"deny": 1}
    assert {row.after.rule for row in told.examples} == {"/tools/refund/require/args.amount-lte", "(default deny)"}
    # All is taught in the end.
    assert predicates(calls)[("args.amount", "lte")] == 149
    assert "rare" in found.draft.policy["tools"]


def test_too_few_sessions_give_no_result():
    found = learnt(refunds(3))
    assert found.hold_out is None
    assert "3 sessions are too few" in found.no_hold_out


def test_the_split_is_the_same_everywhere():
    split = [is_held_out(f"session {n}") for n in range(2_000)]
    assert 320 < sum(split) < 480
    assert [n for n, held in enumerate(split) if held][:5] == [0, 2, 5, 11, 14]
