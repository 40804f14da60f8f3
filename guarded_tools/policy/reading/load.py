"""From a file or plain data to a policy, or to a list of everything that is wrong with it."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from guarded_tools.errors import PolicyError, Problem
from guarded_tools.policy.diagnostics import Reporter, explain_errors, placeless
from guarded_tools.policy.document import PolicyDocument
from guarded_tools.policy.reading import consistency, intercept, session_consistency
from guarded_tools.policy.reading.source import read_source

D = TypeVar("D", bound=PolicyDocument)


def read_policy(kind: type[D], validate: Callable[[Any], D], path: Path) -> D:
    """Read a policy file as a document of ``kind``; a warning is issued for what is easily misread.

    Raises:
        PolicyError: everything that is wrong with it.
    """
    source = read_source(path)
    policy = _build(kind, validate, source.data, source.problem, source.problems)
    for problem in policy.warnings:
        warnings.warn(str(problem), stacklevel=3)
    return policy


def read_data(path: Path) -> dict[str, Any]:
    """Read what a policy file says as plain data in the first dialect; whether it is right is for others to say.

    Raises:
        PolicyError: it cannot be read, or is no object.
    """
    source = read_source(path)
    if type(source.data) is not dict:
        raise PolicyError((*source.problems, source.problem("", "a policy is an object")))
    return intercept.convert(source.data, source.problem).data


def policy_from(kind: type[D], validate: Callable[[Any], D], data: Any) -> D:
    """Make a policy from plain data.

    Raises:
        PolicyError: everything that is wrong with it.
    """
    tools = data.get("tools") if type(data) is dict else None
    odd = [key for key in tools if type(key) is not str] if type(tools) is dict else []
    if odd:  # JSON and YAML files never hold one
        raise PolicyError(tuple(placeless(f"/tools/{key!r}", "a tool's name is a text") for key in odd))
    return _build(kind, validate, data, placeless, [])


def _build(kind: type[D], validate: Callable[[Any], D], data: Any, problem: Reporter, problems: list[Problem]) -> D:
    if type(data) is not dict:
        raise PolicyError((*problems, problem("", "a policy is an object with version, default and tools")))
    imported = intercept.convert(data, problem)

    def placed(at: str, message: str, hint: str = "", *, key: bool = False) -> Problem:
        return problem(imported.place(at), message, hint, key=key)

    problems = [*problems, *imported.problems]
    policy: D | None = None
    try:
        policy = validate(imported.data)
    except ValidationError as error:
        problems += explain_errors(error, kind, placed)
    problems += consistency.problems(imported.data, placed)
    problems += session_consistency.problems(imported.data, placed)
    if policy is None or problems:
        raise PolicyError(tuple(sorted(dict.fromkeys(problems), key=lambda found: (found.line, found.column))))
    policy.place(imported.names, placed, (*imported.warnings, *consistency.warnings(policy, placed)))
    return policy
