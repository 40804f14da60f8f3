"""Where the guard meets LangChain: wrapped tools, a middleware for agents, an interceptor for MCP clients.

Promises that a tool that may run behaves as it did without the guard, and that one call is counted once wherever
adapters are stacked. Start reading at :mod:`~guarded_tools.adapters.wrap`.
"""
