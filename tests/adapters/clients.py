"""LangChain's own roads to an MCP server, and what a server answers, on the generation of MCP that is installed."""

from guarded_tools.mcp_session.generation import installed

if installed() == 1:
    from tests.adapters.clients_mcp1 import *  # noqa: F403
else:
    from tests.adapters.clients_mcp2 import *  # type: ignore[no-redef]  # noqa: F403
