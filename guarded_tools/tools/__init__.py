"""What is known of a tool before it is called: how risky it is, and what it looked like when somebody trusted it.

Promises that a stranger is destructive and that a pinned tool that changed is told. Start reading at
:mod:`~guarded_tools.tools.risk`.
"""
