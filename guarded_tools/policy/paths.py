"""Argument paths: ``args.events[*].event``, ``args["a.b"]``, ``args.items[0]``, ``args.html.length``.

One grammar, written once: ``_STEP`` is the regular expression of one step. The parser matches it step after step;
:data:`PATTERN`, which the published JSON Schema hands to editors, is the same expression without the names of its
groups, repeated. So an editor accepts just what the reader of a policy does, and neither can drift from the other; for
that, the expression keeps to what Python's ``re`` and JavaScript have in common.

A key is written ``.key``, or in brackets with quotes where it holds dots, blanks or quotes. ``[*]`` is every element,
``[0]`` one. ``.length`` as the last step counts; the key of that name is ``["length"]``. No other step has a meaning of
its own, and there are no wildcards for keys, since what a rule speaks about must be seen in the file.

A path that is followed leads to a value; to :data:`MISSING` where there is nothing, also behind ``null`` and beyond the
end of a list; to :data:`UNDECIDED` where an argument was left out and nobody knows what the server then takes; or it
raises :class:`Indeterminate` where the value has another form than the path says. The last two are never taken for
"nothing": whoever writes the call chooses its form, and must not choose with it whether a rule applies.

JSON pointers (RFC 6901), by which rules and problems are named, are at the end.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final, Literal, NamedTuple

EACH: Final = object()
"""The step ``[*]``."""
LENGTH: Final = object()
"""The last step ``.length``: how many there are. A key of that name is read with ``["length"]``."""
MISSING: Final = object()
"""What a path finds where there is nothing."""

_STEP = re.compile(
    r"""\.(?P<key>[^.\[\]"'\s*]+)"""
    r"""|\[(?P<index>\d+)\]"""
    r"""|(?P<each>\[\*\])"""
    r"""|\["(?P<double>(?:[^"\\]|\\["\\])+)"\]"""
    r"""|\['(?P<single>(?:[^'\\]|\\['\\])+)'\]"""
)
_STEPS = f"(?:{re.sub('[(][?]P<[a-z]+>', '(?:', _STEP.pattern)})*$"
PATTERN: Final = f"^args{_STEPS}"
"""The form of a path as a regular expression that editors understand too."""
COUNT_PATTERN: Final = f"^(?:args|result){_STEPS}"
"""The form of what a limit may count: an argument, or a part of the result."""
_FORM: Final = 'write a path like args.amount, args.events[*].event, args.items[0], args.events.length or args["a.b"]'


class _Undecided:
    """Stands for an argument that was left out, where it is not known what the server then takes."""

    def __repr__(self) -> str:
        return "(one of several defaults)"


UNDECIDED: Final = _Undecided()
"""What a path finds where an argument was left out and its schema names several defaults. No operator takes it."""


class Indeterminate(Exception):  # noqa: N818 - a verdict about a value, not a fault
    """A value that a rule cannot speak about. The call is denied. Never carries the value."""


def unjudged(own: str | None, why: str) -> str:
    """Say why a call cannot be judged, behind what the policy says of its own: that is about another fault."""
    return f"{own} ({why})" if own else why


class Path(NamedTuple):
    """A parsed path. ``steps`` are keys, indexes, :data:`EACH` and, last, :data:`LENGTH`."""

    text: str
    steps: tuple[Any, ...]

    @property
    def many(self) -> bool:
        """Whether it leads to any number of values."""
        return EACH in self.steps


def parse_path(text: str, root: Literal["args", "result"] = "args") -> Path:
    """Read a path into the arguments, or into a result.

    Raises:
        ValueError: what is wrong with it and what to write instead.
    """
    if not re.match(rf"{root}(?![^.\[])", text):
        if text.startswith("state."):
            raise ValueError("counters are limits here; write an entry of limits instead of a state path")
        meant = f"args.{text.removeprefix('$').removeprefix('.')}"
        raise ValueError(f"a path begins with args; {f'did you mean {meant}?' if re.search(PATTERN, meant) else _FORM}")
    steps: list[Any] = []
    position = len(root)
    while position < len(text):
        step = _STEP.match(text, position)
        if step is None:
            raise ValueError(f"not a path from character {position + 1} on; {_FORM}")
        position = step.end()
        kind, found = step.lastgroup, step[step.lastgroup or 0]
        if kind == "index":
            steps.append(int(found))
        elif kind == "each":
            steps.append(EACH)
        elif kind == "key":
            steps.append(LENGTH if found == "length" and position == len(text) else found)
        else:
            steps.append(re.sub(r"\\(.)", r"\1", found))
    return Path(text, tuple(steps))


def kind_of(value: object) -> str:
    """What a value is, in JSON's words, for messages that must not show it."""
    return {
        dict: "an object", list: "a list", str: "a string", bool: "a boolean", int: "a number", float: "a number",
        _Undecided: "left out, and its schema names several defaults",
    }.get(type(value), "null" if value is None else f"not JSON ({type(value).__name__})")  # fmt: skip


def _count(members: dict[str, Any]) -> int:
    """How many keys an object has.

    Published policies mean a key called ``length`` where there is one, others mean the count; whoever writes the call
    may add the key. So where the two differ, nothing is said.
    """
    named = members.get("length", MISSING)
    if named is not MISSING and (type(named) is not int or named != len(members)):
        raise Indeterminate('has a key called length, which is not the count: ["length"] is the key')
    return len(members)


def _step(value: object, step: Any) -> Any:
    """Go one step down; ``value`` is there."""
    kind = type(value)
    if step is LENGTH:
        if kind is dict:
            return _count(value)  # type: ignore[arg-type]
        if kind is list or kind is str:
            return len(value)  # type: ignore[arg-type]
        raise Indeterminate(f"has no length: it is {kind_of(value)}")
    if type(step) is str:
        if kind is dict:
            return value.get(step, MISSING)  # type: ignore[attr-defined]
        raise Indeterminate(f"cannot be entered with a key: there is {kind_of(value)}")
    if kind is not list:
        raise Indeterminate(f"cannot be entered with an index: there is {kind_of(value)}")
    return value[step] if step < len(value) else MISSING  # type: ignore[index,arg-type]


def compile_one(path: Path) -> Callable[[Mapping[str, Any]], Any]:
    """Make the reader of a path without ``[*]``: the value, or :data:`MISSING`.

    Behind ``null`` there is nothing. The reader raises :class:`Indeterminate`.
    """
    steps = path.steps

    def read(args: Mapping[str, Any]) -> Any:
        value: Any = args
        for step in steps:
            if value is None or value is MISSING:
                return MISSING
            value = _step(value, step)
        return value

    # The two shapes that nearly every rule has.
    if len(steps) == 1 and type(steps[0]) is str:
        key = steps[0]
        return lambda args: args.get(key, MISSING)
    if len(steps) == 2 and type(steps[0]) is str and steps[1] is LENGTH:  # noqa: PLR2004
        listed = steps[0]

        def read_length(args: Mapping[str, Any]) -> Any:
            value = args.get(listed)
            return len(value) if type(value) is list else read(args)

        return read_length
    return read


def compile_many(path: Path) -> Callable[[Mapping[str, Any]], list[Any]]:
    """Make the reader of any path: all values it leads to, with :data:`MISSING` for each gap.

    An empty ``[*]`` is one gap: there is nothing there. The reader raises :class:`Indeterminate`.
    """
    steps = path.steps

    def read(args: Mapping[str, Any]) -> list[Any]:
        values: list[Any] = [args]
        for step in steps:
            found: list[Any] = []
            for value in values:
                if value is MISSING or value is None:
                    found.append(MISSING)
                elif step is EACH:
                    if type(value) is not list:
                        raise Indeterminate(f"cannot be entered with [*]: there is {kind_of(value)}")
                    found.extend(value or (MISSING,))
                elif step.__class__ is str and type(value) is dict:
                    found.append(value.get(step, MISSING))
                else:
                    found.append(_step(value, step))
            values = found
        return values

    # The shape that nearly every such rule has: one member of each element.
    if len(steps) == 3 and type(steps[0]) is str and steps[1] is EACH and type(steps[2]) is str:  # noqa: PLR2004
        return _members(steps[0], steps[2], read)
    return read


def _members(listed: str, member: str, read: Callable[[Mapping[str, Any]], list[Any]]) -> Callable[..., list[Any]]:
    """Make the reader of ``args.listed[*].member``: at one go where all is as it should be, else by ``read``."""

    def read_members(args: Mapping[str, Any]) -> list[Any]:
        elements = args.get(listed)
        if type(elements) is list and elements:
            found = [element.get(member, MISSING) for element in elements if type(element) is dict]
            if len(found) == len(elements):
                return found
        return read(args)

    return read_members


def read_all(text: str, args: Mapping[str, Any]) -> Any:
    """Read what is at a path: a list where it holds ``[*]``, and :data:`MISSING` where it cannot be followed."""
    path = parse_path(text)
    try:
        found = compile_many(path)(args)
    except Indeterminate:
        return MISSING
    return [value for value in found if value is not MISSING] if EACH in path.steps else found[0]


EVERYWHERE: Final = "/all_tools"
"""The pointer of the rules for all tools; their counters belong to the tool ``*``."""


def pointer(*parts: str) -> str:
    """Write a JSON pointer (RFC 6901) to the place that these keys and indexes lead to."""
    return "".join("/" + escape(part) for part in parts)


def escape(part: str) -> str:
    """Write one key as a part of a JSON pointer."""
    return part.replace("~", "~0").replace("/", "~1")


def follow(document: Any, place: str) -> Any:
    """Follow a JSON pointer, or a reference like ``#/$defs/a``, into a document.

    Raises:
        LookupError: it leads nowhere, or out of the document.
    """
    root, *parts = place.split("/")
    if root not in {"", "#"}:
        raise LookupError(place)
    found = document
    for part in parts:
        if isinstance(found, list) and part.isdecimal():
            found = found[int(part)]
        elif isinstance(found, Mapping):
            found = found[part.replace("~1", "/").replace("~0", "~")]
        else:  # a scalar, or a member of a list by a name
            raise LookupError(place)
    return found
