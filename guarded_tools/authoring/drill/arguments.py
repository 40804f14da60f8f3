"""Plausible arguments of a tool, and where in them an attack can stand. Pure.

What fits a tool's schema and its policy is found among the :func:`~guarded_tools.authoring.candidates.candidates`; here
it is picked, and the places are listed at which an attack puts something else.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, NamedTuple

from guarded_tools.authoring.candidates import candidates, put
from guarded_tools.policy import Policy, decide
from guarded_tools.policy.paths import MISSING, Path, parse_path, pointer
from guarded_tools.policy.schema_check import misfit
from guarded_tools.policy.schema_parts import parts_of
from guarded_tools.tools.risk import ADDRESS
from guarded_tools.tools.words import words_of
from guarded_tools.values import Risk, ToolCall

_DEEPEST: Final = 6
_MOST_PLACES: Final = 400
_TRIES: Final = 600


class Spot(NamedTuple):
    """A place in a tool's arguments, and its schema.

    ``name`` is the nearest key, and ``needed`` whether every call has to give it.
    """

    at: Path
    name: str
    schema: Mapping[str, Any]
    needed: bool

    @property
    def path(self) -> str:
        """The path as policies write it."""
        return self.at.text

    @property
    def words(self) -> frozenset[str]:
        """The words of its name."""
        return frozenset(words_of(self.name))

    def is_a(self, kind: str) -> bool:
        """Whether it may be of this JSON type."""
        said = self.schema.get("type")
        return said == kind or (isinstance(said, list) and kind in said)

    @property
    def free(self) -> bool:
        """Whether it is a text that may be any."""
        return self.is_a("string") and not {"enum", "const"} & self.schema.keys()

    @property
    def address(self) -> bool:
        """Whether it looks like a URL."""
        if not self.free:
            return False
        return self.schema.get("format") in {"uri", "url"} or not ADDRESS.isdisjoint(self.words)


def places(schema: Mapping[str, Any]) -> list[Spot]:
    """List the places of a schema that a path can name, outermost first, each once; of a list, what is within.

    At most 400, no deeper than six steps.
    """
    found: dict[str, Spot] = {}
    waiting: deque[tuple[str, str, Mapping[str, Any], bool, int]] = deque([("args", "", schema, True, 0)])
    while waiting and len(found) < _MOST_PLACES:
        path, name, here, needed, depth = waiting.popleft()
        # One that says no more than where it is said, or that it is one of several, says less than these do.
        for part in sorted(parts_of([here], schema), key=lambda part: "type" not in part):
            if depth:
                found.setdefault(path, Spot(parse_path(path), name, part, needed))
            if depth < _DEEPEST:
                waiting.extend(
                    (f"{path}{more}", inner or name, below, needed and sure, depth + 1)
                    for more, inner, below, sure in _below(part)
                )
    return list(found.values())


def _below(part: Mapping[str, Any]) -> Iterator[tuple[str, str, Mapping[str, Any], bool]]:
    properties, needed = part.get("properties"), part.get("required")
    for name, inner in properties.items() if isinstance(properties, Mapping) else ():
        try:
            known = isinstance(inner, Mapping) and parse_path(f"args.{name}").steps == (name,)
        except ValueError:
            continue
        if known:
            yield f".{name}", name, inner, isinstance(needed, list) and name in needed
    items = part.get("items")
    if isinstance(items, Mapping):
        yield "[*]", "", items, False


def with_value(target: Mapping[str, Any], place: Spot, value: Any) -> dict[str, Any]:
    """Copy arguments with a value at a place; of a list, in each of its elements."""
    return put(dict(target), place.at, value)


def without(args: Mapping[str, Any], place: Spot) -> dict[str, Any]:
    """Copy arguments without what stands at a place."""
    return put(dict(args), place.at, MISSING)


def beside(args: Mapping[str, Any], place: Spot, name: str, value: Any) -> dict[str, Any]:
    """Copy arguments with a value under another key in the object that a place is in."""
    return put(dict(args), Path(place.path, (*place.at.steps[:-1], name)), value)


def at_top(found: Iterable[Spot]) -> list[Spot]:
    """Those places that are an argument of their own, or in objects, and not in a list."""
    return [place for place in found if not place.at.many]


def fit(policy: Policy | None, tool: str, schema: Mapping[str, Any], risk: Risk) -> dict[str, Any] | None:
    """Arguments that fit a schema and that the policy has nothing against; ``None`` if none were found.

    Needs of earlier calls, limits and questions are no matter here.
    """
    rules = () if policy is None else (policy.compiled.rules(tool),)
    try:
        for given in candidates(rules, schema, most=_TRIES):
            if misfit(schema, given) is None and (policy is None or _let(policy, tool, given, schema, risk)):
                return given
    except (TypeError, ValueError, AttributeError, LookupError, RecursionError):  # a schema may be anything
        return {} if misfit(schema, {}) is None else None
    return None


def _let(policy: Policy, tool: str, given: Mapping[str, Any], schema: Mapping[str, Any], risk: Risk) -> bool:
    said = decide(policy, ToolCall(tool, given), schema, risk)
    # A name or an action that is refused is so whatever the arguments are.
    return said.effect != "deny" or not (
        said.rule == "/schema" or any(pointer(part) in said.rule for part in ("require", "deny_if", "limits"))
    )
