"""What is looked at of one call's arguments: each value at its path, reduced to what a rule could be made of."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from guarded_tools.authoring.ids import step_to
from guarded_tools.policy.hosts import host_of
from guarded_tools.policy.operators import is_number
from guarded_tools.policy.paths import Indeterminate
from guarded_tools.policy.segments import is_segment

_DEEPEST: Final = 3
_MOST: Final = 256
_LONGEST: Final = 40
_LONGEST_URL: Final = 8_192


class Glimpse(NamedTuple):
    """One value. ``value`` is ``None`` where it is a longer text, a list or an object; ``host`` is a URL's."""

    path: str
    parent: str
    name: str
    kind: str
    value: str | bool | int | float | None = None
    host: str = ""
    segment: bool = False


def path_of(name: str) -> str:
    """The path of a top-level argument; nothing where no path can say it."""
    step = step_to(name)
    return step and f"args{step}"


def glimpses(args: Mapping[str, Any]) -> tuple[Glimpse, ...]:
    """Look at arguments, objects and lists three deep; at most 256 values of one call."""
    found: list[Glimpse] = []
    waiting: deque[tuple[str, str, str, Any, int]] = deque(_members("args", args, 0))
    while waiting and len(found) < _MOST:
        path, parent, name, value, depth = waiting.popleft()
        found.append(_glimpse(path, parent, name, value))
        if depth < _DEEPEST and isinstance(value, Mapping):
            waiting.extend(_members(path, value, depth))
        elif depth < _DEEPEST and isinstance(value, list):
            waiting.extend((f"{path}[*]", path, name, each, depth + 1) for each in value[:_MOST])
    return tuple(found)


def _members(path: str, value: Mapping[str, Any], depth: int) -> list[tuple[str, str, str, Any, int]]:
    steps = [(step_to(name), name, each) for name, each in list(value.items())[:_MOST]]
    return [(path + step, path, name, each, depth + 1) for step, name, each in steps if step]


def _glimpse(path: str, parent: str, name: str, value: Any) -> Glimpse:
    if value is None:
        return Glimpse(path, parent, name, "null")
    if type(value) is bool:
        return Glimpse(path, parent, name, "boolean", value)
    if type(value) is str:
        short = value if len(value) <= _LONGEST else None
        return Glimpse(path, parent, name, "text", short, _host(value), is_segment(value))
    if is_number(value):
        return Glimpse(path, parent, name, "number", value, segment=type(value) is int and is_segment(value))
    kind = "object" if isinstance(value, Mapping) else "list" if isinstance(value, list) else "other"
    return Glimpse(path, parent, name, kind)


def _host(text: str) -> str:
    if len(text) > _LONGEST_URL or text[:4].lower() != "http":
        return ""
    try:
        return host_of(text)
    except Indeterminate:
        return ""
