"""Decisions and counters as a person likes to look at them in a notebook.

The values themselves stand above this room, so that they can ask it to lay them out; here they are the tuples that they
are, in the order of their fields.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeAlias

from guarded_tools.text.quantities import of_most, spoken
from guarded_tools.text.tables import Cell, Content, Table, to_html
from guarded_tools.text.tones import EFFECTS, share
from guarded_tools.text.units import duration, remaining
from guarded_tools.text.units import window as span

_Usage: TypeAlias = tuple[str, str, int, int, int, float]
_Charge: TypeAlias = tuple[str, str, int, int, int, str, str, str, bool, str, int | None]
_Ask: TypeAlias = tuple[float, str, float]
_Mark: TypeAlias = tuple[str, str, str, str, str]
_Across: TypeAlias = tuple[tuple[tuple[Any, ...], ...], tuple[_Mark, ...], float]
_Decision: TypeAlias = tuple[
    str, str, str, tuple[_Charge, ...], _Ask | None, tuple[Any, ...] | None, _Across | None, tuple[_Mark, ...]
]


def decision(fields: _Decision) -> str:
    """Lay out a :class:`~guarded_tools.values.Decision`: what the policy says of a call, and what that would count."""
    effect, rule, message, charges, ask, shadow, across, _ = fields
    rows: list[list[Content]] = [["effect", Cell(effect, EFFECTS[effect])], ["rule", rule]]
    rows += [["because", message]] if message else []
    for scope, counter, amount, most, window, *_ in charges:
        rows.append(["counts", f"{of_most(counter, amount, most)} in {span(window)}, {spoken(counter)} for {scope}"])
    if ask is not None:
        timeout, remember, _ = ask
        rows.append(["asked", f"waits {duration(timeout)}, may be remembered: {remember}"])
    if across is not None:
        conditions, marks, _ = across
        brought = dict.fromkeys(name for _, kind, name, *_ in marks if kind == "label")
        rows += [["brings", ", ".join(brought)]] if brought else []
        rules = dict.fromkeys(str(condition[4]) for condition in conditions)
        rows += [["looks at", f"what this session did before, by {rule}"] for rule in rules]
    if shadow is not None:
        rows.append(["on trial", Cell(f"{shadow[0]} by {shadow[1]}", "quiet")])
    return to_html(Table((), rows, "Decision"))


def usages(counters: Iterable[_Usage]) -> str:
    """Lay out counters as they stand, each a :class:`~guarded_tools.values.Usage`."""
    rows: list[list[Content]] = [
        [
            scope,
            spoken(counter),
            Cell(of_most(counter, used, most), share=share(used, most)),
            span(window),
            remaining(free),
        ]
        for scope, counter, used, most, window, free in counters
    ]
    return to_html(Table(("whose", "counter", "used", "window", "frees in"), rows, "Usage"))
