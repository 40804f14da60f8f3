"""Which arguments of a tool look like an id, slug, key or name that its server may put into the path of a request.

Told from the words of a name, from the first words of a description, from a format or a pattern; of texts only, and
not of those that say themselves that they hold more than one segment. A guess to be read, as all of a draft is: one too
many refuses a call and says so, one too few lets a tool that reads write.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any, NamedTuple

from guarded_tools.policy.operators import compile_regex
from guarded_tools.policy.paths import parse_path
from guarded_tools.policy.schema_parts import parts_of

_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_NOUNS = r"ids?|uids?|uuids?|guids?|identifiers?|slugs?"
_LAST = re.compile(rf"{_NOUNS}|keys?|sha|handle|owner|repo|repository|org|organi[sz]ation|workspace|namespace|login")
_SECRET = re.compile(r"public|private|ssh|secret|api|pgp|gpg|access|encryption|answer|license")
_FIRST_WORDS = re.compile(rf"(?:\W*\b[\w'-]+){{0,3}}?\W*\b(?:{_NOUNS})\b", re.IGNORECASE)
# What says of itself that it is more than a segment: owner/name, a path, a URL, an address.
_MORE = re.compile(
    r"(?!\band/or\b)\b\w+/\w|[a-z]:[a-z]|@|\b(?:urls?|uris?|paths?|e-?mails?|arns?|dois?|json|comma)\b", re.IGNORECASE
)
_ID_FORMATS = frozenset({"uuid", "slug", "ulid"})
_PLAIN = ("a1", "abc-123", "ABC_123", "6f9619ff-8b86-d011-b42d-00c04fc964ff", "a" * 24, "1" * 12)
_TRICKS = ("../a1", "a1/b", "a1?b", "a1#b", "a1%2fb", "..", "a1\\b", "a1 b")

_DEEPEST = 4
_MOST = 64  # proposals for one tool
_MOST_SEEN = 2_000  # parts of one schema that are looked at


class Id(NamedTuple):
    """An argument that looks like an id. ``certain`` is whether every call has to give it."""

    path: str
    certain: bool


def ids_of(schema: Mapping[str, Any]) -> list[Id]:
    """List the arguments that look like ids, lists of ids and ids in objects and lists included.

    At most 64 of them; a part of the schema that is nested deeper than four times is not looked at.
    """
    found: dict[str, Id] = {}
    waiting: deque[tuple[str, str, Mapping[str, Any], bool, int]] = deque([("args", "", schema, True, 0)])
    budget = _MOST_SEEN
    while waiting and len(found) < _MOST and budget:
        path, name, here, certain, depth = waiting.popleft()
        budget -= 1
        shapes = parts_of([here], schema)
        if name and any(_looks_like_id(name, shape, here) for shape in shapes):
            found.setdefault(path, Id(path, certain))
        if depth < _DEEPEST:
            waiting.extend(
                (path + step, inner_name or name, inner, certain and sure, depth + 1)
                for shape in shapes
                for step, inner_name, inner, sure in _below(shape)
            )
    return list(found.values())


def _below(shape: Mapping[str, Any]) -> Iterator[tuple[str, str, Mapping[str, Any], bool]]:
    """The parts one step down: the step, its name (in a list, none), its schema, whether it has to be there."""
    properties, needed = shape.get("properties"), shape.get("required")
    for name, inner in properties.items() if isinstance(properties, Mapping) else ():
        step = step_to(str(name))
        if step and isinstance(inner, Mapping):
            yield step, str(name), inner, isinstance(needed, list) and name in needed
    items = shape.get("items")
    if isinstance(items, Mapping):
        # An empty list has nothing in it, and `require` would refuse it.
        yield "[*]", "", items, isinstance(shape.get("minItems"), int) and shape["minItems"] > 0


@lru_cache(maxsize=4_096)
def step_to(name: str) -> str:
    """The step of a path that leads to a key; nothing where no path can say it."""
    quoted = re.sub(r'(["\\])', r"\\\1", name)
    for step in (f".{name}", f'["{quoted}"]'):
        try:
            if parse_path(f"args{step}".encode().decode()).steps == (name,):
                return step
        except ValueError:  # half a surrogate pair, too
            continue
    return ""


def _looks_like_id(name: str, shape: Mapping[str, Any], said: Mapping[str, Any]) -> bool:
    kind, pattern = shape.get("type"), shape.get("pattern")
    described = str(said.get("description") or shape.get("description") or "")
    if kind != "string" and not (isinstance(kind, list) and "string" in kind):
        return False
    if "enum" in shape or "const" in shape or _MORE.search(" ".join(_words(name))) or _MORE.search(described):
        return False
    if isinstance(pattern, str):
        return _matches_ids_only(pattern) or (named_like_id(name) and not re.search("[/:@]", pattern))
    form = shape.get("format")
    if isinstance(form, str):
        return form in _ID_FORMATS
    return named_like_id(name) or _FIRST_WORDS.match(described) is not None


def _words(name: str) -> list[str]:
    return [word.lower() for word in _WORD.findall(name)]


def named_like_id(name: str) -> bool:
    """Whether the last word of a name says that it is an id, and no word that it is something else."""
    words = _words(name)
    return bool(words) and _LAST.fullmatch(words[-1]) is not None and not any(map(_SECRET.fullmatch, words))


def _matches_ids_only(pattern: str) -> bool:
    try:
        search = compile_regex(pattern, fold_case=False).search
    except ValueError:
        return False
    return any(map(search, _PLAIN)) and not any(map(search, _TRICKS))
