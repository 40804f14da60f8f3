"""Compares two policies tool by tool, both ways, and merges what is found alike at several tools.

What a tool's rules *say* is compared first (:mod:`~guarded_tools.authoring.diff.meaning`); where that is the same,
nothing is searched. Else the rules of the old policy that the new one does not certainly keep are looser, each with
calls that show it, or cannot be told; and with the two swapped, the same lines find what is tighter.

Pure but for the time it takes: nothing is read, written or asked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache

from guarded_tools.authoring.diff import meaning
from guarded_tools.authoring.diff.judged import Loss, losses
from guarded_tools.authoring.diff.limits import LostLimit, SidesOf, in_words, lost_limits
from guarded_tools.authoring.diff.results import results
from guarded_tools.authoring.diff.search import Pair, Searched, search
from guarded_tools.authoring.diff.sessions import LostRule, lost_rules, sessions
from guarded_tools.authoring.diff.settings import settings
from guarded_tools.authoring.diff.sides import Side, side_of
from guarded_tools.authoring.diff.terms import beside, terms, to_trial, told_otherwise
from guarded_tools.authoring.diff.tools import tools_to_compare
from guarded_tools.authoring.diff.values import DIRECTIONS, CallStep, Difference, Direction, Example, PolicyChange
from guarded_tools.policy.globs import matches
from guarded_tools.policy.paths import EVERYWHERE, pointer
from guarded_tools.policy.policy import Policy
from guarded_tools.policy.session_rules import FLOW_RULE
from guarded_tools.values import ToolInfo

_MOST = 3_000
_FEW = 300
_MOST_OTHERS = 2
_REFUSED = {"(hidden)": "hidden", "(default deny)": "not listed, and denied by default"}


def compare(
    old: Policy,
    new: Policy,
    infos: Iterable[ToolInfo] = (),
    *,
    told: Callable[[int, int], None] = lambda done, total: None,  # noqa: ARG005 - nobody has to listen
) -> Difference:
    """Say what it means that ``new`` takes the place of ``old``.

    ``infos`` are the server's tools, with their schemas where they are known; the tools that a policy names are
    compared as well, and stand-ins for what its globs and its default speak of. ``told`` is called with how many tools
    of how many are done. What is looser comes first. Deterministic.
    """
    compared = tools_to_compare(old, new, infos)
    pairs = {info.name: Pair(info.name, side_of(old, info), side_of(new, info)) for info in compared.infos}
    found = list(_Comparison(pairs).findings(told))
    found += settings(old, new)
    for one, other in compared.unsure:
        words = f"the globs differ, and no name was found that fits both {one} and {other}"
        found.append(PolicyChange("reachable", "untold", (), words))
    if not found and old.fingerprint != new.fingerprint:
        found.append(
            PolicyChange("setting", "changed", (), "written differently; what is said of every tool is the same")
        )
    return Difference(tuple(_merged(found)), tuple(pairs), compared.stand_ins)


class _Comparison:
    """One comparison: the tools under both policies, and what a search found of each, once that is asked for."""

    def __init__(self, pairs: dict[str, Pair]) -> None:
        self._pairs = pairs
        self._searched: dict[str, Searched] = {}
        self.side_for = lru_cache(maxsize=None)(self._sides)

    def findings(self, told: Callable[[int, int], None]) -> Iterator[PolicyChange]:
        """Yield what is found, tool by tool, then what shows across calls."""
        differing = [pair for pair in self._pairs.values() if meaning.says(pair.old) != meaning.says(pair.new)]
        for place, pair in enumerate(differing):
            told(place, len(differing) + 1)
            searched = self.searched(pair.name)
            yield from self._one_way(pair, searched, "looser")
            yield from self._one_way(pair.turned(), searched.turned(), "tighter")
            yield from terms(pair, searched)
            yield from beside(pair)
            yield from results(pair)
        told(len(differing), len(differing) + 1)
        for pair in self._pairs.values():
            yield from told_otherwise(pair)
        if any(meaning.across(pair.old.rules.across) != meaning.across(pair.new.rules.across) for pair in differing):
            yield from self._across("looser")
            yield from self._across("tighter")

    def searched(self, tool: str) -> Searched:
        """Search a tool's calls, once."""
        if tool not in self._searched:
            pair = self._pairs[tool]
            same = meaning.judges(pair.old.rules) == meaning.judges(pair.new.rules)
            self._searched[tool] = search(pair, _FEW if same else _MOST)
        return self._searched[tool]

    def _sides(self, tool: str) -> tuple[Side, Side]:
        pair = self._pairs[tool]
        return pair.old, pair.new

    def _one_way(self, pair: Pair, searched: Searched, direction: Direction) -> Iterator[PolicyChange]:
        """List what ``pair.old`` holds and ``pair.new`` does not; turned round, that is tighter."""
        to = " (on trial now)" if to_trial(pair) and direction == "looser" else ""
        shown = set()
        side_for = self.side_for if direction == "looser" else lambda tool: self.side_for(tool)[::-1]
        for limit in lost_limits(pair, searched, side_for, self._others(pair), self._needed(pair)):
            words = _limit_words(limit, direction) + ("" if limit.held.everywhere else to)
            found = _shown(PolicyChange("limit", direction, (pair.name,), words, limit.held.rule, limit.example))
            if found.direction != "untold":
                shown.add(found.rule)
            yield found
        back = {loss.kind for loss in losses(pair.turned(), searched.turned()) if loss.now}
        for loss in losses(pair, searched):
            if direction == "tighter" and loss.example is None and loss.now and loss.kind in back:
                continue  # it is another rule now, which is told as looser, or as what cannot be told
            if loss.rule not in shown:
                words = _loss_words(loss, direction) + ("" if loss.rule.startswith(f"{EVERYWHERE}/") else to)
                found = PolicyChange(loss.kind, direction, (pair.name,), words, loss.rule, loss.example)
                yield _shown(found, searched.tried)

    def _others(self, pair: Pair) -> list[CallStep]:
        """Pick calls of other tools, for limits that count all of them."""
        if not any(limit.everywhere for limit in (*pair.old.limits, *pair.new.limits)):
            return []
        found: list[CallStep] = []
        for name in self._pairs:
            if name != pair.name and len(found) < _MOST_OTHERS:
                found += [CallStep(name, call.args) for call in self.searched(name).usable[:1]]
        return found

    def _needed(self, pair: Pair) -> list[CallStep]:
        """Pick calls that have to succeed before this tool may be called."""
        rules = [side.rules.across for side in (pair.old, pair.new)]
        names = {name for each in rules if each is not None for _, need in each.needs for name in need.tool}
        tools = [tool for tool in self._pairs if any(matches(name, tool) for name in names)]
        return [CallStep(tool, call.args) for tool in tools for call in self.searched(tool).usable[:1]]

    def _across(self, direction: Direction) -> Iterator[PolicyChange]:
        looser = direction == "looser"
        pairs = [pair if looser else pair.turned() for pair in self._pairs.values()]
        side_for = self.side_for if looser else lambda tool: self.side_for(tool)[::-1]
        lost = [each for pair in pairs for each in lost_rules(pair)]
        shown = self._sessions(lost, pairs, side_for, looser=looser)
        for each in lost:
            example = _of_session(shown, each)
            if example is None and each.rule == FLOW_RULE and any(one.old.rule == FLOW_RULE for one in shown):
                continue  # it is told of the tools that it speaks of
            asks = looser and example is not None and example.new.effect == "ask"
            words = f"{each.was}; now a human is asked" if asks else f"{each.was}: {'no longer' if looser else 'new'}"
            yield _shown(PolicyChange("session rule", direction, (each.tool,), words, each.rule, example))

    def _sessions(self, lost: list[LostRule], pairs: list[Pair], side_for: SidesOf, *, looser: bool) -> list[Example]:
        """Look for sessions until each rule that is lost is shown by one."""
        wanted, shown = list(lost), []
        searched = self.searched if looser else lambda tool: self.searched(tool).turned()
        for example in sessions(lost, pairs, searched, side_for) if lost else ():
            explains = [each for each in wanted if _of_session([example], each) is not None]
            if explains:
                shown.append(example)
                wanted = [each for each in wanted if each not in explains]
            if not wanted:
                break
        return shown


def _of_session(shown: Iterable[Example], lost: LostRule) -> Example | None:
    """Pick the session that shows that a rule is lost, or of a label that it is no more brought."""
    for example in shown:
        last = example.steps[-1]
        if lost.label and lost.tool in [step.tool for step in example.steps]:
            return example
        if not lost.label and (last.tool, example.old.rule) == (lost.tool, lost.rule):
            return example
    return None


def _shown(found: PolicyChange, tried: int = 0) -> PolicyChange:
    """Tell something that the one policy holds and the other does not. Looser is only what was shown to be."""
    kind, direction, tools, words, rule, example = found
    if example is not None and direction == "tighter":
        example = example._replace(old=example.new, new=example.old)
    if example is None and direction == "looser":
        direction = "untold"
        words += f"; no call was found that shows it{f' ({tried} were tried)' if tried else ''}"
    return PolicyChange(kind, direction, tools, words, rule, example)


def _loss_words(loss: Loss, direction: Direction) -> str:
    refused = _REFUSED.get(loss.rule, "denied")
    looser = direction == "looser"
    if loss.kind in {"hidden", "reachable"}:
        effect = (
            "" if loss.example is None else {"allow": "allowed", "ask": "a human is asked"}[loss.example.new.effect]
        )
        return f"was {refused}; now {effect}" if looser else f"now {refused}"
    if looser:
        return f"{loss.was}; now {loss.now}" if loss.now else f"{loss.was}: no longer"
    return f"{loss.was}; was {loss.now}" if loss.now else f"{loss.was}: new"


def _limit_words(lost: LostLimit, direction: Direction) -> str:
    what, others = in_words(lost.held), " and ".join(map(in_words, lost.now))
    if direction == "looser":
        return f"{what}; now {others}" if others else f"{what}: no longer"
    return f"{what}; was {others}" if others else f"{what}: new"


def _merged(found: Iterable[PolicyChange]) -> list[PolicyChange]:
    """Bring together what is the same at several tools; what is looser first."""
    merged: dict[tuple[str, ...], PolicyChange] = {}
    for each in found:
        rule = each.rule.replace(pointer("tools", each.tools[0]), "/tools/*") if each.tools else each.rule
        key = (each.kind, each.direction, each.words, rule)
        before = merged.get(key)
        tools = dict.fromkeys((*before.tools, *each.tools)) if before else each.tools
        merged[key] = (before or each)._replace(tools=tuple(tools))
    return sorted(merged.values(), key=lambda each: DIRECTIONS.index(each.direction))
