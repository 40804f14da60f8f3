"""The guard in front of any MCP client: ``guarded-tools gateway`` stands between a client and its servers.

What it promises: every message passes as it came, in both directions, but for what the policy denies; what is denied
reaches no server, and is answered so that a model understands it; a client chooses neither whose limits count nor which
policy holds. Start reading at :mod:`~guarded_tools.gateway.guarded`, which decides, then
:mod:`~guarded_tools.gateway.relay`, which carries. Needs the second generation of MCP.
"""
