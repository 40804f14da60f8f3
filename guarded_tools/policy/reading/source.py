"""A policy file as plain data that knows where each part of it stands.

JSON as in RFC 8259 and YAML 1.2's core schema: ``no`` is a text, ``1`` is a number, a date is a text. Both end as the
same plain data, so that nothing behind this file knows which it was.

A place is the line and column of a value and of its key, by JSON pointer. A problem at a pointer that has no place
(a key that is missing) stands at the nearest place above it. The two formats come to their places in two ways:

* *JSON* is read by Python's own reader, which is fast and keeps no places. They are only needed where something is
  wrong; then :meth:`Source._scan_json` walks the text a second time. It may be as simple as it is because the text is
  known to be JSON: a string ends at the next quote that is not escaped, an atom at the next blank, comma or bracket,
  and one frame for each open container says whose member comes next. No recursion: depth is whatever the reader took.
* *YAML* is composed into nodes, which carry their marks; data and places are made of them in one walk. Aliases may
  bring a node in again, so repeated nodes are counted, and depth is bounded before composing, which descends in C.

What a reader takes and the format does not allow is a problem and not an end, so that all are told at once: a key that
stands twice (which of them another reader takes is anybody's guess), ``NaN``, tags. A syntax error is an end.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any, Final, NamedTuple

import yaml

from guarded_tools.errors import PolicyError, Problem
from guarded_tools.policy.diagnostics import suggest
from guarded_tools.policy.paths import pointer
from guarded_tools.text import strict_json

_MOST_REPEATED: Final = 100_000
"""How many nodes aliases may bring in again: nested, they multiply a small file without end."""

_MOST_NESTED: Final = 100
"""How many containers may stand in one another in YAML, whose reader has no bound of its own in some versions."""


_BLANK: Final = re.compile(r"[ \t\r\n]*")
_STRING: Final = re.compile(r'"(?:[^"\\]|\\.)*"')
_ATOM: Final = re.compile(r"[^ \t\r\n,\]}]+")
_TABBED: Final = re.compile(r" *\t")
_CONSTANT: Final = re.compile("NaN|-?Infinity")


def _end(part: re.Pattern[str], text: str, offset: int) -> int:
    found = part.match(text, offset)
    assert found is not None, "the text is known to be JSON"
    return found.end()


class Place(NamedTuple):
    """Where a value stands, and where its key does; offsets or (line, column) from 0."""

    value: tuple[int, int]
    key: tuple[int, int]


class Source:
    """A file that was read: its ``name``, its ``data``, and the ``problems`` of its syntax."""

    def __init__(self, name: str, text: str, *, is_json: bool) -> None:
        self.name = name
        self.problems: list[Problem] = []
        self._text = text
        self._is_json = is_json
        self.data = self._read_json() if is_json else self._read_yaml()

    def problem(self, at: str, message: str, hint: str = "", *, key: bool = False) -> Problem:
        """Make a problem with the place of the value at a pointer, or of its key."""
        place = at
        while place and place not in self._places:
            place = place.rpartition("/")[0]
            key = False
        found = self._places.get(place)
        if found is None:
            return Problem(self.name, 1, 1, at, message, hint)
        line, column = found.key if key else found.value
        return Problem(self.name, line + 1, column + 1, at, message, hint)

    @cached_property
    def _places(self) -> dict[str, Place]:
        # Of JSON, places are only worked out when there is something to point at.
        return dict(self._scan_json()) if self._is_json else {}

    def _broken(self, line: int, column: int, message: str, hint: str = "") -> PolicyError:
        return PolicyError((Problem(self.name, line, column, "", message, hint),))

    def _read_json(self) -> Any:
        with suppress(ValueError, RecursionError):
            return strict_json.loads(self._text)
        # Again without strictness, to tell what is no JSON at all from what only repeats a key, and to find all of it.
        try:
            data = json.loads(self._text)
        except json.JSONDecodeError as error:
            raise self._broken(error.lineno, error.colno, f"not JSON: {error.msg}", _json_hint(error)) from None
        except (RecursionError, ValueError):
            raise self._broken(1, 1, "nested too deep, or a number too long to read") from None
        self._refuse_looseness()
        return data

    def _refuse_looseness(self) -> None:
        """Report what the reader takes and JSON does not: keys that stand twice, numbers that are not finite."""
        lines = self._text.split("\n")
        seen: set[str] = set()
        for at, place in self._scan_json():
            if at in seen:
                self._repeat(at, place)
            seen.add(at)
            line, column = place.value
            constant = _CONSTANT.match(lines[line], column)
            if constant:
                message = f"{constant[0]} is not JSON"
                self.problems.append(Problem(self.name, line + 1, column + 1, at, message, "write a finite number"))

    def _repeat(self, at: str, place: Place) -> None:
        line, column = place.key
        self.problems.append(
            Problem(self.name, line + 1, column + 1, at, "this key stands here twice", "keep one of them")
        )

    def _scan_json(self) -> Iterator[tuple[str, Place]]:
        """Walk a text that is known to be JSON and give the place of every value, in the order of the file."""
        text = self._text
        starts = [0, *(found.end() for found in re.finditer("\n", text))]
        line = 0

        def spot(offset: int) -> tuple[int, int]:
            nonlocal line
            while line + 1 < len(starts) and starts[line + 1] <= offset:
                line += 1
            return line, offset - starts[line]

        def skip(offset: int) -> int:
            return _end(_BLANK, text, offset)

        # One frame for each open container: its pointer, and the next index of a list or None for an object.
        frames: list[tuple[str, int | None]] = []
        at, where, key_spot = skip(0), "", (0, 0)
        while True:
            here = spot(at)
            yield where, Place(here, key_spot if frames and frames[-1][1] is None else here)
            if text[at] in "{[":
                frames.append((where, None if text[at] == "{" else 0))
                at = skip(at + 1)
            else:
                at = skip(_end(_STRING if text[at] == '"' else _ATOM, text, at))
            while frames and text[at] in "]}":
                frames.pop()
                at = skip(at + 1)
            if not frames:
                return
            if text[at] == ",":
                at = skip(at + 1)
            parent, index = frames[-1]
            if index is None:
                key_spot = spot(at)
                end = _end(_STRING, text, at)
                where = parent + pointer(json.loads(text[at:end]))
                at = skip(skip(end) + 1)
            else:
                where = f"{parent}/{index}"
                frames[-1] = (parent, index + 1)

    def _read_yaml(self) -> Any:
        try:
            self._refuse_depth()
            root = yaml.compose(self._text, Loader=_Core)
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
            hint = "indent with spaces: YAML takes no tabs" if _TABBED.match(self._line(line)) else ""
            raise self._broken(line, column, f"not YAML: {error.problem or error.context}", hint) from None
        except (yaml.YAMLError, ValueError) as error:
            raise self._broken(1, 1, f"not YAML: {str(error).splitlines()[0]}") from None
        places: dict[str, Place] = {}
        self.__dict__["_places"] = places
        if root is None:
            return None
        self._seen: set[int] = set()
        self._left = _MOST_REPEATED
        return self._plain(root, "", root, places, ())

    def _line(self, line: int) -> str:
        return self._text.split("\n")[line - 1 : line][0] if line <= self._text.count("\n") + 1 else ""

    def _refuse_depth(self) -> None:
        # Before composing: that descends on C's stack, and ends the process where it runs out.
        depth = 0
        for event in yaml.parse(self._text, Loader=_Core):
            depth += isinstance(event, yaml.CollectionStartEvent)
            depth -= isinstance(event, yaml.CollectionEndEvent)
            if depth > _MOST_NESTED:
                mark: Any = event.start_mark
                raise self._broken(mark.line + 1, mark.column + 1, f"nested deeper than {_MOST_NESTED} levels")

    def _plain(self, node: Any, at: str, key: Any, places: dict[str, Place], above: tuple[int, ...]) -> Any:
        mark = node.start_mark
        spot = (mark.line, mark.column)
        places[at] = Place(spot, (key.start_mark.line, key.start_mark.column))
        self._left -= id(node) in self._seen
        self._seen.add(id(node))
        if id(node) in above or self._left < 0:
            raise self._broken(
                mark.line + 1, mark.column + 1, "an alias that repeats itself or too much", "write it out"
            )
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, at)
        inside = (*above, id(node))
        if node.tag != _CONTAINERS[type(node)]:
            self._flag_tag(node, at)
        if isinstance(node, yaml.SequenceNode):
            return [self._plain(item, f"{at}/{place}", item, places, inside) for place, item in enumerate(node.value)]
        data: dict[str, Any] = {}
        for key_node, value_node in node.value:
            name = key_node.value if key_node.tag == _TEXT else None
            if type(name) is not str:
                self._flag(key_node, at, "a key that is not a text", "put the key in quotes")
                continue
            there = at + pointer(name)
            if name in data:
                key_mark = key_node.start_mark
                self._repeat(there, Place(spot, (key_mark.line, key_mark.column)))
            data[name] = self._plain(value_node, there, key_node, places, inside)
        return data

    def _flag(self, node: Any, at: str, message: str, hint: str) -> None:
        mark = node.start_mark
        self.problems.append(Problem(self.name, mark.line + 1, mark.column + 1, at, message, hint))

    def _flag_tag(self, node: Any, at: str) -> None:
        self._flag(node, at, f"the tag {node.tag} is not part of a policy", "take the tag away")

    def _scalar(self, node: Any, at: str) -> Any:
        text = node.value
        read = _READERS.get(node.tag)
        if read is None:
            self._flag_tag(node, at)
            return text
        try:
            return read(text)
        except (ValueError, KeyError):
            self._flag(node, at, "this does not fit its tag, or is a number too long to read", "put it in quotes")
            return text


def _json_hint(error: json.JSONDecodeError) -> str:
    before, here = error.doc[: error.pos].rstrip(), error.doc[error.pos :].lstrip()
    if here.startswith(("//", "/*", "#")):
        return "JSON has no comments: take it away, or write the policy as YAML"
    if before.endswith(",") and here.startswith(("}", "]")):
        return "take the comma before it away"
    if here.startswith(",") and here[1:].lstrip().startswith(("}", "]")):
        return "take this comma away"
    return "JSON has double quotes" if here.startswith("'") else ""


def read_source(path: Path) -> Source:
    """Read a file as JSON or YAML, by its suffix or else by its first character.

    Raises:
        PolicyError: it cannot be read, or is not what its suffix says.
    """
    try:
        data = path.read_bytes()
        # As PowerShell 5 writes what is redirected to a file.
        text = data.decode("utf-16" if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig")
    except OSError as error:
        reason = error.strerror or str(error)
        problem = Problem(str(path), 0, 0, "", f"cannot be read: {reason}", _elsewhere(path, error))
        raise PolicyError((problem,), unreadable=True) from None
    except UnicodeDecodeError:
        raise PolicyError(
            (Problem(str(path), 0, 0, "", "is not UTF-8 text", "save it as UTF-8"),), unreadable=True
        ) from None
    if not text.strip():
        hint = "guarded-tools scan drafts a policy"
        raise PolicyError((Problem(str(path), 0, 0, "", "is empty: no policy is in it", hint),), unreadable=True)
    suffix = path.suffix.lower()
    is_json = suffix == ".json" or (suffix not in {".yaml", ".yml"} and text.lstrip().startswith("{"))
    return Source(str(path), text, is_json=is_json)


def _elsewhere(path: Path, error: OSError) -> str:
    """Say which file was probably meant by a name that leads to none."""
    if isinstance(error, FileNotFoundError):
        folder = path.parent
        if not folder.is_dir():
            return f"there is no folder {folder.absolute()}"
        near = suggest(path.name, _readable_in(folder))
        return near or f"there is none in {folder.absolute()}: guarded-tools init writes one"
    if isinstance(error, IsADirectoryError):
        there = _readable_in(path)
        likely = next((name for name in there if "policy" in name), next(iter(there), ""))
        return f"name a file in it, such as {path / likely}" if there else "name a file"
    return ""


def _readable_in(folder: Path) -> list[str]:
    try:
        return sorted(one.name for one in folder.iterdir() if one.suffix in {".json", ".yaml", ".yml"})
    except OSError:
        return []


class _Core(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """YAML 1.2's core schema instead of YAML 1.1's, in which ``no`` is false and ``1:30`` is 90."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 - pyyaml's own way


_TEXT: Final = "tag:yaml.org,2002:str"
_CONTAINERS: Final = {yaml.MappingNode: "tag:yaml.org,2002:map", yaml.SequenceNode: "tag:yaml.org,2002:seq"}
for _tag, _pattern, _first in (
    ("bool", r"(?:true|True|TRUE|false|False|FALSE)$", "tTfF"),
    ("null", r"(?:~|null|Null|NULL|)$", ["~", "n", "N", ""]),
    ("int", r"(?:[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+)$", "-+0123456789"),
    (
        "float",
        r"(?:[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$",
        "-+.0123456789",
    ),
):
    _Core.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(_pattern), list(_first))


def _integer(text: str) -> int:
    number = int(text[2:], 8 if text[1] == "o" else 16) if text[:2] in {"0o", "0x"} else int(text)
    str(number)  # one that is too long to be written raises here, and not in a message
    return number


def _float(text: str) -> float:
    return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))


_READERS: Final[dict[str, Any]] = {
    _TEXT: str,
    "tag:yaml.org,2002:bool": lambda text: {"true": True, "false": False}[text.lower()],
    "tag:yaml.org,2002:null": lambda text: None,  # noqa: ARG005
    "tag:yaml.org,2002:int": _integer,
    "tag:yaml.org,2002:float": _float,
}
