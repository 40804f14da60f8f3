"""From a file or plain data to a policy, or to a list of everything that is wrong with it."""

from __future__ import annotations

import difflib
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Protocol, TypeVar

from pydantic import BaseModel, ValidationError

from guarded_tools.errors import PolicyError, Problem
from guarded_tools.policy import crosscheck, intercept
from guarded_tools.policy.model import Policy
from guarded_tools.policy.names import is_glob, matches
from guarded_tools.policy.rules import pointer
from guarded_tools.policy.source import Source, read_source

P = TypeVar("P", bound=Policy)


class Reporter(Protocol):
    """Makes a problem out of a pointer: whoever knows the file adds the place."""

    def __call__(self, at: str, message: str, hint: str = "", *, key: bool = False) -> Problem: ...  # noqa: D102


def read_policy(path: Path) -> Policy:
    """Read a policy file; a warning is issued for what is easily misread.

    Raises:
        PolicyError: everything that is wrong with it.
    """
    source = read_source(path)
    policy = _build(Policy, source.data, source.problem, source.problems)
    policy._source = source  # noqa: SLF001 - filled in once, here
    for problem in policy.warnings:
        warnings.warn(str(problem), stacklevel=3)
    return policy


def policy_from(cls: type[P], data: Any) -> P:
    """Make a policy from plain data.

    Raises:
        PolicyError: everything that is wrong with it.
    """
    return _build(cls, data, _placeless, [])


def _placeless(at: str, message: str, hint: str = "", *, key: bool = False) -> Problem:  # noqa: ARG001
    return Problem("policy", 0, 0, at, message, hint)


def _build(cls: type[P], data: Any, problem: Reporter, problems: list[Problem]) -> P:
    if type(data) is not dict:
        raise PolicyError((*problems, problem("", "a policy is an object with version, default and tools")))
    imported = intercept.convert(data, problem)
    problems = [*problems, *imported.problems]
    try:
        policy = cls._validate(imported.data)  # noqa: SLF001
    except ValidationError as error:
        policy = None
        problems += explain_errors(error, cls, imported.data, lambda at: imported.places.get(at, at), problem)
    problems += crosscheck.problems(imported.data, problem)
    if policy is None or problems:
        raise PolicyError(tuple(sorted(problems, key=lambda found: (found.line, found.column))))
    policy._origins = imported.names  # noqa: SLF001
    policy._warnings = imported.warnings  # noqa: SLF001
    return policy


def explain_errors(
    error: ValidationError, model: type[BaseModel], data: Any, place: Callable[[str], str], problem: Reporter
) -> Iterable[Problem]:
    """Turn pydantic's errors into problems that say what to write instead."""
    for found in error.errors(include_url=False):
        steps = [step for step in found["loc"] if step != "[key]"]
        at = place(pointer(*map(str, steps)))
        kind, context = found["type"], found.get("ctx", {})
        if kind == "extra_forbidden":
            known = sorted(_keys(model, steps[:-1]))
            yield problem(at, f"unknown key {str(steps[-1])!r}", suggest(str(steps[-1]), known), key=True)
        elif kind == "policy":
            yield problem(at, context["message"], context["hint"])
        elif kind == "missing":
            yield problem(at, f"{steps[-1]} is required", _REQUIRED.get(str(steps[-1]), ""))
        elif kind == "literal_error":
            choices = [choice.strip("'") for choice in context["expected"].replace(" or ", ", ").split(", ")]
            given = found["input"]
            message = f"{_shown(given)} is not one of {', '.join(choices)}"
            yield problem(at, message, suggest(given, choices) if type(given) is str else f'write "{choices[0]}"')
        else:
            yield problem(at, *_said(kind, context, found))


_REQUIRED = {
    "version": 'add "version": "1"',
    "default": 'add "default": "deny" to refuse the tools that are not listed',
    "counter": "name the counter",
}


def _shown(value: Any) -> str:
    return repr(value) if isinstance(value, (str, int, float, bool)) or value is None else "a list or an object"


def _said(kind: str, context: dict[str, Any], found: Any) -> tuple[str, str]:
    messages = {
        "string_type": ("must be a text", "put it in quotes"),
        "bool_type": ("must be true or false", "write it without quotes"),
        "int_type": ("must be a whole number", "write it without quotes and without a fraction"),
        "tuple_type": ("must be a list", "put it in [ ]"),
        "mapping_type": ("must be an object", "write { }"),
        "model_type": ("must be an object", "write { }"),
        "model_attributes_type": ("must be an object", "write { }"),
        "too_short": ("must not be empty", "name at least one, or leave it out"),
        "string_too_short": ("must not be empty", "write a name"),
        "greater_than_equal": (f"must be at least {context.get('ge')}", 'to refuse every call, write "action": "deny"'),
        "less_than_equal": (f"must be at most {context.get('le')}", "write a smaller one"),
    }
    return messages.get(kind, (found["msg"], ""))


def suggest(given: str, known: Iterable[str]) -> str:
    """Say which of the known words was probably meant, or list them if they are few."""
    known = list(known)
    folded = {word.casefold().replace("-", "_"): word for word in known}
    near = difflib.get_close_matches(given.casefold().replace("-", "_"), folded, n=1, cutoff=0.6)
    if near:
        return f"did you mean {folded[near[0]]}?"
    return f"known here: {', '.join(known)}" if 0 < len(known) <= 16 else ""  # noqa: PLR2004 - fits a line


def _keys(model: type[BaseModel], steps: list[Any]) -> set[str]:
    """The keys that the model has where an error stands."""
    here: Any = model
    for step in steps:
        field = {(info.alias or name): info for name, info in here.model_fields.items()}.get(step) if here else None
        if field is None:
            continue
        here = _model_in(field.annotation) or here
    return {info.alias or name for name, info in here.model_fields.items()}


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for inner in getattr(annotation, "__args__", ()):
        found = _model_in(inner)
        if found is not None:
            return found
    return _model_in(annotation.__origin__) if hasattr(annotation, "__metadata__") else None


def unmatched(policy: Policy, names: Iterable[str]) -> tuple[Problem, ...]:
    """List what names a tool that the server does not have."""
    known = list(dict.fromkeys(names))
    source = policy._source  # noqa: SLF001
    problem: Reporter = _placeless if source is None else source.problem
    found: list[Problem] = []
    entries = [(pointer("hide", str(place)), entry) for place, entry in enumerate(policy.hide)]
    entries += [(pointer("tools", key), key) for key in policy.tools]
    for at, entry in entries:
        if entry == "*" or (any(matches(entry, name) for name in known) if is_glob(entry) else entry in known):
            continue
        message = f"{entry!r} matches no tool of the server"
        found.append(problem(at, message, _nearest(entry, known), key=True))
    return tuple(found)


def _nearest(entry: str, known: list[str]) -> str:
    near = difflib.get_close_matches(entry, known, n=1, cutoff=0.5)
    return f"did you mean {near[0]}?" if near else ""
