"""Rules across the calls of a session, each promise once, on every backend and on both roads."""

import threading

import pytest

from guarded_tools.errors import StoreError
from guarded_tools.marks import Bound, BoundRule, Carried, Mark, SessionCondition, SessionRules
from guarded_tools.values import Full, Halted, Reservation

T = 1_800_000_000.0
S = "session:s"
DAY = 86_400


def label(name="untrusted", tool="read_inbox", scope=S):
    return Mark(scope, "label", name, tool)


def done(name="create", same="", tool=None, scope=S):
    return Mark(scope, "succeeded", name, tool or name, same)


def when(*names, then="deny", kind="label", scope=S, rule="/after/0", **more):
    return SessionCondition(scope, kind, names or ("untrusted",), then, rule, **more)


def rules(*parts):
    """Conditions and marks, in whatever order."""
    conditions = tuple(part for part in parts if isinstance(part, SessionCondition))
    return SessionRules(conditions, tuple(part for part in parts if isinstance(part, Mark)))


def call(store, *parts, charges=(), now=T, scopes=()):
    return store.reserve(charges, now, scopes, rules(*parts))


def shown(mark, first=T, last=None):
    return Carried(mark.scope, mark.kind, mark.name, mark.tool, first, first if last is None else last)


class TestOrderOfAdmission:
    def test_what_a_call_brings_binds_the_next_one(self, store):
        assert isinstance(call(store, label()), Reservation)
        bound = call(store, when())
        assert bound == Bound((BoundRule(when(), (shown(label()),)),))
        assert not bound.asks
        assert store.peek([], T, (), rules(when())) == bound

    def test_not_itself(self, store):
        both = (when(), label())
        assert store.peek([], T, (), rules(*both)) is None
        assert isinstance(call(store, *both), Reservation)
        assert isinstance(call(store, *both), Bound)

    def test_what_is_refused_leaves_nothing(self, store, charge):
        call(store, label())
        full = charge(max=0)
        for refused in (
            call(store, when(), label("private"), charges=[charge()]),
            call(store, when(then="ask"), label("private"), charges=[charge()]),
            call(store, label("private"), charges=[full]),
        ):
            assert isinstance(refused, Bound | Full)
        store.halt(S, "stop")
        assert isinstance(call(store, label("private"), scopes=(S,)), Halted)
        assert store.carried(S, T) == [shown(label())]
        assert [usage.used for usage in store.usage(S, T) if usage.used] == []

    def test_peek_leaves_nothing(self, store, charge):
        assert store.peek([charge()], T, (), rules(label())) is None
        assert store.carried(S, T) == []

    def test_a_halt_comes_first_then_denials_then_limits_then_questions(self, store, charge):
        call(store, label())
        full, ask, deny = charge(max=0), when(then="ask"), when(then="deny")
        need = when("create", then="need", kind="succeeded")
        assert call(store, ask, deny, need, charges=[full]) == Bound((BoundRule(deny, (shown(label()),)),))
        assert call(store, ask, need, deny, charges=[full]) == Bound((BoundRule(need),))
        assert isinstance(call(store, ask, charges=[full]), Full)
        assert call(store, ask, ask).asks
        store.halt("global", "stop")
        assert isinstance(call(store, deny), Halted)

    def test_all_that_ask_are_told_in_order(self, store):
        call(store, label(), label("private"))
        asks = [when("private", then="ask", rule="/1"), when("nothing", then="ask"), when(then="ask", rule="/2")]
        bound = call(store, *asks)
        assert bound.asks
        assert [one.condition for one in bound.rules] == [asks[0], asks[2]]

    def test_the_order_is_that_of_the_rules_also_over_scopes(self, store, charge):
        call(store, label(), label(scope="grant:g"))
        one, other = when(then="ask", scope="grant:g"), when(then="ask")
        charges = [charge(), charge(scope="grant:g")]
        for order in ((one, other), (other, one)):
            assert tuple(bound.condition for bound in call(store, *order, charges=charges).rules) == order
        deny = when(scope="grant:g")
        assert call(store, other, deny, when(), charges=charges).rules[0].condition == deny
        assert call(store, other, when(), deny, charges=charges).rules[0].condition == when()

    def test_several_scopes_all_or_none(self, store, charge):
        scopes = ("grant:g", "shadow:session:s", S)
        marks = [label(scope=scope) for scope in scopes]
        charges = [charge(scope="global"), charge(scope="grant:g")]
        assert isinstance(call(store, *marks, charges=charges), Reservation)
        for scope in scopes:
            assert store.carried(scope, T) == [shown(label(scope=scope))]
            refused = call(store, when(scope=scope), label("x"), label("x", scope="grant:g"), charges=charges)
            assert refused.rules[0].condition.scope == scope
        assert isinstance(call(store, when(scope="session:other"), label("x"), charges=charges), Reservation)
        assert [mark.scope for mark in store.carried(None, T) if mark.name == "x"] == [S]

    def test_without_charges_rules_and_marks_it_admits(self, store):
        assert isinstance(store.reserve([], T, (), None), Reservation)
        assert isinstance(store.reserve([], T, (), SessionRules()), Reservation)
        assert store.peek([], T, (), SessionRules()) is None
        store.note([], T)
        assert store.carried(None, T) == []

    def test_another_handle_sees_it_at_once(self, backend):
        one, other = backend.open(), backend.open()
        call(one, label())
        assert isinstance(call(other, when()), Bound)


class TestConditions:
    def test_any_or_every(self, store):
        call(store, label("a"))
        assert isinstance(call(store, when("a", "b", every=True)), Reservation)
        assert isinstance(call(store, when("b", "a")), Bound)
        call(store, label("b"), now=T + 1)
        found = call(store, when("b", "a", every=True), now=T + 2).rules[0].found
        assert found == (shown(label("b"), T + 1), shown(label("a")))

    def test_need_any_or_every(self, store):
        def need(*names, **more):
            return when(*names, then="need", kind="succeeded", **more)

        store.note([done("a")], T)
        assert call(store, need("a", "b", every=True)) == Bound((BoundRule(need("a", "b", every=True)),))
        assert isinstance(call(store, need("b", "a")), Reservation)
        assert isinstance(call(store, need("b")), Bound)
        store.note([done("b")], T)
        assert isinstance(call(store, need("a", "b", every=True)), Reservation)

    def test_kinds_are_apart(self, store):
        call(store, Mark(S, "admitted", "untrusted", "t"))
        assert isinstance(call(store, when()), Reservation)
        assert isinstance(call(store, when(kind="succeeded")), Reservation)
        assert isinstance(call(store, when(kind="admitted")), Bound)

    def test_only_the_very_same(self, store):
        def need(same):
            return when("create", then="need", kind="succeeded", same=same)

        store.note([done(same="one"), done(same="")], T)
        for same, admitted in (("one", True), ("", True), ("two", False), ("on", False), ("one\0", False)):
            assert isinstance(call(store, need(same)), Reservation if admitted else Bound), same

    def test_names_and_digests_do_not_run_into_each_other(self, store):
        store.note([done("ab", "c"), done("a\0b", "c"), done("a:1:b", "")], T)
        for name, same in (("a", "bc"), ("abc", ""), ("b", "ca"), ("a", "b\0c"), ("a", "1:b"), ("b", "a:1:")):
            need = when(name, then="need", kind="succeeded", same=same)
            assert isinstance(call(store, need), Bound), (name, same)

    @pytest.mark.parametrize(
        "name", ["ünïcödé", "\ud800", "a\0b", "7:utc:x", "60:rolling:c", "", "head", "a\nb", "*" * 4000]
    )
    def test_any_name_will_do(self, store, name, charge):
        scope = "session:" + name[:9]
        if not name:
            with pytest.raises(StoreError, match="not a mark"):
                call(store, label(name, scope=scope))
            return
        mark = label(name, tool=name, scope=scope)
        assert isinstance(call(store, mark, charges=[charge("c", scope=scope)]), Reservation)
        assert call(store, when(name, scope=scope)).rules[0].found == (shown(mark),)
        assert store.carried(None, T) == [shown(mark)]
        assert [(usage.counter, usage.used) for usage in store.usage(scope, T)] == [("c", 1)]

    @pytest.mark.parametrize(
        "wrong",
        [
            {"names": ()},
            {"then": "perhaps"},
            {"kind": "lable"},
            {"within": 0},
            {"within": -1},
            {"within": float("nan")},
            {"within": 10**30},
            {"names": ("",)},
        ],
    )
    def test_what_cannot_be_judged_is_an_error(self, store, wrong):
        condition = when()._replace(**wrong)
        for look in (store.reserve, store.peek):
            with pytest.raises(StoreError):
                look([], T, (), rules(condition))

    def test_a_kind_that_is_none_is_an_error(self, store):
        for write in (lambda mark: call(store, mark), lambda mark: store.note([mark], T)):
            with pytest.raises(StoreError):
                write(label()._replace(kind="lable"))
        assert store.carried(None, T) == []


class TestTime:
    @pytest.mark.parametrize("then", ["ask", "deny", "need"])
    def test_within(self, store, then):
        store.note([label()], T)
        condition = when(then=then, within=60)
        found, not_found = (Bound, Reservation) if then != "need" else (Reservation, Bound)
        assert isinstance(call(store, condition, now=T + 59.999), found)
        assert isinstance(call(store, condition, now=T + 60), not_found)
        assert isinstance(call(store, when(then=then), now=T + 10 * DAY), found)
        store.note([label()], T + 10 * DAY)
        assert isinstance(call(store, condition, now=T + 10 * DAY + 59), found)

    def test_of_every_each_is_within(self, store):
        store.note([label("a")], T)
        store.note([label("b")], T + 50)
        assert isinstance(call(store, when("a", "b", every=True, within=60), now=T + 59), Bound)
        assert isinstance(call(store, when("a", "b", every=True, within=60), now=T + 61), Reservation)
        assert [mark.name for mark in call(store, when("a", "b", within=60), now=T + 61).rules[0].found] == ["b"]

    def test_first_stays_and_last_goes_on(self, store):
        call(store, label(tool="read_inbox"), now=T)
        call(store, label(tool="read_page"), now=T + 100)
        assert store.carried(S, T + 200) == [shown(label(), T, T + 100)]

    def test_a_wall_clock_set_forward_frees_nothing(self, store, backend):
        if backend.name == "redis":
            pytest.skip("a clock that is handed in has no time since boot there; tested with the server's own")
        store.note([label(), done()])
        backend.clock.pass_(10)
        backend.clock.step(3600)
        need = when("create", then="need", kind="succeeded", within=60)
        assert isinstance(call(store, when(within=60), now=None), Bound)
        assert isinstance(call(store, need, now=None), Reservation)
        backend.clock.pass_(51)
        assert isinstance(call(store, when(within=60), now=None), Reservation)
        assert isinstance(call(store, need, now=None), Bound)

    def test_known_steps_back_change_no_age(self, store, backend):
        if backend.name == "redis":
            pytest.skip("a clock that is handed in has no time since boot there")
        store.note([label(), done()])
        backend.clock.pass_(10)
        backend.clock.step(-3600)
        need = when("create", then="need", kind="succeeded", within=60)
        assert isinstance(call(store, need, now=None), Reservation)
        backend.clock.pass_(49)
        assert isinstance(call(store, need, now=None), Reservation)
        assert isinstance(call(store, when(within=60), now=None), Bound)
        backend.clock.pass_(2)
        assert isinstance(call(store, need, now=None), Bound)
        assert isinstance(call(store, when(within=60), now=None), Reservation)

    def test_a_clock_set_back_by_who_knows_binds_for_a_window_and_satisfies_nobody(self, store):
        store.note([label(), done()], T)
        back = T - 3600
        need = when("create", then="need", kind="succeeded", within=60)
        # In doubt: it may be as old as an hour.
        assert isinstance(call(store, need, now=back), Bound)
        assert isinstance(call(store, need._replace(within=None), now=back), Reservation)
        assert isinstance(call(store, when(within=60), now=back + 59), Bound)
        assert isinstance(call(store, when(within=60), now=back + 61), Reservation)
        assert store.carried(S, back + 61)[0] == shown(label(), back)
        store.note([done()], back + 70)
        assert isinstance(call(store, need, now=back + 80), Reservation)

    def test_a_refusal_records_the_step(self, store):
        store.note([label()], T)
        assert isinstance(call(store, when(within=60), now=T - 3600), Bound)
        assert isinstance(call(store, when(within=60), now=T - 3600 + 61), Reservation)

    def test_so_does_a_look(self, store):
        store.note([label(), done("a")], T)
        need = when("b", then="need", kind="succeeded", within=60)
        assert store.peek([], T - 3600, (), rules(need)) is not None
        assert isinstance(call(store, when(within=60), now=T - 3600 + 61), Reservation)


class TestBounds:
    def test_one_label_too_many_is_an_error_and_none_gives_way(self, store, charge):
        call(store, *[label(f"l{n}") for n in range(32)], *[Mark(S, "admitted", f"t{n}", "t") for n in range(31)])
        assert isinstance(call(store, label("l63")), Reservation)
        for look in (store.reserve, store.peek):
            with pytest.raises(StoreError, match=r"64 labels .*'one more'"):
                look([charge()], T, (), rules(label("one more")))
            with pytest.raises(StoreError, match="64 labels"):
                look([charge()], T, (), rules(Mark(S, "admitted", "one more", "t")))
        with pytest.raises(StoreError, match="64 labels"):
            store.note([done(), label("one more")], T)
        assert isinstance(call(store, label("l63"), now=T + 1), Reservation)
        assert [usage.used for usage in store.usage(S, T) if usage.used] == []
        assert len(store.carried(S, T)) == 64
        assert {mark.name for mark in store.carried(S, T) if mark.kind == "label"} == {
            f"l{n}" for n in (*range(32), 63)
        }
        # What would have been refused anyway is refused as it would have been.
        assert isinstance(call(store, when("l1"), label("one more")), Bound)
        assert isinstance(call(store, label("one more"), charges=[charge(max=0)]), Full)
        assert store.clear(S, "l1")
        assert isinstance(call(store, label("one more")), Reservation)

    def test_the_oldest_of_a_tool_give_way(self, store):
        call(store, label())
        for n in range(150):
            store.note([done("busy", str(n))], T + n)
        store.note([done("calm", "1")], T + 150)
        for n in (0, 21, 22, 149):
            need = when("busy", then="need", kind="succeeded", same=str(n))
            assert isinstance(call(store, need, now=T + 200), Reservation if n >= 22 else Bound), n
        assert [mark[1:3] for mark in store.carried(S, T + 200)] == [
            ("label", "untrusted"),
            ("succeeded", "busy"),
            ("succeeded", "calm"),
        ]
        assert store.carried(S, T + 200)[1][4:] == (T + 22, T + 149)

    def test_what_is_brought_again_is_not_old(self, store):
        for n in range(128):
            store.note([done("busy", str(n))], T + n)
        store.note([done("busy", "0")], T + 200)
        store.note([done("busy", "new")], T + 201)
        for same, there in (("0", True), ("1", False), ("2", True), ("new", True)):
            need = when("busy", then="need", kind="succeeded", same=same)
            assert isinstance(call(store, need, now=T + 202), Reservation if there else Bound), same

    def test_no_tool_makes_anothers_give_way(self, store):
        store.note([done("calm", str(n)) for n in range(10)], T)
        for n in range(5 * 128):
            store.note([done(f"busy{n % 5}", str(n))], T + 1 + n)
        need = [when("calm", then="need", kind="succeeded", same=str(n)) for n in range(10)]
        assert isinstance(call(store, *need, now=T + 2000), Reservation)
        newest = [
            when(f"busy{n % 5}", then="need", kind="succeeded", same=str(n)) for n in range(5 * 128 - 490, 5 * 128)
        ]
        assert isinstance(call(store, *newest, now=T + 2000), Reservation)
        oldest = [when(f"busy{n % 5}", then="need", kind="succeeded", same=str(n)) for n in range(100)]
        assert all(isinstance(call(store, one, now=T + 2000), Bound) for one in oldest)

    def test_counters_and_marks_do_not_crowd_each_other_out(self, store, charge):
        call(store, *[label(f"l{n}") for n in range(60)])
        store.note([done("busy", str(n)) for n in range(128)], T)
        for n in range(127):
            store.refund(store.reserve([charge(f"made-up-{n}")], T), T)
        listed = {usage.counter for usage in store.usage(S, T)}
        assert len(listed) == 127, "counters that hold nothing go past 128 of them, however many marks there are"
        for n in range(300):
            store.refund(store.reserve([charge(f"more-{n}")], T), T)
        assert len(store.usage(S, T)) < 200
        assert len(store.carried(S, T)) == 61


class TestCarried:
    def test_labels_first_then_by_time(self, store):
        call(store, Mark(S, "admitted", "send_*", "send_mail"), now=T)
        store.note([done("create", "x", tool="create_it")], T + 1)
        call(store, label("private", "read_file"), now=T + 2)
        call(store, label(scope="session:a"), now=T + 3)
        store.note([done("create", "y", tool="create_other")], T + 4)
        mine = [
            Carried(S, "label", "private", "read_file", T + 2, T + 2),
            Carried(S, "admitted", "send_*", "send_mail", T, T),
            Carried(S, "succeeded", "create", "create_it", T + 1, T + 4),
        ]
        assert store.carried(S, T + 5) == mine
        assert store.carried(None, T + 5) == [mine[0], shown(label(scope="session:a"), T + 3), *mine[1:]]
        assert store.carried("session:never", T + 5) == []

    def test_all_of_many(self, store):
        for n in range(250):
            call(store, label(scope=f"session:{n}"))
        assert {mark.scope for mark in store.carried(None, T)} == {f"session:{n}" for n in range(250)}

    def test_digests_are_not_shown(self, store):
        store.note([done("create", "the-digest")], T)
        assert "the-digest" not in repr(store.carried(None, T))

    def test_usage_lists_no_marks(self, store, charge):
        call(store, label(), charges=[charge()])
        call(store, label(scope="session:only"))
        assert [(usage.scope, usage.counter) for usage in store.usage(None, T)] == [(S, charge().counter)]
        assert store.usage("session:only", T) == []

    def test_a_refund_leaves_marks(self, store, charge):
        taken = call(store, label(), charges=[charge()])
        assert store.refund(taken, T) == 1
        assert store.carried(S, T) == [shown(label())]


class TestForgetting:
    def test_clear(self, store, charge):
        call(store, label(), label("private"), Mark(S, "admitted", "untrusted", "t"), charges=[charge()])
        assert store.clear(S, "untrusted")
        assert not store.clear(S, "untrusted")
        assert not store.clear("session:never", "untrusted")
        assert isinstance(call(store, when()), Reservation)
        assert isinstance(call(store, when("private")), Bound)
        assert isinstance(call(store, when(kind="admitted")), Bound)
        assert [usage.used for usage in store.usage(S, T)] == [1]
        assert isinstance(call(store, label(tool="again"), now=T + 5), Reservation)
        assert store.carried(S, T + 5)[1] == shown(label(tool="again"), T + 5)

    def test_nothing_but_labels_is_cleared(self, store):
        store.note([done("untrusted"), Mark(S, "admitted", "untrusted", "t")], T)
        assert not store.clear(S, "untrusted")
        assert len(store.carried(S, T)) == 2

    def test_reset(self, store):
        call(store, label(), label(scope="session:other"))
        assert store.reset(S) == 1
        assert store.carried(None, T) == [shown(label(scope="session:other"))]
        assert isinstance(call(store, when()), Reservation)
        call(store, label())
        assert store.reset() == 2
        assert store.carried(None, T) == []
        assert isinstance(call(store, when()), Reservation)

    @pytest.mark.parametrize("kind", ["label", "admitted"])
    def test_prune_never_forgets_what_would_loosen_a_rule(self, store, charge, kind):
        call(store, label()._replace(kind=kind), charges=[charge()])
        store.reserve([charge(scope="session:other")], T)
        assert store.prune(T + 10_000 * DAY) == 1
        assert isinstance(call(store, when(kind=kind), now=T + 10_000 * DAY), Bound)

    def test_once_it_is_cleared_it_may_go(self, store):
        call(store, label())
        store.clear(S, "untrusted")
        assert store.prune(T + DAY) == 1

    def test_what_succeeded_goes_when_nobody_called_for_thirty_days(self, store, charge):
        store.note([done()], T)
        assert store.prune(T + 29 * DAY) == 0
        store.reserve([charge()], T + 29 * DAY)
        assert store.prune(T + 58 * DAY) == 0
        assert isinstance(call(store, when("create", then="need", kind="succeeded"), now=T + 58 * DAY), Reservation)
        assert store.prune(T + 59 * DAY) == 1
        assert isinstance(call(store, when("create", then="need", kind="succeeded"), now=T + 59 * DAY), Bound)

    def test_closing_loses_nothing(self, backend):
        store = backend.open()
        call(store, label())
        store.close()
        assert isinstance(call(store, when()), Bound)


class TestTogether:
    """Each kind of call brings what denies the other: whichever was admitted first, never both."""

    @staticmethod
    def kinds(scope):
        return [
            rules(when("b", scope=scope), label("a", scope=scope)),
            rules(when("a", scope=scope), label("b", scope=scope)),
        ]

    def test_threads(self, backend, charge):
        store = backend.open()
        won = []

        def work(kind):
            for round_ in range(30):
                scope = f"session:{round_}"
                answer = store.reserve([charge(scope=scope, max=100)], None, (), self.kinds(scope)[kind])
                if isinstance(answer, Reservation):
                    won.append((round_, kind))

        threads = [threading.Thread(target=work, args=(n % 2,)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(won) == 30 * 4
        assert len(set(won)) == 30

    def test_tasks_of_one_turn(self, backend, at_once):
        store = backend.open()
        kinds = self.kinds(S)
        answers = at_once(store, [store.areserve([], None, (), kinds[n % 2]) for n in range(40)])
        assert [isinstance(answer, Reservation) for answer in answers] in ([True, False] * 20, [False, True] * 20)

    def test_a_task_reads_then_another_sends(self, backend, at_once):
        """What only looks is of one moment too: before the label, or after it."""
        store = backend.open()
        calls = [store.areserve([], None, (), rules(*([label()] if n % 2 else [when()]))) for n in range(20)]
        answers = at_once(store, calls)
        assert all(isinstance(answer, Reservation) for answer in answers[1::2])
        assert isinstance(call(store, when(), now=None), Bound)

    def test_notes_of_tasks(self, backend, at_once):
        store = backend.open()
        at_once(store, [store.anote([done(f"t{n}")]) for n in range(20)])
        assert len(store.carried(S)) == 20

    def test_a_label_cleared_under_calls_that_bring_it(self, backend):
        """Cleared or brought again, a call sees the one or the other; nothing is half there."""
        store = backend.open()
        stop = threading.Event()

        def bring():
            while not stop.is_set():
                call(store, label(), label("other"), now=None)

        threads = [threading.Thread(target=bring) for _ in range(3)]
        for thread in threads:
            thread.start()
        cleared = [store.clear(S, "untrusted") for _ in range(50)]
        stop.set()
        for thread in threads:
            thread.join()
        assert any(cleared)
        assert [mark.name for mark in store.carried(S)].count("other") == 1
        store.clear(S, "untrusted")
        assert isinstance(call(store, when(), now=None), Reservation)
        assert isinstance(call(store, when("other"), now=None), Bound)
