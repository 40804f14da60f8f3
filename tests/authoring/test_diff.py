"""A comparison of two policies: what it calls looser is, what is looser it never passes over, and windows are windows."""

from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guarded_tools.authoring.diff import compare
from guarded_tools.authoring.diff.settings import COMPARED
from guarded_tools.authoring.diff.windows import Held, keeps
from guarded_tools.marks import Bound
from guarded_tools.policy import ApprovalLimits, Policy, decide
from guarded_tools.policy.document import Tool
from guarded_tools.policy.limit import Limit
from guarded_tools.stores.memory import MemoryStore
from guarded_tools.values import Reservation, ToolCall, ToolInfo
from tests.cases import every_case

BEGIN = 1_767_225_600.0
RANK = {"allow": 0, "ask": 1, "deny": 2}


def policy(tools=None, **said):
    return Policy.model_validate({"version": "1", "default": "deny", "tools": tools or {}, **said})


def pay(**rules):
    return policy({"pay": rules})


def limited(**limit):
    return pay(limits=[{"counter": "c", "max": 10, "window": "minute"} | limit])


def directions(found):
    return [(change.kind, change.direction) for change in found.changes]


def only(found, direction):
    (change,) = found.of(direction)
    return change


def played(judged, example, begin):
    """What becomes of the last call of an example, by decide and a store, without what the comparison itself uses."""
    store = MemoryStore()
    for step in example.steps:
        for _ in range(step.times):
            effect = made(judged, store, step, begin)
    return effect


def made(judged, store, step, begin=BEGIN):
    said = decide(judged, ToolCall(step.tool, step.args, step.session, step.grant))
    if said.effect == "deny":
        return "deny"
    effect, across, now = said.effect, said.across, begin + step.at
    met = store.reserve(said.charges, now, (), across)
    if isinstance(met, Bound) and met.asks:
        effect = "ask"
        across = across._replace(conditions=tuple(each for each in across.conditions if each.then != "ask"))
        met = store.reserve(said.charges, now, (), across)
    if not isinstance(met, Reservation):
        return "deny"
    if step.given_back:
        store.refund(met, now)
    else:
        store.note(said.succeeded, now)
    return effect


def proven(old, new, found):
    """Every looser thing with an example is looser when its calls are made."""
    for change in found.looser:
        if change.example is not None and change.kind != "memory":
            example, last = change.example, change.example.steps[-1]
            shown = [[played(judged, example, example.begin or BEGIN) for judged in (old, new)]]
            shown.append([decide(judged, ToolCall(last.tool, last.args)).effect for judged in (old, new)])
            assert any(RANK[after] < RANK[before] for before, after in shown), change


# What is looser, by kind


def test_the_same_policy_differs_in_nothing():
    one = limited(count="args.amount", scope="grant")
    assert compare(one, one).changes == ()
    assert directions(compare(pay(), policy({"pay": {}}, description="as before"))) == []


def test_reach_is_told_of_tools_globs_and_of_any_other():
    old = policy({"read": {}, "drop": {}}, hide=["secret"])
    new = policy({"read": {}, "list_*": {"approval": True}}, default="allow", all_tools={})
    found = compare(old, new)
    told = {(change.kind, change.direction, change.tools) for change in found.changes}
    assert ("reachable", "looser", ("list_any",)) in told
    assert ("hidden", "looser", ("secret", "SECRET")) in told
    assert ("reachable", "looser", ("another_tool",)) in told
    assert found.stand_ins == {
        "list_any": "any tool like list_*",
        "LIST_ANY": "a name that only looks like list_any",
        "DROP": "a name that only looks like drop",
        "SECRET": "a name that only looks like secret",
        "another_tool": "any other tool",
    }
    proven(old, new, found)
    back = compare(new, old)
    assert back.looser == ()
    assert {change.kind for change in back.tighter} >= {"hidden", "reachable"}


def test_predicates_come_with_the_call_that_tells_them_apart():
    rows = [
        ({"op": "lte", "value": 100}, {"op": "lte", "value": 500}, {"a": 101}),
        ({"op": "eq", "value": "EUR"}, {"op": "in", "value": ["EUR", "USD"]}, {"a": "USD"}),
        ({"op": "regex", "value": r"^x\.y$"}, {"op": "regex", "value": "^x.y$"}, {"a": "xay"}),
        ({"op": "url_host", "value": ["a.example"]}, {"op": "url_host", "value": ["*.a.example", "a.example"]}, None),
    ]
    with every_case() as case:
        for before, after, args in rows:
            with case(after["op"]):
                old, new = (pay(require=[{"path": "args.a", **said}]) for said in (before, after))
                change = only(compare(old, new), "looser")
                assert change.kind == "predicate"
                assert args is None or change.example.steps[0].args == args
                assert (change.example.old.effect, change.example.new.effect) == ("deny", "allow")
                assert compare(new, old).looser == ()
                assert compare(new, old).tighter


def test_a_predicate_that_nobody_can_compare_is_said_not_to_be():
    old = pay(require=[{"path": "args.a", "op": "regex", "value": r"^\p{Greek}{40}[[:^cntrl:]]{250}x+?$"}])
    new = pay(require=[{"path": "args.a", "op": "regex", "value": r"^\p{Greek}{40}[[:^cntrl:]]{250}x+$"}])
    found = compare(old, new)
    assert directions(found) == [("predicate", "untold")]
    assert "no call was found that shows it" in found.untold[0].words


def test_who_is_asked_and_what_is_remembered():
    often = pay(risk="write", approval={"remember": "never"})
    rarely = pay(risk="write", approval={"when": [{"path": "args.a", "op": "gt", "value": 5}], "remember": "tool"})
    found = compare(often, rarely)
    assert [change.kind for change in found.looser] == ["unasked", "memory"]
    longer = pay(risk="write", approval={"remember": "same", "for": "2h", "timeout": 60})
    told = compare(pay(risk="write", approval={"remember": "same"}), longer)
    assert [(change.direction, change.words) for change in told.changes] == [
        ("looser", "it is remembered for 1 hour; now 2 hours"),
        ("changed", "a human may take 10 minutes to answer; now 1 minute"),
    ]
    # Whatever the policy permits, nothing is remembered of what moves money.
    grave = [pay(risk="financial", approval=said) for said in (True, {"timeout": 600})]
    assert compare(*grave).looser == ()
    assert compare(pay(), pay(approval=True)).looser == ()


def test_a_rule_that_goes_on_trial_is_looser():
    old = pay(deny_if=[{"path": "args.a", "op": "gt", "value": 5}])
    new = pay(shadow=True, deny_if=[{"path": "args.a", "op": "gt", "value": 5}])
    found = compare(old, new)
    assert only(found, "looser").words == "args.a must not be more than 5: no longer (on trial now)"
    assert ("trial", "changed") in directions(found)
    assert compare(old, policy({"pay": {}}, shadow=True)).looser


def test_a_schema_that_is_checked_no_more():
    info = ToolInfo("pay", schema={"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]})
    old, new = policy({"pay": {}}), policy({"pay": {"schema": "off"}})
    assert only(compare(old, new, [info]), "looser").kind == "schema"
    assert only(compare(old, new), "untold").kind == "schema"


def test_settings():
    old = policy({"pay": {}}, approvals={"max_asks": 5}, log_values=["args.a"], server="one")
    new = policy({"pay": {}}, approvals={"max_asks": 9, "max_pending": 2}, log_values=["args.b"], server="two")
    assert [(change.direction, change.rule) for change in compare(old, new).changes] == [
        ("looser", "/approvals/max_asks"),
        ("tighter", "/approvals/max_pending"),
        ("changed", "/server"),
        ("changed", "/log_values"),
    ]
    told = compare(pay(action="deny", reason="no"), pay(action="deny", reason="never"))
    assert [change.direction for change in told.changes] == ["changed"]


def test_what_is_kept_back_of_results():
    old = pay(result={"max_chars": 1_000, "redact": ["secrets", "emails"], "schema": "strict", "on_breach": "deny"})
    new = pay(result={"max_chars": 2_000, "redact": ["secrets", {"regex": "[0-9]{16}"}]})
    assert [(change.kind, change.direction, change.words) for change in compare(old, new).changes] == [
        ("result", "looser", "results of up to 1,000 characters; now 2,000"),
        ("result", "looser", "emails redacted in results: no longer"),
        ("result", "looser", "results have to fit the tool's output schema: no longer"),
        ("result", "looser", "results that break a rule are kept back as a whole: no longer"),
        ("result", "tighter", "what matches [0-9]{16} redacted in results: new"),
    ]
    assert len(compare(old, pay()).looser) == 4
    assert compare(pay(), old).looser == ()


def test_every_field_of_the_format_is_compared_somewhere():
    assert set(Policy.model_fields) == COMPARED["policy"]
    assert set(Tool.model_fields) == COMPARED["rules"]
    assert set(ApprovalLimits.model_fields) == COMPARED["approvals"]


def test_what_the_model_may_spend():
    def model(*limits, **rest):
        return Policy.model_validate({"version": "1", "default": "allow", "model": {"limits": list(limits), **rest}})

    def usd(most, window="day", **rest):
        return {"counter": "usd", "max": most, "window": window, **rest}

    calls = {"counter": "calls", "max": 5, "window": "hour"}
    price = {"m": {"input": "1", "output": "2"}}
    asking = {"approval": {"more": {"usd": "1"}, "for": 60}}
    none = Policy.model_validate({"version": "1", "default": "allow"})
    rows = [
        ("more", model(usd("5")), model(usd("6")), ["looser"]),
        ("the same in other words", model(usd("5.00")), model(usd("5")), ["changed"]),
        ("10 a minute, 500 an hour", model(usd("10", "minute")), model(usd("500", "hour")), ["looser", "tighter"]),
        ("for one session only", model(usd("5", scope="grant")), model(usd("5")), ["looser", "tighter"]),
        ("one limit more", model(usd("5")), model(usd("5"), calls), ["tighter"]),
        ("no budget any more", model(usd("5"), calls), none, ["looser", "looser"]),
        ("a budget", none, model(calls), ["tighter"]),
        (
            "cheaper",
            model(usd("5"), prices=price),
            model(usd("5"), prices={"m": {"input": "1", "output": "1"}}),
            ["looser"],
        ),
        (
            "cheaper once cached",
            model(usd("5"), prices=price),
            model(usd("5"), prices={"m": {**price["m"], "cache_read": "0"}}),
            ["looser"],
        ),
        (
            "dearer",
            model(usd("5"), prices=price),
            model(usd("5"), prices={"m": {"input": "2", "output": "2"}}),
            ["tighter"],
        ),
        (
            "another model",
            model(usd("5"), prices=price),
            model(usd("5"), prices=price | {"n": price["m"]}),
            ["changed"],
        ),
        ("shorter answers", model(calls), model(calls, answer_tokens=10), ["looser"]),
        ("a human may", model(usd("5")), model(usd("5"), **asking), ["looser"]),
        ("no human may", model(usd("5"), **asking), model(usd("5")), ["tighter"]),
        (
            "for longer",
            model(usd("5"), **asking),
            model(usd("5"), approval={"more": {"usd": "1"}, "for": 90}),
            ["looser"],
        ),
        (
            "by more",
            model(usd("5"), **asking),
            model(usd("5"), approval={"more": {"usd": "1.5"}, "for": 60}),
            ["looser"],
        ),
    ]
    with every_case() as case:
        for name, old, new, expected in rows:
            with case(name):
                assert sorted(change.direction for change in compare(old, new).changes) == expected
                assert compare(old, old).changes == ()


# Limits


def test_ten_a_minute_and_five_hundred_an_hour():
    old, new = pay(rate_limit="10/minute"), pay(rate_limit="500/hour")
    found = compare(old, new)
    assert (only(found, "looser").example.calls, only(found, "looser").example.seconds) == (11, 0)
    assert (only(found, "tighter").example.calls, only(found, "tighter").example.seconds) == (501, 3000)
    proven(old, new, found)
    assert directions(compare(old, pay(rate_limit="600/hour"))) == [("limit", "looser")]
    assert directions(compare(pay(rate_limit="600/hour"), old)) == [("limit", "tighter")]


def test_everything_about_a_limit_counts():
    rows = [
        ("other amounts", {"count": "args.amount", "max": 100}, {"count": "args.amount", "max": 200}),
        ("of everybody", {"scope": "global"}, {"scope": "grant"}),
        ("what never ran", {"counts": "attempts"}, {"counts": "successes"}),
        ("by the calendar", {"align": "rolling"}, {"align": "utc"}),
        ("each call takes less", {"count": 5}, {"count": 2}),
        ("money", {"unit": "USD", "count": "args.cost", "max": "5"}, {"unit": "USD", "count": "args.cost", "max": "6"}),
        (
            "estimates",
            {"unit": "USD", "count": "result.cost", "max": "5", "estimate": "2"},
            {"unit": "USD", "count": "result.cost", "max": "5", "estimate": "1"},
        ),
    ]
    with every_case() as case:
        for name, before, after in rows:
            with case(name):
                old, new = limited(**before), limited(**after)
                found = compare(old, new)
                assert [change.kind for change in found.looser] == ["limit"]
                assert found.looser[0].example is not None
                proven(old, new, found)
                assert compare(new, old).looser == ()
                assert [change.kind for change in compare(new, old).tighter] == ["limit"]


def test_what_is_not_comparable_is_not_called_kept():
    rows = [
        ({"count": "result.a", "estimate": 1}, {"count": "result.b", "estimate": 1}),
        ({"scope": "session"}, {"scope": "grant"}),  # a session may act for two
        ({"scope": "grant"}, {"scope": "session"}),
        ({"unit": "USD", "count": "args.a", "scale": 2}, {"unit": "EUR", "count": "args.a", "scale": 2}),
    ]
    for before, after in rows:
        found = compare(limited(**before), limited(**after))
        assert [change.kind for change in (*found.looser, *found.untold)] == ["limit"], (before, after)


def test_limits_of_all_tools_are_told_once_and_count_all():
    everywhere = {"limits": [{"counter": "c", "max": 4, "window": "minute"}]}
    tools = {"a": {}, "b": {}, "c": {}}
    each = {name: {"rate_limit": "4/minute"} for name in tools}
    old, new = policy(tools, all_tools=everywhere), policy(each)
    found = compare(old, new)
    change = only(found, "looser")
    assert change.tools == ("a", "b", "c")
    assert len({step.tool for step in change.example.steps}) > 1
    proven(old, new, found)
    assert compare(new, old).looser == ()


def test_a_limit_behind_a_need_is_reached():
    tools = {"look": {}, "pay": {"needs": [{"tool": "look"}]}}
    old = policy(tools | {"pay": tools["pay"] | {"rate_limit": "2/hour"}})
    found = compare(old, policy(tools))
    assert [step.tool for step in only(found, "looser").example.steps] == ["look", "pay", "pay"]
    proven(old, policy(tools), found)


LIMITS = st.fixed_dictionaries(
    {
        "max": st.integers(1, 4),
        "window": st.sampled_from([3, 4, 5, 6, 8]),
        "align": st.sampled_from(["rolling", "utc"]),
        "count": st.integers(1, 2),
    }
).filter(lambda limit: limit["count"] <= limit["max"])


@settings(max_examples=100)
@given(LIMITS, LIMITS)
def test_windows_are_compared_as_calls_are_counted(before, after):
    held, other = (Held("", Limit(counter="c", **each), "c", everywhere=False) for each in (before, after))
    found = compare(limited(**before), limited(**after))
    if keeps(other, held) == "yes":
        assert found.looser == found.untold == ()
        # Every second, as many calls as fit: of whatever beginning, none is refused before.
        for begin, pause in product(range(4), range(3)):
            times = [begin + second for second in range(17) if second % (pause + 1) == 0 for _ in range(4)]
            let_through = counted(after, times)
            assert counted(before, let_through) == let_through
    else:
        assert [change.kind for change in found.looser] == ["limit"]
        example = found.looser[0].example
        times = [(example.begin or 0) + step.at for step in example.steps for _ in range(step.times)]
        assert counted(after, times) == times
        assert counted(before, times) != times


def counted(limit, times):
    """The calls that a limit lets through, as its words say."""
    kept = []
    for now in times:
        start = now - now % limit["window"] - 1e-5 if limit["align"] == "utc" else now - limit["window"]
        used = limit["count"] * sum(then > start for then in kept)
        if used + limit["count"] <= limit["max"]:
            kept.append(now)
    return kept


# Rules across calls


def test_rules_across_calls():
    after = {"labels": ["untrusted"], "then": "deny"}
    tools = {"fetch": {"labels": ["untrusted"]}, "send": {"after": [after]}}
    rows = [
        ("asks", {"send": {"after": [after | {"then": "approve"}]}}),
        ("forgets", {"send": {"after": [after | {"within": 60}]}}),
        ("only some", {"send": {"after": [after | {"when": [{"path": "args.to", "op": "exists"}]}]}}),
        ("brings less", {"fetch": {"labels": [{"label": "untrusted", "when": [{"path": "args.u", "op": "exists"}]}]}}),
        ("both", {"send": {"after": [after | {"labels": ["untrusted", "secret"]}]}, "get": {"labels": ["secret"]}}),
    ]
    with every_case() as case:
        for name, changed in rows:
            with case(name):
                old, new = policy(tools | {"get": {}}), policy(tools | {"get": {}} | changed)
                found = compare(old, new)
                assert "session rule" in {change.kind for change in found.looser}
                assert found.untold == ()
                proven(old, new, found)
    needs = policy({"look": {}, "send": {"needs": [{"tool": "look"}]}})
    wider = policy({"look": {}, "glance": {}, "send": {"needs": [{"tool": ["look", "glance"]}]}})
    assert [step.tool for step in only_session(compare(needs, wider)).example.steps] == ["glance", "send"]
    assert only_session(compare(needs, policy({"look": {}, "send": {}}))).example.calls == 1


def only_session(found):
    (change,) = [change for change in found.looser if change.kind == "session rule"]
    return change


def test_flow():
    tools = {"fetch": {"risk": "read"}, "send": {"risk": "write", "labels": ["outward"]}}
    old, new = policy(tools, flow="trifecta"), policy(tools)
    found = compare(old, new)
    assert only(found, "looser").rule == "/flow"
    proven(old, new, found)
    seen = tools | {"crm": {"risk": "read", "labels": ["private"]}}
    labelled = seen | {"fetch": {"risk": "read", "labels": ["untrusted"]}}
    assert compare(policy(seen, flow="trifecta"), policy(labelled, flow="trifecta")).looser
    harmless = seen | {"send": {"risk": "read", "labels": []}, "post": {"labels": ["outward"]}}
    assert compare(policy(seen, flow="trifecta"), policy(harmless, flow="trifecta")).looser


SESSION_RULES = st.fixed_dictionaries(
    {},
    optional={
        "labels": st.sampled_from(
            [["x"], ["y"], ["x", "y"], [{"label": "x", "when": [{"path": "args.a", "op": "exists"}]}]]
        ),
        "after": st.lists(
            st.fixed_dictionaries(
                {"labels": st.sampled_from([["x"], ["y"], ["x", "y"]]), "then": st.sampled_from(["approve", "deny"])},
                optional={"within": st.just(5), "when": st.just([{"path": "args.a", "op": "exists"}])},
            ),
            min_size=1,
            max_size=2,
            unique_by=lambda after: str(after["labels"]),
        ),
        "needs": st.just([{"tool": "one"}]),
    },
)
BOTH = {"labels": ["x", "y"]}
POLICY = {"version": "1", "default": "deny"}


TWO_TOOLS = st.fixed_dictionaries({"one": SESSION_RULES, "two": SESSION_RULES})


@settings(max_examples=25)
@given(TWO_TOOLS, TWO_TOOLS)
def test_no_session_that_is_looser_is_passed_over(before, after):
    old, new = (usable({**POLICY, "tools": {**tools, "both": BOTH}}) for tools in (before, after))
    if old is None or new is None:
        return
    found = compare(old, new)
    proven(old, new, found)
    calls = list(product(["one", "two", "both"], [{}, {"a": 1}]))
    for session in (chosen for count in (1, 2, 3) for chosen in product(calls, repeat=count)):
        fates = [session_fate(judged, session) for judged in (old, new)]
        if None not in fates and fates[0] != fates[1]:
            looser = RANK[fates[1]] < RANK[fates[0]]
            assert found.untold or (found.looser if looser else found.tighter), session


def session_fate(judged, session):
    store = MemoryStore()
    for at, (tool, args) in enumerate(session):
        call = ToolCall(tool, args)
        effect = made(judged, store, Step(call.tool, call.args, at))
        if effect == "deny" and at < len(session) - 1:
            return None
    return effect


class Step:
    session, grant, given_back = "default", None, False

    def __init__(self, tool, args, at):
        self.tool, self.args, self.at = tool, args, at


# Whatever decide judges differently is found, or said not to be told

VALUES = [0, 4, 5, 6, 10, "a", "A", "ab", None, [1], True]
PREDICATES = st.one_of(
    st.fixed_dictionaries(
        {"path": st.sampled_from(["args.a", "args.b"]), "op": st.sampled_from(["lt", "lte", "gt", "gte"])}
        | {"value": st.sampled_from([4, 5, 9])}
    ),
    st.fixed_dictionaries(
        {"path": st.just("args.a"), "op": st.sampled_from(["in", "not_in"])}
        | {"value": st.sampled_from([["a"], ["a", "A"], ["a", 5], [None, "ab"]])},
        optional={"fold": st.booleans()},
    ),
    st.fixed_dictionaries(
        {"path": st.sampled_from(["args.a", "args.b"]), "op": st.sampled_from(["exists", "segment"])}
        | {"value": st.booleans()}
    ),
    st.fixed_dictionaries(
        {"path": st.just("args.a"), "op": st.just("regex"), "value": st.sampled_from(["^a", "^a+b?$", "(?i)^ab$"])}
    ),
)
SOME = st.lists(PREDICATES, max_size=2, unique_by=lambda each: (each["path"], each["op"]))
RULES = st.fixed_dictionaries(
    {},
    optional={
        "require": SOME,
        "deny_if": SOME,
        "approval": st.one_of(
            st.just(True), st.builds(lambda when: {"when": when or [{"path": "args.b", "op": "exists"}]}, SOME)
        ),
        "limits": st.just([{"counter": "c", "max": 6, "window": 60, "count": "args.a"}]),
        "shadow": st.booleans(),
    },
)
KEYS = st.sampled_from(["one", "two", "o*", "*e", "t?o"])
POLICIES = st.fixed_dictionaries(
    {"version": st.just("1"), "default": st.sampled_from(["allow", "deny"])},
    optional={
        "tools": st.dictionaries(KEYS, RULES, max_size=3),
        "hide": st.lists(st.sampled_from(["two", "t*"]), max_size=1),
        "all_tools": st.fixed_dictionaries({}, optional={"deny_if": SOME, "approval": st.just(True)}),
    },
)
POOL = [
    ToolCall(tool, {name: value for name, value in zip("ab", pair, strict=True) if value != "-"})
    for tool in ("one", "two", "ONE", "once", "tie", "oboe", "other")
    for pair in product([*VALUES, "-"], ["-", 5, None])
]


def usable(data):
    try:
        return Policy.model_validate(data)
    except Exception:  # what says nothing, or the same twice, is no policy
        return None


@settings(max_examples=120)
@given(POLICIES, POLICIES)
def test_no_call_that_is_looser_is_passed_over(before, after):
    old, new = usable(before), usable(after)
    if old is None or new is None:
        return
    found = compare(old, new)
    proven(old, new, found)
    assert all(change.example is not None for change in found.looser if change.kind in {"reachable", "predicate"})
    for call in POOL:
        fates = [RANK[decide(judged, call).effect] for judged in (old, new)]
        if fates[1] < fates[0]:
            assert found.looser or found.untold, call
        if fates[1] > fates[0]:
            assert found.tighter or found.untold, call


@pytest.mark.parametrize("names", [["a_*", "*_b"], ["x*y", "*xy*"]])
def test_names_between_two_globs_are_looked_at(names):
    one, other = names
    found = compare(policy({one: {}, other: {"approval": True}}), policy({other: {"approval": True}, one: {}}))
    assert [(change.direction, change.kind) for change in found.changes] == [("tighter", "unasked")] or found.untold
    assert compare(policy({other: {"approval": True}, one: {}}), policy({one: {}, other: {"approval": True}})).looser
