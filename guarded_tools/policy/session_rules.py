"""Rules across the calls of a session, made ready: what a call leaves behind, and what it must find there.

No rule about one call stops an attack that is made of allowed calls: read a poisoned page, read the customers, send a
mail. So a policy may also speak of what the session did before:

* ``labels`` of a tool are what its result brings into the session; ``after`` has a call asked or denied once they, or
  calls of other tools, are there; ``needs`` denies a call until another one succeeded.
* ``"flow": "trifecta"`` asks about whatever leaves or changes state once the session holds untrusted *and* private
  content; ``"rule_of_two"`` asks about whichever call brings the third of the two and a way out.

Still pure: nothing is looked up here. A decision carries :class:`~guarded_tools.marks.SessionRules`, conditions and
marks, and the store judges the ones and writes the others in the transaction that reserves, so that two calls at once
see each other in the order in which they are admitted.

**Whose** the marks are is settled here, too. A mark goes to the session, and to the grant where a rule of that scope
asks for it; to the scopes of trials where a rule on trial asks. So a store only ever looks at the scopes it charges.

**What is not said counts.** A tool without ``labels`` may bring anything: under a preset it counts as untrusted and
private, and as outward unless its risk is known to be ``read``; what changes state is outward whatever its labels. A
``when`` that cannot be judged denies, as every predicate. Values that ``same`` compares are kept as digests, and one
that cannot be read, or that different readings of the arguments disagree on, satisfies nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Final, Literal, NamedTuple, TypeAlias

from guarded_tools.marks import Mark, MarkKind, SessionCondition, SessionRules
from guarded_tools.policy.charging import SCOPES
from guarded_tools.policy.compile import Check, CheckResult, checks_of, compile_check
from guarded_tools.policy.correlation import Views, compare_values
from guarded_tools.policy.document import PolicyDocument, Rules
from guarded_tools.policy.globs import is_glob, matches
from guarded_tools.policy.paths import EVERYWHERE, parse_path, pointer, unjudged
from guarded_tools.policy.readings import Reader
from guarded_tools.policy.session_parts import OUTWARD, PRIVATE, SECRET, UNTRUSTED, After, FlowPreset, Need
from guarded_tools.values import Ask, Decision, Risk, ToolCall

FLOW_RULE: Final = "/flow"
"""The rule of what a preset asks."""

_THREE: Final = (UNTRUSTED, PRIVATE, OUTWARD)
# Names are shown to people; a model may make up longer ones.
_SHOWN: Final = 120

Place: TypeAlias = tuple[str, Literal["session", "grant"]]
"""A prefix, ``shadow:`` for a rule on trial, and which of a call's scopes."""
_HERE: Final[Place] = ("", "session")


class Found(NamedTuple):
    """What rules across calls say of one call. ``always``: a preset has a human asked, whatever the session holds."""

    rules: SessionRules | None
    succeeded: tuple[Mark, ...] = ()
    always: bool = False


NOTHING: Final = Found(None)
Across: TypeAlias = Callable[[Views, ToolCall, Risk | None], Found | Decision]


def always_asked(decision: Decision) -> Decision:
    """Have a human asked about a call that brings all three by itself; no memory of an approval answers that."""
    if decision.effect == "ask":
        return decision._replace(ask=(decision.ask or Ask())._replace(remember="never"))
    message = "by itself it may read untrusted content, read private data, and send out or change state"
    timeout = 600.0 if decision.across is None else decision.across.timeout
    return decision._replace(effect="ask", rule=FLOW_RULE, message=message, ask=Ask(timeout))


class _Wanted(NamedTuple):
    """A successful call that some rule needs: of which tools, with which of its arguments, and where it is kept."""

    name: str
    paths: tuple[str, ...]
    place: Place


class Wanted(NamedTuple):
    """What all rules of a policy want to know of other calls."""

    labels: Mapping[str, frozenset[Place]]
    admitted: tuple[tuple[str, Place], ...]
    succeeded: tuple[_Wanted, ...]


class Brought(NamedTuple):
    """A label, and the predicates of which one has to be true for a call to bring it; none: every call does."""

    label: str
    when: tuple[Check, ...]


class AcrossRules(NamedTuple):
    """What a policy says across calls of one tool. ``labels`` is ``None`` where nothing says what it brings."""

    tool: str
    labels: tuple[Brought, ...] | None
    after: tuple[tuple[str, After, tuple[Check, ...]], ...]
    needs: tuple[tuple[str, Need], ...]
    wanted: Wanted
    admitted: tuple[tuple[str, Place], ...]
    succeeded: tuple[_Wanted, ...]
    flow: FlowPreset | None
    risk: Risk | None
    timeout: float

    def readers(self) -> list[Reader]:
        """List every argument that is read."""
        whens = [each.when for each in self.labels or ()] + [when for _, _, when in self.after]
        found = [Reader(check.rule, check.path, "") for when in whens for check in when]
        for rule, need in self.needs:
            found += [Reader(rule, parse_path(own), need.message or "") for _, own in need.same or ()]
        return found + [Reader("/needs", parse_path(path), "") for each in self.succeeded for path in each.paths]


def wanted_by(policy: PolicyDocument) -> Wanted:
    """Collect what the rules of a policy want to know of calls of other tools."""
    labels: dict[str, set[Place]] = {}
    admitted: dict[tuple[str, Place], None] = {}
    succeeded: dict[_Wanted, None] = {}
    written: list[tuple[Rules, bool]] = [(policy.all_tools, False)]
    written += [(tool, tool.shadow and not policy.shadow) for tool in policy.tools.values()]
    for rules, trial in written:
        for after in rules.after:
            place: Place = ("shadow:" if trial else "", after.scope)
            for label in after.labels or ():
                labels.setdefault(label, set()).add(place)
            admitted |= dict.fromkeys((name, place) for name in after.tools or ())
        for need in rules.needs:
            place = ("shadow:" if trial else "", need.scope)
            paths = tuple(theirs for theirs, _ in need.same or ())
            succeeded |= dict.fromkeys(_Wanted(name, paths, place) for name in need.tool)
    return Wanted({label: frozenset(places) for label, places in labels.items()}, tuple(admitted), tuple(succeeded))


def across_rules(
    policy: PolicyDocument,
    wanted: Wanted,
    written: Iterable[tuple[str, Rules]],
    tool: str,
    risk: Risk | None,
    *,
    trial: bool = False,
) -> AcrossRules | None:
    """Gather what speaks across calls of one tool: its own rules and those of all tools, by their pointers.

    With ``trial`` only the rules themselves; what others want to know of the tool is told by those in force. ``None``
    where there is nothing to look for and nothing to leave.
    """
    written = list(written)
    brought: list[Brought] = []
    for base, rules in written:
        for place, each in enumerate(rules.labels or ()):
            checks = tuple(checks_of(policy, each.when or (), f"{base}/labels/{place}/when", "when"))
            brought.append(Brought(each.label, checks))
            if each.label == SECRET:
                brought.append(Brought(PRIVATE, checks))
    timeouts = [float(rules.approval.timeout) for _, rules in written if rules.approval]
    found = AcrossRules(
        tool,
        tuple(brought) if any(rules.labels is not None for _, rules in written) else None,
        tuple(
            (rule, after, tuple(checks_of(policy, after.when or (), f"{rule}/when", "when")))
            for base, rules in written
            for rule, after in ((base + pointer("after", str(n)), each) for n, each in enumerate(rules.after))
        ),
        tuple(
            (base + pointer("needs", str(n)), need)
            for base, r in written
            for n, need in enumerate(r.needs)
            # Of many tools, else none of them could ever be the first; a tool's own need is what it says.
            if not (_of_many(base) and any(matches(name, tool) for name in need.tool))
        ),
        _apart(wanted) if trial else wanted,
        () if trial else tuple((name, place) for name, place in wanted.admitted if matches(name, tool)),
        () if trial else tuple(each for each in wanted.succeeded if matches(each.name, tool)),
        None if trial else policy.flow,
        risk,
        min(timeouts, default=600.0),
    )
    silent = not (found.labels or found.after or found.needs or found.admitted or found.succeeded or found.flow)
    return None if silent else found


def _of_many(base: str) -> bool:
    return base == EVERYWHERE or is_glob(base)


def _apart(wanted: Wanted) -> Wanted:
    """Keep what rules on trial want to know, in places of a trial, whose whole decision is moved apart later."""
    labels = {
        label: frozenset(("", kind) for prefix, kind in places if prefix) for label, places in wanted.labels.items()
    }
    return wanted._replace(labels=labels)


def compile_across(rules: AcrossRules) -> Across:
    """Make a tool's rules across calls ready. The closure answers what the store has to look for, or a denial."""
    brought_by, looked_for_by = _compile_labels(rules), _compile_after(rules)
    needed_by, done_by = _compile_needs(rules), _compile_succeeded(rules)
    tool, flow, labelled = rules.tool[:_SHOWN], rules.flow, rules.labels is not None

    def across(views: Views, call: ToolCall, risk: Risk | None) -> Found | Decision:
        brought, looked_for, needed = brought_by(views), looked_for_by(views, call), needed_by(views, call)
        if isinstance(brought, Decision) or isinstance(looked_for, Decision):
            return brought if isinstance(brought, Decision) else looked_for  # type: ignore[return-value]  # one of the two
        if isinstance(needed, Decision):
            return needed
        conditions = looked_for + needed
        asked = None
        if flow is not None:
            counted = brought | _counted(rules.risk or risk, labelled=labelled)
            asked = _preset(flow, counted)
            looked_at = flow == "rule_of_two" or OUTWARD in rules.wanted.labels
            brought = counted if looked_at else counted - ({OUTWARD} - brought)
        if asked:
            conditions.append(SessionCondition(SCOPES["session"](call), "label", asked, "ask", FLOW_RULE, every=True))
        marks = [
            Mark(prefix + SCOPES[kind](call), "label", label, tool)
            for label in sorted(brought)
            for prefix, kind in sorted({_HERE, *rules.wanted.labels.get(label, ())})
        ]
        marks += [Mark(prefix + SCOPES[kind](call), "admitted", name, tool) for name, (prefix, kind) in rules.admitted]
        found = None
        if conditions or marks:
            found = SessionRules(tuple(conditions), tuple(dict.fromkeys(marks)), rules.timeout)
        return Found(found, done_by(views, call), asked == ())

    return across


def _compile_labels(rules: AcrossRules) -> Callable[[Views], set[str] | Decision]:
    """Tell which labels a call brings, as far as its arguments decide."""
    labels = [(each.label, [(check, compile_check(check)) for check in each.when]) for each in rules.labels or ()]

    def brought_by(views: Views) -> set[str] | Decision:
        found = set()
        for label, checks in labels:
            said = _any_true(checks, views)
            if isinstance(said, Decision):
                return said
            if said:
                found.add(label)
        return found

    return brought_by


def _compile_after(rules: AcrossRules) -> Callable[[Views, ToolCall], list[SessionCondition] | Decision]:
    """Write each ``after`` that speaks of a call with these arguments as a condition."""
    after = [(_after(at, each), [(check, compile_check(check)) for check in when]) for at, each, when in rules.after]

    def looked_for_by(views: Views, call: ToolCall) -> list[SessionCondition] | Decision:
        found = []
        for condition, checks in after:
            said = _any_true(checks, views)
            if isinstance(said, Decision):
                return said
            if said:
                found.append(condition._replace(scope=SCOPES[condition.scope](call)))
        return found

    return looked_for_by


def _compile_needs(rules: AcrossRules) -> Callable[[Views, ToolCall], list[SessionCondition] | Decision]:
    """Write each ``needs`` as a condition on the values of this call."""
    needs = [
        (rule, need, compare_values(own for _, own in need.same or ()), [theirs for theirs, _ in need.same or ()])
        for rule, need in rules.needs
    ]

    def needed_by(views: Views, call: ToolCall) -> list[SessionCondition] | Decision:
        found = []
        for rule, need, compare, names in needs:
            same = compare(views, names)
            if same is None:
                own = ", ".join(path for _, path in need.same or ())
                return Decision(
                    "deny", rule, unjudged(need.message, f"{own} cannot be compared with an earlier call's")
                )
            scope, said = SCOPES[need.scope](call), need.message or ""
            found.append(
                SessionCondition(scope, "succeeded", need.tool, "need", rule, said, within=need.within, same=same)
            )
        return found

    return needed_by


def _compile_succeeded(rules: AcrossRules) -> Callable[[Views, ToolCall], tuple[Mark, ...]]:
    """Tell which marks a call leaves if it ends well."""
    wanted = [(each, compare_values(each.paths)) for each in rules.succeeded]

    def done_by(views: Views, call: ToolCall) -> tuple[Mark, ...]:
        found: dict[Mark, None] = {}
        for each, compare in wanted:
            same = compare(views, each.paths)
            if same is not None:
                prefix, kind = each.place
                found[Mark(prefix + SCOPES[kind](call), "succeeded", each.name, rules.tool[:_SHOWN], same)] = None
        return tuple(found)

    return done_by


def _after(rule: str, after: After) -> SessionCondition:
    """Write an ``after`` as a condition; its scope is still the kind of one."""
    kind: MarkKind = "label" if after.labels is not None else "admitted"
    then: Literal["ask", "deny"] = "ask" if after.then == "approve" else "deny"
    names = after.labels or after.tools or ()
    every = after.labels is not None
    return SessionCondition(after.scope, kind, names, then, rule, after.message or "", every, after.within)


def _counted(risk: Risk | None, *, labelled: bool) -> set[str]:
    """Say what a call counts as beside its labels: a way out if it may change state, anything if nobody labelled it."""
    found = set() if labelled else {UNTRUSTED, PRIVATE}
    return found if risk == "read" else found | {OUTWARD}


def _preset(flow: FlowPreset, brought: set[str]) -> tuple[str, ...] | None:
    """Name the labels that have a call asked once the session carries them all; ``None`` where none ever do."""
    if flow == "trifecta":
        return (UNTRUSTED, PRIVATE) if OUTWARD in brought else None
    if brought.isdisjoint(_THREE):
        return None
    return tuple(label for label in _THREE if label not in brought)


def _any_true(checks: list[tuple[Check, CheckResult]], views: Views) -> bool | Decision:
    """Whether any predicate holds in any reading; a denial where one cannot be judged."""
    found = not checks
    for check, verdict in checks:
        for view in views:
            said = verdict(view)
            if said is check.refusal:
                found = True
            elif said is not None:
                return said
    return found
