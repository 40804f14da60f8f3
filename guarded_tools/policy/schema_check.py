"""Arguments against the tool's own input schema: place and keyword of what does not fit, never the value.

Three answers are possible, and what follows from them differs. Arguments are only let through if they *fit*: what
does not, and what *cannot be checked*, is refused (``"schema": "off"`` in a policy asks for no check). A result is only
held to be wrong if it certainly *does not fit*: the call has run by then, and nothing is gained by losing its answer.

Formats bind nobody, as JSON Schema has it by default: servers check them by rules of their own (``uri`` with umlauts,
``uuid`` without dashes, ``date`` as a number), or not at all, so no format tells what a server will refuse.

Validators are kept by the identity of their schema; the schema is kept with them, so that its identity stays its own.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final, NamedTuple, cast
from urllib.parse import quote

import jsonschema_rs

from guarded_tools.policy.paths import pointer
from guarded_tools.policy.schema_closed import closed
from guarded_tools.policy.schema_cost import NAMED, REFERENCES, Cost, cost_of
from guarded_tools.text.visible import one_line

# A tool has a handful of misfits worth telling a model about; a hundred bad events say the same thing.
_MOST_TOLD: Final = 5
_MOST_VALIDATORS: Final = 1024
_LONGEST_EXPECTATION: Final = 120
_LONGEST_FLAW: Final = 200
_BACKTRACKING: Final = jsonschema_rs.FancyRegexOptions(backtrack_limit=10_000)
# Stubs of jsonschema-rs up to 0.44 have its error as none.
_CANNOT_BE_CHECKED: Final = cast(
    "tuple[type[Exception], ...]", (ValueError, TypeError, RecursionError, jsonschema_rs.ReferencingError)
)
# What may stand in a reference as it is; ``Page[Item]`` may not, though servers write it.
_SAFE: Final = "%/:?#&=@!$'()*+,;~-._"
# `json.dumps` makes one for each call, which takes as long as the writing.
_to_json: Final = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode
_DATA: Final = frozenset({"enum", "const", "default", "examples"})


class _Validator(NamedTuple):
    """What a schema was made into: a check and its cost or, where none can be made, the ``flaw`` that is in the way."""

    schema: Mapping[str, Any]
    check: Any
    cost: Cost
    backtracks: bool
    flaw: str = ""


class _Doubt(NamedTuple):
    """Why a value is not known to fit; ``certain`` where it is known not to."""

    said: str
    certain: bool


_validators: dict[int, _Validator] = {}


def misfit(schema: Mapping[str, Any], args: dict[str, Any]) -> str | None:
    """Say where the arguments do not fit the schema and by which keyword, or ``None`` if they do.

    What cannot be checked does not fit: arguments that are not JSON, half a surrogate pair, a schema that is not one or
    that points outside itself.
    """
    found = _compare(schema, args, "the arguments", "input")
    return None if found is None else found.said


def misfit_of_result(schema: Mapping[str, Any], content: Any) -> str | None:
    """As :func:`misfit`, for a structured result and the output schema, but what cannot be checked is taken to fit.

    Never raises: :func:`flaw_of` tells, before any call, of a schema against which nothing can be checked.
    """
    try:
        found = _compare(schema, content, "the values", "output")
    except Exception:  # noqa: BLE001 - whatever a foreign schema does, the call has run, and its answer is not lost
        return None
    return found.said if found is not None and found.certain else None


def misfit_of_strict_result(schema: Mapping[str, Any], content: Any) -> str | None:
    """As :func:`misfit`, for a structured result, which may hold nothing that its output schema does not declare.

    Never raises. What is told names places in the result, whose keys are the server's.
    """
    try:
        found = _compare(schema, content, "the values", "output")
        if found is None:
            found = _compare(_closed(schema), content, "the values", "output")
    except Exception as error:  # noqa: BLE001 - what cannot be checked does not fit
        return f"the values cannot be checked against the tool's output schema: {type(error).__name__}"
    return None if found is None else found.said


_closed_ones: dict[int, tuple[Mapping[str, Any], dict[str, Any]]] = {}


def _closed(schema: Mapping[str, Any]) -> dict[str, Any]:
    known = _closed_ones.get(id(schema))
    if known is None:
        if len(_closed_ones) >= _MOST_VALIDATORS:
            _closed_ones.clear()
        known = _closed_ones[id(schema)] = (schema, closed(schema))
    return known[1]


def flaw_of(schema: object) -> str:
    """Say why nothing can be checked against a schema, in a few words with the place; ``""`` where it can.

    Never raises. The words are the schema's own, made one_line.
    """
    if not isinstance(schema, Mapping):
        return "it is no object"
    try:
        return _validator(schema).flaw
    except Exception as error:  # noqa: BLE001 - see above: a schema is a stranger's
        return one_line(f"it cannot be read: {type(error).__name__}")


def _compare(schema: Mapping[str, Any], value: Any, what: str, kind: str) -> _Doubt | None:
    size = _size(value)
    if size is None:
        odd = "a number that is not finite, half a surrogate pair, or a foreign object"
        return _Doubt(f"{what} are not JSON: {odd}", certain=False)
    validator = _validator(schema)
    if validator.flaw:
        way_out = '; for calls that nobody checks, a policy may say "schema": "off" for this tool'
        way_out = way_out if kind == "input" else ""
        return _Doubt(f"the tool's own {kind} schema cannot be used: {validator.flaw}{way_out}", certain=False)
    if validator.cost.is_too_much(value, size, backtracks=validator.backtracks):
        return _Doubt(f"{what} are too many to be checked against the tool's {kind} schema", certain=False)
    try:
        said = _misfits(validator, value)
    except _CANNOT_BE_CHECKED:
        return _Doubt(f"{what} cannot be checked against the tool's {kind} schema", certain=False)
    too_deep = f"{what} are nested too deep to tell where they break the tool's {kind} schema"
    return None if said is None else _Doubt(said or too_deep, certain=True)


def _size(value: Any) -> int | None:
    """How many bytes a value has as JSON; ``None`` if it is none. The validator skips what no keyword speaks of."""
    try:
        return len(_to_json(value).encode())
    except (TypeError, ValueError, RecursionError):
        return None


def _misfits(validator: _Validator, value: Any) -> str | None:
    """Say what does not fit, ``""`` where that would take too long to find, ``None`` where all does."""
    if validator.check.is_valid(value):
        return None
    if not validator.cost.is_told_in_time(value):
        return ""
    errors = zip(range(_MOST_TOLD), validator.check.iter_errors(value), strict=False)
    return "; ".join(_say(error) for _, error in errors)


def _validator(schema: Mapping[str, Any]) -> _Validator:
    known = _validators.get(id(schema))
    if known is not None:
        return known
    if len(_validators) >= _MOST_VALIDATORS:
        _validators.clear()
    made = _validators[id(schema)] = _make(schema)
    return made


def _make(schema: Mapping[str, Any]) -> _Validator:
    nothing = Cost(0, 0, 0)
    try:
        plain = schema if type(schema) is dict else dict(schema)
        cost = cost_of(plain)
        whole = _quoted(plain)
    except _CANNOT_BE_CHECKED as error:
        return _Validator(schema, None, nothing, backtracks=False, flaw=_short(str(error) or "it is nested too deep"))
    try:
        # Linear time, where the schema's patterns allow it.
        linear = jsonschema_rs.RegexOptions()
        return _Validator(schema, _compile(whole, linear), cost, backtracks=False)
    except _CANNOT_BE_CHECKED:
        pass
    try:
        return _Validator(schema, _compile(whole, _BACKTRACKING), cost, backtracks=True)
    except _CANNOT_BE_CHECKED as error:
        return _Validator(schema, None, nothing, backtracks=False, flaw=_flaw(error))


def _compile(schema: Mapping[str, Any], patterns: Any) -> Any:
    return jsonschema_rs.validator_for(
        dict(schema), pattern_options=patterns, validate_formats=False, retriever=_refuse
    )


def _quoted(part: Any, *, names: bool = False) -> Any:
    """Write references as URIs are written, so that a definition may be called ``Page[Item]``."""
    if isinstance(part, list):
        return [_quoted(inner) for inner in part]
    if not isinstance(part, dict):
        return part
    return {
        key: quote(inner, safe=_SAFE)
        if key in REFERENCES and not names and isinstance(inner, str)
        else inner
        if key in _DATA and not names
        else _quoted(inner, names=key in NAMED and not names)
        for key, inner in part.items()
    }


def _refuse(uri: str) -> Any:
    raise ValueError(f"{uri} is outside the schema")


def _flaw(error: Exception) -> str:
    said = str(error).partition("\n")[0]
    if said.startswith("Unknown meta-schema"):
        return _short(f'its "$schema" names a dialect that is not known: {said.partition(": ")[2].partition(". ")[0]}')
    path = getattr(error, "instance_path", None)
    if not path and getattr(getattr(error, "kind", None), "name", "") == "format":
        path = getattr(error, "schema_path", None)  # of a broken pattern jsonschema-rs 0.44 tells the place only so
    place = pointer(*map(str, path or ()))
    return _short(said) + (f" at {one_line(place)}" if place else "")


def _short(text: str) -> str:
    shown = one_line(text)
    return shown if len(shown) <= _LONGEST_FLAW else f"{shown[:_LONGEST_FLAW]}…"


def _say(error: Any) -> str:
    place = pointer(*map(str, error.instance_path)) or "/"
    keyword = error.kind.name
    expected = _expected(error.kind)
    # Not `place: keyword`: behind the name of a secret, masking would take the keyword for it.
    return f"{keyword}{f' {expected}' if expected else ''} at {place}"


def _expected(kind: Any) -> str:
    """What the keyword asks for, in the schema's words."""
    for name in ("property", "types", "options", "limit", "format", "pattern", "expected_value", "multiple_of"):
        if hasattr(kind, name):
            text = json.dumps(getattr(kind, name), ensure_ascii=False, default=str)
            return text if len(text) <= _LONGEST_EXPECTATION else ""
    return ""
