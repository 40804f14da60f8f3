"""The rows of a replay brought together: how many of which kind, by tool and by rule, and the first of each.

One pass, and memory does not grow with the calls: names that nobody foresaw are counted together past :data:`MOST`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from fnmatch import fnmatchcase
from typing import Any, Final, NamedTuple

from guarded_tools.authoring.replay.values import CATEGORIES, WIDER, Category, Compared

MOST: Final = 2_000
OTHERS: Final = "(others)"
"""What stands for the names past the first :data:`MOST`."""


class Selection(NamedTuple):
    """Which rows are told of; all calls count, whatever is told. ``tool`` may hold ``*`` and ``?``."""

    session: str | None = None
    tool: str | None = None
    since: float | None = None

    def wants(self, row: Compared) -> bool:
        """Whether a row is told of."""
        return (
            (self.session is None or row.session == self.session)
            and (self.tool is None or fnmatchcase(row.tool, self.tool))
            and (self.since is None or row.time >= self.since)
        )


ALL: Final = Selection()


class Told(NamedTuple):
    """What came of a replay. Rows of one kind are counted by tool, and by the rule (and reason) that makes it so."""

    calls: int
    first: float
    last: float
    counts: Counter[Category]
    tools: dict[str, Counter[Category]]
    limits: Counter[tuple[str, str]]
    rules: dict[Category, Counter[tuple[str, str]]]
    examples: dict[Category, list[Compared]]

    @property
    def widened(self) -> int:
        """How many calls are held less than they were."""
        return sum(self.counts[category] for category in WIDER)


def summarise(rows: Iterable[Compared], wanted: Selection = ALL, *, examples: int = 5) -> Told:
    """Bring the rows together that are wanted."""
    counts: Counter[Category] = Counter()
    tools: dict[str, Counter[Category]] = {}
    limits: Counter[tuple[str, str]] = Counter()
    rules: dict[Category, Counter[tuple[str, str]]] = {category: Counter() for category in CATEGORIES}
    firsts: dict[Category, list[Compared]] = {category: [] for category in CATEGORIES}
    first = last = 0.0
    for row in rows:
        if not wanted.wants(row):
            continue
        category, after = row.category, row.after
        first, last = (row.time if not first else min(first, row.time)), max(last, row.time)
        counts[category] += 1
        tool = row.tool if row.tool in tools or len(tools) < MOST else OTHERS
        tools.setdefault(tool, Counter())[category] += 1
        if category == "same":
            continue
        if category == "newly_denied" and after.counter:
            _count(limits, (after.rule, after.counter))
        rule = row.before.rule if category == "apart" else after.rule
        _count(rules[category], (rule, after.message if category == "unjudged" else ""))
        if len(firsts[category]) < examples:
            firsts[category].append(row)
    return Told(counts.total(), first, last, counts, tools, limits, rules, firsts)


def _count(counter: Counter[tuple[str, str]], key: tuple[str, str]) -> None:
    counter[key if key in counter or len(counter) < MOST else (OTHERS, "")] += 1


def to_json(told: Told, moment: Callable[[float], str]) -> dict[str, Any]:
    """What came of a replay as plain data; ``moment`` writes a time."""
    return {
        "calls": told.calls,
        "first": moment(told.first) if told.calls else None,
        "last": moment(told.last) if told.calls else None,
        "widened": told.widened,
        "counts": {category: told.counts[category] for category in CATEGORIES},
        "tools": {tool: dict(counts) for tool, counts in sorted(told.tools.items())},
        "over_limits": [
            {"rule": rule, "counter": counter, "calls": calls} for (rule, counter), calls in told.limits.most_common()
        ],
        "rules": {
            category: [
                {"rule": rule, **({"reason": reason} if reason else {}), "calls": calls}
                for (rule, reason), calls in counted.most_common()
            ]
            for category, counted in told.rules.items()
            if counted
        },
        "examples": {category: [_row(row, moment) for row in rows] for category, rows in told.examples.items() if rows},
    }


def _row(row: Compared, moment: Callable[[float], str]) -> dict[str, Any]:
    return {
        "time": moment(row.time),
        "session": row.session,
        "grant": row.grant,
        "tool": row.tool,
        "call_id": row.call_id,
        "before": row.before._asdict(),
        "after": row.after._asdict(),
    }
