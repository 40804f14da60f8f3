"""What is known of a tool before it is called: its risk, what it brings, and how it looked when somebody trusted it.

Promises that a stranger is destructive, untrusted, private and outward, and that a pinned tool that changed is told.
Start reading at :mod:`~guarded_tools.tools.risk`.
"""
