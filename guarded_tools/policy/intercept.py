"""The second dialect, Intercept's YAML, rewritten as the first.

A rule's conditions become ``require``, its counter a ``limits`` entry that keeps calendar windows and everyone's counter, and
``"*"`` becomes ``all_tools``. Where each part came from is kept, so that denials and problems name the rule in the file.
"""

from __future__ import annotations

import math
import re
from typing import Annotated, Any, Final, Literal, NamedTuple, Protocol, TypeAlias

from pydantic import AfterValidator, Field, TypeAdapter, ValidationError

from guarded_tools.errors import Problem
from guarded_tools.policy.conditions import NUMERIC, Operator, is_number
from guarded_tools.policy.model import ArgumentPath, Name, Part, Text, wrong
from guarded_tools.policy.rules import pointer

GLOBAL: Final = "_global"
"""The scope in which the counters of ``"*"`` are read."""

_BESIDE: Final = "rules is the other dialect: "


class Reporter(Protocol):
    """Makes a problem out of a pointer."""

    def __call__(self, at: str, message: str, hint: str = "", *, key: bool = False) -> Problem: ...  # noqa: D102


class Imported(NamedTuple):
    """What became of the data: all of it in the first dialect, what was wrong, and where each part came from.

    ``places`` maps a pointer into ``data`` to one into the file; ``names`` to the pointer that names the rule.
    """

    data: dict[str, Any]
    problems: list[Problem]
    warnings: tuple[Problem, ...]
    places: dict[str, str]
    names: dict[str, str]


def _rate(text: str) -> str:
    if not re.fullmatch(r"[1-9][0-9]{0,15}/(minute|hour|day)", text):
        raise wrong("not a rate: a positive whole number per minute, hour or day", 'write one like "5/hour"')
    return text


def _condition_path(text: str) -> str:
    if not text.startswith(("args.", "state.")):
        raise wrong('a path begins with "args." or "state."', f"did you mean args.{text}?")
    return text


Window: TypeAlias = Literal["minute", "hour", "day"]


class Condition(Part):
    """What must hold of an argument, or of the rule's own counter."""

    path: Annotated[str, AfterValidator(_condition_path), Field(pattern=r"^(args|state)\..")]
    op: Operator
    value: Any = True


class State(Part):
    """The counter of a rule."""

    counter: Name
    window: Window
    increment: Annotated[int, Field(ge=1)] | None = None
    increment_from: ArgumentPath | None = None


class Rule(Part):
    """One rule: it refuses every call, or those that do not meet its conditions."""

    name: Name
    action: Literal["evaluate", "deny"] = "evaluate"
    conditions: Annotated[tuple[Condition, ...], Field(strict=False)] = ()
    rate_limit: Annotated[str, AfterValidator(_rate), Field(pattern="^[1-9][0-9]{0,15}/(minute|hour|day)$")] | None = (
        None
    )
    state: State | None = None
    on_deny: Text | None = None


class InterceptTool(Part):
    """A tool's entry in the second dialect."""

    rules: Annotated[tuple[Rule, ...], Field(strict=False)]


_TOOL: Final = TypeAdapter(InterceptTool)


def convert(data: dict[str, Any], problem: Reporter) -> Imported:
    """Rewrite every entry with ``rules``. Entries of the first dialect are left as they are."""
    tools = data.get("tools")
    if type(tools) is not dict or not any(_is_rules(entry) for entry in tools.values()):
        return Imported(data, [], (), {}, {})
    work = _Conversion(problem)
    rewritten: dict[str, Any] = {}
    everywhere: dict[str, Any] = {}
    for key, entry in tools.items():
        if not _is_rules(entry):
            rewritten[key] = entry
        elif key == "*":
            everywhere = work.entry(key, entry, "/all_tools")
        else:
            rewritten[key] = work.entry(key, entry, pointer("tools", key))
    result = {**data, "tools": rewritten}
    if everywhere:
        result["all_tools"] = _merged(data.get("all_tools"), everywhere, work, problem)
    warnings: tuple[Problem, ...] = ()
    if "default" not in data and all(_is_rules(entry) for entry in tools.values()):
        result["default"] = "allow"
        message = "default is missing, so every tool that is not listed is allowed"
        warnings = (problem("/tools", message, "write default: deny, or default: allow if that is meant"),)
    return Imported(result, work.problems, warnings, work.places, work.names)


def _is_rules(entry: Any) -> bool:
    return type(entry) is dict and "rules" in entry


def _merged(own: Any, imported: dict[str, Any], work: _Conversion, problem: Reporter) -> dict[str, Any]:
    """Put the rules of ``"*"`` where ``all_tools`` are. Both at once would need an order that neither dialect gives."""
    if own:
        work.problems.append(problem("/tools/*", 'rules for "*" beside all_tools', "keep one of the two", key=True))
    return imported


class _Conversion:
    def __init__(self, problem: Reporter) -> None:
        self._problem = problem
        self.problems: list[Problem] = []
        self.places: dict[str, str] = {}
        self.names: dict[str, str] = {}

    def entry(self, key: str, entry: dict[str, Any], base: str) -> dict[str, Any]:
        at = pointer("tools", key)
        for other in entry:
            if other in {"require", "deny_if", "limits"}:
                self._tell(f"{at}/{other}", f"{_BESIDE}{other} cannot stand beside it", "use one of the two", key=True)
        rules = {"rules": entry["rules"]} if type(entry["rules"]) is list else entry
        extra = {name: value for name, value in entry.items() if name not in {"require", "deny_if", "limits"}}
        try:
            tool = _TOOL.validate_python({**extra, **rules})
        except ValidationError as error:
            from guarded_tools.policy.load import explain_errors

            self.problems += explain_errors(error, InterceptTool, entry, lambda found: at + found, self._problem)
            return {}
        out: dict[str, Any] = {}
        denying = next((rule for rule in tool.rules if rule.action == "deny"), None)
        counters: dict[str, int] = {}
        scope = GLOBAL if key == "*" else key
        used: dict[str, int] = {}
        for place, rule in enumerate(tool.rules):
            here = f"{at}/rules/{place}"
            used[rule.name] = nth = used.get(rule.name, 0) + 1
            name = f"{at}/rules{pointer(rule.name)}" + (f"#{nth}" if nth > 1 else "")
            if denying is not None and rule is not denying:
                self._tell(here, f"can never apply: the rule {denying.name!r} denies every call", "keep one of the two")
            self._rule(rule, here, name, scope, base, out, counters)
        return out

    def _tell(self, at: str, message: str, hint: str = "", *, key: bool = False) -> None:
        self.problems.append(self._problem(at, message, hint, key=key))

    def _rule(
        self, rule: Rule, here: str, name: str, scope: str, base: str, out: dict[str, Any], counters: dict[str, int]
    ) -> None:
        if rule.action == "deny":
            self._deny(rule, here, name, base, out)
            return
        if rule.rate_limit is not None:
            if rule.conditions or rule.state is not None:
                self._tell(f"{here}/rate_limit", "rate_limit cannot stand beside conditions or state", "make two rules")
                return
            count, window = rule.rate_limit.split("/")
            self._limit(
                {"counter": f"_rate_{window}", "max": int(count), "window": window},
                rule,
                here,
                name,
                base,
                out,
                counters,
            )
            return
        if not rule.conditions:
            self._tell(here, "a rule needs at least one condition, or a rate_limit", "add conditions")
        bounds: list[tuple[int, Condition]] = []
        for place, condition in enumerate(rule.conditions):
            at = f"{here}/conditions/{place}"
            if condition.path.startswith("state."):
                bounds.append((place, condition))
                continue
            require = out.setdefault("require", [])
            target = f"{base}/require/{len(require)}"
            self.places[target], self.names[target] = at, name
            require.append({"path": condition.path, "op": condition.op, "value": condition.value, **_message(rule)})
        self._state(rule, bounds, here, name, scope, base, out, counters)

    def _deny(self, rule: Rule, here: str, name: str, base: str, out: dict[str, Any]) -> None:
        for part in ("conditions", "rate_limit", "state"):
            if getattr(rule, part):
                self._tell(f"{here}/{part}", f"a rule that denies must not have {part}", f"take {part} out", key=True)
        out["action"] = "deny"
        if rule.on_deny is not None:
            out["reason"] = rule.on_deny
        self.places[f"{base}/action"], self.names[f"{base}/action"] = here, name

    def _state(
        self,
        rule: Rule,
        bounds: list[tuple[int, Condition]],
        here: str,
        name: str,
        scope: str,
        base: str,
        out: dict[str, Any],
        counters: dict[str, int],
    ) -> None:
        own = f"state.{scope}.{rule.state.counter}" if rule.state is not None else ""
        most: int | None = None
        for place, condition in bounds:
            at = f"{here}/conditions/{place}"
            if condition.path != own:
                hint = f"write {own}" if own else "give the rule a state with that counter"
                self._tell(f"{at}/path", f"{condition.path} is not the counter of this rule", hint)
                return
            bound = _bound(condition)
            if bound is None:
                self._tell(f"{at}/op", "a counter is only compared by lt or lte with a number", "write op: lte")
                return
            if bound < 1:
                self._tell(f"{at}/value", "no call could ever pass", "to refuse every call, write action: deny")
                return
            most = bound if most is None else min(most, bound)
        if rule.state is None:
            return
        if most is None:
            self._tell(
                f"{here}/state",
                "a counter that no condition of this rule limits",
                f"add a condition on {own}",
                key=True,
            )
            return
        if rule.state.increment is not None and rule.state.increment_from is not None:
            self._tell(f"{here}/state", "increment and increment_from at once", "keep one of the two")
            return
        limit: dict[str, Any] = {"counter": rule.state.counter, "max": most, "window": rule.state.window}
        if rule.state.increment_from is not None:
            limit["count"] = rule.state.increment_from
        elif rule.state.increment is not None:
            limit["count"] = rule.state.increment
        self._limit(limit, rule, here, name, base, out, counters)

    def _limit(
        self,
        limit: dict[str, Any],
        rule: Rule,
        here: str,
        name: str,
        base: str,
        out: dict[str, Any],
        counters: dict[str, int],
    ) -> None:
        limits = out.setdefault("limits", [])
        target = f"{base}/limits/{len(limits)}"
        self.places[target], self.names[target] = here, name
        limits.append({**limit, "scope": "global", "align": "utc", **_message(rule)})


def _message(rule: Rule) -> dict[str, str]:
    return {} if rule.on_deny is None else {"on_deny": rule.on_deny}


def _bound(condition: Condition) -> int | None:
    value = condition.value
    if condition.op not in NUMERIC or not is_number(value):
        return None
    if condition.op == "lte":
        return math.floor(value)
    return math.ceil(value) - 1 if condition.op == "lt" else None
