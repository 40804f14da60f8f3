"""What the tests of gateways have in common, where the second generation of MCP is installed."""

from guarded_tools.mcp_session import generation

if generation.installed() != 1:
    from tests.gateway.harness_mcp2 import command, events, make_gateway, reached, upstream_log  # noqa: F401 - fixtures
