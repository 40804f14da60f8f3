"""``python -m guarded_tools.pictify.sandbox``: serve the sandbox over stdio, or over HTTP with ``--http PORT``."""

from __future__ import annotations

import argparse
import asyncio
from contextlib import suppress
from pathlib import Path
from typing import Any

from guarded_tools.errors import GuardError
from guarded_tools.pictify.sandbox.server import Options, build, calling, listen, serve_http, serve_stdio


def main() -> None:
    """Serve until stdin ends (stdio) or until interrupted (HTTP)."""
    given = options().parse_args()
    try:
        server = build(calling(Options(given.log, given.key)))
    except (OSError, GuardError) as error:
        options().error(str(error))
    serve(server, given)


def options() -> argparse.ArgumentParser:
    """The options of the command."""
    parser = argparse.ArgumentParser(
        prog="python -m guarded_tools.pictify.sandbox",
        description="A local MCP server that behaves as Pictify's does: no key, no network, nothing is kept.",
    )
    parser.add_argument("--http", type=int, metavar="PORT", help="serve http://127.0.0.1:PORT/mcp; 0 picks a free port")
    test = parser.add_argument_group("for tests")
    test.add_argument("--json", action="store_true", help="answer HTTP with JSON instead of an event stream")
    test.add_argument("--log", type=Path, metavar="FILE", help="append a JSON line for each call that arrives and ends")
    test.add_argument("--key", metavar="KEY", help="the only API key that is accepted (none is needed otherwise)")
    return parser


def serve(server: Any, given: argparse.Namespace) -> None:
    """Serve as the options say. A port that cannot be had ends the program with a word about it."""
    try:
        listener = None if given.http is None else listen(given.http)
    except (OSError, OverflowError) as error:
        options().error(str(error))
    with suppress(KeyboardInterrupt):
        if listener is None:
            asyncio.run(serve_stdio(server))
        else:
            asyncio.run(serve_http(server, listener, json_response=given.json))


if __name__ == "__main__":
    main()
