"""What is private in langchain-mcp-adapters and is needed here. Run with 0.3.2.

- A converted tool keeps what its server calls it, and that server's name, in the closure of its coroutine and nowhere
  else. Should they move, a tool goes by its LangChain name, and no server is known of it.
- Interceptors are handed the call itself as a function called ``execute_tool``. Should that name change, the guard
  warns of an order of interceptors that is right.
- A session that was loaded without a name goes by ``unknown``.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

INNERMOST = "execute_tool"
"""The name of the function by which a call is sent, when no other interceptor is in between."""
UNNAMED = "unknown"
"""What the server of a session is called that was loaded without a name."""


class Listed(NamedTuple):
    """What a server lists of a tool: its name there, the server's, and the schema of its results, if any."""

    name: str
    server: str
    output: Mapping[str, Any] | Literal[False]


def known_as(coroutine: Any, name: str) -> Listed | None:
    """Return what a converted tool, here called ``name``, is called on its server, and more of what that lists."""
    if coroutine is None or coroutine.__module__ != "langchain_mcp_adapters.tools":
        return None
    closure = inspect.getclosurevars(coroutine).nonlocals
    tool = closure.get("tool")
    output: Mapping[str, Any] | Literal[False] = getattr(tool, "outputSchema", None) or False
    return Listed(getattr(tool, "name", name), closure.get("server_name") or "", output)
