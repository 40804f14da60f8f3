"""The tool and the guard that the benchmarks put side by side with bare things."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from langchain_core.tools import StructuredTool

from guarded_tools import Guard, Policy, open_store

SCHEMA = {
    "type": "object",
    "properties": {"n": {"type": "integer"}, "word": {"type": "string", "maxLength": 100}},
    "required": ["n"],
    "additionalProperties": False,
}
ARGS = {"n": 1, "word": "x"}
# A directory that was changed less than two seconds ago is looked at more closely by every call.
SETTLED_S = 2.2


def limit(name: str, window: str, maximum: int) -> dict[str, Any]:
    return {"counter": name, "window": window, "max": maximum, "scope": "session"}


def guard_of(folder: Path, *tools: str) -> Guard:
    """A guard with two limits of one scope for each tool, on disk, and an audit."""
    folder.mkdir(parents=True, exist_ok=True)
    limits = [limit("minute", "minute", 10**6), limit("day", "day", 10**7)]
    policy = Policy.model_validate(
        {"version": "1", "default": "deny", "tools": {tool: {"limits": limits} for tool in tools}}
    )
    guard = Guard(policy, store=open_store(f"disk://{folder / 'counters'}"), audit=folder / "audit.jsonl")
    # A store that was opened within the last two seconds looks at its directory at every call, since the file system's
    # clock cannot tell two changes apart that fast. An agent lives longer than that.
    time.sleep(SETTLED_S)
    return guard


def noop(n: int, word: str = "w") -> str:
    """Do nothing."""
    del n, word
    return "done"


def by_schema() -> StructuredTool:
    """A tool as MCP's are: nobody but the guard checks its arguments."""
    return StructuredTool(name="noop", description="Do nothing.", args_schema=SCHEMA, func=noop)


async def anoop(n: int, word: str = "w") -> str:
    """Do nothing, on an event loop."""
    return noop(n, word)


def awaited() -> StructuredTool:
    """As :func:`by_schema`, for an event loop."""
    return StructuredTool(name="noop", description="Do nothing.", args_schema=SCHEMA, coroutine=anoop)
