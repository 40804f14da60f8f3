"""What is wrong with a policy though each part of it is right: rules that contradict, repeat or can never apply.

Works on plain data that may be wrong in other ways, so that every problem is told at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, Protocol

from guarded_tools.errors import Problem
from guarded_tools.policy.conditions import is_number
from guarded_tools.policy.names import covers, is_glob, matches
from guarded_tools.policy.rules import pointer

_RULES: Final = ("require", "deny_if", "limits", "rate_limit", "approval")
_DAY: Final = 86400


class _Reporter(Protocol):
    def __call__(self, at: str, message: str, hint: str = "", *, key: bool = False) -> Problem: ...


def problems(data: dict[str, Any], problem: _Reporter) -> Iterator[Problem]:
    """List them. ``data`` is in the first dialect."""
    hide = [entry for entry in _list(data.get("hide")) if type(entry) is str]
    tools = {key: entry for key, entry in _dict(data.get("tools")).items() if type(entry) is dict}
    yield from _repeated_hides(data, problem)
    yield from _entry(_dict(data.get("all_tools")), "/all_tools", problem)
    if "*" in hide and any(_dict(data.get("all_tools")).get(rule) for rule in _RULES):
        yield problem("/all_tools", "these rules can never apply: every tool is hidden", 'take "*" out of hide')
    for key, entry in tools.items():
        at = pointer("tools", key)
        yield from _entry(entry, at, problem)
        if any(entry.get(rule) for rule in _RULES) and any(covers(hidden, key) for hidden in hide):
            yield problem(at, "these rules can never apply: the tool is hidden", "take it out of hide, or out of tools")
    yield from _unreachable([key for key in _dict(data.get("tools")) if is_glob(key)], problem)


def _entry(entry: dict[str, Any], at: str, problem: _Reporter) -> Iterator[Problem]:
    ruled = [rule for rule in _RULES if entry.get(rule)]
    if entry.get("action") == "deny" and ruled:
        yield problem(
            f"{at}/{ruled[0]}", f"{ruled[0]} can never apply: action denies every call", "take one of the two out"
        )
    if entry.get("reason") and entry.get("action") not in {"deny", "approve"}:
        yield problem(f"{at}/reason", "a reason is only told with action deny or approve", "take it out, or set action")
    yield from _approval(entry, at, problem)
    seen: set[str] = {"rate_limit"} if entry.get("rate_limit") else set()
    for place, limit in enumerate(_list(entry.get("limits"))):
        if type(limit) is not dict:
            continue
        counter, count, most = limit.get("counter"), limit.get("count"), limit.get("max")
        if type(counter) is str:
            if counter in seen:
                yield problem(
                    f"{at}/limits/{place}/counter", f"the counter {counter!r} is already in use here", "rename it"
                )
            seen.add(counter)
        if is_number(count) and is_number(most) and count > most:  # type: ignore[operator]
            yield problem(f"{at}/limits/{place}/count", "one call takes more than max: every call would be refused")
        if limit.get("align") == "utc":
            yield from _alignment(limit.get("window"), f"{at}/limits/{place}/window", problem)


def _approval(entry: dict[str, Any], at: str, problem: _Reporter) -> Iterator[Problem]:
    approval = entry.get("approval")
    if type(approval) is not dict:
        return
    remember = approval.get("remember", "never")
    if "for" in approval and remember == "never":
        yield problem(
            f"{at}/approval/for", "for has no meaning while nothing is remembered", "set remember, or take it out"
        )
    if remember in {"same", "tool"} and entry.get("risk") in {"destructive", "financial"}:
        yield problem(
            f"{at}/approval/remember", f"the approval of a {entry['risk']} tool is never remembered", 'write "never"'
        )


def _alignment(window: Any, at: str, problem: _Reporter) -> Iterator[Problem]:
    from pydantic_core import PydanticCustomError

    from guarded_tools.policy.model import parse_window

    try:
        seconds = parse_window(window)
    except PydanticCustomError:
        return
    if _DAY % seconds:
        yield problem(at, "a window aligned to UTC must divide a day evenly", 'write "minute", "hour" or "day"')


def _repeated_hides(data: dict[str, Any], problem: _Reporter) -> Iterator[Problem]:
    seen: set[str] = set()
    for place, entry in enumerate(_list(data.get("hide"))):
        if type(entry) is not str:
            continue
        if entry in seen:
            yield problem(f"/hide/{place}", f"{entry!r} is already hidden", "keep one of them")
        seen.add(entry)


def _unreachable(globs: list[str], problem: _Reporter) -> Iterator[Problem]:
    for place, late in enumerate(globs):
        early = next((glob for glob in globs[:place] if matches(glob, late)), None)
        if early is not None:
            yield problem(
                pointer("tools", late),
                f"can never apply: {early!r} stands above it and fits every name that this fits",
                "put the narrower glob first",
                key=True,
            )


def _dict(value: Any) -> dict[str, Any]:
    return value if type(value) is dict else {}


def _list(value: Any) -> list[Any]:
    return value if type(value) is list else []
