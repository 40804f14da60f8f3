"""One call's way: decide, ask, reserve, run, settle. Written once, for callers with and without an event loop.

Promises that no body runs that the policy, the limits and the human did not let through, and that each decision is
written down. Start reading at :mod:`~guarded_tools.pipeline.pipeline`; adapters hold
:mod:`~guarded_tools.pipeline.gate`.
"""
