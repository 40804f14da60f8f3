"""What the server of :mod:`tests.forked` has imported when it forks: what most programs of tests begin with."""

import gc

import diskcache
import langchain.agents
import langchain_core.tools
import langchain_mcp_adapters.client
import langgraph.checkpoint.sqlite
import langgraph.prebuilt
import mcp.server.fastmcp
import pytest
import redis
import uvicorn

import guarded_tools.adapters
import guarded_tools.guard
import guarded_tools.pictify.sandbox.server
import guarded_tools.servers
import guarded_tools.stores.disk.store

__all__ = [
    "diskcache",
    "guarded_tools",
    "langchain",
    "langchain_core",
    "langchain_mcp_adapters",
    "langgraph",
    "mcp",
    "pytest",
    "redis",
    "uvicorn",
]

gc.freeze()  # a collection in what is forked would copy every page
