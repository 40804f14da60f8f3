"""Every backend against a dictionary: random rules, marks and clocks, and the answers have to be the same."""

import copy
import math
from dataclasses import dataclass, field

import hypothesis.strategies as st
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from guarded_tools.marks import Bound, BoundRule, Carried, Mark, SessionCondition, SessionRules
from guarded_tools.values import Charge, Full, Reservation

T0 = 1_800_000_000_000_000
SECOND = 1_000_000
DAY = 86_400 * SECOND
SCOPES = ("session:a", "shadow:session:a", "grant:g")


@dataclass
class Scope:
    """What a session is: when it was last seen, until when a charge is held, and its marks."""

    last: int = 0
    live: int = 0
    marks: dict = field(default_factory=dict)  # (kind, name, same): [first, last, in doubt, tool]

    def advance(self, wall):
        """Bring it to a time; whether the clock was set back."""
        stepped = wall < self.last - 10 * SECOND
        if stepped:
            step = wall - self.last
            self.live += step
            self.last = wall
            for mark in self.marks.values():
                mark[:3] = mark[0] + step, mark[1] + step, True
        self.last = max(wall, self.last)
        return stepped

    def find(self, condition):
        """The marks that a condition looks for, or ``None`` for each that is not there."""
        for name in condition.names:
            mark = self.marks.get((condition.kind, name, condition.same))
            if mark and condition.within is not None:
                old = self.last - mark[1] >= condition.within * SECOND
                unsure = mark[2] and condition.then == "need"
                mark = None if old or unsure else mark
            yield mark and shown(condition.scope, (condition.kind, name), mark)


def shown(scope, named, mark):
    kind, name = named
    return Carried(scope, kind, name, mark[3], mark[0] / SECOND, mark[1] / SECOND)


class Model:
    """Rules across calls, in the plainest words."""

    def __init__(self):
        self.scopes = {}

    def look(self, wall, names):
        """Copies as they are now; and what of the originals a look leaves behind, which is a step of the clock."""
        looked = {}
        for name in names:
            looked[name] = copy.deepcopy(self.scopes.get(name, Scope()))
            if looked[name].advance(wall):
                self.scopes[name].advance(wall)
        return looked

    def bound(self, looked, conditions):
        bound = []
        for condition in conditions:
            marks = list(looked[condition.scope].find(condition))
            there = all(marks) if condition.every else any(marks)
            if condition.then == "need":
                bound += [] if there else [BoundRule(condition)]
            elif there:
                bound.append(BoundRule(condition, tuple(filter(None, marks))))
        return bound

    def reserve(self, charges, rules, wall, *, keep=True):
        names = {one.scope for one in (*charges, *rules.conditions, *rules.marks)}
        looked = self.look(wall, names)
        bound = self.bound(looked, rules.conditions)
        refusing = [one for one in bound if one.condition.then != "ask"]
        if refusing:
            return Bound((refusing[0],))
        if any(charge.max == 0 for charge in charges):
            return Full
        if bound:
            return Bound(tuple(bound))
        for charge in charges:
            scope = looked[charge.scope]
            scope.live = max(scope.live, math.ceil(scope.last * 64 / SECOND) * SECOND // 64 + SECOND)
        for mark in rules.marks:
            marks = looked[mark.scope].marks
            now = looked[mark.scope].last
            known = marks.get((mark.kind, mark.name, mark.same), (now, now, False, mark.tool))
            marks[mark.kind, mark.name, mark.same] = [known[0], now, False, known[3]]
        if keep:
            self.scopes |= {one.scope: looked[one.scope] for one in (*charges, *rules.marks)}
        return None

    def carried(self, wall):
        found = {}
        for name, scope in copy.deepcopy(self.scopes).items():
            scope.advance(wall)
            for (kind, label, _), mark in sorted(scope.marks.items(), key=lambda item: item[1][::3]):
                known = found.setdefault((name, kind, label), list(mark))
                known[1] = max(known[1], mark[1])
        return {shown(name, (kind, label), mark) for (name, kind, label), mark in found.items()}

    def prune(self, wall):
        for name, scope in list(self.scopes.items()):
            seen = copy.deepcopy(scope)
            before = seen.last
            passed = 0 if seen.advance(wall) else seen.last - before
            kinds = {kind for kind, _, _ in seen.marks}
            if seen.live <= seen.last and kinds <= {"succeeded"} and (not kinds or passed >= 30 * DAY):
                del self.scopes[name]


scopes = st.sampled_from(SCOPES)
kinds = st.sampled_from(("label", "admitted", "succeeded"))
names = st.sampled_from(("x", "y", "z"))
same = st.sampled_from(("", "", "1", "2"))
marks = st.lists(st.builds(Mark, scopes, kinds, names, st.sampled_from(("tool", "other")), same), max_size=4)
conditions = st.lists(
    st.builds(
        SessionCondition,
        scope=scopes,
        kind=kinds,
        names=st.lists(names, min_size=1, max_size=3, unique=True).map(tuple),
        then=st.sampled_from(("ask", "ask", "deny", "need")),
        rule=st.sampled_from(("/0", "/1")),
        every=st.booleans(),
        within=st.sampled_from((None, None, 1, 60, 3600)),
        same=same,
    ),
    max_size=3,
    unique=True,
)
charges = st.lists(
    st.builds(
        Charge,
        scope=st.sampled_from((*SCOPES, "global")),
        counter=st.just("c"),
        amount=st.just(1),
        max=st.sampled_from((10**6, 10**6, 10**6, 0)),
        window=st.just(1),
        rule=st.just("/limits/0"),
    ),
    max_size=2,
    unique_by=lambda charge: charge.scope,
)


def machine(open_store, reset):
    class Calls(RuleBasedStateMachine):
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
                st.floats(0, 90),
                st.floats(-9, 0),
                st.floats(-5000, 5000),
                st.sampled_from((-3600, 60, 3600, 31 * 86_400)),
            )
        )
        def time_goes_by(self, seconds):
            self.wall += round(seconds * SECOND)

        @rule(charges=charges, conditions=conditions, marks=marks, keep=st.sampled_from((True, True, False)))
        def call(self, charges, conditions, marks, keep):
            rules = SessionRules(tuple(conditions), tuple(marks))
            expected = self.model.reserve(charges, rules, self.wall, keep=keep)
            real = (self.store.reserve if keep else self.store.peek)(charges, self.now, (), rules)
            if expected is None:
                assert isinstance(real, Reservation) if keep else real is None, real
            elif expected is Full:
                assert isinstance(real, Full), real
            else:
                assert real == expected

        @rule(marks=marks)
        def note(self, marks):
            assert self.model.reserve([], SessionRules(marks=tuple(marks)), self.wall) is None
            self.store.note(marks, self.now)

        @rule()
        def carried(self):
            real = self.store.carried(None, self.now)
            assert set(real) == self.model.carried(self.wall)
            assert real == sorted(real, key=lambda mark: (mark.kind != "label", mark.first))

        @rule(scope=scopes, label=names)
        def clear(self, scope, label):
            known = self.model.scopes.get(scope, Scope()).marks.pop(("label", label, ""), None)
            assert self.store.clear(scope, label) == (known is not None)

        @rule(scope=scopes)
        def reset(self, scope):
            self.store.reset(scope)
            self.model.scopes.pop(scope, None)

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
        for scope in (*SCOPES, "global"):
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
