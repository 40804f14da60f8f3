"""What the server of :mod:`tests.forked` has imported when it forks: what most programs of tests begin with."""

import gc
import importlib
from contextlib import suppress

for _name in (
    "diskcache",
    "fastapi",
    "guarded_tools.adapters",
    "guarded_tools.approvers.notebook",
    "guarded_tools.audit",
    "guarded_tools.cli.app",
    "guarded_tools.guard",
    "guarded_tools.pictify.connection",
    "guarded_tools.pictify.sandbox.server",
    "guarded_tools.servers",
    "guarded_tools.stores.disk.store",
    "guarded_tools.stores.redis",
    "guarded_tools.testing",
    "ipykernel.kernelapp",
    "ipywidgets",
    "langchain.agents",
    "langchain_core.tools",
    "langgraph.checkpoint.sqlite",
    "langgraph.prebuilt",
    "pytest",
    "redis",
    "uvicorn",
    # Of these each generation of MCP has its own.
    "fastmcp",
    "langchain_mcp_adapters.client",
    "mcp.server.fastmcp",
    "mcp_server_sqlite",
):
    with suppress(ImportError):
        importlib.import_module(_name)

gc.freeze()  # a collection in what is forked would copy every page
