"""Problems in words: what is wrong, and what to write instead."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from typing import Any, Final, Protocol

from pydantic import BaseModel, ValidationError

from guarded_tools.errors import Problem
from guarded_tools.policy.paths import pointer


class Reporter(Protocol):
    """Makes a problem out of a pointer: whoever knows the file adds the place, of the value or of its key."""

    def __call__(self, at: str, message: str, hint: str = "", *, key: bool = False) -> Problem: ...  # noqa: D102


def placeless(at: str, message: str, hint: str = "", *, key: bool = False) -> Problem:  # noqa: ARG001
    """Report a problem of data that came from no file."""
    return Problem("policy", 0, 0, at, message, hint)


def explain_errors(error: ValidationError, model: type[BaseModel], problem: Reporter) -> Iterator[Problem]:
    """Turn pydantic's errors into problems."""
    for found in error.errors(include_url=False):
        steps = [step for step in found["loc"] if step != "[key]"]
        at = pointer(*map(str, steps))
        last = str(steps[-1]) if steps else ""
        kind, context = found["type"], found.get("ctx", {})
        if kind == "extra_forbidden":
            hint = _ODD.get(last) or suggest(last, sorted(_keys(model, steps[:-1])))
            yield problem(at, f"unknown key {last!r}", hint, key=True)
        elif kind == "policy":
            yield problem(at, context["message"], context["hint"])
        elif kind == "missing":
            yield problem(at, f"{last} is required", _REQUIRED.get(last, ""))
        elif kind == "literal_error":
            given = found["input"]
            choices = [choice.strip("'") for choice in context["expected"].replace(" or ", ", ").split(", ")]
            if type(given) in {int, float} and str(given) in choices:
                yield problem(at, "must be a text", f'write it in quotes: "{given}"')
                continue
            hint = suggest(given, choices) if type(given) is str and len(choices) > 1 else f'write "{choices[0]}"'
            yield problem(at, f"{_shown(given)} is not one of {', '.join(choices)}", hint)
        else:
            message, hint = _said(kind, context, found["msg"])
            yield problem(at, message, _ASKS if last == "approval" else hint)


def suggest(given: str, known: Iterable[str]) -> str:
    """Say which of the known words was probably meant, or list them where they are few."""
    folded = {_loose(word): word for word in known}
    meant = _SYNONYMS.get(_loose(given))
    if meant in folded:
        return f"did you mean {meant}?"
    near = difflib.get_close_matches(_loose(given), folded, n=1, cutoff=0.6)
    if near:
        return f"did you mean {folded[near[0]]}?"
    return f"known here: {', '.join(folded.values())}" if 0 < len(folded) <= _FITS_A_LINE else ""


_FITS_A_LINE: Final = 16
_ASKS: Final = "to ask before every call, write approval: {}"
_ODD: Final = {"cases": "these are tests of a policy: name the policy first, as in `guarded-tools test POLICY CASES`"}
_SYNONYMS: Final = {
    "=": "eq", "==": "eq", "equals": "eq", "is": "eq", "!=": "neq", "<>": "neq", "ne": "neq", "not_equals": "neq",
    "<": "lt", "<=": "lte", "le": "lte", ">": "gt", ">=": "gte", "ge": "gte", "match": "regex", "matches": "regex",
    "includes": "contains", "nin": "not_in", "present": "exists", "host": "url_host", "block": "deny", "ask": "approve",
}  # fmt: skip
_REQUIRED: Final = {
    "version": 'add "version": "1"',
    "default": 'add "default": "deny" to refuse the tools that are not listed',
    "counter": "name the counter",
    "name": "name the rule",
    "max": "say how much may happen in a window",
    "window": 'say in which time, like "minute"',
    "path": "say which argument, like args.amount",
    "op": "say how to compare",
    "rules": "write rules: [] if there are none",
}


def _loose(word: str) -> str:
    return word.casefold().replace("-", "_")


def _shown(value: Any) -> str:
    return repr(value) if isinstance(value, (str, int, float)) or value is None else "a list or an object"


def _said(kind: str, context: dict[str, Any], message: str) -> tuple[str, str]:
    return {
        "string_type": ("must be a text", "put it in quotes"),
        "bool_type": ("must be true or false", "write it without quotes"),
        "int_type": ("must be a whole number", "write it without quotes and without a fraction"),
        "tuple_type": ("must be a list", "put it in [ ]"),
        "mapping_type": ("must be an object", "write { }"),
        "dict_type": ("must be an object", "write { }"),
        "model_type": ("must be an object", "write { }"),
        "string_too_short": ("must not be empty", "write a name"),
        "greater_than_equal": (f"must be at least {context.get('ge')}", 'to refuse every call, write "action": "deny"'),
        "less_than_equal": (f"must be at most {context.get('le')}", "write a smaller one"),
    }.get(kind, (message, ""))


def _keys(model: type[BaseModel], steps: list[Any]) -> set[str]:
    """The keys that a model has where an error stands."""
    here = model
    for step in steps:
        fields = {info.alias or name: info for name, info in here.model_fields.items()}
        if step in fields:
            here = _model_in(fields[step].annotation) or here
    return {info.alias or name for name, info in here.model_fields.items()}


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    inner = getattr(annotation, "__args__", ()) or (getattr(annotation, "__origin__", None),)
    return next((found for part in inner if part is not None and (found := _model_in(part))), None)
