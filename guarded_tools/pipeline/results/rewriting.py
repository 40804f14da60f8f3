"""A result without what is to be redacted: its texts, keys and numbers, wherever they stand in it.

Looked into are containers, pydantic models (messages and MCP's results among them), dataclasses (``Command``), objects
with slots, and named tuples. What nothing is found in stays the very object; what holds something is copied, and never
changed. Of any other object what counts is its text, which is all that a model is shown of it.

**What cannot be looked into is not handed on** (:class:`Unseen`): what holds itself, is nested deeper than a hundred
levels, or gives its content piece by piece once nobody looks any more. An object that is met twice is looked at once.
"""

from __future__ import annotations

import copy
import dataclasses
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, Final

from pydantic import BaseModel, Secret, SecretBytes, SecretStr

from guarded_tools.pipeline.results.redactor import Redactor
from guarded_tools.text.redaction import is_secret_name

DEEPEST: Final = 100
_SHORT: Final = 100
_PLAIN: Final = frozenset({type(None), bool})
_HIDDEN: Final = (Secret, SecretStr, SecretBytes)
_PASSING: Final = (Iterator, AsyncIterator, Awaitable)


class Unseen(ValueError):  # noqa: N818 - says what it is
    """Something in a result cannot be looked into; the text says what, and nothing of the result."""


class Rewriting:
    """One walk through one result. ``counts`` is what was found, by kind; ``own`` is the call's id, which stays."""

    def __init__(self, redactor: Redactor, own: str | None = None) -> None:
        self.counts: Counter[int] = Counter()
        self._redactor = redactor
        self._own = own
        self._clean: set[str] = set()  # short texts in which nothing was found, as keys that stand in every row
        self._above: set[int] = set()
        self._known: dict[tuple[int, bool], tuple[Any, Any]] = {}  # holds what it has seen, so that no id is used again

    def of(self, value: Any, *, content: bool = False) -> Any:
        """Return a value redacted; the very same where nothing is. ``content``: blocks of it are read as one text.

        Raises:
            Unseen: it cannot be looked into.
        """
        if isinstance(value, str):
            return value if value in self._clean or value == self._own else self._text(value)
        if type(value) in _PLAIN or isinstance(value, _HIDDEN):
            return value
        if isinstance(value, int | float):
            return self._number(value) if self._redactor.numbers else value
        if isinstance(value, bytes | bytearray):
            said = value.decode("latin-1")
            found = self._redactor.text(said, self.counts)
            return value if found is said else type(value)(found.encode("latin-1", "replace"))
        known = self._known.get((id(value), content))
        if known is not None:
            return known[1]
        if id(value) in self._above:
            raise Unseen("it holds itself")
        if len(self._above) >= DEEPEST:
            raise Unseen(f"it is nested deeper than {DEEPEST} levels")
        self._above.add(id(value))
        try:
            made = self._made(value, content=content)
        finally:
            self._above.discard(id(value))
        self._known[id(value), content] = (value, made)
        return made

    def _text(self, text: str) -> str:
        found = self._redactor.text(text, self.counts)
        if found is text and len(text) <= _SHORT:
            self._clean.add(text)
        return found

    def _number(self, value: float) -> Any:
        try:
            said = repr(value)
        except ValueError as error:
            raise Unseen("a number in it is too long to be written") from error
        return value if said in self._clean or self._text(said) is said else self._redactor.text(said, Counter())

    def _made(self, value: Any, *, content: bool) -> Any:
        if isinstance(value, Mapping):
            return self._mapping(value)
        if isinstance(value, _PASSING):
            raise Unseen(f"it holds {type(value).__name__}, which gives its content piece by piece")
        if isinstance(value, list | tuple) or (isinstance(value, Sequence) and not isinstance(value, range)):
            return self._sequence(value, content=content)
        if isinstance(value, AbstractSet):
            made = [self.of(each) for each in value]
            kind: Any = type(value)
            return kind(made) if _changed(tuple(value), made) else value
        if isinstance(value, type):
            return value
        state = _state(value)
        made = value if state is None else self._object(value, state)
        models = isinstance(value, BaseModel) or dataclasses.is_dataclass(value)
        return made if models or made is not value else self._written(value)

    def _mapping(self, value: Mapping[Any, Any]) -> Any:
        made: dict[Any, Any] = {}
        same = True
        for key, item in value.items():
            new_key = key if type(key) is int else self.of(key)
            new = self._named(key, item)
            same = same and new_key is key and new is item
            while new_key is not key and new_key in made:
                new_key = f"{new_key} (another)"
            made[new_key] = new
        return value if same else made

    def _named(self, name: object, item: Any) -> Any:
        """Redact what stands under a name, which may give it away as a secret."""
        kind = self._redactor.secrets
        if kind is not None and isinstance(name, str) and is_secret_name(name) and self._holds_something(item, kind):
            self.counts[kind] += 1
            return self._redactor.marks[kind]
        return self.of(item, content=name == "content")

    def _holds_something(self, item: Any, kind: int) -> bool:
        said = not (item is None or isinstance(item, (bool, *_HIDDEN)))
        return said and not (isinstance(item, str) and item in ("", self._redactor.marks[kind]))

    def _sequence(self, value: Any, *, content: bool) -> Any:
        made = self._blocks(value) if content else list(value)
        made = [self.of(each) for each in made]
        if not _changed(value, made):
            return value
        if type(value) in (list, tuple):
            return type(value)(made)
        if isinstance(value, tuple) and hasattr(value, "_make"):
            return value._make(made)
        return made

    def _blocks(self, value: Sequence[Any]) -> list[Any]:
        """Redact blocks of content whose texts are read as one, so that a secret in two of them is none in either."""
        made = list(value)
        places = [place for place, block in enumerate(made) if _text_of(block) is not None]
        if len(places) < 2:  # noqa: PLR2004 - one text has no neighbour
            return made
        texts = [str(_text_of(made[place])) for place in places]
        for place, old, new in zip(places, texts, self._redactor.parts(texts, self.counts), strict=True):
            if new is not old:
                made[place] = with_text(made[place], new)
        return made

    def _object(self, value: Any, state: Mapping[str, Any]) -> Any:
        made = {name: self._named(name, item) for name, item in state.items()}
        changed = {name: new for name, new in made.items() if new is not state[name]}
        if not changed:
            return value
        try:
            copied = value.model_copy() if isinstance(value, BaseModel) else copy.copy(value)
            _put(copied, changed)
            said = f"{copied}{copied!r}"
        except Exception as error:
            raise Unseen(f"a {type(value).__name__} in it cannot be copied") from error
        own = self._own or ""
        if any(said[start:end] not in own for start, end, _ in self._redactor.hits(said)):  # made of something else
            raise Unseen(f"a {type(value).__name__} in it cannot be redacted")
        return copied

    def _written(self, value: Any) -> Any:
        """Return an object that cannot be looked into, or its text where there is something in that."""
        try:
            said, shown = str(value), repr(value)
        except Exception as error:
            raise Unseen(f"a {type(value).__name__} in it cannot be written") from error
        found = self._redactor.text(said, self.counts)
        if found is not said:
            return found
        return self._redactor.text(shown, self.counts) if self._redactor.hits(shown) else value


def _changed(old: Any, new: Sequence[Any]) -> bool:
    return any(before is not after for before, after in zip(old, new, strict=True))


def _text_of(block: Any) -> str | None:
    """Return the text of a block of content; ``None`` where it has none."""
    if isinstance(block, str):
        return block
    text = block.get("text") if isinstance(block, dict) else getattr(block, "text", None)
    return text if isinstance(text, str) and (isinstance(block, dict | BaseModel)) else None


def with_text(block: Any, text: str) -> Any:
    """Return a block of content with another text."""
    if isinstance(block, str):
        return text
    return {**block, "text": text} if isinstance(block, dict) else block.model_copy(update={"text": text})


def _state(value: Any) -> Mapping[str, Any] | None:
    """Return what an object holds by name, where copies of it can hold something else; ``None`` of any other."""
    if isinstance(value, BaseModel):
        return {**value.__dict__, **(value.__pydantic_extra__ or {}), **(value.__pydantic_private__ or {})}
    if dataclasses.is_dataclass(value) or (not hasattr(value, "__dict__") and hasattr(type(value), "__slots__")):
        slots = [name for kind in type(value).__mro__ for name in _slots(kind)]
        held = {name: getattr(value, name) for name in slots if hasattr(value, name)}
        state = {**getattr(value, "__dict__", {}), **held}
        return state or None
    return None


def _slots(kind: type) -> tuple[str, ...]:
    slots = kind.__dict__.get("__slots__", ())
    names = (slots,) if isinstance(slots, str) else tuple(slots)
    return tuple(name for name in names if not name.startswith("__"))


def _put(copied: Any, changed: Mapping[str, Any]) -> None:
    """Put values into a copy, past whatever keeps it frozen or checks what is assigned."""
    if not isinstance(copied, BaseModel):
        for name, new in changed.items():
            object.__setattr__(copied, name, new)
        return
    extra, private = dict(copied.__pydantic_extra__ or {}), dict(copied.__pydantic_private__ or {})
    for name, new in changed.items():
        home = extra if name in extra else private if name in private else copied.__dict__
        home[name] = new
    object.__setattr__(copied, "__pydantic_extra__", extra if copied.__pydantic_extra__ is not None else None)
    object.__setattr__(copied, "__pydantic_private__", private if copied.__pydantic_private__ is not None else None)
