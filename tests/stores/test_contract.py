"""What every store promises, each promise once, on every backend and on both roads."""

import threading

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from guarded_tools.errors import StoreError
from guarded_tools.stores import Store
from guarded_tools.values import Full, Halted, Reservation
from tests.cases import every_case

T = 1_800_000_000.0  # a UTC midnight is at T - T % 86400


def used(store, scope="session:s", now=T):
    return {usage.counter: usage.used for usage in store.usage(scope, now)}


def fill(store, charge, now=T):
    """Reserve until refused; returns the reservations and the refusal."""
    taken = []
    while isinstance(answer := store.reserve([charge], now), Reservation):
        taken.append(answer)
        assert len(taken) <= 1000
    return taken, answer


def test_it_is_a_store(backend):
    assert isinstance(backend.open(), Store)


class TestReserve:
    def test_the_limit_is_never_passed(self, store, charge):
        taken, refusal = fill(store, charge(max=30))
        assert len(taken) == 30
        assert refusal == Full(charge(max=30), 30, refusal.retry_after)

    def test_a_refusal_says_how_long_exactly(self, store, charge):
        fill(store, charge(max=3), now=T + 0.25)
        wait = store.reserve([charge()], T + 10.5).retry_after
        assert 49.75 <= wait <= 49.75 + 60 / 64
        assert isinstance(store.reserve([charge()], T + 10.5 + wait - 0.000_01), Full)
        assert isinstance(store.reserve([charge()], T + 10.5 + wait), Reservation)

    def test_the_wait_is_for_as_much_as_is_asked(self, store, charge):
        for second in range(3):
            assert store.reserve([charge()], T + second * 10)
        waits = [store.peek([charge(amount=amount)], T + 30).retry_after for amount in (1, 2, 3)]
        assert waits[0] < waits[1] < waits[2]
        assert [round(wait, -1) for wait in waits] == [30, 40, 50]

    def test_what_never_fits_has_no_wait(self, store, charge):
        assert store.reserve([charge(amount=4, max=3)], T) == Full(charge(amount=4, max=3), 0, None)
        assert store.reserve([charge(max=0)], T).retry_after is None
        assert store.reserve([charge(amount=10**30, max=3)], T).retry_after is None

    def test_nothing_to_charge_is_admitted(self, store):
        assert isinstance(store.reserve([], T), Reservation)
        assert store.peek([], T) is None

    @pytest.mark.parametrize("scopes", [("session:s",) * 4, ("session:s", "grant:g", "global", "session:s")])
    def test_all_or_none(self, store, charge, scopes):
        charges = [charge(f"c{i}", max=10, scope=scope) for i, scope in enumerate(scopes)]
        charges[2] = charges[2]._replace(max=2)
        for _ in range(2):
            assert isinstance(store.reserve(charges, T), Reservation)
        for _ in range(3):
            assert store.reserve(charges, T).charge == charges[2]
        for listed in (usage for scope in set(scopes) for usage in store.usage(scope, T)):
            assert listed.used == 2, listed

    def test_of_several_refusals_the_longest_wait_is_told(self, store, charge):
        short, long = charge("short", max=1), charge("long", max=1, window=3600, scope="global")
        assert isinstance(store.reserve([short, long], T), Reservation)
        assert store.reserve([short, long], T + 1).charge == long
        assert store.reserve([long, short], T + 1).charge == long
        assert store.peek([long, short], T + 1).charge == long

    def test_two_windows_on_one_counter_do_not_collide(self, store, charge):
        minute, hour = charge(max=2), charge(max=3, window=3600)
        for _ in range(2):
            assert isinstance(store.reserve([minute, hour], T), Reservation)
        assert store.reserve([minute, hour], T).charge == minute
        assert isinstance(store.reserve([minute, hour], T + 61), Reservation)
        assert store.reserve([minute, hour], T + 122).charge == hour

    def test_rolling_and_aligned_on_one_counter_do_not_collide(self, store, charge):
        both = [charge(max=5), charge(max=5, align="utc")]
        assert isinstance(store.reserve(both, T + 50), Reservation)
        assert sorted(usage.used for usage in store.usage("session:s", T + 50)) == [1, 1]

    def test_the_same_limit_twice_in_one_call_counts_twice(self, store, charge):
        assert isinstance(store.peek([charge(max=1), charge(max=1)], T), Full)
        assert isinstance(store.reserve([charge(max=1), charge(max=1)], T), Full)
        assert isinstance(store.reserve([charge(max=2), charge(max=2)], T), Reservation)
        assert used(store) == {"pictify/render/calls": 2}

    def test_amounts_add_up(self, store, charge):
        assert isinstance(store.reserve([charge(amount=2_000_000_000, max=5_000_000_000)], T), Reservation)
        assert isinstance(store.reserve([charge(amount=3_000_000_000, max=5_000_000_000)], T), Reservation)
        assert store.reserve([charge(amount=1, max=5_000_000_000)], T).used == 5_000_000_000

    def test_an_amount_of_nothing_takes_nothing(self, store, charge):
        taken = store.reserve([charge(amount=0)], T)
        assert used(store).get("pictify/render/calls", 0) == 0
        assert store.refund(taken, T) == 0

    def test_only_whole_amounts_are_counted(self, store, charge):
        fill(store, charge(max=2))
        with every_case() as case:
            for amount in (-1, -1_000_000, 0.5, float("nan"), float("inf"), True, "1", None):
                with case(amount):
                    with pytest.raises(StoreError):
                        store.reserve([charge(amount=amount, max=2)], T)
                    assert used(store) == {"pictify/render/calls": 2}

    def test_only_a_whole_limit_that_can_be_counted_limits(self, store, charge):
        with every_case() as case:
            for limit in (2**63, 10**30, float("nan"), float("inf"), 2.5, True, "3", None):
                for call in (store.reserve, store.peek):
                    with case(limit), pytest.raises(StoreError):
                        call([charge(max=limit)], T)
                    assert store.usage("session:s", T) == []

    def test_only_a_whole_window_that_can_be_counted_is_one(self, store, charge):
        with every_case() as case:
            for window in (0, -60, float("nan"), float("inf"), 0.5, True, "60", None, 10**30):
                for call in (store.reserve, store.peek):
                    with case(window), pytest.raises(StoreError):
                        call([charge(window=window)], T)
                    assert store.usage("session:s", T) == []

    def test_scopes_are_apart(self, store, charge):
        for i in range(50):
            assert len(fill(store, charge(scope=f"session:{i}"))[0]) == 3
        assert len(store.usage(None, T)) == 50

    @pytest.mark.parametrize(
        "scope", ["session:ünïcödé", "session:\ud800", "session:a\0b", "session:a/b%", "session:" + "x" * 5000]
    )
    def test_any_name_of_a_session_will_do(self, store, charge, scope):
        assert len(fill(store, charge(scope=scope))[0]) == 3
        assert [usage.scope for usage in store.usage(scope, T)] == [scope]
        assert store.usage(None, T)[0].scope == scope

    def test_a_new_maximum_keeps_the_count(self, store, charge):
        fill(store, charge(max=3))
        assert isinstance(store.reserve([charge(max=4)], T), Reservation)
        assert store.reserve([charge(max=2)], T) == Full(charge(max=2), 4, store.peek([charge(max=2)], T).retry_after)
        assert [usage.max for usage in store.usage("session:s", T)] == [4]

    def test_another_handle_sees_the_same(self, backend, charge):
        one, other = backend.open(), backend.open()
        fill(one, charge())
        assert isinstance(other.reserve([charge()], T), Full)


class TestWindows:
    def test_rolling_holds_in_every_window(self, store, charge):
        """Bursts at the worst moments: no 60 s hold more than 30."""
        admitted = []
        for tick in range(0, 200_0, 7):
            now = T + tick / 10
            if isinstance(store.reserve([charge(max=30)], now), Reservation):
                admitted.append(now)
        assert len(admitted) > 60
        for i, start in enumerate(admitted):
            assert sum(start <= at < start + 60 for at in admitted[i:]) <= 30

    def test_rolling_holds_at_most_a_64th_longer(self, store, charge):
        store.reserve([charge(max=1)], T + 0.001)
        assert isinstance(store.peek([charge(max=1)], T + 60), Full)
        assert store.peek([charge(max=1)], T + 60.001 + 60 / 64) is None

    def test_aligned_resets_at_the_boundary_in_utc(self, store, charge):
        midnight = T - T % 86_400 + 86_400
        daily = charge(max=2, window=86_400, align="utc")
        fill(store, daily, midnight - 1)
        assert store.peek([daily], midnight - 1).retry_after == 1.0
        assert isinstance(store.reserve([daily], midnight - 0.000_1), Full)
        assert isinstance(store.reserve([daily], midnight), Reservation)

    @pytest.mark.parametrize("window", [1, 2, 3, 5])
    def test_an_aligned_window_of_seconds_counts(self, store, charge, window):
        begins = T - T % window + window
        short = charge(max=2, window=window, align="utc")
        for moment in (begins, begins + 0.999 * window):
            assert isinstance(store.reserve([short], moment), Reservation)
        assert isinstance(store.reserve([short], begins + 0.999_9 * window), Full)
        fill(store, short, begins + window)
        assert isinstance(store.reserve([short], begins + 1.5 * window), Full)

    def test_many_slots_stay_few(self, store, charge):
        for tick in range(400):
            store.reserve([charge(max=10_000)], T + tick * 0.25)
        assert used(store, now=T + 100)["pictify/render/calls"] in range(240, 244)

    def test_a_late_reading_does_not_free_anything(self, store, charge):
        """Readings that arrive out of order, as those of threads do, must not let a window shrink."""
        fill(store, charge(max=30), T)
        for i in range(200):
            assert isinstance(store.reserve([charge(max=30)], T + i * 0.2 + (i % 2) * 0.3 - 0.15), Full)
        assert isinstance(store.reserve([charge(max=30)], T + 59.99), Full)

    @pytest.mark.parametrize("back", [1, 11, 3600, 365 * 86_400])
    def test_a_clock_that_steps_back_admits_no_more(self, store, charge, back):
        fill(store, charge(max=3), T)
        assert isinstance(store.reserve([charge(max=3)], T - back), Full)
        wait = store.peek([charge(max=3)], T - back).retry_after
        assert wait <= 60 + 60 / 64 + 10
        assert isinstance(store.reserve([charge(max=3)], T - back + wait), Reservation)


class TestPeek:
    def test_it_says_what_reserve_would(self, store, charge):
        fill(store, charge("full", max=3))
        for charges in ([charge("full")], [charge("free"), charge("full")], [charge("free", amount=9)]):
            assert store.peek(charges, T) == store.reserve(charges, T)
        assert store.peek([charge("free")], T) is None

    def test_it_changes_nothing(self, store, charge):
        fill(store, charge("full", max=3))
        before = store.usage(None, T)
        for _ in range(20):
            store.peek([charge("full"), charge("new"), charge("new", scope="global")], T)
            store.peek([charge("free")], T + 1000)
        assert store.usage(None, T) == before


class TestRefund:
    def test_it_gives_back(self, store, charge):
        taken, _ = fill(store, charge(max=3))
        assert store.refund(taken[0], T + 1) == 1
        assert isinstance(store.reserve([charge(max=3)], T + 1), Reservation)
        assert isinstance(store.reserve([charge(max=3)], T + 1), Full)

    def test_all_charges_of_the_call(self, store, charge):
        charges = [charge("a"), charge("b", amount=2), charge("c", scope="global")]
        taken = store.reserve(charges, T)
        assert store.refund(taken, T) == 3
        assert [usage.used for scope in ("session:s", "global") for usage in store.usage(scope, T)] == [0, 0, 0]

    def test_only_once(self, store, charge):
        taken, _ = fill(store, charge(max=3))
        assert [store.refund(taken[0], T) for _ in range(3)] == [1, 0, 0]
        assert used(store) == {"pictify/render/calls": 2}

    def test_a_refund_that_comes_late_frees_nothing_of_the_next_window(self, store, charge):
        old, _ = fill(store, charge(max=3), T)
        fill(store, charge(max=3), T + 61)
        assert sum(store.refund(taken, T + 62) for taken in old) == 0
        assert isinstance(store.reserve([charge(max=3)], T + 62), Full)

    def test_aligned_too(self, store, charge):
        aligned = charge(max=3, align="utc")
        old, _ = fill(store, aligned, T - T % 60 + 59)
        fill(store, aligned, T - T % 60 + 60)
        assert sum(store.refund(taken, T - T % 60 + 61) for taken in old) == 0
        assert isinstance(store.reserve([aligned], T - T % 60 + 61), Full)

    def test_the_very_slot(self, store, charge):
        """A refund of the younger call frees nothing when the older one ages out."""
        first = store.reserve([charge(max=2)], T)
        second = store.reserve([charge(max=2)], T + 30)
        assert store.refund(second, T + 31) == 1
        assert isinstance(store.reserve([charge(max=2)], T + 31), Reservation)
        assert store.refund(first, T + 32) == 1
        assert isinstance(store.reserve([charge(max=2)], T + 32), Reservation)
        assert isinstance(store.reserve([charge(max=2)], T + 61), Full)

    def test_no_more_than_the_maximum_a_window(self, store, charge):
        """A loop of calls that never run ends: three run, three are given back, and that is all."""
        ran = 0
        while isinstance(taken := store.reserve([charge(max=3)], T + ran / 10), Reservation):
            ran += 1
            store.refund(taken, T + ran / 10)
        assert ran == 6
        again = store.reserve([charge(max=3)], T + 70)
        assert store.refund(again, T + 70) == 1

    def test_attempts_are_never_given_back(self, store, charge):
        taken = store.reserve([charge("tries", refundable=False), charge("calls")], T)
        assert store.refund(taken, T) == 1
        assert used(store) == {"tries": 1, "calls": 0}

    def test_of_what_was_reset_nothing_comes_back(self, store, charge):
        taken = store.reserve([charge(max=3)], T)
        store.reset("session:s")
        fill(store, charge(max=3))
        assert store.refund(taken, T) == 0

    def test_after_a_step_of_the_clock_still_the_very_slot(self, store, charge):
        taken, _ = fill(store, charge(max=3), T)
        assert isinstance(store.reserve([charge(max=3)], T - 3600), Full)
        assert store.refund(taken[0], T - 3600) == 1
        assert isinstance(store.reserve([charge(max=3)], T - 3600), Reservation)
        assert isinstance(store.reserve([charge(max=3)], T - 3600), Full)


class TestCalendar:
    """An aligned limit never lets through more than its maximum in a window of the clock that is right in the end."""

    DAY = 86_400
    MIDNIGHT = T - T % 86_400

    @pytest.mark.parametrize("ahead", [60, 3_600, 11 * 3_600, 12 * 3_600, 23 * 3_600, 86_400])
    def test_a_clock_that_was_ahead_runs_no_day_twice(self, store, charge, ahead):
        daily = charge(max=3, window=self.DAY, align="utc")
        right = self.MIDNIGHT + 13 * 3_600
        assert len(fill(store, daily, right + ahead)[0]) == 3
        while right < self.MIDNIGHT + self.DAY:
            full = store.reserve([daily], right)
            assert isinstance(full, Full), (right - self.MIDNIGHT) / 3_600
            assert (right + full.retry_after) % self.DAY == 0
            right += 1_800
        later = self.MIDNIGHT + self.DAY * (2 if ahead >= 11 * 3_600 else 1)
        assert len(fill(store, daily, later)[0]) == 3

    def test_a_leap_second_moves_no_boundary(self, store, charge):
        daily = charge(max=3, window=self.DAY, align="utc")
        taken, _ = fill(store, daily, self.MIDNIGHT + 100)
        assert isinstance(store.reserve([daily], self.MIDNIGHT + 99), Full)
        assert store.peek([daily], self.MIDNIGHT + self.DAY) is None
        assert store.refund(taken[0], self.MIDNIGHT + 200) == 1


class TestAnotherWindow:
    """A limit whose window, alignment or server is changed goes on with what it held."""

    @pytest.mark.parametrize(
        "change", [{"window": 61}, {"window": 3_600}, {"align": "utc"}, {"counter": "/render/calls"}]
    )
    def test_it_goes_on_with_what_was_taken(self, store, charge, change):
        fill(store, charge(max=5), T)
        changed = charge(**{"max": 5, **change})
        assert isinstance(store.peek([changed], T + 1), Full)
        assert isinstance(store.reserve([changed], T + 1), Full)
        more = store.reserve([changed._replace(max=6)], T + 1)
        assert isinstance(more, Reservation)
        assert isinstance(store.reserve([changed._replace(max=6)], T + 2), Full)
        # What was inherited is not given back, what was taken anew is.
        assert store.refund(more, T + 3) == 1
        assert isinstance(store.reserve([changed._replace(max=6)], T + 3), Reservation)

    def test_for_as_long_as_the_new_window_says(self, store, charge):
        fill(store, charge(max=2, window=60), T)
        longer = charge(max=2, window=6_400)
        full = store.reserve([longer], T + 50)
        assert 6_350 <= full.retry_after <= 6_450
        assert isinstance(store.reserve([longer], T + 50 + full.retry_after), Reservation)

    def test_and_a_shorter_one_lets_go_earlier(self, store, charge):
        fill(store, charge(max=2, window=3_600), T)
        shorter = charge(max=2, window=60)
        assert isinstance(store.reserve([shorter], T + 30), Full)
        assert isinstance(store.reserve([shorter], T + 70), Reservation)

    def test_two_windows_of_one_name_in_one_call_count_apart(self, store, charge):
        both = [charge(max=3, window=60), charge(max=5, window=3_600)]
        assert [isinstance(store.reserve(both, T), Reservation) for _ in range(4)] == [True, True, True, False]
        assert sorted(usage.used for usage in store.usage("session:s", T)) == [3, 3]

    def test_other_names_tools_and_servers_begin_at_nothing(self, store, charge):
        fill(store, charge("shop/pay/calls", max=2), T)
        for other in ("shop/pay/other", "shop/refund/calls", "bank/pay/calls"):
            assert isinstance(store.reserve([charge(other, max=2)], T), Reservation), other

    def test_rows_that_an_older_version_wrote_are_read(self, store, charge):
        """Nothing in the format changed: what it holds is inherited as well."""
        fill(store, charge("/t/x", max=2), T)
        assert isinstance(store.reserve([charge("srv/t/x", max=2)], T), Full)


class TestMadeUpNames:
    def test_names_that_nobody_has_leave_a_bounded_number_of_counters(self, store, charge):
        fill(store, charge("real", max=2), T)
        for n in range(400):
            store.refund(store.reserve([charge(f"made-up-{n}"), charge("tries", max=1_000)], T), T)
        listed = {usage.counter: usage.used for usage in store.usage("session:s", T)}
        assert len(listed) < 200
        assert listed["real"] == 2
        assert isinstance(store.reserve([charge("real", max=2)], T), Full)

    def test_what_is_held_is_never_dropped(self, store, charge):
        for n in range(300):
            store.reserve([charge(f"tool-{n}", max=1)], T)
        assert sum(isinstance(store.reserve([charge(f"tool-{n}", max=1)], T), Full) for n in range(300)) == 300


class TestUsage:
    def test_it_lists_limits_without_the_policy(self, store, charge):
        store.reserve([charge("a", max=10), charge("b", amount=2, max=5, window=3600)], T)
        first, second = sorted(store.usage("session:s", T + 1), key=lambda usage: usage.counter)
        assert first[:5] == ("session:s", "a", 1, 10, 60)
        assert second[:5] == ("session:s", "b", 2, 5, 3600)
        assert 59 <= first.frees_in <= 60
        assert 3599 <= second.frees_in <= 3600 + 3600 / 64

    def test_busiest_scopes_first_and_idle_ones_not_at_all(self, store, charge):
        for scope, calls in (("session:calm", 1), ("session:busy", 3), ("session:some", 2)):
            for _ in range(calls):
                store.reserve([charge(scope=scope)], T)
        store.reserve([charge(scope="session:gone")], T - 1000)
        assert [usage.scope for usage in store.usage(None, T)] == ["session:busy", "session:some", "session:calm"]

    @settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(
        taken=st.lists(
            st.tuples(st.integers(0, 8), st.integers(0, 2), st.integers(1, 9), st.sampled_from([0, 0, 30, 80])),
            max_size=20,
        ),
        later=st.sampled_from([0, 20, 70]),
        step=st.sampled_from([0, 0, 3600, -3600, -5]),
        most=st.integers(1, 5),
    )
    def test_the_busiest_are_the_first_of_all(self, backend, store, charge, taken, later, step, most):
        store.reset()
        for scope, counter, amount, passes in taken:
            backend.clock.pass_(passes)
            limit = {"counter": f"s/t/c{counter}", "max": (4, 9, 100)[counter], "align": ("rolling", "utc")[scope % 2]}
            store.reserve([charge(amount=amount, scope=f"session:{scope}", **limit)])
        backend.clock.pass_(later)
        backend.clock.step(step)
        listed = store.usage()
        first = list(dict.fromkeys(usage.scope for usage in listed))[:most]
        assert store.usage(None, None, most) == [usage for usage in listed if usage.scope in first]

    def test_what_aged_out_is_not_used(self, store, charge):
        fill(store, charge(), T)
        assert [(u.used, u.frees_in) for u in store.usage("session:s", T + 100)] == [(0, 0.0)]

    def test_an_unknown_scope_has_no_counters(self, store):
        assert store.usage("session:never", T) == []


class TestReset:
    def test_one_scope(self, store, charge):
        fill(store, charge())
        fill(store, charge(scope="global"))
        assert store.reset("session:s") == 1
        assert store.reset("session:s") == 0
        assert isinstance(store.reserve([charge()], T), Reservation)
        assert isinstance(store.reserve([charge(scope="global")], T), Full)

    def test_all(self, store, charge):
        for i in range(250):
            store.reserve([charge(scope=f"session:{i}")], T)
        store.put("kept", b"stays")
        assert store.reset() == 250
        assert store.usage(None, T) == []
        assert store.get("kept") == b"stays"

    def test_prune_takes_only_what_is_idle(self, store, charge):
        for i in range(250):
            store.reserve([charge(scope=f"session:{i}")], T)
        fill(store, charge(scope="global"), T + 100)
        assert store.prune(T + 100) >= 250
        assert isinstance(store.reserve([charge(scope="global")], T + 100), Full)
        assert store.prune(T + 100) == 0


class TestHalt:
    def test_it_stops_a_session(self, store, charge, backend):
        store.halt("session:s", "looks wrong")
        halted = store.reserve([charge()], T)
        assert halted == Halted("session:s", "looks wrong", halted.since)
        assert halted.since == pytest.approx(backend.clock.wall, abs=5) or backend.name != "memory"
        assert store.peek([charge()], T) == halted
        assert store.usage("session:s", T) == []
        assert isinstance(store.reserve([charge(scope="session:other")], T), Reservation)

    def test_it_stops_calls_that_charge_elsewhere_or_nothing(self, store, charge):
        store.halt("grant:g", "no")
        for charges in ([], [charge()], [charge(), charge(scope="global")]):
            assert isinstance(store.reserve(charges, T), Reservation)
            assert isinstance(store.reserve(charges, T, scopes=("session:s", "grant:g")), Halted)
            assert isinstance(store.peek(charges, T, scopes=("session:s", "grant:g")), Halted)
            assert store.peek(charges, T, scopes=("session:s", "grant:h")) is None

    def test_global_stops_everything(self, store, charge):
        store.halt("session:s", "mine")
        store.halt("global", "all")
        for charges in ([], [charge()], [charge(scope="session:other")]):
            assert store.reserve(charges, T).reason == "all"

    def test_it_comes_before_full(self, store, charge):
        fill(store, charge())
        store.halt("session:s", "stop")
        assert isinstance(store.reserve([charge()], T), Halted)

    def test_resume(self, store, charge):
        store.halt("session:s", "stop")
        store.halt("global", "stop")
        assert store.resume("global")
        assert not store.resume("global")
        assert isinstance(store.reserve([charge(scope="session:t")], T), Reservation)
        assert isinstance(store.reserve([charge()], T), Halted)
        assert store.resume("session:s")
        assert isinstance(store.reserve([charge()], T), Reservation)
        assert store.halts() == []

    def test_it_is_listed_oldest_first_and_keeps_its_time(self, store):
        store.halt("session:b", "one")
        store.halt("session:a", "two")
        first = store.halts()
        store.halt("session:b", "three")
        assert [halted.scope for halted in store.halts()] == ["session:b", "session:a"]
        assert store.halts()[0] == first[0]._replace(reason="three")

    def test_it_outlives_a_reset(self, store, charge):
        store.halt("session:s", "stop")
        store.reset()
        store.prune(T)
        assert isinstance(store.reserve([charge()], T), Halted)

    def test_another_handle_sees_it_at_once(self, backend, charge):
        one, other = backend.open(), backend.open()
        for _ in range(50):
            assert isinstance(other.reserve([], T), Reservation)
            one.halt("global", "stop")
            assert isinstance(other.reserve([], T), Halted)
            one.resume("global")

    def test_only_a_scope_can_be_halted(self, store):
        with every_case() as case:
            for scope in ("", "session", "session:", "everything", "grant", "user:x"):
                with case(scope), pytest.raises(StoreError, match="session:<id>"):
                    store.halt(scope, "stop")
                with case(scope), pytest.raises(StoreError, match="session:<id>"):
                    store.resume(scope)


class TestKept:
    def test_put_get_take(self, store):
        assert store.get("k") is None
        store.put("k", b"v")
        store.put("k", b"w\0\xff")
        assert store.get("k") == b"w\0\xff"
        assert store.take("k") == b"w\0\xff"
        assert store.take("k") is None
        assert store.get("k") is None

    def test_it_expires(self, store, backend):
        store.put("k", b"v", 60)
        store.put("forever", b"v")
        backend.clock.pass_(59.9)
        assert store.get("k") == b"v"
        backend.clock.pass_(0.2)
        assert store.get("k") is None
        assert store.take("k") is None
        assert store.scan("") == [("forever", b"v")]

    def test_add_holds_against_all_but_time(self, store, backend):
        assert store.add("k", b"one", 60)
        assert not store.add("k", b"two", 60)
        assert store.get("k") == b"one"
        backend.clock.pass_(61)
        assert store.add("k", b"three", 60)
        assert store.get("k") == b"three"

    def test_scan_lists_by_prefix_in_order(self, store):
        for key in ("ask/b", "ask/a", "as", "ask0", "remember/x", "ask/ü", "ASK/a", "ask/%", "ask/*"):
            store.put(key, key.encode())
        assert [key for key, _ in store.scan("ask/")] == sorted(["ask/b", "ask/a", "ask/ü", "ask/%", "ask/*"])
        assert len(list(store.scan(""))) == 9
        assert list(store.scan("ask/zz")) == []

    def test_scan_finds_all_of_many(self, store, charge):
        store.reserve([charge()], T)
        for i in range(350):
            store.put(f"p/{i:04}", b"v")
        assert [key for key, _ in store.scan("p/")] == [f"p/{i:04}" for i in range(350)]

    def test_of_many_takers_one_gets_it(self, backend):
        store = backend.open()
        for round_ in range(20):
            store.put("k", b"v")
            got = []
            threads = [threading.Thread(target=lambda got=got: got.append(store.take("k"))) for _ in range(8)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert (got.count(b"v"), got.count(None)) == (1, 7), round_

    def test_of_many_adders_one_is_told_so(self, backend, at_once):
        store = backend.open()
        assert sum(at_once(store, [store.aadd("k", str(i).encode(), 60) for i in range(30)])) == 1

    def test_prune_keeps_what_lives(self, store, backend):
        store.put("short", b"v", 60)
        store.put("long", b"v", 10_000_000)
        backend.clock.pass_(300_000)
        store.prune()
        assert store.scan("") == [("long", b"v")]


class TestTogether:
    def test_exact_under_threads(self, backend, charge):
        store = backend.open()
        admitted = []

        def work():
            for _ in range(40):
                answer = store.reserve([charge(max=50), charge("all", max=1000, scope="global")])
                if isinstance(answer, Reservation):
                    admitted.append(answer)

        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(admitted) == 50

    def test_exact_under_tasks(self, backend, charge, at_once):
        store = backend.open()
        answers = at_once(store, [store.areserve([charge(max=50)]) for _ in range(300)])
        assert sum(isinstance(answer, Reservation) for answer in answers) == 50

    def test_closing_loses_nothing(self, backend, charge):
        store = backend.open()
        fill(store, charge())
        store.close()
        assert isinstance(store.reserve([charge()], T), Full)
