"""How the sandbox words its answers."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeAlias

Args: TypeAlias = Mapping[str, Any]
Row: TypeAlias = dict[str, Any]
Headers: TypeAlias = Mapping[str, str]
Call: TypeAlias = Callable[[str, Args, Headers | None], Awaitable[Row]]
"""What is answered to a call of a tool, as JSON; over HTTP it came with these headers."""


class Refused(Exception):  # noqa: N818 - it is an answer, not a failure of the sandbox
    """An upstream error. ``str()`` of it is what the MCP server makes of it."""

    status: int | None

    _HINTS = {  # noqa: RUF012 - never written to
        401: "The API key was not accepted. Check PICTIFY_API_KEY.",
        402: "The plan's quota is used up. Wait for the next period or change the plan.",
        409: "The resource is not in a state that permits this. Look it up and try what its state permits.",
    }

    def __init__(self, status: int, title: str, detail: str = "", *, retry_after: int | None = None) -> None:
        lines = [f"Error ({status}): {title}", detail, self._HINTS.get(status, "")]
        if retry_after is not None:
            lines.append(f"Rate limited. Retry after {retry_after} seconds.")
        super().__init__("\n".join(line for line in lines if line))
        self.status = status


class RefusedHere(Refused):
    """What the MCP server itself refuses, before it asks upstream: there is no status."""

    def __init__(self, detail: str) -> None:
        Exception.__init__(self, f"Error: {detail}")
        self.status = None


def as_json(value: object) -> str:
    """JSON as the server prints it."""
    return json.dumps(value, indent=2, ensure_ascii=False)


def page_of(rows: list[Row], args: Args) -> list[Row]:
    """The page of ``rows`` that ``page`` and ``limit`` ask for."""
    limit = int(args["limit"])
    start = (int(args["page"]) - 1) * limit
    return rows[start : start + limit]
