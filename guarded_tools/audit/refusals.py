"""Who was refused what, and why: refusals brought together by what they have in common, and a summary of all calls."""

from __future__ import annotations

import heapq
import itertools
import re
from collections import Counter
from collections.abc import Iterable
from typing import Final, NamedTuple, TypeAlias

from guarded_tools.audit.bounded import thinned
from guarded_tools.audit.summary import CallRow

REFUSED = ("denied", "limited", "rejected", "unanswered", "responded", "failed_closed")
"""The outcomes of calls that did not run because somebody or something said no."""

MOST_KINDS: Final = 20_000
"""Kinds of refusal that are counted at once; of more, those that are rare begin anew."""
MOST_SESSIONS: Final = 1_000
"""Sessions of one kind of refusal that are told apart; more are not counted."""

# A full limit's message ends in what differs from call to call.
_AMOUNT = r"(about )?[\d.]+( [\w-]+)?"
_COUNTS = re.compile(rf"(?<=is used up )\({_AMOUNT} used(, this call would take {_AMOUNT})?\)$")
_Kind: TypeAlias = tuple[str, str, str, str, tuple[str, str]]
_ANSWERED = ("", "approve", "edit", "reject", "respond", "remembered")


class RefusalRow(NamedTuple):
    """Refusals that have tool, outcome and rule in common, and where that was asked for, who was refused.

    ``cause`` says why no human's answer counted, where that is what refused the call. ``message`` is the last one's;
    ``messages`` is 2 where others gave another reason, but for the counts of a limit. ``session`` and ``grant`` are
    those of the last one, and ``sessions`` says of how many it is one, up to :data:`MOST_SESSIONS`.
    """

    session: str
    grant: str
    tool: str
    outcome: str
    rule: str
    cause: str
    message: str
    times: int
    first: float
    last: float
    sessions: int = 1
    messages: int = 1

    @property
    def ended(self) -> str:
        """The outcome with its cause: ``unanswered (timeout)``."""
        return f"{self.outcome} ({self.cause})" if self.cause else self.outcome


class RefusalKinds:
    """Counts refusals as calls come, by tool, outcome and rule, and ``by_session`` by who was refused as well.

    Memory grows with neither calls nor sessions.
    """

    def __init__(self, *, by_session: bool = False) -> None:
        self._by_session = by_session
        self._kinds: dict[_Kind, RefusalRow] = {}
        self._who: dict[_Kind, set[tuple[str, str]]] = {}

    def add(self, row: CallRow) -> None:
        """Take the next call; one that was not refused does not count."""
        if row.outcome not in REFUSED:
            return
        cause = "" if row.answer in _ANSWERED else row.answer
        who = row.session, row.grant
        kind = row.tool, row.outcome, row.rule, cause, who if self._by_session else ("", "")
        known = self._kinds.get(kind)
        if known is None:
            self._kinds[kind] = RefusalRow(*who, *kind[:4], row.message, 1, row.ended, row.ended)
            self._who[kind] = {who}
            self._kinds = thinned(self._kinds, MOST_KINDS, lambda _, one: one.times)
            if len(self._who) > len(self._kinds):
                self._who = {kind: self._who[kind] for kind in self._kinds}
            return
        everybody = self._who[kind]
        if len(everybody) < MOST_SESSIONS:
            everybody.add(who)
        same = known.messages == 1 and _why(row.message) == _why(known.message)
        self._kinds[kind] = known._replace(
            session=row.session,
            grant=row.grant,
            message=row.message,
            times=known.times + 1,
            last=row.ended,
            sessions=len(everybody),
            messages=1 if same else 2,
        )

    def found(self) -> list[RefusalRow]:
        """List the kinds of refusal, the most frequent first."""
        return sorted(self._kinds.values(), key=lambda kind: -kind.times)


def _why(message: str) -> str:
    return _COUNTS.sub("", message)


class Summary(NamedTuple):
    """What became of all calls, the kinds of refusal (most frequent first), and the last calls."""

    outcomes: Counter[str]
    refusals: list[RefusalRow]
    latest: list[CallRow]


def summarise(rows: Iterable[CallRow], *, latest: int = 15, by_session: bool = False) -> Summary:
    """Bring calls together in one pass, at a memory that does not grow with them.

    The latest are those whose last lines are: one that is open stands at its time.
    """
    outcomes: Counter[str] = Counter()
    kinds = RefusalKinds(by_session=by_session)
    last: list[tuple[float, int, CallRow]] = []
    for number, row in zip(itertools.count(), rows, strict=False):
        outcomes[row.outcome] += 1
        kinds.add(row)
        if len(last) < latest:
            heapq.heappush(last, (row.ended, number, row))
        elif last and row.ended >= last[0][0]:
            heapq.heapreplace(last, (row.ended, number, row))
    return Summary(outcomes, kinds.found(), [row for _, _, row in sorted(last)])
