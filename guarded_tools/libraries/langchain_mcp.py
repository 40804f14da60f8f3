"""What is private in langchain.mcp and FastMCP's client and is needed here. Run with langchain 1.5.2 and fastmcp 4.2.3.

- A converted tool keeps what its server lists, and the client it goes through, in the closure of its coroutine and
  nowhere else. Should they move, a tool goes by its LangChain name, and where its server is reached is unknown.
- A ``ClientGroup`` keeps in ``_tool_routes`` which of its servers a name leads to. Its public ``resolve_tool`` waits,
  which cannot be done where a tool is wrapped. Should it be gone, it is unknown likewise.
- FastMCP's client connects in ``_connect``, and hands on what failed there as a ``RuntimeError`` or as it was. Whether
  a call was on its way is told by that function's name in the traceback. Should it be renamed, a charge is kept that
  could have been given back.
"""

from __future__ import annotations

import inspect
from typing import Any, NamedTuple


class Converted(NamedTuple):
    """What a tool of langchain.mcp was made of: the tool as MCP lists it, and a FastMCP client or group of clients."""

    listed: Any
    client: Any


def converted(coroutine: Any) -> Converted | None:
    """Return what a tool with this coroutine was made of; ``None`` where langchain.mcp did not make it."""
    if getattr(coroutine, "__module__", "") != "langchain.mcp.tools":
        return None
    closure = inspect.getclosurevars(coroutine).nonlocals
    return Converted(closure.get("tool"), closure.get("client"))


def route(group: Any, name: str) -> tuple[str, str] | None:
    """Return which server of a ``ClientGroup`` a tool's name leads to, and the tool's name there."""
    found = getattr(group, "_tool_routes", {}).get(name)
    return None if found is None else (found.server_name, found.upstream_name)


def was_connecting(error: BaseException) -> bool:
    """Whether an error comes from opening a connection, before which nothing of a call can be sent."""
    traceback = error.__traceback__
    while traceback is not None:
        frame = traceback.tb_frame
        if frame.f_code.co_name == "_connect" and frame.f_globals.get("__name__") == "fastmcp.client.client":
            return True
        traceback = traceback.tb_next
    return False
