"""``python -m guarded_tools.pictify.sandbox``: serve the sandbox over stdio, or over HTTP with ``--http PORT``."""

from __future__ import annotations

import argparse
import asyncio
from contextlib import suppress
from pathlib import Path

from guarded_tools.pictify.sandbox.server import FAULTS, Options, listen, parse_faults, serve_http, serve_stdio


def main() -> None:
    """Serve until stdin ends (stdio) or until interrupted (HTTP)."""
    parser = argparse.ArgumentParser(
        prog="python -m guarded_tools.pictify.sandbox",
        description="A local MCP server that behaves as Pictify's does: no key, no network, nothing is kept.",
    )
    parser.add_argument("--http", type=int, metavar="PORT", help="serve http://127.0.0.1:PORT/mcp; 0 picks a free port")
    test = parser.add_argument_group("test equipment")
    test.add_argument("--json", action="store_true", help="answer HTTP with JSON instead of an event stream")
    test.add_argument("--log", type=Path, metavar="FILE", help="append a JSON line for each call that arrives and ends")
    test.add_argument("--key", metavar="KEY", help="the only API key that is accepted (none is needed otherwise)")
    test.add_argument("--fault", action="append", default=[], metavar="TOOL=FAULT", help="; ".join(FAULTS))
    given = parser.parse_args()
    try:
        options = Options(given.log, parse_faults(given.fault), given.key)
        listener = None if given.http is None else listen(given.http)
    except (ValueError, OSError, OverflowError) as error:
        parser.error(str(error))
    with suppress(KeyboardInterrupt):
        if listener is None:
            asyncio.run(serve_stdio(options))
        else:
            asyncio.run(serve_http(options, listener, json_response=given.json))


if __name__ == "__main__":
    main()
