"""The values on which a predicate turns: at its bound and right beside it, its members and what only looks like one."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, Final

from guarded_tools.authoring.pattern_samples import samples
from guarded_tools.policy.operators import NUMERIC, is_number
from guarded_tools.policy.paths import follow
from guarded_tools.policy.predicate import Predicate

KINDS: Final[tuple[Any, ...]] = (None, "", "a", 0, 1, True, [], {})
"""One value of every kind that JSON has: what a predicate cannot be compared with is refused."""

_STRANGER: Final = "another-value"
_MANY: Final = 8
_DEEPEST: Final = 6


def values_of(predicate: Predicate) -> list[Any]:  # noqa: PLR0911 - one answer an operator
    """List values between which the predicate's answer changes, those that tell most first; all are JSON."""
    op, value = predicate.op, predicate.value
    if op in NUMERIC:
        return numbers(value)
    if op in {"eq", "neq", "in", "not_in"}:
        members = value if op in {"in", "not_in"} else [value]
        first = [*members[:_MANY], _stranger(members)]
        return first + [near for member in members[:_MANY] for near in _near(member)]
    if op == "contains":
        held = [value, f"x{value}x"] if type(value) is str else []
        return [*held, [value], [_stranger([value])], *_near(value), _STRANGER, []]
    if op == "regex":
        return _matching(value)
    if op == "url_host":
        return [url for host in value[:_MANY] for url in _urls(host)] + ["https://elsewhere.example/"]
    if op == "segment":
        return ["a1", "../a1", "a1/b", "..", "a1?b", "a1%2fb", 7, "é"]
    return ["a", 1]  # exists


def numbers(bound: float) -> list[Any]:
    """List a bound, what is one and what is next to nothing away from it."""
    found: list[Any] = [bound, bound + 1, bound - 1]
    try:
        near = float(bound)
    except OverflowError:
        return found
    found += [math.nextafter(near, math.inf), math.nextafter(near, -math.inf), 0, -1, bound * 2, str(bound)]
    return [number for number in found if type(number) is str or is_number(number)]


def plain_value(schema: Any, root: Mapping[str, Any], depth: int = 0) -> Any:
    """Make a value that fits a schema as far as its usual keywords say: what is required, and nothing else."""
    part = _resolved(schema, root)
    choices = part.get("enum")
    said = [part[keyword] for keyword in ("default", "const") if keyword in part]
    said += choices[:1] if isinstance(choices, list) else []
    if said or depth > _DEEPEST:
        return said[0] if said else None
    alternatives = [one for keyword in ("anyOf", "oneOf") for one in part.get(keyword) or ()]
    made = (plain_value(one, root, depth + 1) for one in alternatives)
    chosen = next((value for value in made if value is not None), None)
    return _of_kind(part, root, depth) if chosen is None else chosen


def _of_kind(part: Mapping[str, Any], root: Mapping[str, Any], depth: int) -> Any:
    kind = part.get("type", "object" if "properties" in part else "string")
    kind = next((one for one in kind if one != "null"), None) if isinstance(kind, list) else kind
    if kind == "array":
        least = part.get("minItems")
        count = least if type(least) is int and 0 < least <= _MANY else 1
        return [plain_value(part.get("items", {}), root, depth + 1) for _ in range(count)]
    if kind == "object":
        return plain_object(part, root, depth)
    if kind in {"integer", "number"}:
        return _number(part)
    return _text(part) if kind == "string" else False if kind == "boolean" else None


def plain_object(part: Mapping[str, Any], root: Mapping[str, Any], depth: int = 0) -> dict[str, Any]:
    """Make an object with the members that a schema requires."""
    found: dict[str, Any] = {}
    for one in (part, *(_resolved(each, root) for each in part.get("allOf") or ())):
        properties, required = one.get("properties"), one.get("required")
        known = properties if isinstance(properties, Mapping) else {}
        for name in required if isinstance(required, list) else ():
            found[str(name)] = plain_value(known.get(name, {}), root, depth + 1)
    return found


def values_in(schema: Any, root: Mapping[str, Any]) -> list[Any]:
    """List what a schema says of the values at one place: a plain one, its choices, its default, its bounds."""
    part = _resolved(schema, root)
    found: list[Any] = [plain_value(part, root)]
    choices = part.get("enum")
    found += choices[:_MANY] if isinstance(choices, list) else []
    for keyword in ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"):
        found += numbers_at(part, keyword)
    return found


def numbers_at(part: Mapping[str, Any], keyword: str) -> list[Any]:
    """List the bound that a keyword of a schema names, and what is one away from it."""
    return numbers(part[keyword])[:3] if is_number(part.get(keyword)) else []


def under(schema: Any, steps: Iterable[Any], root: Mapping[str, Any]) -> Any:
    """Find the schema of the values that a path leads to; ``{}`` where nothing is said of them."""
    here = _resolved(schema, root)
    for step in steps:
        properties = here.get("properties")
        if isinstance(step, str):
            found = properties.get(step, {}) if isinstance(properties, Mapping) else {}
        else:
            found = here.get("items", {})
        here = _resolved(found, root)
    return here


def _resolved(schema: Any, root: Mapping[str, Any]) -> Mapping[str, Any]:
    for _ in range(_DEEPEST):
        if not isinstance(schema, Mapping) or not isinstance(schema.get("$ref"), str):
            break
        try:
            schema = follow(root, schema["$ref"])
        except LookupError:
            return {}
    return schema if isinstance(schema, Mapping) else {}


def _number(part: Mapping[str, Any]) -> Any:
    low, high = part.get("minimum"), part.get("maximum")
    over = part.get("exclusiveMinimum")
    if is_number(low):
        return low
    if is_number(over):
        return over + 1  # type: ignore[operator]
    return min(1, high) if is_number(high) else 1  # type: ignore[type-var]


def _text(part: Mapping[str, Any]) -> str:
    pattern, least = part.get("pattern"), part.get("minLength")
    found = samples(pattern) if isinstance(pattern, str) else ()
    if found:
        return found[0]
    plain = {"uri": "https://example.com/", "email": "ann@example.com", "date": "2026-01-31"}
    text = plain.get(str(part.get("format")), "a")
    return text if type(least) is not int or not 0 < least <= _MANY**3 else text.ljust(least, "a")


def _stranger(members: list[Any]) -> Any:
    """A value of the members' kind that is none of them."""
    counted = [member for member in members if is_number(member)]
    if counted and len(counted) == len(members):
        return max(counted) + 1
    return _STRANGER if _STRANGER not in members else f"{_STRANGER}-2"


def _near(member: Any) -> list[Any]:
    """What differs from a value by next to nothing."""
    if type(member) is bool:
        return [not member]
    if is_number(member):
        return numbers(member)
    if type(member) is not str or not member:
        return []
    return [member.swapcase(), f" {member}", f"{member}x", f"x{member}", member[:-1], f"{member}\u200b"]


def _matching(pattern: str) -> list[Any]:
    found = samples(pattern)
    grown = [text for one in found[:2] for text in (f"{one}x", f"x{one}", one.swapcase(), one[:-1], f"x\n{one}\nx")]
    return [*found, _STRANGER, *grown, ""]


def _urls(host: str) -> list[str]:
    name = host.removeprefix("*.").partition("/")[0]
    name = f"[{name}]" if name.count(":") > 1 and not name.startswith("[") else name
    first = f"https://{'www.' if host.startswith('*.') else ''}{name}/"
    return [first, f"https://{name}/", f"https://{name}.example/", f"https://a.{name}/", f"https://{name}@x.example/"]
