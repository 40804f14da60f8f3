"""A question to a human and what becomes of it: asked once, answered for exactly the call that was shown.

Promises that an answer reaches the question it was given to, counts once and expires. Start reading at
:mod:`~guarded_tools.approval.workflow`.
"""
