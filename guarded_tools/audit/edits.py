"""Where arguments were changed by a human, without saying what they were or became."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any


def edited_paths(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """List the argument paths at which two JSON objects differ, as policies write them: ``args.events[0].event``.

    What was added or taken away is named at its own path. 1, 1.0 and true are different.
    """
    return sorted(_differences("args", before, after))


def _differences(path: str, before: Any, after: Any) -> Iterator[str]:
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        for key in {*before, *after}:
            inner = f"{path}{_member(str(key))}"
            if key in before and key in after:
                yield from _differences(inner, before[key], after[key])
            else:
                yield inner
    elif isinstance(before, list | tuple) and isinstance(after, list | tuple):
        for position in range(max(len(before), len(after))):
            inner = f"{path}[{position}]"
            if position < min(len(before), len(after)):
                yield from _differences(inner, before[position], after[position])
            else:
                yield inner
    elif type(before) is not type(after) or before != after:
        yield path


def _member(key: str) -> str:
    if key.isidentifier() and key.isascii():
        return f".{key}"
    escaped = key.replace("\\", "\\\\").replace('"', '\\"')
    return f'["{escaped}"]'
