"""A FastMCP server that guards itself, over stdio: ``guarded_server.py FOLDER``. It notes in FOLDER/ran what it did."""

import sys
from pathlib import Path
from typing import Any

from fastmcp import Context, FastMCP
from fastmcp.exceptions import ToolError
from fastmcp.tools.base import ToolResult

from guarded_tools import Guard, Policy

LIMIT = {"counter": "calls", "window": "hour", "max": 2, "scope": "session"}
POLICY: dict[str, Any] = {
    "version": "1",
    "default": "deny",
    "hide": ["secret"],
    "tools": {
        "add": {"limits": [LIMIT], "require": [{"path": "args.n", "op": "lte", "value": 10}]},
        "free": {},
        "fails": {"limits": [LIMIT]},
        "late": {"limits": [LIMIT], "risk": "write"},
        "whose": {},
        "wipe": {"approval": {"remember": "tool"}},
    },
}


def build(guard: Guard, ran: list[str] | Path, *, session: Any = None, **options: Any) -> FastMCP[Any]:
    """Make the server."""
    server: FastMCP[Any] = FastMCP("shop", middleware=[guard.fastmcp_middleware(session=session)], **options)

    def note(what: str) -> None:
        if isinstance(ran, Path):
            with ran.open("a") as file:
                file.write(f"{what}\n")
        else:
            ran.append(what)

    @server.tool
    def add(n: int, by: int = 1) -> int:
        """Add."""
        note(f"add {n!r}")
        return n + by

    @server.tool
    def free(text: str) -> str:
        """Say it."""
        note(f"free {text}")
        return text

    @server.tool
    def secret(text: str) -> str:
        """Hidden."""
        note(f"secret {text}")
        return text

    @server.tool
    def unlisted(text: str) -> str:
        """Not in the policy."""
        note(f"unlisted {text}")
        return text

    @server.tool
    def fails(how: str) -> Any:
        """Fail."""
        note(f"fails {how}")
        if how == "answer":
            return ToolResult(content="no such thing", is_error=True)
        raise ToolError("no such thing")

    @server.tool
    def late(text: str) -> str:
        """Time out somewhere."""
        note(f"late {text}")
        raise TimeoutError(text)

    @server.tool
    def whose(context: Context) -> str:
        """Say over what it was called."""
        return str(context.transport)

    @server.tool
    def wipe(what: str) -> str:
        """Wipe it."""
        note(f"wipe {what}")
        return f"wiped {what}"

    return server


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    own = Guard(Policy.model_validate(POLICY), store=f"disk://{folder}/state", audit=folder / "audit.jsonl")
    build(own, folder / "ran").run(show_banner=False, log_level="ERROR")
