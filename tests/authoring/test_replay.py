"""A replay says what a guard would have done: the same calls, played to a real guard, are the judge of that."""

from __future__ import annotations

import contextlib
import itertools

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from guarded_tools.audit import AuditLog, read
from guarded_tools.authoring.recorded.audit import AuditReader
from guarded_tools.authoring.recorded.events import RecordedEvent
from guarded_tools.authoring.replay import engine, world
from guarded_tools.authoring.replay.engine import Replay
from guarded_tools.authoring.replay.summary import Selection, summarise
from guarded_tools.errors import PolicyError, ResultWithheld, ToolDenied
from guarded_tools.pipeline.gate import Gate
from guarded_tools.policy import Policy
from guarded_tools.stores.memory import MemoryStore
from guarded_tools.values import ToolCall, ToolInfo, Verdict

START = 1_767_225_600.0  # midnight, UTC
LOGGED = ["args.n", "args.to", "args.i"]
_names = itertools.count()

small = {"path": "args.n", "op": "lte", "value": 3}
large = {"path": "args.n", "op": "gt", "value": 3}
to_x = {"path": "args.to", "op": "eq", "value": "x"}

RULES = [
    {},
    {"approval": True},
    {"approval": {"when": [large]}},
    {"require": [small]},
    {"deny_if": [to_x]},
    {"action": "deny"},
    {"limits": [{"counter": "few", "max": 1, "window": 60}]},
    {"limits": [{"counter": "sum", "max": 6, "window": 300, "count": "args.n"}]},
    {"limits": [{"counter": "sum", "max": 7, "window": 3600, "count": "args.n", "scope": "global", "align": "utc"}]},
    {"limits": [{"counter": "hard", "max": 2, "window": 120, "counts": "attempts", "scope": "grant"}]},
    {"labels": ["untrusted"]},
    {"labels": [{"label": "private", "when": [large]}]},
    {"after": [{"labels": ["untrusted"], "then": "approve"}]},
    {"after": [{"tools": ["a"], "then": "deny", "within": 90, "when": [to_x]}]},
    {"after": [{"labels": ["private", "untrusted"], "then": "deny"}, {"tools": ["b"], "then": "approve"}]},
    {"needs": [{"tool": "a", "within": 200}]},
    {"needs": [{"tool": "b", "same": {"args.to": "args.to"}}]},
]
ALL = [{}, {"limits": [{"counter": "all", "max": 5, "window": 300}]}, {"approval": {"when": [large]}}]


TOLD = {"limits": [{"counter": "told", "max": 9, "window": 300, "count": "result.told", "estimate": 2}]}


@st.composite
def policies(draw, rules=RULES):
    tools = {}
    for tool in ("a", "b", "c"):
        parts = draw(st.lists(st.sampled_from(rules), max_size=2, unique_by=tuple))
        if draw(st.integers(0, 9)):
            tools[tool] = {key: value for part in parts for key, value in part.items()}
    data = {"version": "1", "default": draw(st.sampled_from(["deny", "allow"])), "tools": tools}
    data |= {"all_tools": draw(st.sampled_from(ALL)), "log_values": LOGGED}
    data |= {"approvals": {"max_asks": 10**6, "max_rejections": 10**6, "max_pending": 100}}
    if draw(st.integers(0, 3)) == 0:
        data["flow"] = draw(st.sampled_from(["trifecta", "rule_of_two"]))
    if draw(st.integers(0, 5)) == 0:
        data["hide"] = ["c"]
        tools.pop("c", None)
    while True:
        try:
            return Policy.model_validate(data)
        except PolicyError:  # rules that can never bind: with fewer of them it is one
            if not data.pop("flow", None):
                assume(tools)
                tools.popitem()


ANSWERS = [Verdict.approve(), Verdict.approve(), Verdict.reject("no"), {"n": 1}, {"n": 5, "to": "x"}, None]
steps = st.tuples(
    st.sampled_from([0, 1, 7, 45, 130]),
    st.sampled_from(["a", "b", "c"]),
    st.sampled_from(["one", "two"]),
    st.sampled_from([None, "ann"]),
    st.fixed_dictionaries({"n": st.integers(0, 6)}, optional={"to": st.sampled_from(["x", "y"])}),
    st.sampled_from(["ok", "ok", "ok", "error", "never_ran", "unknown"]),
    st.sampled_from(ANSWERS),
)


class Play:
    """Plays steps to a real guard, and keeps its audit."""

    def __init__(self, policy, steps, folder, before=None):
        self.path = folder / f"audit-{next(_names)}.jsonl"
        self.asked, self.ran = set(), set()
        now, number = START, 0

        def approve(request):
            self.asked.add(number)
            answer = steps[number][-1]
            if before is not None and number not in before.asked:
                return True
            if answer is None:
                raise TimeoutError
            return Verdict.edit({"i": number} | answer) if type(answer) is dict else answer

        with AuditLog(self.path, clock=lambda: now) as log:
            gate = Gate(policy, store=MemoryStore(), approver=approve, audit=log, clock=lambda: now)
            for tool in ("a", "b", "c"):
                gate.register(ToolInfo(tool))
            for number, (wait, tool, session, grant, args, outcome, _) in enumerate(steps):
                now += wait
                if before is not None and number not in before.ran:
                    outcome = "ok"  # noqa: PLW2901 - what a replay takes for granted of a call that did not run
                call = ToolCall(tool, args | {"i": number}, session, grant, f"call-{number}")
                try:
                    gate.call(call, lambda given: {"told": given["n"]}, judge=lambda _, outcome=outcome: outcome)
                except ToolDenied:
                    continue
                self.ran.add(number)

    def rows(self, policy, *, alone=False, base=None):
        events = iter(AuditReader(self.path))
        if alone:
            events = (event._replace(args={}) for event in events)
        rows = list(Replay(policy, base=base).rows(events))
        return {row.call_id: row for row in rows}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("audits")


example = settings(max_examples=50, suppress_health_check=[HealthCheck.too_slow])


@example
@given(policies([*RULES, TOLD, TOLD]), st.lists(steps, min_size=6, max_size=25))
def test_under_the_same_policy_nothing_changes(folder, policy, steps):
    play = Play(policy, steps, folder)
    rows = play.rows(policy)
    assert {row.category for row in rows.values()} == {"same"}
    assert len(rows) == len(steps)
    for number, row in enumerate(rows[f"call-{n}"] for n in range(len(steps))):
        assert row.after.ran == (number in play.ran), row
        assert (row.after.effect == "ask") >= (number in play.asked and number in play.ran)
    alone = play.rows(policy, alone=True).values()
    assert {row.category for row in alone} <= {"same", "unjudged"}
    assert {row.category for row in play.rows(policy, base=policy).values()} == {"same"}


@example
@given(policies(), policies(), st.lists(steps, min_size=6, max_size=25))
def test_another_policy_does_in_a_replay_what_it_does_in_a_guard(folder, old, new, steps):
    play = Play(old, steps, folder)
    afresh = Play(new, steps, folder, before=play).rows(new)
    replayed = play.rows(new)
    for call, row in replayed.items():
        assert (row.after.effect, row.after.ran) == (afresh[call].before.effect, afresh[call].before.ran), row
    based = play.rows(new, base=old)
    assert {call: row.category for call, row in based.items()} == {call: row.category for call, row in replayed.items()}
    # With nothing but names, what can be judged is judged the same as long as nothing before was left open.
    for call, row in play.rows(new, alone=True).items():
        if row.category == "unjudged":
            break
        assert row.category == replayed[call].category


def event(kind, number, tool="pay", **more):
    """One step of call ``number``, a second after that of the call before."""
    more = {"names": (), "args": {}, "call_id": f"c{number}", "session": "s"} | more
    return RecordedEvent(kind, more.pop("time", START + number), tool, key=f"k{number}", **more)


def replayed(tools, *events, **more):
    data = {"version": "1", "default": "deny", "tools": tools} | more
    play = Replay(Policy.model_validate(data))
    return list(play.rows(events)), play


def categories(tools, *events, **more):
    return [row.category for row in replayed(tools, *events, **more)[0]]


LIMITED = {"pay": {"limits": [{"counter": "n", "max": 1, "window": 60}]}}


def test_a_run_that_waited_comes_back_as_the_same_call():
    asked = event("asked", 1)
    again, answered = asked._replace(key="k2"), asked._replace(kind="answered", key="k3", verdict="approve")
    admitted = answered._replace(kind="admitted")
    for events in ([asked, answered, admitted], [asked, again, answered, admitted], [asked, again, admitted]):
        rows, play = replayed({"pay": {}}, *events, event("admitted", 4))
        assert [(row.category, row.before.effect) for row in rows] == [("newly_allowed", "ask"), ("same", "allow")]
        assert not play._waiting
        assert not play._places
    assert categories({"pay": {"approval": True}}, asked, again) == ["same"]  # it still waits


def test_what_no_policy_refused_is_counted_apart_and_takes_nothing():
    apart = [
        event("refused", 1, outcome="denied", rule="(halted)"),
        event("refused", 2, outcome="denied", rule="(lock)"),
        event("refused", 3, outcome="failed_closed", rule="/tools/pay"),
        event("refused", 4, outcome="unknown", rule="/tools/pay/approval"),
    ]
    assert categories(LIMITED, *apart, event("admitted", 5)) == ["apart"] * 4 + ["same"]


def test_what_humans_and_their_quotas_refused_was_asked_about():
    refused = [
        event("refused", 1, outcome="rejected", verdict="reject"),
        event("refused", 2, outcome="limited", verdict="reject", rule="/tools/pay/approval"),  # too many questions
        event("refused", 3, outcome="unanswered"),
    ]
    assert categories({"pay": {"approval": True}}, *refused) == ["same"] * 3
    assert categories({"pay": {}}, *refused) == ["newly_allowed"] * 3
    assert categories({}, *refused) == ["newly_denied"] * 3


def test_what_a_human_did_to_the_state_is_done():
    tools = {
        "read": {"labels": ["untrusted"]},
        "pay": {"after": [{"labels": ["untrusted"], "then": "deny"}], "labels": []},
        "poll": {"labels": [], "limits": [{"counter": "n", "max": 1, "window": "day"}]},
    }
    clear = RecordedEvent("control", START, "", "s", rule="(clear)", labels=("untrusted",))
    said = "started the counters of session:s at zero (1 forgotten)"
    reset = RecordedEvent("control", START, "", rule="(reset)", message=said)
    for control in (clear, reset, reset._replace(message="started all counters at zero (2 forgotten)")):
        events = event("admitted", 1, "read"), event("admitted", 2), control, event("admitted", 3)
        assert categories(tools, *events) == ["same", "newly_denied", "same"]
    elsewhere = reset._replace(message=said.replace("session:s", "session:other"))
    polls = event("admitted", 1, "poll"), elsewhere, event("admitted", 2, "poll"), reset, event("admitted", 3, "poll")
    assert categories(tools, *polls) == ["same", "newly_denied", "same"]


def test_a_call_that_did_not_run_gives_back_what_it_took():
    settled = event("settled", 1, outcome="never_ran", time=START + 2)
    assert categories(LIMITED, event("admitted", 1), settled, event("admitted", 3)) == ["same", "same"]
    kept = settled._replace(outcome="unknown")
    assert categories(LIMITED, event("admitted", 1), kept, event("admitted", 3)) == ["same", "newly_denied"]


def test_arguments_that_were_not_recorded_are_never_guessed():
    unknown = {"names": ("amount", "to"), "args": {"to": "x"}}
    rows, _ = replayed(
        {"pay": {"require": [{"path": "args.amount", "op": "lte", "value": 5}]}}, event("admitted", 1, **unknown)
    )
    assert (rows[0].category, rows[0].after.message) == ("unjudged", "args.amount was not recorded")
    judged = {"require": [{"path": "args.to", "op": "eq", "value": "x"}], "limits": LIMITED["pay"]["limits"]}
    assert categories({"pay": judged}, event("admitted", 1, **unknown)) == ["same"]
    # What can be judged and denies, denies, whatever else could not be judged.
    both = {"deny_if": [{"path": "args.amount", "op": "gt", "value": 5}, {"path": "args.to", "op": "eq", "value": "x"}]}
    assert categories({"pay": both}, event("admitted", 1, **unknown)) == ["newly_denied"]
    full = {"pay": {**LIMITED["pay"], "deny_if": both["deny_if"][:1]}}
    assert categories(full, *(event("admitted", n, **unknown) for n in (1, 2))) == ["unjudged", "newly_denied"]
    # An argument that was not there at all is known not to be.
    absent = {"names": ("to",), "args": {}}
    assert categories({"pay": {"deny_if": both["deny_if"][:1]}}, event("admitted", 1, **absent)) == ["same"]
    unsure = {"names": None, "args": {}}
    assert categories({"pay": {"deny_if": both["deny_if"][:1]}}, event("admitted", 1, **unsure)) == ["unjudged"]
    like = {"names": ("Amount",), "args": {}}
    assert categories({"pay": {"deny_if": both["deny_if"][:1]}}, event("admitted", 1, **like)) == ["newly_denied"]


def test_amounts_of_the_record_are_used_where_they_were_counted_from_arguments():
    counted = {"pay": {"limits": [{"counter": "sum", "max": 8, "window": 60, "count": "args.n"}]}}
    policy = Policy.model_validate({"version": "1", "default": "deny", "tools": counted})

    def paid(number, amount, by="unknown"):
        charges = () if amount is None else (("session:s", "/pay/sum", amount),)
        return event("admitted", number, names=("n",), policy=by, charges=charges)

    # By the very policy, what is not in the charges took nothing.
    own = [paid(1, 5, policy.fingerprint), paid(2, None, policy.fingerprint), paid(3, 4, policy.fingerprint)]
    assert categories(counted, *own) == ["same", "same", "newly_denied"]
    # By another one, an amount that never changes may have been how many calls there were.
    assert categories(counted, paid(1, 1), paid(2, 1)) == ["unjudged"] * 2
    by_other = [paid(1, 1), *(paid(100 + n, amount) for n, amount in enumerate((3, 5, 2)))]
    assert categories(counted, *by_other) == ["unjudged", "same", "same", "newly_denied"]
    # What is not known of a counter makes what fits into it doubtful, for as long as its window.
    doubtful = [paid(1, None), paid(2, 3), paid(3, 4), paid(500, 4)]
    assert categories(counted, *doubtful) == ["unjudged", "unjudged", "unjudged", "same"]
    old = Policy.model_validate(
        {"version": "1", "default": "deny", "tools": {"pay": {"limits": [{**counted["pay"]["limits"][0], "max": 99}]}}}
    )
    play = Replay(policy, base=old)
    rows = list(play.rows([paid(1, 8, old.fingerprint), paid(2, 1, old.fingerprint)]))
    assert [row.category for row in rows] == ["same", "newly_denied"]


def test_what_only_a_result_tells_is_taken_from_the_record_or_not_known():
    limit = {"counter": "told", "max": 9, "window": 300, "count": "result.told", "estimate": 2}
    told = (("session:s", "/pay/told", 8),)
    first = [event("admitted", 0), event("settled", 0, outcome="ok", charges=told)]
    later = [event("admitted", 1), event("admitted", 400)]
    assert categories({"pay": {"limits": [limit]}}, *first, *later) == ["same", "newly_denied", "same"]
    unknown = [first[0], first[1]._replace(charges=())]
    assert categories({"pay": {"limits": [limit]}}, *unknown, *later) == ["same", "unjudged", "same"]


KEPT_BACK = {"version": "1", "default": "deny", "log_values": ["args.n"], "tools": {
    "a": {"result": {"max_chars": 30, "redact": ["secrets"], "on_breach": "deny"}, "labels": ["untrusted"]},
    "b": {"result": {"max_chars": 30, "redact": ["secrets"]}, "needs": [{"tool": "a"}]},
}}  # fmt: skip


def test_what_was_kept_back_of_a_result_changes_nothing_of_its_call(folder):
    path = folder / "kept-back.jsonl"
    with AuditLog(path, clock=lambda: START) as log:
        gate = Gate(Policy.model_validate(KEPT_BACK), store=MemoryStore(), audit=log, clock=lambda: START)
        for tool, told in [("a", "x" * 99), ("b", "x" * 99), ("b", "key sk-ant-api03-" + "a" * 40), ("a", "short")]:
            gate.register(ToolInfo(tool))
            with contextlib.suppress(ResultWithheld):
                gate.call(ToolCall(tool, {"n": 1}, "s"), lambda _, told=told: told)
    assert [record["result"]["did"] for record in read(path) if "result" in record] == ["withheld", "cut", "redacted"]
    rows = list(Replay(Policy.model_validate(KEPT_BACK)).rows(AuditReader(path)))
    assert [(row.tool, row.category) for row in rows] == [("a", "same"), ("b", "same"), ("b", "same"), ("a", "same")]
    free = KEPT_BACK | {"tools": {"a": {}, "b": {}}}
    assert {row.category for row in Replay(Policy.model_validate(free)).rows(AuditReader(path))} == {"same"}


def test_what_a_call_left_behind_that_nobody_knows_makes_later_ones_doubtful():
    label = {"label": "untrusted", "when": [{"path": "args.from", "op": "eq", "value": "web"}]}
    tools = {
        "read": {"labels": [label]},
        "pay": {"after": [{"labels": ["untrusted"], "then": "deny"}], "labels": []},
        "refund": {"needs": [{"tool": "pay", "same": {"args.id": "args.id"}}], "labels": []},
    }
    known, unknown = {"names": ("from",), "args": {"from": "file"}}, {"names": ("from",), "args": {}}
    assert categories(tools, event("admitted", 1, "read", **known), event("admitted", 2)) == ["same", "same"]
    assert categories(tools, event("admitted", 1, "read", **unknown), event("admitted", 2)) == ["unjudged", "unjudged"]
    clear = RecordedEvent("control", START, "", "s", rule="(clear)", labels=("untrusted",))
    after = event("admitted", 1, "read", **unknown), clear, event("admitted", 2)
    assert categories(tools, *after) == ["unjudged", "same"]
    refund = event("admitted", 3, "refund", names=("id",), args={"id": 7})
    ok = event("settled", 1, outcome="ok")
    paid = event("admitted", 1, names=("id",), args={"id": 7})
    assert categories(tools, paid, ok, refund) == ["same", "same"]
    assert categories(tools, paid._replace(args={"id": 8}), ok, refund) == ["same", "newly_denied"]
    assert categories(tools, paid._replace(args={}), ok, refund) == ["same", "unjudged"]
    again = event("admitted", 2, names=("id",), args={})
    assert categories(tools, paid, ok, again, refund) == ["same", "same", "same"]


def test_a_refusal_by_a_schema_that_is_not_known_cannot_be_judged():
    refused = event("refused", 1, outcome="denied", rule="/schema")
    assert categories({"pay": {}}, refused) == ["unjudged"]
    assert categories({"pay": {"schema": "off"}}, refused) == ["newly_allowed"]
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    policy = Policy.model_validate({"version": "1", "default": "deny", "tools": {"pay": {}}})
    play = Replay(policy, infos={"pay": ToolInfo("pay", schema=schema)})
    fits = event("refused", 2, outcome="denied", rule="/schema", names=("n",), args={"n": 1})
    assert [row.category for row in play.rows([refused, fits])] == ["same", "newly_allowed"]
    assert play.unchecked == 0


def test_calls_that_never_end_take_a_bounded_place(monkeypatch):
    for module in (world, engine):
        monkeypatch.setattr(module, "MOST_OPEN", 50)
    asked = [event("asked", number, session=f"s{number}") for number in range(300)]
    admitted = [event("admitted", number, session="s") for number in range(300, 600)]
    tools = {"pay": {"limits": [{"counter": "n", "max": 1000, "window": "day"}]}}
    rows, play = replayed(tools, *asked, *admitted)
    assert len(rows) == 600
    assert play.forgotten == 250 + 250
    assert len(play._worlds[0]._open) == 50


def test_sessions_that_hold_nothing_any_more_are_let_go(monkeypatch):
    monkeypatch.setattr(world, "_PRUNE_EVERY", 100)
    calls = [event("admitted", 100 * number, session=f"s{number}") for number in range(1000)]
    rows, play = replayed(LIMITED, *calls)
    assert {row.category for row in rows} == {"same"}
    assert play._worlds[0]._store.scopes() < 250


def test_what_was_taken_is_held_for_its_window_from_where_a_clock_was_set_back_to():
    times = [START + 100, START, START + 59, START + 62]
    rows = categories(LIMITED, *(event("admitted", number, time=time) for number, time in enumerate(times)))
    assert rows == ["same", "newly_denied", "newly_denied", "same"]


def test_the_sum_of_it_is_told_for_what_is_wanted_and_counted_for_all():
    events = [
        event("admitted", n, tool, session=s) for n, (tool, s) in enumerate([("pay", "a"), ("pay", "a"), ("out", "b")])
    ]
    rows, _ = replayed(LIMITED, *events)
    told = summarise(rows, Selection(tool="p*", since=START + 1), examples=1)
    assert told.calls == 1
    assert told.limits == {("/tools/pay/limits/n", "/pay/n"): 1}
    assert told.examples["newly_denied"][0].after.message == "a limit of 1 in a minute is used up (1 used)"
    assert summarise(rows, Selection(session="b")).rules["newly_denied"] == {("(default deny)", ""): 1}
    many = summarise(rows[0]._replace(tool=f"t{n}") for n in range(5000))
    assert len(many.tools) == 2001
    assert many.calls == 5000
