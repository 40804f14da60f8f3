"""Plays a record to a policy, event by event, and says of each call what became of it and what would have.

Pure: the stream is handed in, the rows are handed out, and nothing is printed. Memory grows with the calls that wait
for an answer, up to a bound, and with what the counters hold (:mod:`~guarded_tools.authoring.replay.world`).

What a call had become is what the record says, or with ``base`` what that policy would have made of it. Of a question
that waits in a checkpoint the run comes back as another call, with the model's id for it: both are one call here, as
they are for ``guarded-tools audit``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final, NamedTuple

from guarded_tools.authoring.recorded.events import RecordedEvent
from guarded_tools.authoring.replay.values import Compared, Fate, compare
from guarded_tools.authoring.replay.world import MOST_OPEN, Met, OtherWorld
from guarded_tools.pipeline.messages import TOOL_CHANGED
from guarded_tools.policy.policy import Policy
from guarded_tools.values import ToolInfo

_APART: Final = ("(halted)", "(lock)", "(guard)")
_BY_HUMANS: Final = ("rejected", "unanswered", "responded")

_Place = tuple[str, str, str]


class _Unanswered(NamedTuple):
    """A call of which a human was asked, as each world met it."""

    came: RecordedEvent
    met: tuple[Met, ...]


class Replay:
    """One replay. ``infos`` are the tools as far as they are known: their schemas, and what tells their risk."""

    def __init__(
        self, policy: Policy, *, infos: Mapping[str, ToolInfo] | None = None, base: Policy | None = None
    ) -> None:
        known = infos or {}
        self._worlds = [OtherWorld(policy, known, () if base is None else (base,))]
        self._worlds += [] if base is None else [OtherWorld(base, known)]
        self._waiting: dict[str, _Unanswered] = {}
        self._places: dict[_Place, str] = {}
        self.forgotten = 0

    @property
    def unchecked(self) -> int:
        """How many calls were not checked against their tool's schema."""
        return self._worlds[0].unchecked

    def rows(self, events: Iterable[RecordedEvent]) -> Iterator[Compared]:
        """Yield a row a call, in the order in which they were decided; those that still wait come last."""
        for event in events:
            if event.kind == "settled":
                for world in self._worlds:
                    world.settle(event)
            elif event.kind == "control":
                for world in self._worlds:
                    world.control(event)
            elif event.kind in {"asked", "answered"}:
                yield from self._ask(event)
            else:
                yield self._conclude(event)
        for waiting in self._waiting.values():
            yield self._still_waits(waiting)
        self.forgotten += sum(world.forgotten for world in self._worlds)

    def _ask(self, event: RecordedEvent) -> Iterator[Compared]:
        waiting = self._known(event) or _Unanswered(event, tuple(world.meet(event) for world in self._worlds))
        if len(self._waiting) >= MOST_OPEN:
            oldest = self._waiting.pop(next(iter(self._waiting)))
            self._places.pop(_place(oldest.came), None)
            self.forgotten += 1
            yield self._still_waits(oldest)
        self._waiting[event.key] = waiting
        if event.call_id:
            self._places[_place(event)] = event.key

    def _known(self, event: RecordedEvent) -> _Unanswered | None:
        """Find the question that this event goes on with, and take it from those that wait."""
        found = self._waiting.pop(event.key, None)
        key = self._places.pop(_place(event), None) if event.call_id and self._places else None
        return found or (None if key is None else self._waiting.pop(key, None))

    def _conclude(self, event: RecordedEvent) -> Compared:
        waiting = self._known(event)
        before = _before(event, asked=waiting is not None)
        if waiting is None:
            if before.effect == "apart":
                return compare(event, before, before)
            waiting = _Unanswered(event, tuple(world.meet(event) for world in self._worlds))
        fates = [world.go_on(met, event) for world, met in zip(self._worlds, waiting.met, strict=True)]
        return compare(waiting.came, before if len(fates) == 1 or before.effect == "apart" else fates[1], fates[0])

    def _still_waits(self, waiting: _Unanswered) -> Compared:
        met = waiting.met
        return compare(waiting.came, Fate("ask", waiting.came.rule) if len(met) == 1 else met[1].fate, met[0].fate)


def _place(event: RecordedEvent) -> _Place:
    return event.session, event.tool, event.call_id or ""


def _before(event: RecordedEvent, *, asked: bool) -> Fate:
    """What the record says."""
    if event.kind == "made":
        return Fate("untold")
    if event.kind == "admitted":
        return Fate("ask" if asked or event.verdict else "allow", event.rule, ran=True)
    if event.outcome in {"failed_closed", "unknown"} or event.rule in _APART or event.message == TOOL_CHANGED:
        return Fate("apart", event.rule, event.message)
    if event.outcome in _BY_HUMANS or event.verdict not in {"", "approve", "edit"}:
        return Fate("ask", event.rule, event.message)
    return Fate(
        "deny", event.rule, event.message, next((c[1] for c in event.charges), "") if event.outcome == "limited" else ""
    )
