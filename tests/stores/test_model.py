"""Every backend against a dictionary: random calls, refunds, resets and clocks, and the answers have to be the same."""

import copy
import math

import hypothesis.strategies as st
from hypothesis import HealthCheck, settings
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, multiple, rule, run_state_machine_as_test

from guarded_tools.values import Charge, Full, Reservation

T0 = 1_800_000_000_000_000
SECOND = 1_000_000


class Model:
    """The promise in the plainest words: a counter is a list of [frees at, amount, given back]."""

    def __init__(self):
        self.counters = {}
        self.last = {}

    def _advance(self, scope, wall):
        """Late readings count as the last one; a clock set back moves everything back with it."""
        last = self.last.get(scope, 0)
        if wall < last - 10 * SECOND:
            for (of, *_), entries in self.counters.items():
                if of == scope:
                    for entry in entries:
                        entry[0] += wall - last
            self.last[scope] = wall
        return max(wall, self.last.get(scope, 0))

    @staticmethod
    def _key(charge):
        return charge.scope, charge.counter, charge.window, charge.align

    def _frees_at(self, charge, now):
        window = charge.window * SECOND
        if charge.align == "utc":
            return (now // window + 1) * window
        slot = window // 64
        return math.ceil(now / slot) * slot + window

    def used(self, charge, now):
        entries = self.counters.get(self._key(charge), [])
        return sum(amount for frees_at, amount, _ in entries if self._when(charge, frees_at) > now)

    @staticmethod
    def _when(charge, frees_at):
        """A slot that was moved off its boundary by more than two seconds frees at the next."""
        window = charge.window * SECOND
        return (
            frees_at if charge.align != "utc" else math.ceil((frees_at - min(2 * SECOND, window - 1)) / window) * window
        )

    def _begin(self, charge, charges, now):
        """A counter that changes its window or alignment begins with what the fullest one before it holds."""
        if self._key(charge) in self.counters:
            return False
        found = []
        beside = {self._key(other) for other in charges}
        for key, entries in self.counters.items():
            before = charge._replace(window=key[2], align=key[3])
            if key[:2] != self._key(charge)[:2] or key in beside:
                continue
            held = []
            for frees_at, amount, _ in entries:
                if self._when(before, frees_at) > now:
                    taken = now if before.align == "utc" else min(frees_at - before.window * SECOND, now)
                    held.append([self._frees_at(charge, taken), amount, 0])
            held = [entry for entry in held if entry[0] > now]
            found.append((sum(amount for _, amount, _ in held), before.window, before.align == "utc", held))
        self.counters[self._key(charge)] = max(found)[3] if found else []
        return True

    def reserve(self, charges, wall, *, keep=True):
        """The entries taken, or (used, wait) of every charge that is refused."""
        times = {charge.scope: self._advance(charge.scope, wall) for charge in charges}
        taken, refused, begun = [], set(), []
        for charge in charges:
            now = times[charge.scope]
            if self._begin(charge, charges, now):
                begun.append(self._key(charge))
            used = self.used(charge, now)
            if used + charge.amount <= charge.max:
                entry = [self._frees_at(charge, now), charge.amount, 0]
                if charge.amount:
                    self.counters.setdefault(self._key(charge), []).append(entry)
                taken.append((charge, entry))
                continue
            wait = math.inf
            if charge.amount <= charge.max:
                missing = used + charge.amount - charge.max
                for frees_at, amount, _ in sorted(
                    [self._when(charge, e[0]), *e[1:]]
                    for e in self.counters[self._key(charge)]
                    if self._when(charge, e[0]) > now
                ):
                    missing -= amount
                    if missing <= 0:
                        wait = frees_at - wall
                        break
            refused.add((used, wait))
        if refused or not keep:
            for charge, entry in taken:
                entries = self.counters.get(self._key(charge), [])
                entries[:] = [e for e in entries if e is not entry]
            for key in begun:
                self.counters.pop(key, None)
        else:
            self._keep(charges, begun, times)
        return refused or taken

    def _keep(self, charges, begun, times):
        self.last.update(times)
        # What is charged was looked at, and what a new counter might have begun with.
        looked_at = {self._key(charge) for charge in charges} & set(self.counters)
        looked_at |= {key for key in self.counters for new in begun if key[:2] == new[:2]}
        for key in looked_at:
            self._let_go(key, times[key[0]])

    def _let_go(self, key, now):
        """What has freed stays free, also where a step of the clock would round it up to a later boundary."""
        one = Charge(key[0], key[1], 0, 0, key[2], "", align=key[3])
        self.counters[key] = [entry for entry in self.counters[key] if self._when(one, entry[0]) > now]

    def refund(self, taken, wall):
        given = 0
        times = {charge.scope: self._advance(charge.scope, wall) for charge, _ in taken}
        self.last.update({scope: now for scope, now in times.items() if scope in self.last})
        for charge, entry in taken:
            now = times[charge.scope]
            if charge.refundable and charge.amount and self._key(charge) in self.counters:
                self._let_go(self._key(charge), now)
            live = [e for e in self.counters.get(self._key(charge), []) if self._when(charge, e[0]) > now]
            if not charge.refundable or not charge.amount or not any(e is entry for e in live):
                continue
            if sum(back for _, _, back in live) + charge.amount > charge.max:
                continue
            entry[1], entry[2] = 0, charge.amount
            given += 1
        return given

    def settle(self, taken, amounts, wall):
        charges = [charge for charge, _ in taken]
        times = {charge.scope: self._advance(charge.scope, wall) for charge in charges}
        self.last.update(times)
        for (charge, entry), amount in zip(taken, amounts, strict=True):
            now, surplus = times[charge.scope], amount - charge.amount
            if surplus > 0:
                self._begin(charge, charges, now)
            if not surplus or self._key(charge) not in self.counters:
                continue
            self._let_go(self._key(charge), now)
            if any(e is entry for e in self.counters[self._key(charge)]):
                entry[1] += surplus
            elif surplus > 0:
                self.counters[self._key(charge)].append([self._frees_at(charge, now), surplus, 0])

    def usage(self, scope, wall):
        """As reserve would find it, a step of the clock included; and nothing changes."""
        seen = copy.deepcopy(self)
        now = seen._advance(scope, wall)
        held = {}
        for (of, counter, window, align), entries in seen.counters.items():
            if of == scope:
                one = Charge(of, counter, 0, 0, window, "", align=align)
                used = sum(amount for frees_at, amount, _ in entries if self._when(one, frees_at) > now)
                if used:
                    held[counter, window, align] = used
        return sorted((counter, window, used) for (counter, window, _), used in held.items())

    def reset(self, scope):
        self.counters = {key: entries for key, entries in self.counters.items() if key[0] != scope}
        self.last.pop(scope, None)

    def prune(self, wall):
        for scope in list(self.last):
            seen = copy.deepcopy(self)
            now = seen._advance(scope, wall)
            of = [key for key in self.counters if key[0] == scope]
            ones = [(Charge(key[0], key[1], 0, 0, key[2], "", align=key[3]), key) for key in of]
            if not any(self._when(one, e[0]) > now for one, key in ones for e in seen.counters[key]):
                self.reset(scope)


SCOPES = ("session:a", "session:b", "grant:g", "global")
charges = st.lists(
    st.builds(
        Charge,
        scope=st.sampled_from(SCOPES),
        counter=st.sampled_from(("x", "y")),
        amount=st.integers(0, 4),
        max=st.integers(0, 8),
        window=st.sampled_from((1, 60, 90, 3600)),
        rule=st.just("/limits/0"),
        message=st.just(""),
        align=st.sampled_from(("rolling", "utc")),
        refundable=st.sampled_from((True, True, True, False)),
    ),
    max_size=4,
)


def machine(open_store, reset):
    class Calls(RuleBasedStateMachine):
        reservations = Bundle("reservations")

        @initialize()
        def begin(self):
            reset()
            self.store = open_store()
            self.model = Model()
            self.wall = T0

        @property
        def now(self):
            return self.wall / SECOND

        @rule(
            seconds=st.one_of(
                st.floats(0, 3), st.floats(0, 5000), st.floats(-5000, 0), st.sampled_from((-0.5, -3600, 60))
            )
        )
        def time_goes_by(self, seconds):
            self.wall += round(seconds * SECOND)

        @rule(target=reservations, charges=charges)
        def reserve(self, charges):
            real = self.store.reserve(charges, self.now)
            expected = self.model.reserve(charges, self.wall)
            if isinstance(real, Reservation):
                assert isinstance(expected, list), expected
                return real, expected
            self.same_refusal(real, expected)
            return multiple()

        @rule(charges=charges)
        def peek(self, charges):
            real = self.store.peek(charges, self.now)
            expected = self.model.reserve(charges, self.wall, keep=False)
            if real is None:
                assert isinstance(expected, list), expected
            else:
                self.same_refusal(real, expected)

        def same_refusal(self, real, expected):
            assert isinstance(real, Full)
            assert isinstance(expected, set), (real, expected)
            wait = math.inf if real.retry_after is None else round(real.retry_after * SECOND)
            assert wait == max(wait for _, wait in expected), "the longest wait is the one to tell"
            assert (real.used, wait) in expected

        @rule(reservation=reservations)
        def refund(self, reservation):
            real, taken = reservation
            first = real.refunds.__reduce__()[1] == (0,)
            given = self.store.refund(real, self.now)
            assert given == (self.model.refund(taken, self.wall) if first else 0)

        @rule(reservation=reservations, amounts=st.lists(st.integers(0, 9), min_size=4, max_size=4))
        def settle(self, reservation, amounts):
            real, taken = reservation
            amounts = amounts[: len(taken)]
            first = real.refunds.__reduce__()[1] == (0,)
            self.store.settle(real, amounts, self.now)
            if first:
                self.model.settle(taken, amounts, self.wall)

        @rule(scope=st.sampled_from(SCOPES))
        def reset(self, scope):
            self.store.reset(scope)
            self.model.reset(scope)

        @rule(scope=st.sampled_from(SCOPES))
        def usage(self, scope):
            real = sorted((u.counter, u.window, u.used) for u in self.store.usage(scope, self.now) if u.used)
            assert real == self.model.usage(scope, self.wall)

        @rule()
        def prune(self):
            self.store.prune(self.now)
            self.model.prune(self.wall)

        @rule()
        def open_anew(self):
            self.store.close()
            self.store = open_store()

    return Calls


def test_any_sequence_of_calls_is_answered_as_by_a_dictionary(backend):
    store = backend.open()

    def fresh():
        for scope in SCOPES:
            store.reset(scope)

    run_state_machine_as_test(
        machine(backend.open, fresh),
        settings=settings(
            max_examples=60,
            stateful_step_count=40,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            database=None,
        ),
    )
