"""From a file or plain data to a policy, or to a list of everything that is wrong with it."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from guarded_tools.errors import PolicyError, Problem
from guarded_tools.policy import crosscheck, intercept
from guarded_tools.policy.model import Policy
from guarded_tools.policy.problems import Reporter, explain_errors, placeless
from guarded_tools.policy.source import read_source

P = TypeVar("P", bound=Policy)


def read_policy(path: Path) -> Policy:
    """Read a policy file; a warning is issued for what is easily misread.

    Raises:
        PolicyError: everything that is wrong with it.
    """
    source = read_source(path)
    policy = _build(Policy, source.data, source.problem, source.problems)
    for problem in policy.warnings:
        warnings.warn(str(problem), stacklevel=3)
    return policy


def policy_from(cls: type[P], data: Any) -> P:
    """Make a policy from plain data.

    Raises:
        PolicyError: everything that is wrong with it.
    """
    tools = data.get("tools") if type(data) is dict else None
    odd = [key for key in tools if type(key) is not str] if type(tools) is dict else []
    if odd:  # JSON and YAML files never hold one
        raise PolicyError(tuple(placeless(f"/tools/{key!r}", "a tool's name is a text") for key in odd))
    return _build(cls, data, placeless, [])


def _build(cls: type[P], data: Any, problem: Reporter, problems: list[Problem]) -> P:
    if type(data) is not dict:
        raise PolicyError((*problems, problem("", "a policy is an object with version, default and tools")))
    imported = intercept.convert(data, problem)

    def placed(at: str, message: str, hint: str = "", *, key: bool = False) -> Problem:
        return problem(imported.place(at), message, hint, key=key)

    problems = [*problems, *imported.problems]
    policy: P | None = None
    try:
        policy = cls._validate(imported.data)
    except ValidationError as error:
        problems += explain_errors(error, cls, placed)
    problems += crosscheck.problems(imported.data, placed)
    if policy is None or problems:
        raise PolicyError(tuple(sorted(dict.fromkeys(problems), key=lambda found: (found.line, found.column))))
    # What the file knows and the data does not; filled in here and nowhere else.
    policy._origins, policy._report = imported.names, placed  # noqa: SLF001
    policy._warnings = tuple(imported.warnings)  # noqa: SLF001
    return policy
