"""The operators: what each may be compared with, and what it says of a value.

A test answers true or false, or raises :class:`~guarded_tools.policy.paths.Indeterminate`. There is no coercion: ``1``
equals ``1.0``, but a boolean is not a number and ``true`` is not ``"true"``.

A new operator goes here, in four steps: its name into :data:`Operator`; what its value may be into
:func:`value_problem`; its test into :func:`compile_test` (in a file of its own where it is more than a few lines, as
:mod:`~guarded_tools.policy.hosts`); how a denial words it into ``_PHRASE`` of
:mod:`~guarded_tools.policy.compile`. A test never sees what is missing: that is settled before, in
:meth:`~guarded_tools.policy.compile.Check.holds`. Then rows in ``tests/policy/conformance.yaml``, a line in
``docs/policy.md``, and the editors' schema anew.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final, Literal, TypeAlias, get_args

from guarded_tools.policy.folding import flatten, fold
from guarded_tools.policy.paths import Indeterminate, kind_of
from guarded_tools.policy.segments import compile_segment

Operator: TypeAlias = Literal[
    "eq", "neq", "in", "not_in", "lt", "lte", "gt", "gte", "regex", "contains", "exists", "url_host", "segment"
]
OPERATORS: Final[tuple[Operator, ...]] = get_args(Operator)
Test: TypeAlias = Callable[[Any], bool]

LISTS: Final = frozenset({"in", "not_in", "url_host"})
NUMERIC: Final = frozenset({"lt", "lte", "gt", "gte"})
SWITCHES: Final = frozenset({"exists", "segment"})
TEXTUAL: Final = frozenset({"eq", "neq", "in", "not_in", "regex", "contains"})
"""Operators that ``fold`` may change."""

# Deeper than any argument a tool takes; far from Python's own limit.
_DEEPEST: Final = 64


def is_number(value: object) -> bool:
    """Whether it is a finite number; a boolean is not."""
    kind = type(value)
    return kind is int or (kind is float and math.isfinite(value))  # type: ignore[arg-type]


def value_problem(op: Operator, value: Any) -> tuple[str, str] | None:  # noqa: C901, PLR0911 - one answer an operator
    """Say what is wrong with the value of a predicate, and what to write instead; ``None`` if nothing is."""
    if unwritable := _unwritable(value):
        return unwritable
    if op in LISTS:
        if type(value) is not list or not value:
            return f"{op} needs a list with at least one entry, not {_said(value)}", 'write ["a", "b"]'
        if op == "url_host":
            return _hosts_problem(value)
        if not all(_is_scalar(entry) for entry in value):
            return (
                f"{op} compares with strings, numbers, booleans and null only",
                "take lists and objects out of the list",
            )
        return None
    if op in NUMERIC:
        return (
            None if is_number(value) else (f"{op} needs a number, not {_said(value)}", "write a number without quotes")
        )
    if op in SWITCHES:
        return None if type(value) is bool else (f"{op} needs true or false, not {_said(value)}", "write true or false")
    if op == "regex":
        return _regex_problem(value)
    if op == "contains" and not (_is_scalar(value) and value != ""):
        return (
            f"contains needs a string, a number, a boolean or null, not {_said(value)}",
            "name one entry or a part of a text",
        )
    try:
        _same(value, value)
    except Indeterminate:
        return f"{op} cannot compare with this value: it is not JSON, not finite or too deep", "write a JSON value"
    return None


def compile_test(op: Operator, value: Any, *, folding: bool | None, guards: bool) -> Test:
    """Make the test of a predicate whose value :func:`value_problem` had nothing against.

    ``folding`` compares folded texts if true and exact ones if false. If ``None``, texts are compared exactly, but
    where ``guards`` is true (a test whose "different" lets the call through) a text that differs from the forbidden one
    only by what :func:`fold` removes is unjudgeable.
    """
    if op in {"eq", "neq"}:
        equals = _equality((value,), folding=folding, guards=guards)
        return equals if op == "eq" else lambda seen: not equals(seen)
    if op in {"in", "not_in"}:
        among = _equality(tuple(value), folding=folding, guards=guards)
        return among if op == "in" else lambda seen: not among(seen)
    if op in NUMERIC:
        return _ordering(op, value)
    if op == "regex":
        return _searching(value, fold_case=bool(folding))
    if op == "contains":
        return _containing(value, folding=folding, guards=guards)
    return compile_segment(value) if op == "segment" else _hosting(tuple(value))


@lru_cache(maxsize=1024)
def compile_regex(pattern: str, fold_case: bool) -> Any:
    """Compile an RE2 pattern.

    Raises:
        ValueError: what RE2 has against it.
    """
    import re2

    options = re2.Options()
    options.log_errors = False
    options.case_sensitive = not fold_case
    try:
        return re2.compile(pattern, options)
    except re2.error as error:
        reason = error.args[0] if error.args else ""
        raise ValueError(reason.decode("utf-8", "replace") if isinstance(reason, bytes) else str(reason)) from None


def _said(value: object) -> str:
    return "an empty list" if value == [] else "a number that is not finite" if type(value) is float else kind_of(value)


def _unwritable(value: object) -> tuple[str, str] | None:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return "not valid Unicode: half of a surrogate pair", "write the character itself"
    except ValueError:
        return "no JSON: a number too long to be written, or what holds itself", "write a shorter one"
    except (TypeError, RecursionError):
        pass  # told where it is found
    return None


def _is_scalar(value: object) -> bool:
    return value is None or type(value) is str or type(value) is bool or is_number(value)


def _hosts_problem(value: list[Any]) -> tuple[str, str] | None:
    if not all(type(entry) is str for entry in value):
        return "url_host compares with host names only", 'write ["example.com", "*.example.com"]'
    from guarded_tools.policy.hosts import compile_hosts

    try:
        compile_hosts(tuple(value))
    except ValueError as error:
        message, _, hint = str(error).partition("; ")
        return message, hint
    return None


def _regex_problem(value: object) -> tuple[str, str] | None:
    if type(value) is not str:
        return f"regex needs a pattern in quotes, not {_said(value)}", "write a string"
    try:
        compile_regex(value, fold_case=False)
    except ValueError as error:
        return f"the pattern does not compile: {error}", "RE2 has no look-around and no backreferences"
    return None


def _class(value: object) -> str:
    """The kind of a value within which comparing makes sense."""
    kind = type(value)
    if kind is float and not math.isfinite(value):  # type: ignore[arg-type]
        raise Indeterminate("cannot be compared: it is not a finite number")
    if kind is int or kind is float:
        return "number"
    if value is None or kind in {str, bool, list, dict}:
        return kind.__name__
    raise Indeterminate(f"cannot be compared: it is {kind_of(value)}")


def _same(left: Any, right: Any, depth: int = 0) -> bool:
    """Whether two JSON values are equal, type for type."""
    kind = _class(left)
    if depth > _DEEPEST:
        raise Indeterminate("cannot be compared: it is nested too deep")
    if kind != _class(right):
        raise Indeterminate(f"cannot be compared with {kind_of(right)}: it is {kind_of(left)}")
    if kind == "list":
        return len(left) == len(right) and all(_same(*pair, depth + 1) for pair in zip(left, right, strict=True))
    if kind == "dict":
        return left.keys() == right.keys() and all(_same(value, right[key], depth + 1) for key, value in left.items())
    return bool(left == right)


def _equality(options: tuple[Any, ...], *, folding: bool | None, guards: bool) -> Test:
    texts = frozenset(option for option in options if type(option) is str)
    folded = frozenset(map(fold, texts))
    numbers = frozenset(option for option in options if is_number(option))
    others = tuple(option for option in options if type(option) is not str and not is_number(option))
    near_miss = guards and folding is None

    def test(seen: Any) -> bool:
        kind = type(seen)
        if kind is str and texts:
            if folding:
                return fold(seen) in folded
            if seen in texts:
                return True
            if near_miss and fold(seen) in folded:
                raise Indeterminate(
                    "differs from a refused value only by case, width or blanks; fold says what is meant"
                )
            return False
        if (kind is int or kind is float) and numbers:
            _class(seen)
            return seen in numbers
        comparable = [option for option in others if type(option) is kind]
        if not comparable:
            _class(seen)
            raise Indeterminate(f"cannot be compared with {_kinds(options)}: it is {kind_of(seen)}")
        return any(_same(seen, option) for option in comparable)

    return test


def _kinds(options: tuple[Any, ...]) -> str:
    return " or ".join(sorted({kind_of(option) for option in options}))


def _ordering(op: str, bound: float) -> Test:
    # Python compares integers with floats exactly, whatever their size.
    compare: Callable[[Any, Any], bool] = {
        "lt": lambda seen, bound: seen < bound,
        "lte": lambda seen, bound: seen <= bound,
        "gt": lambda seen, bound: seen > bound,
        "gte": lambda seen, bound: seen >= bound,
    }[op]

    def test(seen: Any) -> bool:
        if not is_number(seen):
            what = "a number that is not finite" if type(seen) is float else kind_of(seen)
            raise Indeterminate(f"cannot be compared with a number: it is {what}")
        return compare(seen, bound)

    return test


def _searching(pattern: str, *, fold_case: bool) -> Test:
    search = compile_regex(pattern, fold_case).search

    def test(seen: Any) -> bool:
        if type(seen) is not str:
            raise Indeterminate(f"cannot be matched: it is {kind_of(seen)}")
        try:
            return search(seen) is not None
        except UnicodeEncodeError:
            raise Indeterminate("cannot be matched: it is not valid Unicode") from None

    return test


def _containing(part: Any, *, folding: bool | None, guards: bool) -> Test:
    equals = _equality((part,), folding=folding, guards=guards)

    def in_list(seen: list[Any]) -> bool:
        doubt = None
        for entry in seen:
            try:
                if equals(entry):
                    return True
            except Indeterminate as reason:
                doubt = reason
        if doubt:
            raise Indeterminate(f"has an entry that {doubt}")
        return False

    in_text = _within(part, folding=folding, guards=guards) if type(part) is str else None

    def test(seen: Any) -> bool:
        if type(seen) is list:
            return in_list(seen)
        if type(seen) is str and in_text is not None:
            return in_text(seen)
        raise Indeterminate(f"cannot be searched for {kind_of(part)}: it is {kind_of(seen)}")

    return test


def _within(part: str, *, folding: bool | None, guards: bool) -> Callable[[str], bool]:
    folded = flatten(part)
    if folding:
        return lambda seen: folded in flatten(seen)
    if not guards or folding is False or not folded:
        return lambda seen: part in seen

    def guarded(seen: str) -> bool:
        if part in seen:
            return True
        if folded in flatten(seen):
            raise Indeterminate("holds a refused text but for case or width; fold says what is meant")
        return False

    return guarded


def _hosting(hosts: tuple[str, ...]) -> Test:
    from guarded_tools.policy.hosts import compile_hosts, host_of

    is_listed = compile_hosts(hosts)

    def test(seen: Any) -> bool:
        if type(seen) is not str:
            raise Indeterminate(f"is not a URL: it is {kind_of(seen)}")
        return is_listed(host_of(seen))

    return test
