"""What a draft makes of calls: of those that it was not made of, and how often each of its limits binds. Pure.

Sessions are split by a hash of their names, so that the same session is always on the same side. The draft that is
judged was made of four fifths of them. Calls that ran in the record are what it should let through; calls that the
record refused are what it should go on refusing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any, Final, NamedTuple

from guarded_tools.authoring.learn.seen import hashed
from guarded_tools.authoring.replay.values import Compared

_PARTS: Final = 5
FEWEST: Final = 5
"""Of fewer sessions, no part says anything of the rest."""
EFFECTS: Final = ("allow", "ask", "deny", "unjudged")


def is_held_out(session: str) -> bool:
    """Whether a session is of the fifth that no draft under judgement is made of."""
    return hashed(session) % _PARTS == 0


class HoldOut(NamedTuple):
    """What the draft of some sessions makes of the others.

    ``effects`` counts the calls that ran in the record by what would become of them; ``refused`` those that the record
    refused, likewise. ``examples`` are the first that would be denied or cannot be judged.
    """

    trained: int
    judged: int
    effects: Counter[str]
    refused: Counter[str]
    examples: tuple[Compared, ...]

    @property
    def calls(self) -> int:
        """How many calls that ran were judged."""
        return self.effects.total()

    @property
    def denied(self) -> float:
        """Which share of the calls would be denied."""
        return self.effects["deny"] / self.calls


def judge(rows: Iterable[Compared], trained: int, judged: int, examples: int = 5) -> HoldOut:
    """Bring the rows of the sessions together that were held out."""
    effects: Counter[str] = Counter()
    refused: Counter[str] = Counter()
    first: list[Compared] = []
    for row in rows:
        after = row.after.effect
        if not is_held_out(row.session) or after not in EFFECTS:
            continue
        if row.before.ran:
            effects[after] += 1
            if after in {"deny", "unjudged"} and len(first) < examples:
                first.append(row)
        elif row.before.effect != "untold":
            refused[after] += 1
    return HoldOut(trained, judged, effects, refused, tuple(first))


def bound(rows: Iterable[Compared]) -> Counter[str]:
    """Count how often each limit refuses a call that ran, by its rule."""
    return Counter(row.after.rule for row in rows if row.before.ran and row.after.counter)


def to_json(told: HoldOut | None, moment: Any) -> dict[str, Any] | None:
    """The result as plain data; ``moment`` writes a time."""
    if told is None:
        return None
    return {
        "trained_on_sessions": told.trained,
        "judged_sessions": told.judged,
        "calls": told.calls,
        "would": {effect: told.effects[effect] for effect in EFFECTS},
        "refused_in_the_record": {effect: told.refused[effect] for effect in EFFECTS},
        "examples": [
            {
                "time": moment(row.time),
                "session": row.session,
                "tool": row.tool,
                "effect": row.after.effect,
                "rule": row.after.rule,
                "message": row.after.message,
            }
            for row in told.examples
        ],
    }
