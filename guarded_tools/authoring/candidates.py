"""Calls that are worth judging: arguments on which the rules of a tool turn, found from the rules and the schema.

:func:`candidates` is for whoever looks for a call that a policy judges in some way: ``diff`` for one that two policies
judge differently, ``drill`` for one that gets through. It knows what the rules compare with, so it tries what lies at
a bound and beside it (:mod:`~guarded_tools.authoring.boundaries`), what is left out, ``null``, another kind of value,
lists that are empty or of which one element differs, and keys in other letters. From a call that passes as many rules
as can be, first one argument is changed, then two.

What is found is certain, since the caller judges it with the real ``decide``. What is not found proves nothing: a
difference may need three arguments at once, or a text that no sample hits upon.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, Final, NamedTuple, TypeAlias

from guarded_tools.authoring.boundaries import KINDS, numbers_at, plain_object, under, values_in, values_of
from guarded_tools.policy.compile import Check
from guarded_tools.policy.engine import Schema, ToolRules
from guarded_tools.policy.operators import is_number
from guarded_tools.policy.paths import EACH, LENGTH, MISSING, Indeterminate, Path, parse_path
from guarded_tools.policy.schema_check import misfit
from guarded_tools.values import canonical

Args: TypeAlias = dict[str, Any]

_MOST_VALUES: Final = 40
_LONGEST_LIST: Final = 20_000
_LONG_LIST: Final = 100
_MOST_WRITTEN: Final = 4_000_000
"""Characters of all arguments together, as JSON: many long lists would take minutes to judge."""


class _Last(NamedTuple):
    """Stands for a list of which only the last element has this value."""

    value: Any


class _OtherLetters(NamedTuple):
    """Stands for a value under its key in other letters."""

    value: Any


class _Unplaceable(Exception):  # noqa: N818 - says what became of a value
    """No arguments have this value at this place."""


class Clue(NamedTuple):
    """A place of the arguments that some rule reads, and the checks that read it.

    ``values`` are worth trying there, ``contrived`` are so only while all else is plain.
    """

    path: Path
    values: tuple[Any, ...]
    contrived: tuple[Any, ...]
    checks: tuple[Check, ...]


def candidates(
    rules: Sequence[ToolRules], schema: Schema = None, *, first: Collection[str] = (), most: int = 3_000
) -> Iterator[Args]:
    """Yield arguments for a tool, each once and at most ``most``: the plainest first, the most contrived last.

    ``rules`` are what each policy says of the tool (``policy.compiled.rules(name)``). ``schema`` is the tool's own:
    arguments are built to fit it, but some do not, on purpose. ``first`` are the paths to look at before others, as
    they stand in the policies. Deterministic.
    """
    found = sorted(clues(rules, schema), key=lambda clue: clue.path.text not in first)
    return islice(_distinct(_tried(found, rules, schema)), most)


def clues(rules: Sequence[ToolRules], schema: Schema = None) -> list[Clue]:
    """List the places that rules read, in the order of the rules, with the values worth trying there."""
    checks: dict[str, list[Check]] = {}
    values: dict[str, list[Any]] = {}
    for check in (check for each in rules for check in checks_in(each)):
        checks.setdefault(check.path.text, []).append(check)
        values.setdefault(check.path.text, []).extend(values_of(check.predicate))
    for path, highest in (amount for each in rules for amount in _amounts(each)):
        values.setdefault(path, []).extend([1, highest, highest + 1, 0, 2])
    for path in (reader.path.text for each in rules for reader in each.readers()):
        values.setdefault(path, [])
    return [
        Clue(path, *_worth_trying(path, values[text], schema), tuple(checks.get(text, ())))
        for text, path in ((text, parse_path(text)) for text in values)
        if path.steps
    ]


def checks_in(rules: ToolRules | None) -> list[Check]:
    """List every predicate that speaks for a tool, of its rules across calls and on trial too."""
    if rules is None:
        return []
    found = [check for each in rules.rule_sets for check in each.checks]
    if rules.across is not None:
        found += [check for label in rules.across.labels or () for check in label.when]
        found += [check for _, _, when in rules.across.after for check in when]
    return found + checks_in(rules.trial)


def put(args: Args, path: Path, value: Any) -> Args:
    """Copy arguments with this value at a path, ``MISSING`` for none; lists and objects on the way are made.

    Raises:
        ValueError: no arguments have this value there, or the list would be too long.
    """
    try:
        made = _put(args, path.steps, value)
    except _Unplaceable:
        raise ValueError(path.text) from None
    return made if isinstance(made, dict) else args


def _amounts(rules: ToolRules | None) -> Iterator[tuple[str, int]]:
    if rules is not None:
        for each in rules.rule_sets:
            yield from ((limit.argument, limit.whole) for _, limit, _ in each.limits if limit.argument)
        yield from _amounts(rules.trial)


def _worth_trying(path: Path, values: list[Any], schema: Schema) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """List what may stand at a place, and what nobody would put there but on purpose."""
    part = {} if schema is None else under(schema, path.steps, schema)
    if path.steps[-1] is LENGTH:
        part = {} if schema is None else under(schema, path.steps[:-1], schema)
        said = [bound for keyword in ("maxItems", "minItems", "maxLength") for bound in numbers_at(part, keyword)]
        whole = [int(value) for value in (*values, 1, 0, 2, *said) if is_number(value)]
        lengths = dict.fromkeys(length for length in whole if 0 <= length <= _LONGEST_LIST)
        short = tuple(length for length in lengths if length <= _LONG_LIST)
        return short, tuple(length for length in lengths if length > _LONG_LIST)
    known = [] if schema is None else values_in(part, schema)
    found = [*_once([*values, *known])[:_MOST_VALUES], MISSING, None]
    contrived = [*KINDS, *([_Last(value) for value in found[:6]] if EACH in path.steps else [])]
    if isinstance(path.steps[-1], str):
        contrived.append(_OtherLetters(found[0]))
    return tuple(_once(found)), tuple(contrived)


def _tried(found: list[Clue], rules: Sequence[ToolRules], schema: Schema) -> Iterator[Args]:
    empty = {} if schema is None else plain_object(schema, schema)
    groups = [None, *({id(check) for check in checks_in(each)} for each in rules)] if len(rules) > 1 else [None]
    bases = list(_distinct([*(_agreeable(empty, found, group, schema) for group in groups), empty, {}]))
    yield from bases
    for base in bases:
        for path, value in _by_rank([(clue.path, (*clue.values, *clue.contrived)) for clue in found]):
            yield from _made(base, [(path, value)])
    usual = _by_rank([(clue.path, clue.values) for clue in found])
    for total in range(2 * len(usual)):
        for one in range(max(0, total - len(usual) + 1), (total + 1) // 2):
            if usual[one][0] is not usual[total - one][0]:
                for base in bases:
                    yield from _made(base, [usual[total - one], usual[one]])


def _by_rank(found: list[tuple[Path, tuple[Any, ...]]]) -> list[tuple[Path, Any]]:
    """List the first value of every place, then the second of every place, and so on."""
    ranks = max((len(values) for _, values in found), default=0)
    return [(path, values[rank]) for rank in range(ranks) for path, values in found if rank < len(values)]


def _agreeable(args: Args, found: list[Clue], group: set[int] | None, schema: Schema) -> Args:
    """Make a call that passes as many predicates as can be, those of one policy or of all; it fits the schema."""
    # What is below a place is settled after the place itself.
    for clue in sorted(found, key=lambda clue: len(clue.path.steps)):
        checks = [check for check in clue.checks if group is None or id(check) in group]
        usable = list(clue.values)
        if not checks and clue.path.steps[-1] is not LENGTH:
            usable = [MISSING, *usable]
        scores = [sum(_passes(check, value) for check in checks) for value in usable]
        best = [value for value, score in zip(usable, scores, strict=True) if score == max(scores)]
        made = [one for value in best for one in _made(args, [(clue.path, value)])]
        args = next((one for one in made if schema is None or misfit(schema, one) is None), made[0] if made else args)
    return args


def _passes(check: Check, value: Any) -> bool:
    try:
        said = check.holds(value)
    except Indeterminate:
        return False
    return said is True if check.kind == "require" else not said


def _made(base: Args, changes: Iterable[tuple[Path, Any]]) -> Iterator[Args]:
    try:
        for path, value in changes:
            base = put(base, path, value)
    except ValueError:
        return
    yield base


def _put(here: Any, steps: tuple[Any, ...], value: Any) -> Any:
    if not steps:
        return value
    step, *rest = steps
    below = tuple(rest)
    if step is LENGTH:
        return _stretched(here, value)
    if isinstance(step, str):
        return _with_member(here if isinstance(here, dict) else {}, step, below, value)
    listed = here if isinstance(here, list) and here else [MISSING]
    return _with_elements(listed, below, value) if step is EACH else _with_element(listed, step, below, value)


def _with_elements(listed: list[Any], below: tuple[Any, ...], value: Any) -> list[Any]:
    if value is MISSING and not below:
        return []
    if isinstance(value, _Last):
        return [*(one for one in listed if one is not MISSING), _put(listed[-1], below, value.value)]
    return [_put(one, below, value) for one in listed]


def _with_element(listed: list[Any], place: int, below: tuple[Any, ...], value: Any) -> list[Any]:
    if place > _LONGEST_LIST:
        raise _Unplaceable
    filled = [*listed, *[listed[-1]] * (place + 1 - len(listed))]
    if value is MISSING and not below:
        return [one for one in filled[:place] if one is not MISSING]
    inner = _put(filled[place], below, value)
    return [inner if at == place or one is MISSING else one for at, one in enumerate(filled)]


def _with_member(here: Args, key: str, below: tuple[Any, ...], value: Any) -> Args:
    rest = {name: each for name, each in here.items() if name != key}
    if below:
        return {**rest, key: _put(here.get(key, MISSING), below, value)}
    if value is MISSING:
        return rest
    if isinstance(value, _OtherLetters):
        other = key.upper() if key.upper() != key else key.lower()
        return {**rest, other: None if value.value is MISSING else value.value}
    return {**rest, key: value.value if isinstance(value, _Last) else value}


def _stretched(here: Any, length: Any) -> Any:
    if type(length) is not int or not 0 <= length <= _LONGEST_LIST or isinstance(here, dict):
        raise _Unplaceable
    if isinstance(here, str):
        return (here or "a").ljust(length, "a")[:length]
    listed = here if isinstance(here, list) and here else ["a"]
    return [listed[place % len(listed)] for place in range(length)]


def _distinct(found: Iterable[Args]) -> Iterator[Args]:
    seen: set[str] = set()
    left = _MOST_WRITTEN
    for args in found:
        try:
            text = canonical(args)
        except ValueError:
            continue
        if text not in seen:
            left -= len(text)
            if left < 0:
                return
            seen.add(text)
            yield args


def _once(values: Iterable[Any]) -> list[Any]:
    """Each value once, type for type."""
    found: dict[Any, Any] = {}
    for value in values:
        marker = type(value).__name__ if value is MISSING or isinstance(value, _Last | _OtherLetters) else ""
        inner = value.value if isinstance(value, _Last | _OtherLetters) else value
        found.setdefault((marker, "" if inner is MISSING else canonical(inner)), value)
    return list(found.values())
