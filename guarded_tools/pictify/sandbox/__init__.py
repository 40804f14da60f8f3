"""A Pictify that runs here: an MCP server over an account in memory.

Promises the state rules and error texts of the real server as far as ``docs/pictify.md`` says. Start reading at
:mod:`~guarded_tools.pictify.sandbox.account`.
"""
