"""A page where people look and decide: approvals, what happens now, limits, sessions, the policy, the stop button.

Whoever opens it came through one door; no other site, name or frame reaches it; nothing on it can act or hide; it never
holds up an agent. Start reading at :mod:`~guarded_tools.web.app`, and for what keeps others out at
:mod:`~guarded_tools.web.shield`.
"""
