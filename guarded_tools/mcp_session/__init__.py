"""A held MCP session: opened once, used from anywhere, reopened when the server died.

Promises that a call is sent at most once, over whichever connection is open. Start reading at
:class:`~guarded_tools.mcp_session.held.HeldSession`.
"""

from guarded_tools.mcp_session.held import READ_TIMEOUT, HeldSession
from guarded_tools.mcp_session.transport import Elicitation, HttpServer, Progress, Server, StdioServer

__all__ = ["READ_TIMEOUT", "Elicitation", "HeldSession", "HttpServer", "Progress", "Server", "StdioServer"]
