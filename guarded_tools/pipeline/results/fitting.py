"""A result of no more than so many characters, in each form that a result has.

What a model reads is cut, block by block, with a note behind what was kept; the note comes on top. What a program reads
(an artifact, structured content) is never half of itself: where it is too large as a whole, the note stands in its
place. A block that is no text counts with all it holds, and is left out where it does not fit; only the data of
pictures, sound and video counts as nothing, since nobody reads it as text.
"""

from __future__ import annotations

import dataclasses
import json
import re
import sys
from collections.abc import Mapping
from typing import Any, Final

from pydantic import BaseModel

from guarded_tools.pipeline.results.cutting import Sizes, cut
from guarded_tools.pipeline.results.rewriting import with_text

# What is larger than this when it is written out is not written out to be cut.
_MOST_WRITTEN: Final = 50_000_000
_MOST_BESIDE: Final = 500
_MEDIA: Final = frozenset({"image", "audio", "video", "image_url", "input_image", "input_audio"})
_DATA: Final = frozenset({"data", "base64", "url", "image_url", "input_audio", "source"})
_BASE64: Final = re.compile(r"(?:data:(?:image|audio|video)/[\w.+-]{1,40};base64,)?[A-Za-z0-9+/_\r\n-]{1,}={0,2}")
STRUCTURED: Final = ("structuredContent", "structured_content")


class Fitting:
    """Fits one result. ``total`` is how many characters its texts and data had, ``kept`` how many are handed on."""

    def __init__(self, most: int, rule: str, effect: str) -> None:
        self._left = self._most = most
        self._rule = rule
        self._effect = effect
        self._sizes = Sizes()
        self.total = self.kept = 0
        self.cut = False

    def again(self) -> Fitting:
        """Return one that fits the same once more, in another form: what it keeps does not count twice."""
        return Fitting(self._most, self._rule, self._effect)

    def of(self, value: Any) -> Any:
        """Return a result that fits; the very same where it does.

        Raises:
            Unseen: it cannot be measured.
        """
        if type(value) is tuple and len(value) == 2:  # noqa: PLR2004 - content and artifact
            content, artifact = self.content(value[0]), self.data(value[1])
            return value if content is value[0] and artifact is value[1] else (content, artifact)
        if _is_message(value):
            return _updated(value, content=self.content(value.content), artifact=self.data(value.artifact))
        if _is_command(value):
            update = self._messages(value.update)
            return value if update is value.update else dataclasses.replace(value, update=update)
        if isinstance(value, list) and value and all(_is_message(each) or _is_command(each) for each in value):
            return self._messages(value)
        if is_mcp(value):
            named = {name: self.data(getattr(value, name)) for name in STRUCTURED if name in type(value).model_fields}
            return _updated(value, content=self.content(value.content), **named)
        return self.content(value)

    def _messages(self, update: Any) -> Any:
        """Fit the messages in an update of a state. What else it holds is the program's, and no model is shown it."""
        if _is_message(update) or _is_command(update):
            return self.of(update)
        if type(update) is dict:
            made = {key: self._messages(value) for key, value in update.items()}
            return made if any(made[key] is not update[key] for key in made) else update
        if type(update) in (list, tuple):
            fitted = [self._messages(value) for value in update]
            same = all(new is old for new, old in zip(fitted, update, strict=True))
            return update if same else type(update)(fitted)
        return update

    def content(self, value: Any) -> Any:
        """Fit what a model reads."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, list) and value and all(map(_is_block, value)):
            return self._blocks(value)
        size = self._sizes.of(value)
        if size <= self._left:
            self._take(size, size)
            return value
        if size > _MOST_WRITTEN:
            self._take(size, 0)
            return self._note(size, 0)
        return self.text(_written(value))

    def text(self, text: str) -> str:
        """Fit a text, with a note behind it."""
        kept = cut(text, self._left)
        self._take(len(text), len(kept))
        if len(kept) == len(text):
            return text
        note = self._note(len(text), len(kept))
        return f"{kept}\n{note}" if kept else note

    def data(self, value: Any) -> Any:
        """Fit what a program reads: all of it, or a note."""
        if value is None:
            return value
        size = self._sizes.of(value)
        self.total += size
        if size <= self._most:
            self.kept += size
            return value
        self.cut = True
        return {"withheld": self._note(size, 0), "characters": size, "max_chars": self._most, "rule": self._rule}

    def _blocks(self, blocks: list[Any]) -> list[Any]:
        made: list[Any] = []
        before, gone = self.total, 0
        for block in blocks:
            text = block_text(block)
            if text is not None and self._beside(block) > _MOST_BESIDE:
                text = None
            size = len(text) if text is not None else self._block_size(block)
            kept = size
            if text is not None and size > self._left:
                kept_text = cut(text, self._left)
                kept = len(kept_text)
                if kept:
                    made.append(with_text(block, kept_text))
            elif size <= self._left:
                made.append(block)
            else:
                kept = 0
            gone += size - kept
            # Where one text was cut, nothing behind it is handed on as if it were the rest of it.
            self._take(size, kept)
            if text is not None and kept < size:
                self._left = 0
        if not gone:
            return blocks
        note = self._note(self.total - before, self.total - before - gone)
        return [*made, _note_block(blocks, note)]

    def _beside(self, block: Any) -> int:
        """Measure what a block of text holds beside its text."""
        return 0 if isinstance(block, str) else self._sizes.of(_held(block)) - len(block_text(block) or "")

    def _block_size(self, block: Any) -> int:
        """Measure a block that is no text, but for the data of pictures, sound and video."""
        held = _held(block)
        if held.get("type") in _MEDIA:
            rest = {name: item for name, item in held.items() if not (name in _DATA and _is_media(item))}
            size = self._sizes.of(rest)
            return 0 if size <= _MOST_BESIDE and len(rest) < len(held) else size
        return self._sizes.of(held)

    def _take(self, size: int, kept: int) -> None:
        self.total += size
        self.kept += kept
        self._left -= kept
        self.cut = self.cut or kept < size

    def _note(self, size: int, kept: int) -> str:
        return (
            f"[CUT by the policy ({self._rule}): {size - kept:,} of {size:,} characters of this result are left out. "
            f"{self._effect}]"
        )


def _held(block: Any) -> dict[str, Any]:
    return dict(block) if isinstance(block, Mapping) else {**block.__dict__, **(block.__pydantic_extra__ or {})}


def _is_media(item: Any) -> bool:
    if isinstance(item, Mapping):
        return all(name in ("media_type", "format", "detail", "type") or _is_media(held) for name, held in item.items())
    return isinstance(item, str) and _BASE64.fullmatch(item) is not None


def block_text(block: Any) -> str | None:
    """Return the text of a block that is nothing but a text."""
    if isinstance(block, str):
        return block
    held = block if isinstance(block, Mapping) else block.__dict__
    text = held.get("text")
    return text if held.get("type") == "text" and isinstance(text, str) else None


def _is_block(value: Any) -> bool:
    if isinstance(value, str):
        return True
    kind = value.get("type") if type(value) is dict else getattr(value, "type", None)
    return isinstance(kind, str) and isinstance(value, dict | BaseModel)


def _note_block(blocks: list[Any], note: str) -> Any:
    if all(isinstance(block, str) for block in blocks):
        return note
    models = [type(block) for block in blocks if isinstance(block, BaseModel)]
    if not models:
        return {"type": "text", "text": note}
    from mcp.types import TextContent  # there is a block of MCP's, so it was imported already

    return TextContent(type="text", text=note)


def _is_message(value: Any) -> bool:
    return isinstance(value, BaseModel) and "tool_call_id" in type(value).model_fields


def _is_command(value: Any) -> bool:
    types = sys.modules.get("langgraph.types")  # nobody can have made one where it was never imported
    return types is not None and isinstance(value, types.Command)


def is_mcp(value: Any) -> bool:
    """Whether this is a result of MCP's, as either SDK or FastMCP has it."""
    # By its fields: the second generation has the names of the first as well, and warns whoever asks for one.
    return isinstance(value, BaseModel) and not {"isError", "is_error"}.isdisjoint(type(value).model_fields)


def _updated(value: BaseModel, **parts: Any) -> Any:
    changed = {name: part for name, part in parts.items() if part is not getattr(value, name)}
    return value.model_copy(update=changed) if changed else value


def _written(value: Any) -> str:
    """Write a value out as LangChain does for a message."""
    try:
        return json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError):
        return str(value)
