"""What is private in FastMCP's server and is needed here. Run with fastmcp 4.2.3.

- Over HTTP a session is the server's own only where the connection has negotiated one (``_connection.session_id`` of
  the SDK's session). Without one, FastMCP takes the id that a client writes into a header, who could write another each
  time. Should it be gone, such clients count as one, which is stricter.
- A result that a server only hands on keeps in ``_raw_mcp_result`` what came over the wire, and that is what is sent. A
  note that was added would be lost; should the name change, it is.
- Which version of a tool is asked for stands in the request's ``_meta``, under ``fastmcp`` and ``version``. Should it
  move, a call is judged by the newest one's schema.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def has_session(context: Any) -> bool:
    """Whether the connection of a request has negotiated a session, which is the server's own word."""
    connection = getattr(getattr(context, "session", None), "_connection", None)
    return isinstance(getattr(connection, "session_id", None), str)


def as_changed(result: Any) -> Any:
    """Return a result that is sent as it is now, and not as it came from another server."""
    if getattr(result, "_raw_mcp_result", None) is not None:
        result._raw_mcp_result = None  # noqa: SLF001
    return result


def version_of(message: Any) -> dict[str, str] | None:
    """Return which version of a tool a call asks for: ``eq``, or bounds ``gte`` and ``lt``; ``None``: the newest."""
    meta = getattr(message, "meta", None)
    own = meta.get("fastmcp") if isinstance(meta, Mapping) else None
    asked = own.get("version") if isinstance(own, Mapping) else None
    if isinstance(asked, str):
        return {"eq": asked}
    return {str(key): str(value) for key, value in asked.items()} if isinstance(asked, Mapping) else None
