"""The second dialect, Intercept's YAML, rewritten as the first.

There is one engine, and it knows one dialect. An entry with ``rules`` is rewritten before anything validates it:

* a rule's conditions on ``args`` become ``require``, each with the rule's ``on_deny``;
* its ``state`` with the conditions on it becomes an entry of ``limits``, at the strictest of the bounds;
* ``rate_limit`` becomes an entry of ``limits`` with a counter of its own for each window;
* ``action: deny`` becomes the entry's action; every other rule of that tool could never apply, which is an error;
* ``"*"`` becomes ``all_tools``; and without ``default`` unlisted tools are allowed, with a warning.

What a limit means is kept: one counter for everybody (``scope: global``), in windows that begin with the calendar's
(``align: utc``), because one proxy held them.

Nothing is dropped in silence. What has no meaning in the first dialect (a condition on another rule's counter, a
counter that nothing bounds, both dialects in one entry) is a problem, told with all others: a rule that is itself
malformed is left out, and the rest is rewritten as if it were not there, so that one run tells of all.

``places`` and ``names`` remember where each part came from. The first leads a problem back to its line; the second
gives a denial the pointer of the rule in the file, by the rule's name, so that the audit speaks of what its reader
wrote.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from contextlib import suppress
from typing import Annotated, Any, Final, Literal, NamedTuple, TypeAlias

from pydantic import AfterValidator, Field, ValidationError, WithJsonSchema

from guarded_tools.errors import Problem
from guarded_tools.policy.diagnostics import Reporter, explain_errors
from guarded_tools.policy.fields import ArgumentPath, Maybe, Name, Part, Text, wrong
from guarded_tools.policy.operators import Operator, is_number
from guarded_tools.policy.paths import EVERYWHERE, PATTERN, pointer

GLOBAL: Final = "_global"
"""The scope in which the counters of ``"*"`` are read."""

_RATE_PATTERN: Final = "^[1-9][0-9]{0,15}/(minute|hour|day)$"
_FIRST_DIALECT: Final = frozenset({"require", "deny_if", "limits"})
# What cannot stand in one rule with what.
_UNFIT: Final = {"deny": ("conditions", "rate_limit", "state"), "rate_limit": ("conditions", "state"), "evaluate": ()}


class Imported(NamedTuple):
    """What became of the data: all of it in the first dialect, what was wrong, and where each part came from.

    ``places`` maps a pointer into ``data`` to one into the file; ``names`` to the pointer that names the rule.
    """

    data: dict[str, Any]
    problems: list[Problem]
    warnings: list[Problem]
    places: dict[str, str]
    names: dict[str, str]

    def place(self, at: str) -> str:
        """Where a part of the data stands in the file."""
        above = at
        while above:
            if above in self.places:
                found = self.places[above]
                # Only conditions have the same parts in both dialects.
                return found + at[len(above) :] if "/conditions/" in found else found
            above = above.rpartition("/")[0]
        return at


def _rate(text: str) -> str:
    if not re.fullmatch(_RATE_PATTERN, text):
        raise wrong("not a rate: a positive whole number per minute, hour or day", 'write one like "5/hour"')
    return text


def _condition_path(text: str) -> str:
    if not text.startswith(("args.", "args[", "state.")):
        raise wrong('a path begins with "args." or "state."', f"did you mean args.{text}?")
    return text


Rate: TypeAlias = Annotated[str, AfterValidator(_rate), WithJsonSchema({"type": "string", "pattern": _RATE_PATTERN})]
Window: TypeAlias = Literal["minute", "hour", "day"]


class Condition(Part):
    """What must hold of an argument, or of the rule's own counter."""

    path: Annotated[
        str, AfterValidator(_condition_path), WithJsonSchema({"type": "string", "pattern": rf"^state\.|{PATTERN}"})
    ]
    op: Operator
    value: Any = True


class State(Part):
    """The counter of a rule."""

    counter: Name
    window: Window
    increment: Maybe[Annotated[int, Field(ge=1)]] = None
    increment_from: Maybe[ArgumentPath] = None


class Rule(Part):
    """One rule: it refuses every call, or those that do not meet its conditions."""

    name: Name
    action: Literal["evaluate", "deny"] = "evaluate"
    conditions: Annotated[tuple[Condition, ...], Field(strict=False)] = ()
    rate_limit: Maybe[Rate] = None
    state: Maybe[State] = None
    on_deny: Maybe[Text] = None


class InterceptTool(Part):
    """A tool's entry in the second dialect."""

    rules: Annotated[tuple[Rule, ...], Field(strict=False)]


def convert(data: dict[str, Any], problem: Reporter) -> Imported:
    """Rewrite every entry with ``rules``. Entries of the first dialect are left as they are."""
    out = Imported(data, [], [], {}, {})
    tools = data.get("tools")
    if type(tools) is not dict or not any(_has_rules(entry) for entry in tools.values()):
        return out
    rewritten = {key: entry for key, entry in tools.items() if key != "*" or not _has_rules(entry)}
    result = {**data, "tools": rewritten}
    for key, entry in tools.items():
        if not _has_rules(entry):
            continue
        if key != "*":
            rewritten[key] = _Entry(key, pointer("tools", key), out, problem).convert(entry)
        elif data.get("all_tools", {}) != {}:
            out.problems.append(problem("/tools/*", 'rules for "*" beside all_tools', "keep one of the two", key=True))
        else:
            result["all_tools"] = _Entry(GLOBAL, EVERYWHERE, out, problem).convert(entry)
    if "default" not in data and all(map(_has_rules, tools.values())):
        result["default"] = "allow"
        message = "default is missing, so every tool that is not listed is allowed"
        out.warnings.append(problem("/tools", message, "write default: deny, or default: allow if that is meant"))
    return out._replace(data=result)


def _has_rules(entry: Any) -> bool:
    return type(entry) is dict and "rules" in entry


def _sound(rules: Any) -> Iterator[tuple[int, Rule]]:
    for place, rule in enumerate(rules if type(rules) is list else ()):
        with suppress(ValidationError):
            yield place, Rule.model_validate(rule)


class _Entry:
    """One tool's entry on its way into the first dialect; what it becomes stands at ``base``."""

    def __init__(self, scope: str, base: str, out: Imported, problem: Reporter) -> None:
        self._scope, self._base, self._out, self._problem = scope, base, out, problem
        self._at = pointer("tools", "*" if base == EVERYWHERE else scope)
        self._require: list[dict[str, Any]] = []
        self._limits: list[dict[str, Any]] = []
        self._deny: dict[str, Any] = {}

    def convert(self, entry: dict[str, Any]) -> dict[str, Any]:
        for other in sorted(_FIRST_DIALECT & entry.keys()):
            self._tell(
                f"{self._at}/{other}", f"{other} cannot stand beside rules", "use one dialect for a tool", key=True
            )
        try:
            tool = InterceptTool.model_validate({key: entry[key] for key in entry if key not in _FIRST_DIALECT})
            rules = list(enumerate(tool.rules))
        except ValidationError as error:
            self._out.problems.extend(explain_errors(error, InterceptTool, self._below))
            rules = list(_sound(entry["rules"]))  # what is wrong with them is told with the rest
        denying = next((rule for _, rule in rules if rule.action == "deny"), None)
        times: dict[str, int] = {}
        for place, rule in rules:
            times[rule.name] = nth = times.get(rule.name, 0) + 1
            here = f"{self._at}/rules/{place}"
            if denying is not None and rule is not denying:
                self._tell(here, f"can never apply: the rule {denying.name!r} denies every call", "keep one of the two")
                continue
            self._rule(rule, here, f"{self._at}/rules{pointer(rule.name)}" + (f"#{nth}" if nth > 1 else ""))
        found = {"require": self._require, "limits": self._limits, **self._deny}
        return {key: value for key, value in found.items() if value}

    def _below(self, at: str, message: str, hint: str = "", *, key: bool = False) -> Problem:
        return self._problem(self._at + at, message, hint, key=key)

    def _tell(self, at: str, message: str, hint: str = "", *, key: bool = False) -> None:
        self._out.problems.append(self._problem(at, message, hint, key=key))

    def _came_from(self, part: str, here: str, name: str) -> None:
        self._out.places[self._base + part], self._out.names[self._base + part] = here, name

    def _rule(self, rule: Rule, here: str, name: str) -> None:
        for part in _UNFIT["deny" if rule.action == "deny" else "rate_limit" if rule.rate_limit else "evaluate"]:
            if getattr(rule, part):
                kind = "a rule that denies" if rule.action == "deny" else "rate_limit"
                self._tell(
                    f"{here}/{part}", f"{kind} cannot have {part} beside it", "make it a rule of its own", key=True
                )
        message = {} if rule.on_deny is None else {"on_deny": rule.on_deny}
        if rule.action == "deny":
            self._deny = {"action": "deny", "reason": rule.on_deny or ""}
            self._came_from("/action", here, name)
        elif rule.rate_limit is not None:
            times, window = rule.rate_limit.split("/")
            self._limit({"counter": f"_rate_{window}", "max": int(times), "window": window, **message}, here, name)
        elif not rule.conditions:
            self._tell(here, "a rule needs at least one condition, or a rate_limit", "add conditions")
        else:
            for place, condition in enumerate(rule.conditions):
                if not condition.path.startswith("state."):
                    self._came_from(f"/require/{len(self._require)}", f"{here}/conditions/{place}", name)
                    self._require.append({**condition.model_dump(exclude_unset=True), **message})
            most = self._most(rule, here)
            if rule.state is not None and most is not None:
                state = rule.state
                count: str | int = state.increment_from or state.increment or 1
                limit: dict[str, Any] = {
                    "counter": state.counter,
                    "max": most,
                    "window": state.window,
                    "count": count,
                    **message,
                }
                self._limit(limit, here, name)

    def _limit(self, limit: dict[str, Any], here: str, name: str) -> None:
        self._came_from(f"/limits/{len(self._limits)}", here, name)
        # One proxy, one counter, and windows that begin with the minute, the hour or the day.
        self._limits.append({**limit, "scope": "global", "align": "utc"})

    def _most(self, rule: Rule, here: str) -> int | None:
        """What the rule's own counter may reach, by the strictest of its conditions."""
        state = rule.state
        own = f"state.{self._scope}.{state.counter}" if state is not None else ""
        bounds: list[int] = []
        fine = True
        for place, condition in enumerate(rule.conditions):
            at = f"{here}/conditions/{place}"
            if not condition.path.startswith("state."):
                continue
            bound = _bound(condition)
            fine = False
            if condition.path != own:
                hint = f"write {own}" if own else "give this rule a state with that counter"
                self._tell(f"{at}/path", f"{condition.path} is not the counter of this rule", hint)
            elif bound is None:
                self._tell(f"{at}/op", "a counter is only compared by lt or lte with a number", "write op: lte")
            elif bound < 1:
                self._tell(f"{at}/value", "no call could ever pass", "to refuse every call, write action: deny")
            else:
                bounds.append(bound)
                fine = True
        if state is not None and fine and not bounds:
            self._tell(f"{here}/state", "no condition of this rule limits its counter", f"add one on {own}", key=True)
        if state is not None and state.increment is not None and state.increment_from is not None:
            self._tell(f"{here}/state", "increment and increment_from at once", "keep one of the two")
        return min(bounds, default=None)


def _bound(condition: Condition) -> int | None:
    value = condition.value
    if not is_number(value):
        return None
    return {"lte": math.floor(value), "lt": math.ceil(value) - 1}.get(condition.op)
