"""For people who write policies: a draft from what a server lists, and a policy's own unit tests.

Promises that a draft loads and denies what it does not understand. Start reading at
:mod:`~guarded_tools.authoring.scan`; whoever looks for calls to judge begins at
:mod:`~guarded_tools.authoring.candidates`.
"""
