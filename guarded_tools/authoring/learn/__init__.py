"""A draft of a policy from what was recorded: the tools that were used, how often, and with which arguments.

Promises that only calls that ran and ended well teach anything, that no value is learnt which only might be typical,
and that a draft made on top of another policy never lets through what that one holds. Start reading at
:mod:`~guarded_tools.authoring.learn.seen`.
"""
