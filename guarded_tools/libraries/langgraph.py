"""What is private in LangGraph and is needed here. Run with langgraph 1.1.5 to 1.2.24.

- A tool node keeps what stands around its tools in ``_wrap_tool_call`` and ``_awrap_tool_call``. Only there can be seen
  whether another agent's tools run behind a guard; should they be gone, every such agent counts as unguarded.
- It hands a call to its innermost wrapper by a function called ``execute``. Should that name change, the guard warns
  of an order of middleware that is right.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

INNERMOST = "execute"
"""The name of the function by which a tool node runs a tool, when no other middleware is in between."""


def wrappers(tool_node: Any) -> tuple[Callable[..., Any], ...]:
    """Return what a tool node puts around each of its calls: without an event loop, and with one."""
    around = (getattr(tool_node, name, None) for name in ("_wrap_tool_call", "_awrap_tool_call"))
    return tuple(wrapper for wrapper in around if wrapper is not None)
