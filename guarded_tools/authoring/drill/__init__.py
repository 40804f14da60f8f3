"""Attacks on the user's own policy, with a grade: patterns bound to a server's tools, run through the real guard.

Promises that nothing is contacted (the tools' bodies are stubs that note what ran), that the same input gives the same
report, and that a pattern is a breach only by the threshold it publishes. Start reading at
:mod:`~guarded_tools.authoring.drill.course`, then :mod:`~guarded_tools.authoring.drill.world`.
"""
