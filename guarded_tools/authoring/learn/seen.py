"""What was seen of each tool, and nothing more: counts, busiest windows, and a bounded sketch of each argument.

A call teaches once it is settled as ``ok``. What was refused, failed, was never told of, or was refused by a human
teaches nothing; nor does a session that somebody halted. Where humans were asked, that is kept in mind.

Memory does not grow with the calls. Kept are at most 2,000 tools; of each the counts, at most 64 argument paths and
1,000 sessions (as hashes); of each path at most :data:`MOST_VALUES` short texts and as many hosts, and the extremes of
its numbers. No longer text is kept, whatever it is.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final, NamedTuple

from guarded_tools.authoring.learn.glimpse import Glimpse, glimpses, path_of
from guarded_tools.authoring.learn.windows import Busiest
from guarded_tools.authoring.recorded.events import RecordedEvent

MOST_VALUES: Final = 32
"""The most values that an enumeration can be asked to have."""
_MOST_TOOLS: Final = 2_000
_MOST_PATHS: Final = 64
_MOST_SESSIONS: Final = 1_000
_MOST_OPEN: Final = 32_768
_ENOUGH: Final = 3
EVERY_TOOL: Final = ""
"""Under what the calls of all tools together are counted; no tool is called so."""


class Tally:
    """How often something was seen, and in how many sessions, up to three."""

    __slots__ = ("_sessions", "times")

    def __init__(self) -> None:
        self.times = 0
        self._sessions: set[int] = set()

    def add(self, session: int) -> None:
        """Count it once more."""
        self.times += 1
        if len(self._sessions) < _ENOUGH:
            self._sessions.add(session)

    @property
    def sessions(self) -> int:
        """In how many sessions, of which three are told apart."""
        return len(self._sessions)


class SeenArgument:
    """What was seen at one path. ``values`` and ``hosts`` are ``None`` where they were too many, or of another kind."""

    def __init__(self, parent: str, name: str) -> None:
        self.parent = parent
        self.name = name
        self.calls = 0
        self.unrecorded = 0
        self.kinds: Counter[str] = Counter()
        self.values: dict[str | bool, Tally] | None = {}
        self.hosts: dict[str, Tally] | None = {}
        self.numbers = Tally()
        self.least: int | float = 0
        self.most: int | float = 0
        self.segments = True

    def add(self, seen: Glimpse, session: int) -> None:
        """Take in one value."""
        first = not self.kinds["number"]
        self.kinds[seen.kind] += 1
        if seen.kind == "null":
            return
        self.segments = self.segments and seen.segment
        self.values = _counted(self.values, seen.value if type(seen.value) in {str, bool} else None, session)
        self.hosts = _counted(self.hosts, seen.host or None, session)
        number = seen.value
        if isinstance(number, int | float) and seen.kind == "number":
            self.numbers.add(session)
            self.least = number if first else min(self.least, number)
            self.most = number if first else max(self.most, number)

    @property
    def kind(self) -> str | None:
        """The one kind of value that was seen, but for ``null``; ``None`` where there were several."""
        kinds = [kind for kind in self.kinds if kind != "null"]
        return kinds[0] if len(kinds) == 1 else None


def _counted(tallies: dict[Any, Tally] | None, value: object, session: int) -> dict[Any, Tally] | None:
    if tallies is None or value is None:
        return None
    if value not in tallies:
        if len(tallies) >= MOST_VALUES:
            return None
        tallies[value] = Tally()
    tallies[value].add(session)
    return tallies


class SeenTool:
    """What was seen of one tool. ``asked`` counts how often a human was."""

    def __init__(self) -> None:
        self.calls = 0
        self.asked = 0
        self.unnamed = 0
        self.labels: set[str] = set()
        self.arguments: dict[str, SeenArgument] = {}
        self.sessions: set[int] = set()

    def add(self, one: _Open) -> None:
        """Take in one call that ended well."""
        self.calls += 1
        session = hashed(one.session)
        if len(self.sessions) < _MOST_SESSIONS:
            self.sessions.add(session)
        self.labels.update(one.labels[:_MOST_PATHS])
        self.unnamed += one.unnamed
        for path in one.unrecorded:
            self._argument(path, "args", path).unrecorded += 1
        here: set[str] = set()
        for seen in one.glimpses:
            argument = self._argument(seen.path, seen.parent, seen.name)
            argument.add(seen, session)
            if seen.kind != "null" and seen.path not in here:
                here.add(seen.path)
                argument.calls += 1

    def always(self, path: str) -> bool:
        """Whether every call had a value at a path, and it was recorded."""
        argument = self.arguments[path]
        return argument.calls == self.calls and self.recorded(path)

    def reachable(self, path: str) -> bool:
        """Whether all that a path leads through was of one kind, so that it can be judged of every call."""
        above = self.arguments[path].parent
        while above in self.arguments:
            if self.arguments[above].kind is None:
                return False
            above = self.arguments[above].parent
        return True

    def recorded(self, path: str) -> bool:
        """Whether what stood at a path was recorded in every call, and what it is in was of one kind."""
        above = path
        while above != "args":
            argument = self.arguments.get(above)
            if argument is None or argument.unrecorded:
                return False
            above = argument.parent
        return self.reachable(path) and not self.unnamed

    def _argument(self, path: str, parent: str, name: str) -> SeenArgument:
        found = self.arguments.get(path)
        if found is None:
            found = SeenArgument(parent, name)
            if len(self.arguments) < _MOST_PATHS:  # else nobody looks at it
                self.arguments[path] = found
        return found


class _Open(NamedTuple):
    """A call that was let through, until it is known how it ended."""

    tool: str
    session: str
    time: float
    glimpses: tuple[Glimpse, ...]
    unrecorded: tuple[str, ...]
    unnamed: bool
    labels: tuple[str, ...]


class SeenRecord:
    """Everything that was seen. ``wants`` says which sessions teach."""

    def __init__(self, wants: Callable[[str], bool] = lambda _: True) -> None:
        self.tools: dict[str, SeenTool] = {}
        self.busiest = Busiest()
        self.untaught: dict[str, Counter[str]] = {}
        self.first = self.last = 0.0
        self.crowded = 0
        self._asked: Counter[str] = Counter()
        self._wants = wants
        self._open: dict[str, _Open] = {}

    def take(self, event: RecordedEvent) -> None:
        """Take in one event; they come in the order of time."""
        if event.kind == "control" or not self._wants(event.session):
            return
        if event.kind == "settled":
            self._settle(event)
        elif event.kind in {"asked", "answered"}:
            self._ask(event.tool)
        elif event.kind == "admitted":
            if event.verdict:
                self._ask(event.tool)
            if len(self._open) >= _MOST_OPEN:
                self._untaught(self._open.pop(next(iter(self._open))).tool, "unsettled")
            self._open[event.key] = _opened(event)
        else:
            self._untaught(event.tool, "refused" if event.kind == "refused" else "untold")

    def end(self) -> SeenRecord:
        """Say that there is no more; what is still open teaches nothing."""
        for left in self._open.values():
            self._untaught(left.tool, "unsettled")
        self._open.clear()
        for tool, seen in self.tools.items():
            seen.asked = self._asked[tool]
        return self

    def _ask(self, tool: str) -> None:
        if tool in self._asked or len(self._asked) < 2 * _MOST_TOOLS:
            self._asked[tool] += 1

    def _settle(self, event: RecordedEvent) -> None:
        one = self._open.pop(event.key, None)
        if one is None:
            return
        if event.outcome != "ok":
            self._untaught(one.tool, "failed")
            return
        if one.tool not in self.tools and len(self.tools) >= _MOST_TOOLS:
            self.crowded += 1
            return
        self.tools.setdefault(one.tool, SeenTool()).add(one)
        self.busiest.add(one.tool, one.session, one.time)
        self.busiest.add(EVERY_TOOL, one.session, one.time)
        self.first = min(self.first, one.time) if self.last else one.time
        self.last = max(self.last, one.time)

    def _untaught(self, tool: str, why: str) -> None:
        if tool in self.untaught or len(self.untaught) < _MOST_TOOLS:
            self.untaught.setdefault(tool, Counter())[why] += 1


def _opened(event: RecordedEvent) -> _Open:
    missing = tuple(name for name in event.names or () if name not in event.args)
    return _Open(
        event.tool, event.session, event.time, glimpses(event.args), tuple(filter(None, map(path_of, missing))),
        event.names is None, event.labels,
    )  # fmt: skip


@lru_cache(maxsize=65_536)
def hashed(session: str) -> int:
    """A number that stands for a session, the same in every process."""
    return int.from_bytes(hashlib.blake2b(session.encode("utf-8", "surrogatepass"), digest_size=8).digest())
