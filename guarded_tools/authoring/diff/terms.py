"""On what terms a human is asked, whose word gives charges back, what is on trial, and what refused calls are told."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from guarded_tools.authoring.diff import meaning
from guarded_tools.authoring.diff.search import Pair, Searched, TriedCall
from guarded_tools.authoring.diff.values import Direction, Kind, PolicyChange
from guarded_tools.text.units import duration
from guarded_tools.values import Ask

_WIDTH = {"never": 0, "same": 1, "tool": 2}
_COVERS = {"never": "one call", "same": "later calls with the same arguments", "tool": "later calls of the tool"}


def terms(pair: Pair, searched: Searched) -> Iterator[PolicyChange]:
    """List how the terms differ of what is asked about under both policies."""
    if pair.old.rules.refusal or pair.new.rules.refusal or meaning.terms(pair.old) == meaning.terms(pair.new):
        return
    asked = [call for call in searched.usable if call.old.effect == call.new.effect == "ask"]
    ways: list[tuple[Kind, str, Callable[[TriedCall], tuple[float, float]], Callable[[TriedCall], str]]] = [
        ("memory", "an approval covers", lambda call: _widths(pair, call), lambda call: _coverage(pair, call)),
        ("memory", "it is remembered for", lambda call: _spans(pair, call), _span_words),
        ("approval", "a human may take", lambda call: (_ask(call)[0].timeout, _ask(call)[1].timeout), _timeout_words),
    ]
    for kind, what, values, words in ways:
        for call in asked:
            before, after = values(call)
            if before != after:
                wider: Direction = "looser" if after > before else "tighter"
                direction: Direction = "changed" if kind == "approval" else wider
                told = f"{what} {words(call)}"
                yield PolicyChange(kind, direction, (pair.name,), told, call.old.rule, call.example(pair.name))
                break
    both = all(any(each.ask for each in side.rules.rule_sets) for side in (pair.old, pair.new))
    if both and not asked:
        words_ = "the terms on which a human is asked differ, and no call was found that both policies ask about"
        yield PolicyChange("memory", "untold", (pair.name,), words_)


def _ask(call: TriedCall) -> tuple[Ask, Ask]:
    return call.old.ask or Ask(), call.new.ask or Ask()


def _widths(pair: Pair, call: TriedCall) -> tuple[float, float]:
    return _WIDTH[pair.old.remembers(call.old)], _WIDTH[pair.new.remembers(call.new)]


def _coverage(pair: Pair, call: TriedCall) -> str:
    return f"{_COVERS[pair.old.remembers(call.old)]}; now {_COVERS[pair.new.remembers(call.new)]}"


def _spans(pair: Pair, call: TriedCall) -> tuple[float, float]:
    """How long an approval is remembered, where both policies remember any."""
    both = all(_widths(pair, call))
    return (_ask(call)[0].remember_for, _ask(call)[1].remember_for) if both else (0.0, 0.0)


def _span_words(call: TriedCall) -> str:
    old, new = _ask(call)
    return f"{duration(old.remember_for)}; now {duration(new.remember_for)}"


def _timeout_words(call: TriedCall) -> str:
    old, new = _ask(call)
    return f"{duration(old.timeout)} to answer; now {duration(new.timeout)}"


def beside(pair: Pair) -> Iterator[PolicyChange]:
    """List what holds a tool's calls and is no rule about them."""
    old, new, at = pair.old, pair.new, f"/tools/{pair.name}"
    words = [(side.policy.refunds(pair.name)) for side in (old, new)]
    if words[0] != words[1] and not new.rules.refusal:
        counts = any(held.limit.counts == "successes" for held in new.limits)
        direction: Direction = "changed" if not counts else "looser" if words[1] == "reported" else "tighter"
        said = f"refunds: {words[0]}, now {words[1]}: the server's word {'gives' if words[1] == 'reported' else 'gave'}"
        yield PolicyChange("limit", direction, (pair.name,), f"{said} charges back", f"{at}/refunds")
    if meaning.trial(old) != meaning.trial(new):
        yield PolicyChange("trial", "changed", (pair.name,), f"on trial: {_trial(pair)}; that stops nothing", at)
    if old.risk != new.risk:
        yield PolicyChange("setting", "changed", (pair.name,), f"risk: {old.risk}, now {new.risk}", f"{at}/risk")
    waits = [side.rules.across.timeout if side.rules.across else None for side in (old, new)]
    if None not in waits and waits[0] != waits[1]:
        said = f"asked by a rule across calls, a human has {waits[0]:g} seconds to answer; now {waits[1]:g}"
        yield PolicyChange("approval", "changed", (pair.name,), said, at)
    if old.policy.hides(pair.name) != new.policy.hides(pair.name) and old.rules.refusal and new.rules.refusal:
        shown = "kept out of lists" if new.policy.hides(pair.name) else "no longer kept out of lists"
        yield PolicyChange("hidden", "changed", (pair.name,), f"{shown}; it is refused as before", at)
    counters = [sorted((repr(held.meaning), held.counter) for held in side.limits) for side in (old, new)]
    if counters[0] != counters[1] and [one for one, _ in counters[0]] == [one for one, _ in counters[1]]:
        said = "a counter has another name: what was counted under the old one is forgotten once"
        yield PolicyChange("limit", "changed", (pair.name,), said, at)


def _trial(pair: Pair) -> str:
    if pair.old.rules.trial is None:
        return "newly"
    return "no longer" if pair.new.rules.trial is None else "other rules"


def to_trial(pair: Pair) -> bool:
    """Whether a tool's rules were in force, and are on trial now."""
    return pair.old.rules.trial is None and pair.new.rules.trial is not None


def told_otherwise(pair: Pair) -> Iterator[PolicyChange]:
    """Say where refused and asked calls are told something else."""
    if pair.old.rules.refusal or pair.new.rules.refusal:
        return
    if meaning.messages(pair.old.rules) != meaning.messages(pair.new.rules):
        words = "what refused or asked calls are told differs"
        yield PolicyChange("setting", "changed", (pair.name,), words, f"/tools/{pair.name}")
