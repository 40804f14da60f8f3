"""Checks of what a call brings back: a result that breaks the policy's rules is redacted, cut, or kept back as a whole.

Promised: what breaks no rule is handed on as the very object it was; what is handed on in its place holds nothing that
was to be redacted, and no more than was permitted; what cannot be checked is kept back. Start at
:mod:`~guarded_tools.pipeline.results.check`.
"""
