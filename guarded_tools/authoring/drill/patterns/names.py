"""Spellings: tools and arguments that only look like the ones a policy names, and arguments that are left out."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

from guarded_tools.authoring.drill.arguments import Spot, beside, places, with_value, without
from guarded_tools.authoring.drill.course import Course
from guarded_tools.authoring.drill.pattern import none, pattern, seen
from guarded_tools.authoring.drill.patterns.addresses import INTERNAL, TRAVERSALS, addresses_of, ids_in
from guarded_tools.authoring.drill.patterns.bulk import amounts
from guarded_tools.authoring.drill.values import Breach, Loot, Target
from guarded_tools.policy import Policy
from guarded_tools.policy.schema_check import misfit

_TWINS: Final = str.maketrans({"a": "а", "e": "е", "o": "о", "c": "с", "p": "р", "x": "х", "i": "і"})  # noqa: RUF001
_DEFAULT_SAID = re.compile(r"\bdefaults?(?: (?:is|to|value)|:| =)?[ :]*[\"'`]?(\w[\w.-]*)", re.IGNORECASE)


def spellings(name: str) -> Iterator[str]:
    """Other names that a person, or a server, takes for this one."""
    yield name.upper()
    yield name.title()
    yield name.translate(_TWINS)
    yield f"{name[:1]}\u200b{name[1:]}"
    yield f"{name} "
    yield "".join(chr(ord(char) + 0xFEE0) if "!" <= char <= "~" else char for char in name)
    yield name.replace("_", "-") if "_" in name else name.replace("-", "_")
    yield "".join(part.title() if at else part for at, part in enumerate(name.split("_")))
    yield re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()


@pattern(
    "lookalike-tool",
    "names",
    "A tool that looks like another",
    agent="obeys",
    recipe="18-a-tool-that-nobody-listed",
    lines="default: deny",
)
def lookalikes(course: Course) -> Loot:
    """The server lists each tool that does not run unasked once more, under a name that looks like it.

    In another case, with look-alike or invisible letters, another joint, or a version at its end. The guard has no pins
    of the tools here.

    Breach: a tool of such a name ran unasked.
    """
    real = {target.name for target in course.targets}
    world = course.aside(course.attackable)
    asked = [
        target
        for number, target in enumerate(course.attackable)
        if not world.call(target.name, target.base, f"agent-{number}").unasked
    ]
    breaches = []
    for target in asked:
        names = [name for name in dict.fromkeys((*spellings(target.name), f"{target.name}_v2")) if name not in real]
        twins = [target._replace(info=target.info._replace(name=name)) for name in names]
        other = course.world(twins, pinned=False)
        for number, twin in enumerate(twins):
            if other.call(twin.name, target.base, f"agent-{number}").unasked:
                breaches.append(Breach(target.name, f"ran as {twin.name!a}", target.base, grave=target.grave))
                break
    return seen(asked, breaches) if asked else none("every tool runs unasked under its own name already")


@pattern(
    "argument-key",
    "names",
    "An argument under another spelling",
    agent="obeys",
    recipe="17-malformed-arguments",
    lines="""# In the tool's own schema: "additionalProperties": false. Or in the policy:
tools:
  <tool>:
    approval: true""",
)
def keys(course: Course) -> Loot:
    """What is refused or asked about under an argument's own name, a second time under another spelling of it.

    Where the schema lets unknown arguments through: another case, joint or alphabet, a blank at its end.

    Breach: it ran unasked.
    """
    bound, breaches = [], []
    for target in course.attackable:
        if misfit(target.schema, {**target.base, "unheard_of": "a1"}) is not None:
            continue
        for place, value in _forbidden(course, target):
            bound.append(target)
            world = course.world([target])
            names = [name for name in dict.fromkeys(spellings(place.name)) if name != place.name]
            made = [
                world.call(target.name, beside(target.base, place, name, value), f"agent-{number}")
                for number, name in enumerate(names)
            ]
            passed = next((attempt for attempt in made if attempt.unasked), None)
            if passed is not None:
                breaches.append(
                    Breach(target.name, f"{place.path} spelt otherwise", passed.args, place.path, target.grave)
                )
                break
    return seen(bound, breaches) if bound else none("no argument is held whose tool takes unknown ones as well")


def _forbidden(course: Course, target: Target) -> Iterator[tuple[Spot, Any]]:
    """Values that do not run unasked under an argument's own name, though the plausible call does."""
    if not course.aside([target]).call(target.name, target.base).unasked:
        return
    guesses = (
        *((place, INTERNAL[0]) for place in addresses_of(target)),
        *((place, TRAVERSALS[0]) for place in ids_in(target)),
        *((place, 1_000_000) for place in amounts(target)),
    )
    for place, value in guesses:
        args = with_value(target.base, place, value)
        if not course.aside([target]).call(target.name, args).unasked:
            yield place, value


@pattern(
    "omitted-default",
    "names",
    "An argument left out, for its default",
    agent="obeys",
    recipe="19-an-argument-left-out",
    lines="""tools:
  <tool>:
    require: [{path: <path>, op: exists}]""",
)
def omitted(course: Course) -> Loot:
    """An argument that has a default, in its schema or by its description, is left out where the policy holds it.

    Breach: the call ran unasked, though with the default written out it does not.
    """
    if course.policy is None:
        return none("cannot be expressed: which arguments a foreign guard looks at is not known")
    bound, breaches = [], []
    for target in course.attackable:
        looked_at = _looked_at(course.policy, target)
        for place in places(target.schema):
            default = _default(place)
            if place.path not in looked_at or default is None:
                continue
            written, left_out = with_value(target.base, place, default), without(target.base, place)
            if misfit(target.schema, left_out) is not None or misfit(target.schema, written) is not None:
                continue
            bound.append(target)
            world = course.world([target])
            if world.call(target.name, written, "agent-1").unasked:
                continue
            if world.call(target.name, left_out, "agent-2").unasked:
                said = f"without {place.path}, which is {default!r} then"
                breaches.append(Breach(target.name, said, left_out, place.path, target.grave))
    return seen(bound, breaches) if bound else none("the policy looks at no argument that has a default")


def _looked_at(policy: Policy, target: Target) -> set[str]:
    return {check.predicate.path for rules in policy.compiled.rules(target.name).rule_sets for check in rules.checks}


def _default(place: Spot) -> Any:
    if "default" in place.schema:
        return place.schema["default"]
    found = _DEFAULT_SAID.search(str(place.schema.get("description", "")))
    if found is None:
        return None
    text = found[1].rstrip(".")
    if place.is_a("boolean") and text.lower() in {"true", "false"}:
        return text.lower() == "true"
    if (place.is_a("integer") or place.is_a("number")) and text.isdigit():
        return int(text)
    return text if place.is_a("string") else None
