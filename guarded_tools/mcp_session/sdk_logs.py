"""What the MCP SDK and httpx log of our connections, without what the servers wrote into it.

They quote whatever is no message, whatever does not fit, and addresses: by default on stderr, with the keys that a
server was given and echoes.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from contextvars import ContextVar

from guarded_tools.text.visible import one_line

# The SDK's sessions write to the root logger itself; a filter there sees nothing that comes up from others.
_LOGGERS = (
    *("", "client", "mcp.client.stdio", "mcp.client.streamable_http"),
    *("mcp.client.sse", "mcp.shared.jsonrpc_dispatcher", "httpx", "httpx2"),
    # At DEBUG httpcore tells every header of every answer, and some servers send the key back in one.
    *(
        f"{library}.{part}"
        for library in ("httpcore", "httpcore2")
        for part in ("connection", "http11", "http2", "proxy", "socks")
    ),
)

_mask: ContextVar[Callable[[str], str] | None] = ContextVar("guarded_tools_mcp_mask", default=None)


def redact_sdk_logs(mask: Callable[[str], str]) -> None:
    """Have ``mask`` applied to what is logged from here on in this task and those that it starts; nowhere else."""
    _mask.set(mask)
    for name in _LOGGERS:
        logging.getLogger(name).addFilter(_redacted)


def _redacted(record: logging.LogRecord) -> bool:
    mask = _mask.get()
    if mask is not None:
        text = record.getMessage()
        if record.levelno >= logging.WARNING:
            # What follows quotes the server, and shortens what it quotes: half a key is no longer known as one.
            text = re.split(r"[:\n]", text, maxsplit=1)[0]
        record.msg, record.args = one_line(mask(text)), ()
        record.exc_info = record.exc_text = None  # quotes it, too
    return True
